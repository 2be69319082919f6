//! Three doors, one boot information: PVH and Multiboot2 (a 32-bit entry) and Hermit's (64-bit) all end in
//! hermit-entry's `BootInfo`, and in [`crate::run`].

use core::num::{NonZeroU16, NonZeroU64};
use core::ptr::addr_of_mut;
use hermit_entry::boot_info::{BootInfo, HardwareInfo, LoadInfo, PlatformInfo, RawBootInfo};
use machine::bootinfo::boot_params::{SIZE, Writer};
use machine::bootinfo::{Boot, multiboot2, pvh};
use machine::start::LowMemory;

core::arch::global_asm!(include_str!("entry.s"));

hermit_entry::define_entry_version!();
hermit_entry::define_abi_tag!();

#[repr(align(16))]
struct Page([u8; SIZE]);

/// Where the 32-bit doors put what they were told, in Linux's form.
static mut BOOT_PARAMS: Page = Page([0; SIZE]);

/// Called by `start64` with what the loader left in EAX and EBX.
#[unsafe(no_mangle)]
extern "C" fn enter_from_loader(magic: u32, information: u32) -> ! {
    // SAFETY: once, first thing on the first CPU.
    unsafe { machine::start::early() };
    // SAFETY: only this CPU runs, and only this function names the page.
    let page = unsafe { &mut *addr_of_mut!(BOOT_PARAMS) };
    let mut writer = Writer::new(&mut page.0);
    let address = u64::from(information);
    let translated = if magic == multiboot2::MAGIC {
        multiboot2::translate(&LowMemory, address, &mut writer)
    } else {
        pvh::translate(&LowMemory, address, &mut writer)
    };
    if let Err(error) = translated {
        panic!("boot information at {address:#x} (EAX {magic:#x}) can't be used: {error:?}");
    }
    let params = NonZeroU64::new(&raw const page.0 as u64).expect("a static's address");
    enter(BootInfo {
        hardware_info: HardwareInfo {
            phys_addr_range: 0..1 << 46,
            serial_port_base: NonZeroU16::new(0x3f8),
            device_tree: None,
        },
        load_info: LoadInfo { kernel_image_addr_range: image(), tls_info: None },
        platform_info: PlatformInfo::LinuxBootParams { command_line: None, boot_params_addr: params },
    })
}

/// Called by `_start`, the Hermit entry.
#[unsafe(no_mangle)]
extern "C" fn enter_from_hermit(information: &'static RawBootInfo) -> ! {
    // SAFETY: once, first thing on the first CPU.
    unsafe { machine::start::early() };
    enter(BootInfo::from(*information))
}

fn image() -> core::ops::Range<u64> {
    let [start, .., end] = machine::paging::image_bounds();
    start..end
}

fn enter(information: BootInfo) -> ! {
    match Boot::read(&information, &LowMemory) {
        Ok(boot) => crate::run(boot),
        Err(error) => panic!("boot information can't be used: {error:?}"),
    }
}
