//! Whether a CPU can carry the monitor: from CPUID, and from what firmware has locked.

use core::fmt;
use x86defs::cpuid::{EXTENDED1_ECX_SVM, LEAF1_ECX_HYPERVISOR, LEAF1_ECX_VMX, SVM_EDX_NESTED_PAGING, Source};
use x86defs::registers::msr;

/// Fewest address space identifiers that are of use: the host's and a guest's.
const LEAST_ASIDS: u32 = 2;

/// Which virtualization a CPU has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vendor {
    /// AMD SVM with nested paging.
    Svm,
    /// Intel VMX.
    Vmx,
}

/// Why a CPU can't carry the monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// Neither SVM nor VMX on the bare machine.
    NoVirtualization,
    /// The machine is a guest, and its hypervisor passes on neither.
    GuestWithout,
    /// SVM without nested paging.
    NoNestedPaging,
    /// SVM with fewer than two address space identifiers.
    TooFewAsids(u32),
    /// Firmware has switched SVM off (VM_CR.SVMDIS); whether it also locked that.
    DisabledByFirmware {
        /// A key or a reset is needed to change it (VM_CR.LOCK).
        locked: bool,
    },
    /// VMX, for which there is no backend yet.
    NoBackend,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoVirtualization => f.write_str("the CPU has neither SVM nor VMX"),
            Self::GuestWithout => {
                f.write_str("the machine is itself a guest whose hypervisor offers neither SVM nor VMX")
            }
            Self::NoNestedPaging => f.write_str("the CPU's SVM has no nested paging"),
            Self::DisabledByFirmware { locked: true } => {
                f.write_str("firmware has switched SVM off and locked it")
            }
            Self::DisabledByFirmware { locked: false } => f.write_str("firmware has switched SVM off"),
            Self::NoBackend => f.write_str("the CPU has VMX, for which this image has no backend"),
            Self::TooFewAsids(count) => write!(f, "the CPU's SVM has {count} address space identifiers"),
        }
    }
}

/// What the CPU offers.
pub fn availability(cpuid: &impl Source) -> Result<Vendor, Unavailable> {
    if cpuid.leaf(0x8000_0001).ecx & EXTENDED1_ECX_SVM != 0 {
        let svm = cpuid.leaf(0x8000_000a);
        if svm.edx & SVM_EDX_NESTED_PAGING == 0 {
            return Err(Unavailable::NoNestedPaging);
        }
        if svm.ebx < LEAST_ASIDS {
            return Err(Unavailable::TooFewAsids(svm.ebx));
        }
        return Ok(Vendor::Svm);
    }
    match cpuid.leaf(1).ecx {
        ecx if ecx & LEAF1_ECX_VMX != 0 => Ok(Vendor::Vmx),
        ecx if ecx & LEAF1_ECX_HYPERVISOR != 0 => Err(Unavailable::GuestWithout),
        _ => Err(Unavailable::NoVirtualization),
    }
}

/// What firmware says in VM_CR (APM vol. 2, 15.30.1). A CPU without the register locks nothing.
pub const fn firmware_allows(vm_cr: Option<u64>) -> Result<(), Unavailable> {
    match vm_cr {
        Some(value) if value & msr::VM_CR_SVMDIS != 0 => {
            Err(Unavailable::DisabledByFirmware { locked: value & msr::VM_CR_LOCK != 0 })
        }
        _ => Ok(()),
    }
}

/// Whether the system already runs under a hypervisor that says so.
pub fn is_nested(cpuid: &impl Source) -> bool {
    cpuid.leaf(1).ecx & LEAF1_ECX_HYPERVISOR != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use x86defs::cpuid::Leaf;

    struct Fake<const N: usize>([(u32, Leaf); N]);
    impl<const N: usize> Source for Fake<N> {
        fn subleaf(&self, number: u32, _: u32) -> Leaf {
            self.0.iter().find(|(leaf, _)| *leaf == number).map(|(_, leaf)| *leaf).unwrap_or_default()
        }
    }
    const fn leaf(ebx: u32, ecx: u32, edx: u32) -> Leaf {
        Leaf { eax: 0, ebx, ecx, edx }
    }

    #[test]
    fn each_cpu_gets_its_answer() {
        // QEMU 7.2, TCG, -cpu max: SVM, 16 identifiers, nested paging, a hypervisor.
        let qemu = Fake([
            (1, leaf(0, 0xfeda_3203, 0)),
            (0x8000_0001, leaf(0, 0x65, 0)),
            (0x8000_000a, leaf(16, 0, 0x1_0009)),
        ]);
        assert_eq!((availability(&qemu), is_nested(&qemu)), (Ok(Vendor::Svm), true));
        let skylake = Fake([(1, leaf(0, 0x7ffe_fbff, 0)), (0x8000_0001, leaf(0, 0x121, 0))]);
        assert_eq!((availability(&skylake), is_nested(&skylake)), (Ok(Vendor::Vmx), false));
        assert_eq!(availability(&Fake([])), Err(Unavailable::NoVirtualization));
        assert_eq!(availability(&Fake([(1, leaf(0, 1 << 31, 0))])), Err(Unavailable::GuestWithout));
        let old = Fake([(0x8000_0001, leaf(0, 4, 0)), (0x8000_000a, leaf(64, 0, 0))]);
        assert_eq!(availability(&old), Err(Unavailable::NoNestedPaging));
        let few = Fake([(0x8000_0001, leaf(0, 4, 0)), (0x8000_000a, leaf(1, 0, 1))]);
        assert_eq!(availability(&few), Err(Unavailable::TooFewAsids(1)));
    }

    #[test]
    fn firmware_may_forbid_it() {
        assert_eq!(firmware_allows(None), Ok(()));
        assert_eq!(firmware_allows(Some(msr::VM_CR_LOCK)), Ok(()));
        let refused = |locked| Err(Unavailable::DisabledByFirmware { locked });
        assert_eq!(firmware_allows(Some(0x10)), refused(false));
        assert_eq!(firmware_allows(Some(0x18)), refused(true));
    }
}
