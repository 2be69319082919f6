//! Guest state but for segments (27.3.1.1, 27.3.1.3 to 27.3.1.6).

use super::controls::is_unrestricted;
use super::{Limits, Violation, fail_if, is_pat};
use crate::vmx::state::DEBUGCTL_BTF;
use x86defs::registers::{
    CR0_PE, CR0_PG, CR0_WP, CR4_CET, CR4_PAE, CR4_PCIDE, EFER_LMA, EFER_LME, RFLAGS_FIXED, RFLAGS_IF,
    RFLAGS_TF, RFLAGS_VM,
};
use x86defs::state::{BREAKPOINT, SINGLE_STEP};
use x86defs::vmx::access_rights;
use x86defs::vmx::capability::{MISC_HLT, MISC_SHUTDOWN, MISC_WAIT_FOR_SIPI};
use x86defs::vmx::control::{entry, pin};
use x86defs::vmx::field::{Vmcs, control, guest};
use x86defs::vmx::interruption::{self, VALID, activity, interruptibility, kind, pending_debug};

/// Bits that DEBUGCTL has: LBR, BTF, bus-lock detection; tracing, freezing, RTM.
const DEBUGCTL: u64 = 0b111 | 0x3ff << 6;
/// Bits of RFLAGS that are always zero.
const RFLAGS_ZERO: u64 = !0 << 22 | 1 << 15 | 1 << 5 | 1 << 3;
/// Bits of a present page-directory-pointer entry that are always zero, below the physical addresses' end.
const PDPTE_ZERO: u64 = 0b111 << 6 | 1 << 5 | 0b11 << 1;
const DEBUG_VECTOR: u8 = 1;
const MACHINE_CHECK_VECTOR: u8 = 18;

/// 27.3.1.1.
pub(super) fn check_registers(vmcs: &impl Vmcs, limits: &Limits) -> Result<(), Violation> {
    let controls = vmcs.read(control::ENTRY);
    let long = controls & entry::IA32E_MODE_GUEST != 0;
    let (cr0, cr3, cr4) = (vmcs.read(guest::CR0), vmcs.read(guest::CR3), vmcs.read(guest::CR4));
    // An unrestricted guest need not have protection and paging.
    let free = if is_unrestricted(vmcs) { CR0_PE | CR0_PG } else { 0 };
    fail_if(!limits.can.cr0.permits(cr0 | free & limits.can.cr0.set), Violation::Cr0(cr0))?;
    fail_if(cr0 & CR0_PG != 0 && cr0 & CR0_PE == 0, Violation::PagingWithoutProtection(cr0))?;
    fail_if(!limits.can.cr4.permits(cr4), Violation::Cr4(cr4))?;
    fail_if(cr4 & CR4_CET != 0 && cr0 & CR0_WP == 0, Violation::Cet(cr4))?;
    let debug = controls & entry::LOAD_DEBUG_CONTROLS != 0;
    if debug {
        let debugctl = vmcs.read(guest::DEBUGCTL);
        fail_if(debugctl & !DEBUGCTL != 0, Violation::Debugctl(debugctl))?;
    }
    fail_if(long && cr0 & CR0_PG == 0, Violation::LongWithoutPaging(cr0))?;
    fail_if(long && cr4 & CR4_PAE == 0, Violation::LongWithoutPae(cr4))?;
    fail_if(!long && cr4 & CR4_PCIDE != 0, Violation::PcideWithoutLong(cr4))?;
    fail_if(cr3 >> limits.physical_bits != 0, Violation::Cr3(cr3))?;
    let dr7 = vmcs.read(guest::DR7);
    fail_if(debug && dr7 >> 32 != 0, Violation::Dr7(dr7))?;
    for field in [guest::SYSENTER_ESP, guest::SYSENTER_EIP] {
        let address = vmcs.read(field);
        fail_if(!limits.is_canonical(address), Violation::Sysenter(address))?;
    }
    if controls & entry::LOAD_PAT != 0 {
        let pat = vmcs.read(guest::PAT);
        fail_if(!is_pat(pat), Violation::Pat(pat))?;
    }
    if controls & entry::LOAD_EFER != 0 {
        let efer = vmcs.read(guest::EFER);
        fail_if(efer & !limits.efer != 0, Violation::EferReserved(efer))?;
        let active = efer & EFER_LMA != 0;
        fail_if(active != long, Violation::EferLma(efer))?;
        let enabled = efer & EFER_LME != 0;
        fail_if(cr0 & CR0_PG != 0 && active != enabled, Violation::EferLme(efer))?;
    }
    Ok(())
}

