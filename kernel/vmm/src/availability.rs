//! Whether a CPU can carry the monitor: from CPUID, and from what firmware has locked.

use crate::vmx::{Controls, MissingControl};
use core::fmt;
use x86defs::cpuid::{EXTENDED1_ECX_SVM, LEAF1_ECX_HYPERVISOR, LEAF1_ECX_VMX, SVM_EDX_NESTED_PAGING, Source};
use x86defs::registers::msr;
use x86defs::vmx::capability::{Capabilities, FEATURE_CONTROL_LOCK, FEATURE_CONTROL_VMX};

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
    /// Firmware has locked IA32_FEATURE_CONTROL without VMX: only a reset changes that.
    VmxLockedOff,
    /// VMX without the TRUE capability registers.
    NoTrueControls,
    /// VMX without EPT.
    NoEpt,
    /// VMX without unrestricted guests.
    NoUnrestrictedGuest,
    /// EPT without walks of four levels.
    NoFourLevelEpt,
    /// EPT whose tables can't be write back.
    NoWriteBackEpt,
    /// EPT without leaves of 2 MiB.
    NoLargeEptLeaves,
    /// EPT whose translations can't be flushed.
    NoInvept,
    /// VMX without a control that is needed.
    MissingControl(MissingControl),
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
            Self::VmxLockedOff => f.write_str("firmware has switched VMX off and locked it"),
            Self::NoTrueControls => f.write_str("the CPU's VMX has no TRUE control registers"),
            Self::NoEpt => f.write_str("the CPU's VMX has no EPT"),
            Self::NoUnrestrictedGuest => f.write_str("the CPU's VMX has no unrestricted guests"),
            Self::NoFourLevelEpt => f.write_str("the CPU's EPT has no walks of four levels"),
            Self::NoWriteBackEpt => f.write_str("the CPU's EPT has no write-back tables"),
            Self::NoLargeEptLeaves => f.write_str("the CPU's EPT has no leaves of 2 MiB"),
            Self::NoInvept => f.write_str("the CPU's EPT has no INVEPT"),
            Self::MissingControl(missing) => missing.fmt(f),
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

/// What firmware says in IA32_FEATURE_CONTROL (SDM vol. 3, 24.7), and what VMX can do: the controls to run with.
///
/// Where firmware has left the register open, [`feature_control_to_set`] says what has to be written before VMXON.
///
/// # Errors
/// Firmware forbids it, or the CPU lacks something.
pub fn vmx_availability(feature_control: u64, can: &Capabilities) -> Result<Controls, Unavailable> {
    vmx_allowed(feature_control)?;
    Controls::for_sleeping_system(can)
}

/// What firmware says in IA32_FEATURE_CONTROL.
///
/// # Errors
/// It is locked without VMX.
pub const fn vmx_allowed(feature_control: u64) -> Result<(), Unavailable> {
    let locked = feature_control & FEATURE_CONTROL_LOCK != 0;
    if locked && feature_control & FEATURE_CONTROL_VMX == 0 { Err(Unavailable::VmxLockedOff) } else { Ok(()) }
}

/// What has to be written to IA32_FEATURE_CONTROL before VMXON, if anything: firmware that does not care leaves it open, and
/// VMXON wants it locked.
pub const fn feature_control_to_set(feature_control: u64) -> Option<u64> {
    if feature_control & FEATURE_CONTROL_LOCK != 0 {
        return None;
    }
    Some(feature_control | FEATURE_CONTROL_VMX | FEATURE_CONTROL_LOCK)
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

    #[test]
    fn firmware_may_forbid_vmx() {
        let can = crate::vmx::controls::cpus::BOCHS_SKYLAKE_X;
        assert_eq!(vmx_availability(1, &can), Err(Unavailable::VmxLockedOff));
        for open in [5, 0, 4] {
            assert!(vmx_availability(open, &can).is_ok());
        }
        assert_eq!([0, 4, 5, 1].map(feature_control_to_set), [Some(5), Some(5), None, None]);
        assert_eq!(vmx_availability(5, &Capabilities::default()), Err(Unavailable::NoTrueControls));
    }
}
