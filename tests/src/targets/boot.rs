//! What boot loaders leave in memory.

use std::num::NonZeroU64;

use hermit_entry::boot_info::{BootInfo, HardwareInfo, LoadInfo, PlatformInfo};
use machine::bootinfo::boot_params::{SIZE, Writer};
use machine::bootinfo::{self, Boot, Reader};

/// Where the input lies in memory.
const BASE: u64 = 0x1000;

pub(super) struct Memory<'a> {
    pub base: u64,
    pub bytes: &'a [u8],
}

impl Reader for Memory<'_> {
    fn bytes(&self, address: u64, length: usize) -> Option<&[u8]> {
        let start = usize::try_from(address.checked_sub(self.base)?).ok()?;
        self.bytes.get(start..start.checked_add(length)?)
    }
}

/// PVH's start information, and the page that it becomes.
pub fn pvh(input: &[u8]) {
    let mut page = [0; SIZE];
    let memory = Memory { base: BASE, bytes: input };
    if bootinfo::pvh::translate(&memory, BASE, &mut Writer::new(&mut page)).is_ok() {
        boot_params(&page);
    }
}

/// Multiboot2's tags, and the page that they become.
pub fn multiboot2(input: &[u8]) {
    let mut page = [0; SIZE];
    let memory = Memory { base: BASE, bytes: input };
    if bootinfo::multiboot2::translate(&memory, BASE, &mut Writer::new(&mut page)).is_ok() {
        boot_params(&page);
    }
}

/// Multiboot 1's information, which Hermit's loaders pass on.
pub fn multiboot1(input: &[u8]) {
    read(input, PlatformInfo::Multiboot { command_line: None, multiboot_info_addr: address() });
}

/// The Linux boot protocol's page.
pub fn boot_params(input: &[u8]) {
    read(input, PlatformInfo::LinuxBootParams { command_line: None, boot_params_addr: address() });
}

fn read(input: &[u8], platform_info: PlatformInfo) {
    let info = BootInfo {
        hardware_info: HardwareInfo {
            phys_addr_range: 0..1 << 30,
            serial_port_base: None,
            device_tree: None,
        },
        load_info: LoadInfo { kernel_image_addr_range: 0x20_0000..0x30_0000, tls_info: None },
        platform_info,
    };
    let Ok(boot) = Boot::read(&info, &Memory { base: BASE, bytes: input }) else { return };
    let mut end = 0;
    for region in boot.map.iter() {
        assert!(region.start >= end && region.end > region.start, "regions overlap or are empty");
        end = region.end;
    }
    assert!(boot.command_line.as_str().len() <= bootinfo::COMMAND_LINE);
}

fn address() -> NonZeroU64 {
    NonZeroU64::new(BASE).expect("the base is not 0")
}

/// One of each kind: what is valid to one is noise to the others.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    vec![pvh_seed(), multiboot2_seed(), boot_params_seed(), multiboot1_seed()]
}

/// Puts a value at an offset.
fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// `hvm_start_info` with a map of two entries and a command line.
fn pvh_seed() -> Vec<u8> {
    let mut bytes = vec![0; 256];
    put(&mut bytes, 0, &bootinfo::pvh::MAGIC.to_le_bytes());
    put(&mut bytes, 4, &1_u32.to_le_bytes());
    put(&mut bytes, 24, &(BASE + 0x80).to_le_bytes());
    put(&mut bytes, 40, &(BASE + 0xc0).to_le_bytes());
    put(&mut bytes, 48, &2_u32.to_le_bytes());
    put(&mut bytes, 0x80, b"ip=dhcp\0");
    put(&mut bytes, 0xc8, &0xa_0000_u64.to_le_bytes());
    put(&mut bytes, 0xd0, &1_u64.to_le_bytes());
    put(&mut bytes, 0xd8, &0x10_0000_u64.to_le_bytes());
    put(&mut bytes, 0xe0, &0x300_0000_u64.to_le_bytes());
    put(&mut bytes, 0xe8, &1_u64.to_le_bytes());
    bytes
}

/// Tags: command line, memory map, ACPI root pointer, end.
fn multiboot2_seed() -> Vec<u8> {
    let mut bytes = vec![0; 8];
    let mut tag = |number: u32, payload: &[u8]| {
        bytes.extend(number.to_le_bytes());
        bytes.extend((8 + payload.len() as u32).to_le_bytes());
        bytes.extend(payload);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
    };
    tag(1, b"ip=dhcp\0");
    let mut map = [24_u32.to_le_bytes(), 0_u32.to_le_bytes()].concat();
    for (start, length, kind) in
        [(0_u64, 0x9_fc00_u64, 1_u64), (0x10_0000, 0x1ff0_0000, 1), (0xfffc_0000, 0x4_0000, 2)]
    {
        map.extend([start, length, kind].iter().flat_map(|value| value.to_le_bytes()));
    }
    tag(6, &map);
    tag(15, &[0x52; 36]);
    tag(0, &[]);
    let length = bytes.len() as u32;
    put(&mut bytes, 0, &length.to_le_bytes());
    bytes
}

fn boot_params_seed() -> Vec<u8> {
    let mut page = [0; SIZE];
    let mut writer = Writer::new(&mut page);
    writer.add(0, 0x9_fc00, 1);
    writer.add(0x10_0000, 0x1ff0_0000, 1);
    writer.set_rsdp(0xf_5a20);
    writer.set_command_line(BASE as u32 + 0x800);
    let mut bytes = page.to_vec();
    put(&mut bytes, 0x800, b"ip=dhcp\0");
    bytes
}

/// Flags, command line and memory map.
fn multiboot1_seed() -> Vec<u8> {
    let mut bytes = vec![0; 256];
    put(&mut bytes, 0, &0x44_u32.to_le_bytes());
    put(&mut bytes, 16, &(BASE as u32 + 0x80).to_le_bytes());
    put(&mut bytes, 44, &24_u32.to_le_bytes());
    put(&mut bytes, 48, &(BASE as u32 + 0xc0).to_le_bytes());
    put(&mut bytes, 0x80, b"ip=dhcp\0");
    put(&mut bytes, 0xc0, &20_u32.to_le_bytes());
    put(&mut bytes, 0xc4, &0x10_0000_u64.to_le_bytes());
    put(&mut bytes, 0xcc, &0x300_0000_u64.to_le_bytes());
    put(&mut bytes, 0xd4, &1_u32.to_le_bytes());
    bytes
}
