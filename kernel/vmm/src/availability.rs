//! Whether a CPU can carry the monitor, from CPUID alone. What firmware locks (VM_CR, IA32_FEATURE_CONTROL) is looked at
//! when the monitor is built.

use core::fmt;
use x86defs::cpuid::{EXTENDED1_ECX_SVM, LEAF1_ECX_HYPERVISOR, LEAF1_ECX_VMX, SVM_EDX_NESTED_PAGING, Source};

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
    /// Neither SVM nor VMX.
    NoVirtualization,
    /// SVM without nested paging.
    NoNestedPaging,
    /// SVM with fewer than two address space identifiers.
    TooFewAsids(u32),
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoVirtualization => f.write_str("the CPU has neither SVM nor VMX"),
            Self::NoNestedPaging => f.write_str("the CPU's SVM has no nested paging"),
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
    if cpuid.leaf(1).ecx & LEAF1_ECX_VMX != 0 { Ok(Vendor::Vmx) } else { Err(Unavailable::NoVirtualization) }
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
        fn leaf(&self, number: u32) -> Leaf {
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
        let old = Fake([(0x8000_0001, leaf(0, 4, 0)), (0x8000_000a, leaf(64, 0, 0))]);
        assert_eq!(availability(&old), Err(Unavailable::NoNestedPaging));
        let few = Fake([(0x8000_0001, leaf(0, 4, 0)), (0x8000_000a, leaf(1, 0, 1))]);
        assert_eq!(availability(&few), Err(Unavailable::TooFewAsids(1)));
    }
}