/// 27.3.1.3.
pub(super) fn check_tables(vmcs: &impl Vmcs, limits: &Limits) -> Result<(), Violation> {
    for field in [guest::GDTR_BASE, guest::IDTR_BASE] {
        let base = vmcs.read(field);
        fail_if(!limits.is_canonical(base), Violation::TableBase(base))?;
    }
    for field in [guest::GDTR_LIMIT, guest::IDTR_LIMIT] {
        let limit = vmcs.read(field);
        fail_if(limit >> 16 != 0, Violation::TableLimit(limit.into()))?;
    }
    Ok(())
}

/// The type and vector of the event that the entry delivers.
fn injected(vmcs: &impl Vmcs) -> Option<(u32, u8)> {
    let field = vmcs.read(control::ENTRY_INTERRUPTION);
    (field & VALID != 0).then_some((interruption::kind_of(field), field as u8))
}

/// 27.3.1.4.
pub(super) fn check_flow(vmcs: &impl Vmcs, limits: &Limits) -> Result<(), Violation> {
    let long = vmcs.read(control::ENTRY) & entry::IA32E_MODE_GUEST != 0;
    let (rip, rflags) = (vmcs.read(guest::RIP), vmcs.read(guest::RFLAGS));
    let wide = long && vmcs.read(guest::CS_ACCESS_RIGHTS) & access_rights::LONG != 0;
    let fits = if wide { limits.is_linear(rip) } else { rip >> 32 == 0 };
    fail_if(!fits, Violation::Rip(rip))?;
    fail_if(rflags & (RFLAGS_ZERO | RFLAGS_FIXED) != RFLAGS_FIXED, Violation::Rflags(rflags))?;
    let no_8086 = long || vmcs.read(guest::CR0) & CR0_PE == 0;
    fail_if(no_8086 && rflags & RFLAGS_VM != 0, Violation::RflagsVm(rflags))?;
    let interrupt = matches!(injected(vmcs), Some((kind::INTERRUPT, _)));
    fail_if(interrupt && rflags & RFLAGS_IF == 0, Violation::RflagsIf(rflags))
}

/// 27.3.1.5 and 27.3.1.6.
pub(super) fn check_rest(vmcs: &impl Vmcs, limits: &Limits) -> Result<(), Violation> {
    check_activity(vmcs, limits)?;
    check_interruptibility(vmcs)?;
    check_pending_debug(vmcs)?;
    let link = vmcs.read(guest::VMCS_LINK);
    fail_if(link != u64::MAX, Violation::Link(link))?;
    let long = vmcs.read(control::ENTRY) & entry::IA32E_MODE_GUEST != 0;
    if !long && vmcs.read(guest::CR0) & CR0_PG != 0 && vmcs.read(guest::CR4) & CR4_PAE != 0 {
        for field in [guest::PDPTE_0, guest::PDPTE_1, guest::PDPTE_2, guest::PDPTE_3] {
            let entry = vmcs.read(field);
            let reserved = entry & PDPTE_ZERO != 0 || entry >> limits.physical_bits != 0;
            fail_if(entry & 1 != 0 && reserved, Violation::Pdpte(entry))?;
        }
    }
    Ok(())
}

