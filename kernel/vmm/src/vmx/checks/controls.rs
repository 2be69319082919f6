//! VMX controls (27.2.1).

use super::{Limits, Violation, fail_if};
use x86defs::vmx::capability::MISC_ZERO_LENGTH;
use x86defs::vmx::control::{entry, exit, pin, primary, secondary};
use x86defs::vmx::ept;
use x86defs::vmx::field::{Field, Vmcs, control, guest};
use x86defs::vmx::interruption::{self, DELIVER_ERROR_CODE, VALID, kind};

/// Bytes of an entry of a list of MSRs, and its alignment.
const MSR_ENTRY: u64 = 16;
const PAGE: u64 = 4096;
/// Most CR3-target values that any CPU has fields for.
const CR3_TARGETS: u32 = 4;

/// Controls whose rules are not in here.
const UNUSED_PIN: u32 = pin::PROCESS_POSTED_INTERRUPTS;
const UNUSED_PRIMARY: u32 = primary::USE_TPR_SHADOW | primary::ACTIVATE_TERTIARY;
const UNUSED_SECONDARY: u32 = secondary::VIRTUALIZE_APIC_ACCESSES
    | secondary::VIRTUALIZE_X2APIC
    | secondary::APIC_REGISTER_VIRTUALIZATION
    | secondary::VIRTUAL_INTERRUPT_DELIVERY
    | secondary::ENABLE_VM_FUNCTIONS
    | secondary::VMCS_SHADOWING
    | secondary::EPT_VIOLATION_EXCEPTION
    | secondary::MODE_BASED_EXECUTE
    | secondary::SUBPAGE_WRITE_PERMISSIONS
    | secondary::PT_USES_GUEST_PHYSICAL
    | secondary::USE_TSC_SCALING;
const UNUSED_EXIT: u32 = exit::LOAD_PERF_GLOBAL_CTRL
    | exit::CLEAR_RTIT_CTL
    | exit::LOAD_CET_STATE
    | exit::LOAD_PKRS
    | exit::ACTIVATE_SECONDARY;
const UNUSED_ENTRY: u32 = entry::LOAD_PERF_GLOBAL_CTRL
    | entry::LOAD_BNDCFGS
    | entry::LOAD_RTIT_CTL
    | entry::LOAD_CET_STATE
    | entry::LOAD_LBR_CTL
    | entry::LOAD_PKRS;

pub(super) fn check(vmcs: &impl Vmcs, limits: &Limits) -> Result<(), Violation> {
    execution(vmcs, limits)?;
    exit(vmcs, limits)?;
    entry(vmcs, limits)
}

/// The secondary controls: zero where they are not activated.
fn secondary_of(vmcs: &impl Vmcs) -> u32 {
    let active = vmcs.read(control::PRIMARY) & primary::ACTIVATE_SECONDARY != 0;
    if active { vmcs.read(control::SECONDARY) } else { 0 }
}

/// Whether the guest is unrestricted.
pub(super) fn is_unrestricted(vmcs: &impl Vmcs) -> bool {
    secondary_of(vmcs) & secondary::UNRESTRICTED_GUEST != 0
}

/// 27.2.1.1.
fn execution(vmcs: &impl Vmcs, limits: &Limits) -> Result<(), Violation> {
    let can = &limits.can;
    let (pin, primary) = (vmcs.read(control::PIN), vmcs.read(control::PRIMARY));
    let secondary = secondary_of(vmcs);
    fail_if(!can.pin.permits(pin), Violation::Pin(pin.into()))?;
    fail_if(!can.primary.permits(primary), Violation::Primary(primary.into()))?;
    let has_secondary = primary & primary::ACTIVATE_SECONDARY != 0;
    fail_if(has_secondary && !can.secondary.permits(secondary), Violation::Secondary(secondary.into()))?;
    for unused in [pin & UNUSED_PIN, primary & UNUSED_PRIMARY, secondary & UNUSED_SECONDARY] {
        fail_if(unused != 0, Violation::Unused(unused.into()))?;
    }
    let targets = vmcs.read(control::CR3_TARGET_COUNT);
    fail_if(targets > CR3_TARGETS.min(can.cr3_targets()), Violation::Cr3Targets(targets.into()))?;
    let placed_if = |is_used: bool, field: Field<u64>, violation: fn(u64) -> Violation| {
        let address = if is_used { vmcs.read(field) } else { 0 };
        fail_if(!limits.is_placed(address, PAGE), violation(address))
    };
    let io = primary & primary::USE_IO_BITMAPS != 0;
    placed_if(io, control::IO_BITMAP_A, Violation::IoBitmaps)?;
    placed_if(io, control::IO_BITMAP_B, Violation::IoBitmaps)?;
    placed_if(primary & primary::USE_MSR_BITMAPS != 0, control::MSR_BITMAP, Violation::MsrBitmap)?;
    let virtual_nmis = pin & pin::VIRTUAL_NMIS != 0;
    fail_if(virtual_nmis && pin & pin::NMI_EXITING == 0, Violation::VirtualNmis(pin.into()))?;
    let nmi_window = primary & primary::NMI_WINDOW_EXITING != 0;
    fail_if(nmi_window && !virtual_nmis, Violation::NmiWindow(primary.into()))?;
    let has_vpid = secondary & secondary::ENABLE_VPID != 0;
    fail_if(has_vpid && vmcs.read(control::VPID) == 0, Violation::VpidZero(0))?;
    let has_ept = secondary & secondary::ENABLE_EPT != 0;
    if has_ept {
        let pointer = vmcs.read(control::EPT_POINTER);
        let valid = ept::is_valid(pointer, limits.physical_bits, can.ept_vpid);
        fail_if(!valid, Violation::EptPointer(pointer))?;
    }
    let unrestricted = secondary & secondary::UNRESTRICTED_GUEST != 0;
    fail_if(unrestricted && !has_ept, Violation::UnrestrictedWithoutEpt(secondary.into()))?;
    let logs = secondary & secondary::ENABLE_PML != 0;
    fail_if(logs && !has_ept, Violation::PmlWithoutEpt(secondary.into()))?;
    placed_if(logs, control::PML_ADDRESS, Violation::PmlAddress)
}

