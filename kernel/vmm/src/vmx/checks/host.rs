//! Host state (27.2.2 to 27.2.4).

use super::{Limits, Violation, fail_if, is_pat};
use x86defs::registers::{CR0_WP, CR4_CET, CR4_PAE, EFER_LMA, EFER_LME};
use x86defs::vmx::control::exit;
use x86defs::vmx::field::{Vmcs, control, host};

/// Privilege level and table indicator of a selector.
const RPL_AND_TI: u16 = 7;

pub(super) fn check(vmcs: &impl Vmcs, limits: &Limits) -> Result<(), Violation> {
    let controls = vmcs.read(control::EXIT);
    registers(vmcs, limits, controls)?;
    segments(vmcs, limits)?;
    // The VMM is 64-bit code, and so is whoever enters.
    fail_if(controls & exit::HOST_ADDRESS_SPACE_SIZE == 0, Violation::HostSize(controls.into()))?;
    let cr4 = vmcs.read(host::CR4);
    fail_if(cr4 & CR4_PAE == 0, Violation::HostPae(cr4))?;
    let rip = vmcs.read(host::RIP);
    fail_if(!limits.is_canonical(rip), Violation::HostRip(rip))
}

/// 27.2.2.
fn registers(vmcs: &impl Vmcs, limits: &Limits, controls: u32) -> Result<(), Violation> {
    let (cr0, cr3, cr4) = (vmcs.read(host::CR0), vmcs.read(host::CR3), vmcs.read(host::CR4));
    fail_if(!limits.can.cr0.permits(cr0), Violation::HostCr0(cr0))?;
    fail_if(!limits.can.cr4.permits(cr4), Violation::HostCr4(cr4))?;
    fail_if(cr4 & CR4_CET != 0 && cr0 & CR0_WP == 0, Violation::HostCet(cr4))?;
    fail_if(cr3 >> limits.physical_bits != 0, Violation::HostCr3(cr3))?;
    for field in [host::SYSENTER_ESP, host::SYSENTER_EIP] {
        let address = vmcs.read(field);
        fail_if(!limits.is_canonical(address), Violation::HostSysenter(address))?;
    }
    if controls & exit::LOAD_PAT != 0 {
        let pat = vmcs.read(host::PAT);
        fail_if(!is_pat(pat), Violation::HostPat(pat))?;
    }
    if controls & exit::LOAD_EFER != 0 {
        let efer = vmcs.read(host::EFER);
        fail_if(efer & !limits.efer != 0, Violation::HostEferReserved(efer))?;
        let both = EFER_LMA | EFER_LME;
        let mode = if controls & exit::HOST_ADDRESS_SPACE_SIZE != 0 { both } else { 0 };
        fail_if(efer & both != mode, Violation::HostEferMode(efer))?;
    }
    Ok(())
}

/// 27.2.3.
fn segments(vmcs: &impl Vmcs, limits: &Limits) -> Result<(), Violation> {
    let (cs, tr) = (vmcs.read(host::CS_SELECTOR), vmcs.read(host::TR_SELECTOR));
    let others =
        [host::ES_SELECTOR, host::SS_SELECTOR, host::DS_SELECTOR, host::FS_SELECTOR, host::GS_SELECTOR];
    for selector in others.map(|field| vmcs.read(field)).into_iter().chain([cs, tr]) {
        fail_if(selector & RPL_AND_TI != 0, Violation::HostSelector(selector.into()))?;
    }
    fail_if(cs == 0, Violation::HostCsNull(0))?;
    fail_if(tr == 0, Violation::HostTrNull(0))?;
    for field in [host::FS_BASE, host::GS_BASE, host::GDTR_BASE, host::IDTR_BASE, host::TR_BASE] {
        let base = vmcs.read(field);
        fail_if(!limits.is_canonical(base), Violation::HostBase(base))?;
    }
    Ok(())
}