fn check_activity(vmcs: &impl Vmcs, limits: &Limits) -> Result<(), Violation> {
    let state = vmcs.read(guest::ACTIVITY);
    let supported = match state {
        activity::ACTIVE => true,
        activity::HLT => limits.can.misc & MISC_HLT != 0,
        activity::SHUTDOWN => limits.can.misc & MISC_SHUTDOWN != 0,
        activity::WAIT_FOR_SIPI => limits.can.misc & MISC_WAIT_FOR_SIPI != 0,
        _ => false,
    };
    fail_if(!supported, Violation::Activity(state.into()))?;
    let user = access_rights::to_attributes(vmcs.read(guest::SS_ACCESS_RIGHTS)) >> 5 & 3 != 0;
    fail_if(state == activity::HLT && user, Violation::HaltedUser(state.into()))?;
    let shadow = vmcs.read(guest::INTERRUPTIBILITY) & interruptibility::SHADOW != 0;
    fail_if(state != activity::ACTIVE && shadow, Violation::InactiveShadow(state.into()))?;
    let Some((kind, vector)) = injected(vmcs) else { return Ok(()) };
    let machine_check = kind == kind::EXCEPTION && vector == MACHINE_CHECK_VECTOR;
    let ends = match state {
        activity::ACTIVE => true,
        activity::HLT => {
            let debug = kind == kind::EXCEPTION && vector == DEBUG_VECTOR;
            matches!(kind, kind::INTERRUPT | kind::NMI | kind::OTHER) || machine_check || debug
        }
        activity::SHUTDOWN => kind == kind::NMI || machine_check,
        _ => false,
    };
    fail_if(!ends, Violation::InactiveInjection(state.into()))
}

fn check_interruptibility(vmcs: &impl Vmcs) -> Result<(), Violation> {
    use interruptibility::{ENCLAVE, MOV_SS, NMI, SHADOW, SMI, STI};
    let state = vmcs.read(guest::INTERRUPTIBILITY);
    let value = u64::from(state);
    fail_if(state & !(SHADOW | SMI | NMI | ENCLAVE) != 0, Violation::InterruptibilityReserved(value))?;
    fail_if(state & SHADOW == SHADOW, Violation::BothShadows(value))?;
    let enabled = vmcs.read(guest::RFLAGS) & RFLAGS_IF != 0;
    fail_if(state & STI != 0 && !enabled, Violation::StiWithoutIf(value))?;
    match injected(vmcs) {
        Some((kind::INTERRUPT, _)) => fail_if(state & SHADOW != 0, Violation::InterruptBlocked(value))?,
        Some((kind::NMI, _)) => {
            // Blocking by STI counts on some CPUs.
            let virtual_nmis = vmcs.read(control::PIN) & pin::VIRTUAL_NMIS != 0;
            let blocking = if virtual_nmis { SHADOW | NMI } else { SHADOW };
            fail_if(state & blocking != 0, Violation::NmiBlocked(value))?;
        }
        _ => {}
    }
    fail_if(state & SMI != 0, Violation::SmiBlocking(value))?;
    fail_if(state & ENCLAVE != 0 && state & MOV_SS != 0, Violation::EnclaveShadow(value))
}

fn check_pending_debug(vmcs: &impl Vmcs) -> Result<(), Violation> {
    use pending_debug::{ALL, TRANSACTION};
    let pending = vmcs.read(guest::PENDING_DEBUG);
    fail_if(pending & !ALL != 0, Violation::PendingDebugReserved(pending))?;
    let shadow = vmcs.read(guest::INTERRUPTIBILITY) & interruptibility::SHADOW != 0;
    if shadow || vmcs.read(guest::ACTIVITY) == activity::HLT {
        let traps = vmcs.read(guest::RFLAGS) & RFLAGS_TF != 0;
        let steps = traps && vmcs.read(guest::DEBUGCTL) & DEBUGCTL_BTF == 0;
        fail_if((pending & SINGLE_STEP != 0) != steps, Violation::PendingSingleStep(pending))?;
    }
    let alone = pending == TRANSACTION | BREAKPOINT;
    let behind = vmcs.read(guest::INTERRUPTIBILITY) & interruptibility::MOV_SS != 0;
    let transaction = pending & TRANSACTION != 0;
    fail_if(transaction && (!alone || behind), Violation::PendingTransaction(pending))
}