/// A list of MSRs: nothing is asked of an empty one.
fn list(
    vmcs: &impl Vmcs,
    limits: &Limits,
    count: Field<u32>,
    address: Field<u64>,
    violation: fn(u64) -> Violation,
) -> Result<(), Violation> {
    let count = u64::from(vmcs.read(count));
    if count == 0 {
        return Ok(());
    }
    let first = vmcs.read(address);
    let last = first.saturating_add(count * MSR_ENTRY - 1);
    fail_if(!limits.is_placed(first, MSR_ENTRY) || !limits.is_placed(last, 1), violation(first))
}

/// 27.2.1.2.
fn exit(vmcs: &impl Vmcs, limits: &Limits) -> Result<(), Violation> {
    let controls = vmcs.read(control::EXIT);
    fail_if(!limits.can.exit.permits(controls), Violation::Exit(controls.into()))?;
    let unused = controls & UNUSED_EXIT;
    fail_if(unused != 0, Violation::Unused(unused.into()))?;
    let timer = vmcs.read(control::PIN) & pin::ACTIVATE_PREEMPTION_TIMER != 0;
    let saves = controls & exit::SAVE_PREEMPTION_TIMER != 0;
    fail_if(saves && !timer, Violation::SaveTimer(controls.into()))?;
    list(vmcs, limits, control::EXIT_MSR_STORE_COUNT, control::EXIT_MSR_STORE, Violation::ExitMsrStore)?;
    list(vmcs, limits, control::EXIT_MSR_LOAD_COUNT, control::EXIT_MSR_LOAD, Violation::ExitMsrLoad)
}

/// 27.2.1.3.
fn entry(vmcs: &impl Vmcs, limits: &Limits) -> Result<(), Violation> {
    let controls = vmcs.read(control::ENTRY);
    fail_if(!limits.can.entry.permits(controls), Violation::Entry(controls.into()))?;
    let unused = controls & UNUSED_ENTRY;
    fail_if(unused != 0, Violation::Unused(unused.into()))?;
    injection(vmcs, limits)?;
    list(vmcs, limits, control::ENTRY_MSR_LOAD_COUNT, control::ENTRY_MSR_LOAD, Violation::EntryMsrLoad)?;
    let smm = controls & (entry::ENTRY_TO_SMM | entry::DEACTIVATE_DUAL_MONITOR);
    fail_if(smm != 0, Violation::SmmControls(smm.into()))
}

fn injection(vmcs: &impl Vmcs, limits: &Limits) -> Result<(), Violation> {
    let field = vmcs.read(control::ENTRY_INTERRUPTION);
    if field & VALID == 0 {
        return Ok(());
    }
    let value = u64::from(field);
    let (kind, vector) = (interruption::kind_of(field), field as u8);
    let traps = limits.can.primary.settable & primary::MONITOR_TRAP_FLAG != 0;
    let reserved = kind == 1 || kind == kind::OTHER && !traps;
    fail_if(reserved, Violation::InjectionType(value))?;
    let fits = match kind {
        kind::NMI => vector == 2,
        kind::EXCEPTION => vector < 32,
        kind::OTHER => vector == 0,
        _ => true,
    };
    fail_if(!fits, Violation::InjectionVector(value))?;
    let with_code = field & DELIVER_ERROR_CODE != 0;
    // In real mode, which only an unrestricted guest can be in, no exception has a code.
    let protected = !is_unrestricted(vmcs) || vmcs.read(guest::CR0) & x86defs::registers::CR0_PE != 0;
    let may = kind == kind::EXCEPTION && protected;
    let must = may && interruption::pushes_error_code(vector);
    let free = may && limits.can.has_any_error_code();
    fail_if(with_code != must && !free, Violation::InjectionErrorCode(value))?;
    fail_if(field & 0x7fff_f000 != 0, Violation::InjectionReserved(value))?;
    let code = vmcs.read(control::ENTRY_ERROR_CODE);
    fail_if(with_code && code >> 16 != 0, Violation::ErrorCodeReserved(code.into()))?;
    let software =
        matches!(kind, kind::SOFTWARE_INTERRUPT | kind::PRIVILEGED_EXCEPTION | kind::SOFTWARE_EXCEPTION);
    let length = vmcs.read(control::ENTRY_INSTRUCTION_LENGTH);
    let least = u32::from(limits.can.misc & MISC_ZERO_LENGTH == 0);
    let legal = (least..=15).contains(&length);
    fail_if(software && !legal, Violation::InjectionLength(length.into()))
}
