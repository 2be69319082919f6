//! Between [`CpuState`] and the VMCS. The module above says what is not in here, and why.

#[cfg(test)]
mod tests;

use x86defs::event::{Event, Kind};
use x86defs::registers::{EFER_LMA, RFLAGS_IF, RFLAGS_TF};
use x86defs::segment::{Segment, TableRegister};
use x86defs::state::{Activity, CpuState, Interruptibility, SINGLE_STEP, Shadow};
use x86defs::vmx::access_rights;
use x86defs::vmx::control::entry;
use x86defs::vmx::field::{Field, Natural, Vmcs, control, guest};
use x86defs::vmx::interruption::{self, activity, interruptibility};

/// DEBUGCTL: single steps are by branch.
pub(super) const DEBUGCTL_BTF: u64 = 1 << 1;
/// Bytes of INT n: what a software interrupt has that is put in from outside.
const INT_LENGTH: u32 = 2;

/// The four fields of a segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct SegmentFields {
    pub selector: Field<u16>,
    pub base: Field<Natural>,
    pub limit: Field<u32>,
    pub rights: Field<u32>,
}

macro_rules! segment_fields {
    ($name:ident, $selector:ident, $base:ident, $limit:ident, $rights:ident) => {
        pub(super) const $name: SegmentFields = SegmentFields {
            selector: guest::$selector,
            base: guest::$base,
            limit: guest::$limit,
            rights: guest::$rights,
        };
    };
}
segment_fields!(ES, ES_SELECTOR, ES_BASE, ES_LIMIT, ES_ACCESS_RIGHTS);
segment_fields!(CS, CS_SELECTOR, CS_BASE, CS_LIMIT, CS_ACCESS_RIGHTS);
segment_fields!(SS, SS_SELECTOR, SS_BASE, SS_LIMIT, SS_ACCESS_RIGHTS);
segment_fields!(DS, DS_SELECTOR, DS_BASE, DS_LIMIT, DS_ACCESS_RIGHTS);
segment_fields!(FS, FS_SELECTOR, FS_BASE, FS_LIMIT, FS_ACCESS_RIGHTS);
segment_fields!(GS, GS_SELECTOR, GS_BASE, GS_LIMIT, GS_ACCESS_RIGHTS);
segment_fields!(LDTR, LDTR_SELECTOR, LDTR_BASE, LDTR_LIMIT, LDTR_ACCESS_RIGHTS);
segment_fields!(TR, TR_SELECTOR, TR_BASE, TR_LIMIT, TR_ACCESS_RIGHTS);

/// All but LDTR and TR.
#[cfg(test)]
pub(super) const CODE_AND_DATA: [SegmentFields; 6] = [ES, CS, SS, DS, FS, GS];

impl SegmentFields {
    #[inline]
    fn load(self, vmcs: &mut impl Vmcs, segment: Segment) {
        vmcs.write(self.selector, segment.selector);
        vmcs.write(self.base, segment.base);
        vmcs.write(self.limit, segment.limit);
        vmcs.write(self.rights, access_rights::from_attributes(segment.attributes));
    }

    #[inline]
    fn store(self, vmcs: &impl Vmcs) -> Segment {
        Segment {
            selector: vmcs.read(self.selector),
            attributes: access_rights::to_attributes(vmcs.read(self.rights)),
            limit: vmcs.read(self.limit),
            base: vmcs.read(self.base),
        }
    }
}

/// Puts a state into the VMCS, behind [`set_up`](super::set_up). The general registers are the handler's.
///
/// Translations of what ran on the bare machine meanwhile are stale: whoever loads, flushes.
#[inline]
pub fn load(vmcs: &mut impl Vmcs, state: &CpuState) {
    let segments = &state.segments;
    ES.load(vmcs, segments.es);
    CS.load(vmcs, segments.cs);
    SS.load(vmcs, segments.ss);
    DS.load(vmcs, segments.ds);
    FS.load(vmcs, segments.fs);
    GS.load(vmcs, segments.gs);
    LDTR.load(vmcs, segments.ldtr);
    TR.load(vmcs, segments.tr);
    vmcs.write(guest::GDTR_BASE, state.gdtr.base);
    vmcs.write(guest::GDTR_LIMIT, state.gdtr.limit.into());
    vmcs.write(guest::IDTR_BASE, state.idtr.base);
    vmcs.write(guest::IDTR_LIMIT, state.idtr.limit.into());
    // What VMX owns is set; the guest reads in the shadow what the system has there.
    let (cr0_mask, cr4_mask) = (vmcs.read(control::CR0_MASK), vmcs.read(control::CR4_MASK));
    vmcs.write(guest::CR0, state.cr0 | cr0_mask);
    vmcs.write(control::CR0_SHADOW, state.cr0);
    vmcs.write(guest::CR4, state.cr4 | cr4_mask);
    vmcs.write(control::CR4_SHADOW, state.cr4);
    vmcs.write(guest::CR3, state.cr3);
    vmcs.write(guest::DR7, state.dr7);
    vmcs.write(guest::RIP, state.rip);
    vmcs.write(guest::RSP, state.rsp);
    vmcs.write(guest::RFLAGS, state.rflags);
    vmcs.write(guest::EFER, state.msrs.efer);
    vmcs.write(guest::PAT, state.msrs.pat);
    vmcs.write(guest::DEBUGCTL, state.msrs.debugctl);
    vmcs.write(guest::SYSENTER_CS, state.msrs.sysenter_cs as u32);
    vmcs.write(guest::SYSENTER_ESP, state.msrs.sysenter_esp);
    vmcs.write(guest::SYSENTER_EIP, state.msrs.sysenter_eip);
    let long = if state.msrs.efer & EFER_LMA != 0 { entry::IA32E_MODE_GUEST } else { 0 };
    let controls = vmcs.read(control::ENTRY) & !entry::IA32E_MODE_GUEST;
    vmcs.write(control::ENTRY, controls | long);
    let between = &state.interruptibility;
    vmcs.write(
        guest::ACTIVITY,
        match between.activity {
            Activity::Active => activity::ACTIVE,
            Activity::Halted => activity::HLT,
            Activity::Shutdown => activity::SHUTDOWN,
            Activity::WaitForSipi => activity::WAIT_FOR_SIPI,
        },
    );
    // STI blocks only where it has enabled interrupts (27.3.1.5).
    let shadow = match (between.shadow, state.rflags & RFLAGS_IF != 0) {
        (None, _) => 0,
        (Some(Shadow::Sti), true) => interruptibility::STI,
        (Some(_), _) => interruptibility::MOV_SS,
    };
    let nmi = if between.nmi_blocked { interruptibility::NMI } else { 0 };
    vmcs.write(guest::INTERRUPTIBILITY, shadow | nmi);
    // A single step that was due waits behind the shadow; not every state can say so.
    let steps = state.rflags & RFLAGS_TF != 0 && state.msrs.debugctl & DEBUGCTL_BTF == 0;
    let step = if between.shadow.is_some() && steps { SINGLE_STEP } else { 0 };
    vmcs.write(guest::PENDING_DEBUG, between.debug | step);
    match state.pending {
        Some(event) => deliver(vmcs, event, INT_LENGTH),
        None => vmcs.write(control::ENTRY_INTERRUPTION, 0),
    }
}

