//! What a VMCS holds for good: controls, where the tables are, and the state that exits load.

use super::controls::Controls;
use core::ops::RangeInclusive;
use x86defs::registers::{CR0_PE, CR0_PG};
use x86defs::vmx::capability::{Capabilities, msr};
use x86defs::vmx::control::secondary;
use x86defs::vmx::ept;
use x86defs::vmx::field::{Vmcs, control, guest, host};
use x86defs::vmx::permission::{MSR_BITMAP, intercept_read, intercept_write};

/// The identifier of the guest's translations: any but the 0 of VMX operation itself. One suffices.
pub const VPID: u16 = 1;
/// No VMCS is linked.
const NO_LINK: u64 = u64::MAX;
/// IA32_SMM_MONITOR_CTL.
const SMM_MONITOR_CTL: u32 = 0x9b;
/// The capability registers.
const CAPABILITIES: RangeInclusive<u32> = msr::BASIC..=msr::EXIT_CTLS2;

/// What the VMCS points to. Physical addresses, multiples of 4 KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    /// MSR bitmap, 4 KiB.
    pub msr_bitmap: u64,
    /// Top-level EPT table.
    pub ept: u64,
}

/// What every exit loads. Selectors of ES, DS, FS and GS are null; the limits of GDT and IDT become FFFFh (28.5.2), those of
/// other segments are the largest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "register names")]
pub struct Host {
    /// With what VMX demands: NE.
    pub cr0: u64,
    pub cr3: u64,
    /// With what VMX demands: VMXE.
    pub cr4: u64,
    pub efer: u64,
    pub pat: u64,
    /// Privilege level 0, of the GDT, not null.
    pub cs: u16,
    /// Privilege level 0, of the GDT.
    pub ss: u16,
    /// Of the GDT, not null.
    pub tr: u16,
    pub fs_base: u64,
    pub gs_base: u64,
    pub tr_base: u64,
    pub gdtr_base: u64,
    pub idtr_base: u64,
    pub rsp: u64,
    pub rip: u64,
}

impl Host {
    /// Writes the host-state area. SYSENTER is of no use in the VMM, and is zero there.
    pub fn write(&self, vmcs: &mut impl Vmcs) {
        for null in [host::ES_SELECTOR, host::DS_SELECTOR, host::FS_SELECTOR, host::GS_SELECTOR] {
            vmcs.write(null, 0);
        }
        vmcs.write(host::CS_SELECTOR, self.cs);
        vmcs.write(host::SS_SELECTOR, self.ss);
        vmcs.write(host::TR_SELECTOR, self.tr);
        vmcs.write(host::CR0, self.cr0);
        vmcs.write(host::CR3, self.cr3);
        vmcs.write(host::CR4, self.cr4);
        vmcs.write(host::EFER, self.efer);
        vmcs.write(host::PAT, self.pat);
        vmcs.write(host::FS_BASE, self.fs_base);
        vmcs.write(host::GS_BASE, self.gs_base);
        vmcs.write(host::TR_BASE, self.tr_base);
        vmcs.write(host::GDTR_BASE, self.gdtr_base);
        vmcs.write(host::IDTR_BASE, self.idtr_base);
        vmcs.write(host::SYSENTER_CS, 0);
        vmcs.write(host::SYSENTER_ESP, 0);
        vmcs.write(host::SYSENTER_EIP, 0);
        vmcs.write(host::RSP, self.rsp);
        vmcs.write(host::RIP, self.rip);
    }
}

/// Fills in what stays the same for good, but for [`Host`]: a VMCS begins with arbitrary fields. Interrupts, NMIs, exceptions,
/// HLT, ports and device memory are not intercepted: a guest without a job runs undisturbed.
///
/// VMX owns the bits of CR0 and CR4 that have to be set, but for protection and paging, which an unrestricted guest may have
/// off (24.8). The same bits are set by [`load`](super::load), whatever the system has there.
pub fn set_up(vmcs: &mut impl Vmcs, controls: &Controls, places: Places, can: &Capabilities) {
    controls.write(vmcs);
    vmcs.write(control::EXCEPTION_BITMAP, 0);
    vmcs.write(control::PAGE_FAULT_MASK, 0);
    vmcs.write(control::PAGE_FAULT_MATCH, 0);
    vmcs.write(control::CR3_TARGET_COUNT, 0);
    vmcs.write(control::EXIT_MSR_STORE_COUNT, 0);
    vmcs.write(control::EXIT_MSR_LOAD_COUNT, 0);
    vmcs.write(control::ENTRY_MSR_LOAD_COUNT, 0);
    vmcs.write(control::ENTRY_INTERRUPTION, 0);
    vmcs.write(control::MSR_BITMAP, places.msr_bitmap);
    vmcs.write(control::EPT_POINTER, ept::pointer(places.ept));
    if controls.flush_vpid.is_some() {
        vmcs.write(control::VPID, VPID);
    }
    if controls.secondary & secondary::ENABLE_XSAVES != 0 {
        vmcs.write(control::XSS_EXITING_BITMAP, 0);
    }
    if controls.secondary & secondary::ENABLE_PCONFIG != 0 {
        vmcs.write(control::PCONFIG_EXITING_BITMAP, 0);
    }
    vmcs.write(control::CR0_MASK, can.cr0.set & !(CR0_PE | CR0_PG));
    vmcs.write(control::CR4_MASK, can.cr4.set);
    vmcs.write(guest::VMCS_LINK, NO_LINK);
}

/// Marks the registers that exit: VMX itself, which the guest is not to see. All others in the bitmap are the guest's.
pub fn intercept_msrs(bitmap: &mut [u8; MSR_BITMAP]) {
    bitmap.fill(0);
    intercept_write(bitmap, msr::FEATURE_CONTROL);
    intercept_write(bitmap, SMM_MONITOR_CTL);
    for register in CAPABILITIES {
        intercept_read(bitmap, register);
        intercept_write(bitmap, register);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vmx::controls::cpus;
    use x86defs::vmx::field::Image;

    #[test]
    fn only_vmx_itself_is_intercepted() {
        let mut bitmap = [0xff; MSR_BITMAP];
        intercept_msrs(&mut bitmap);
        assert_eq!(bitmap.iter().map(|byte| byte.count_ones()).sum::<u32>(), 2 + 2 * 20);
        // Reads of 480h to 493h.
        assert_eq!(bitmap[0x90..0x93], [0xff, 0xff, 0x0f]);
    }

    #[test]
    fn protection_and_paging_are_the_guests_own() {
        let can = cpus::ARROW_LAKE;
        let controls = Controls::for_sleeping_system(&can).unwrap();
        let mut vmcs = Image::ZERO;
        set_up(&mut vmcs, &controls, Places { msr_bitmap: 0x1000, ept: 0x2000 }, &can);
        assert_eq!((vmcs.read(control::CR0_MASK), vmcs.read(control::CR4_MASK)), (0x20, 0x2000));
        assert_eq!((vmcs.read(control::EPT_POINTER), vmcs.read(control::VPID)), (0x201e, VPID));
        assert_eq!(vmcs.read(guest::VMCS_LINK), u64::MAX);
    }
}
