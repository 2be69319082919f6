//! What this machine is, as a checkpoint tells it and as one is compared with it.

use checkpoint::{Features, Map, Region, RegionKind, Register, Vendor, Word};
use core::arch::x86_64::__cpuid_count;
use machine::memory::map::{self, MemoryMap};
use machine::paging::image_bounds;
use machine::state::{Hardware, Privileged, Register as Control};
use mode::bare::monitor;
use vmm::monitor::BuildError;

/// Whose CPUs these are, as far as the monitor cares.
pub fn vendor() -> Result<Vendor, BuildError> {
    Ok(match monitor()?.vendor() {
        vmm::Vendor::Svm => Vendor::Amd,
        vmm::Vendor::Vmx => Vendor::Intel,
    })
}

/// What lies where in its memory.
pub fn map(map: &MemoryMap) -> Result<Map, checkpoint::Error> {
    let mut told = Map::new();
    for region in map.iter() {
        let kind = match region.kind {
            map::RegionKind::Usable => RegionKind::Memory,
            map::RegionKind::Kernel => RegionKind::Image,
            map::RegionKind::Reserve => RegionKind::Reserve,
            _ => RegionKind::Other,
        };
        told.push(Region { start: region.start, end: region.end, kind })?;
    }
    Ok(told)
}

/// What this CPU shows the system, but what a VMM adds or takes away: MONITOR, VMX, OSXSAVE, a hypervisor; SVM.
#[expect(unsafe_code, reason = "a register is read")]
pub fn features() -> Result<Features, checkpoint::Error> {
    const OSXSAVE: u32 = 1 << 27;
    const VMM_LEAF_1: u32 = 1 << 3 | 1 << 5 | OSXSAVE | 1 << 31;
    const SVM: u32 = 1 << 2;
    let mut features = Features::new();
    let mut add = |leaf, subleaf, register, bits: u64| match bits {
        0 => Ok(()),
        bits => features.push(Word { leaf, subleaf, register, bits }),
    };
    let leaf = __cpuid_count(1, 0);
    if leaf.ecx & OSXSAVE != 0 {
        // SAFETY: only read.
        let cpu = unsafe { Hardware::new() };
        add(0, 0, Register::Xcr0, cpu.read(Control::Xcr0))?;
    }
    add(1, 0, Register::Ecx, (leaf.ecx & !VMM_LEAF_1).into())?;
    add(1, 0, Register::Edx, leaf.edx.into())?;
    if __cpuid_count(0, 0).eax >= 7 {
        let leaf = __cpuid_count(7, 0);
        add(7, 0, Register::Ebx, leaf.ebx.into())?;
        add(7, 0, Register::Ecx, leaf.ecx.into())?;
        add(7, 0, Register::Edx, leaf.edx.into())?;
    }
    let leaf = __cpuid_count(0x8000_0001, 0);
    add(0x8000_0001, 0, Register::Ecx, (leaf.ecx & !SVM).into())?;
    add(0x8000_0001, 0, Register::Edx, leaf.edx.into())?;
    Ok(features)
}

/// The image's, from its text and constants.
#[expect(unsafe_code, reason = "the image is there to be read")]
pub fn image() -> [u8; 32] {
    let [start, _, constants_end, _] = image_bounds();
    // SAFETY: mapped for reading, and nobody writes it.
    let bytes = unsafe { core::slice::from_raw_parts(start as *const u8, (constants_end - start) as usize) };
    checkpoint::identity(bytes)
}