/// Makes the next entry deliver an event. `length`: bytes of the instruction, for software interrupts.
#[inline]
pub(super) fn deliver(vmcs: &mut impl Vmcs, event: Event, length: u32) {
    let (information, error) = interruption::encode(event);
    vmcs.write(control::ENTRY_INTERRUPTION, information);
    if event.error.is_some() {
        vmcs.write(control::ENTRY_ERROR_CODE, error);
    }
    if event.kind == Kind::Software {
        vmcs.write(control::ENTRY_INSTRUCTION_LENGTH, length);
    }
}

/// Takes the state out of the VMCS: the reverse of [`load`], with what the CPU put there since. What is not in the VMCS stays in
/// `state` as it is.
#[inline]
pub fn store(vmcs: &impl Vmcs, state: &mut CpuState) {
    let segments = &mut state.segments;
    segments.es = ES.store(vmcs);
    segments.cs = CS.store(vmcs);
    segments.ss = SS.store(vmcs);
    segments.ds = DS.store(vmcs);
    segments.fs = FS.store(vmcs);
    segments.gs = GS.store(vmcs);
    segments.ldtr = LDTR.store(vmcs);
    segments.tr = TR.store(vmcs);
    let table = |base, limit: u32| TableRegister { base, limit: limit as u16 };
    state.gdtr = table(vmcs.read(guest::GDTR_BASE), vmcs.read(guest::GDTR_LIMIT));
    state.idtr = table(vmcs.read(guest::IDTR_BASE), vmcs.read(guest::IDTR_LIMIT));
    let seen = |real: u64, mask: u64, shadow: u64| real & !mask | shadow & mask;
    state.cr0 = seen(vmcs.read(guest::CR0), vmcs.read(control::CR0_MASK), vmcs.read(control::CR0_SHADOW));
    state.cr4 = seen(vmcs.read(guest::CR4), vmcs.read(control::CR4_MASK), vmcs.read(control::CR4_SHADOW));
    state.cr3 = vmcs.read(guest::CR3);
    state.dr7 = vmcs.read(guest::DR7);
    state.rip = vmcs.read(guest::RIP);
    state.rsp = vmcs.read(guest::RSP);
    state.rflags = vmcs.read(guest::RFLAGS);
    state.msrs.efer = vmcs.read(guest::EFER);
    state.msrs.pat = vmcs.read(guest::PAT);
    state.msrs.debugctl = vmcs.read(guest::DEBUGCTL);
    state.msrs.sysenter_cs = vmcs.read(guest::SYSENTER_CS).into();
    state.msrs.sysenter_esp = vmcs.read(guest::SYSENTER_ESP);
    state.msrs.sysenter_eip = vmcs.read(guest::SYSENTER_EIP);
    state.interruptibility = Interruptibility {
        shadow: match vmcs.read(guest::INTERRUPTIBILITY) {
            blocked if blocked & interruptibility::MOV_SS != 0 => Some(Shadow::MovSs),
            blocked if blocked & interruptibility::STI != 0 => Some(Shadow::Sti),
            _ => None,
        },
        nmi_blocked: vmcs.read(guest::INTERRUPTIBILITY) & interruptibility::NMI != 0,
        activity: match vmcs.read(guest::ACTIVITY) {
            activity::HLT => Activity::Halted,
            activity::SHUTDOWN => Activity::Shutdown,
            activity::WAIT_FOR_SIPI => Activity::WaitForSipi,
            _ => Activity::Active,
        },
        debug: vmcs.read(guest::PENDING_DEBUG),
    };
    let information = vmcs.read(control::ENTRY_INTERRUPTION);
    state.pending = if information & interruption::VALID != 0 {
        interruption::decode(information, vmcs.read(control::ENTRY_ERROR_CODE))
    } else {
        None
    };
}
