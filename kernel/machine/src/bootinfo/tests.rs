use super::boot_params::{SIZE, Writer};
use super::*;
use core::num::NonZeroU64;
use hermit_entry::boot_info::{HardwareInfo, LoadInfo};
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

/// Memory that begins at an address of its own.
struct Fake(u64, Vec<u8>);

impl Reader for Fake {
    fn bytes(&self, address: u64, length: usize) -> Option<&[u8]> {
        let start = usize::try_from(address.checked_sub(self.0)?).ok()?;
        self.1.get(start..start.checked_add(length)?)
    }
}

fn info(address: u64) -> BootInfo {
    BootInfo {
        hardware_info: HardwareInfo {
            phys_addr_range: 0..1 << 30,
            serial_port_base: None,
            device_tree: None,
        },
        load_info: LoadInfo { kernel_image_addr_range: 0x20_0000..0x30_0000, tls_info: None },
        platform_info: PlatformInfo::LinuxBootParams {
            command_line: None,
            boot_params_addr: NonZeroU64::new(address).unwrap(),
        },
    }
}

fn pvh_memory() -> Fake {
    let mut bytes = vec![0u8; 256];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, &pvh::MAGIC.to_le_bytes());
    put(4, &1u32.to_le_bytes());
    put(24, &0x1080u64.to_le_bytes());
    put(32, &0xf_5a20u64.to_le_bytes());
    put(40, &0x10c0u64.to_le_bytes());
    put(48, &2u32.to_le_bytes());
    put(0x80, b"ip=dhcp log=debug\0");
    put(0xc8, &0xa_0000u64.to_le_bytes());
    put(0xd0, &1u64.to_le_bytes());
    put(0xd8, &0x10_0000u64.to_le_bytes());
    put(0xe0, &0x300_0000u64.to_le_bytes());
    put(0xe8, &1u64.to_le_bytes());
    Fake(0x1000, bytes)
}

#[test]
fn pvh_comes_through_boot_params() {
    let mut memory = pvh_memory();
    let mut page = [0; SIZE];
    pvh::translate(&memory, 0x1000, &mut Writer::new(&mut page)).unwrap();
    let address = memory.0 + memory.1.len() as u64;
    memory.1.extend_from_slice(&page);
    let boot = Boot::read(&info(address), &memory).unwrap();
    assert_eq!(boot.command_line.as_str(), "ip=dhcp log=debug");
    assert_eq!(boot.rsdp, Some(0xf_5a20));
    assert_eq!(boot.map.total(RegionKind::Usable), 0xa_0000 + 0x300_0000);
    assert_eq!(setting(boot.command_line.as_str(), "log"), Some("debug"));
}

#[test]
fn multiboot2_comes_through_boot_params() {
    let mut bytes: Vec<u8> = Vec::new();
    let mut tag = |kind: u32, payload: &[u8]| {
        bytes.extend_from_slice(&kind.to_le_bytes());
        bytes.extend_from_slice(&(8 + payload.len() as u32).to_le_bytes());
        bytes.extend_from_slice(payload);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
    };
    tag(1, b"kv.maxmemory=1mb\0");
    let mut map = [24u32.to_le_bytes(), 0u32.to_le_bytes()].concat();
    map.extend([0x10_0000u64, 0x700_0000, 1].iter().flat_map(|value| value.to_le_bytes()));
    map.extend([0x800_0000u64, 0x1000, 3].iter().flat_map(|value| value.to_le_bytes()));
    tag(6, &map);
    tag(15, b"RSD PTR new");
    tag(14, b"RSD PTR old");
    tag(0, b"");
    let mut memory = Fake(0x9000, [&(8 + bytes.len() as u32).to_le_bytes()[..], &[0; 4], &bytes].concat());
    let mut page = [0; SIZE];
    multiboot2::translate(&memory, 0x9000, &mut Writer::new(&mut page)).unwrap();
    let address = memory.0 + memory.1.len() as u64;
    memory.1.extend_from_slice(&page);
    let boot = Boot::read(&info(address), &memory).unwrap();
    assert_eq!(boot.command_line.as_str(), "kv.maxmemory=1mb");
    assert_eq!(boot.map.total(RegionKind::AcpiReclaim), 0x1000);
    assert_eq!(memory.bytes(boot.rsdp.unwrap(), 11), Some(&b"RSD PTR new"[..]));
}

#[test]
fn damage_is_named() {
    let mut page = [0; SIZE];
    let mut writer = Writer::new(&mut page);
    let mut memory = pvh_memory();
    memory.1.truncate(0xe0);
    assert_eq!(pvh::translate(&memory, 0x1000, &mut writer), Err(BootError::Truncated("memory map")));
    memory.1[0] = 0;
    assert_eq!(pvh::translate(&memory, 0x1000, &mut writer), Err(BootError::Magic));
    assert_eq!(pvh::translate(&memory, 1 << 40, &mut writer), Err(BootError::Truncated("start_info")));
}

proptest! {
    #[test]
    fn noise_does_no_harm(noise in proptest::collection::vec(any::<u8>(), 0..5000), magic in any::<bool>()) {
        let mut noise = noise;
        if magic && noise.len() >= 8 {
            noise[..4].copy_from_slice(&pvh::MAGIC.to_le_bytes());
            noise[4..8].copy_from_slice(&1u32.to_le_bytes());
        }
        let memory = Fake(0, noise);
        let mut page = [0; SIZE];
        let _ = pvh::translate(&memory, 0, &mut Writer::new(&mut page));
        let _ = multiboot2::translate(&memory, 0, &mut Writer::new(&mut page));
        let mut boot = Boot { map: MemoryMap::new(), command_line: CommandLine::new(), rsdp: None };
        let _ = multiboot1::read(&memory, 0, &mut boot);
        let _ = boot_params::read(&memory, 0, &mut boot);
    }
}
