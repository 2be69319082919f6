//! Between [`CpuState`] and the control block.

use x86defs::event::Event;
use x86defs::registers::{EFER_SVME, RFLAGS_IF};
use x86defs::segment::{Segment, TableRegister};
use x86defs::state::{CpuState, Interruptibility, SINGLE_STEP, Shadow};
use x86defs::svm::{Control, Save, Vmcb, intercept, vmcb};

/// The guest's address space identifier: any but the host's 0. One suffices, since all translations are flushed on the way
/// in and out.
const ASID: u32 = 1;

/// What the control area points to. Physical addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Maps {
    /// MSR permission map, 8 KiB.
    pub msr: u64,
    /// I/O permission map, 12 KiB.
    pub io: u64,
    /// Top-level nested table.
    pub nested: u64,
}

/// Fills in what stays the same for good: what is intercepted, and the maps.
///
/// Interrupts, NMIs, HLT, ports and device memory are not intercepted, RFLAGS.IF and CR8 of the guest are the CPU's own
/// (V_INTR_MASKING clear): a guest without a job runs undisturbed.
pub fn set_up(control: &mut Control, maps: Maps) {
    control.intercept_1 =
        intercept::INIT | intercept::CPUID | intercept::INVLPGA | intercept::MSR_PROT | intercept::SHUTDOWN;
    control.intercept_2 = intercept::VMRUN
        | intercept::VMMCALL
        | intercept::VMLOAD
        | intercept::VMSAVE
        | intercept::STGI
        | intercept::CLGI
        | intercept::SKINIT;
    control.msrpm_base_pa = maps.msr;
    control.iopm_base_pa = maps.io;
    control.asid = ASID;
    control.nested_control = vmcb::NESTED_PAGING;
    control.nested_cr3 = maps.nested;
}

/// A descriptor-table register as the save area holds it.
const fn table(register: TableRegister) -> Segment {
    Segment { selector: 0, attributes: 0, limit: register.limit as u32, base: register.base }
}

/// Puts a state into the control block. RAX included; the other general registers are the handler's.
#[inline]
pub fn load(vmcb: &mut Vmcb, state: &CpuState) {
    let save: &mut Save = &mut vmcb.save;
    let segments = &state.segments;
    save.es = segments.es;
    save.cs = segments.cs;
    save.ss = segments.ss;
    save.ds = segments.ds;
    save.fs = segments.fs;
    save.gs = segments.gs;
    save.gdtr = table(state.gdtr);
    save.ldtr = segments.ldtr;
    save.idtr = table(state.idtr);
    save.tr = segments.tr;
    // The privilege level is that of the stack segment (15.5.1).
    save.cpl = (segments.ss.attributes >> 5 & 3) as u8;
    save.efer = state.msrs.efer | EFER_SVME;
    save.cr4 = state.cr4;
    save.cr3 = state.cr3;
    save.cr0 = state.cr0;
    save.dr7 = state.dr7;
    save.dr6 = state.dr6;
    save.rflags = state.rflags;
    save.rip = state.rip;
    save.rsp = state.rsp;
    save.rax = state.registers.rax;
    save.star = state.msrs.star;
    save.lstar = state.msrs.lstar;
    save.cstar = state.msrs.cstar;
    save.sfmask = state.msrs.sfmask;
    save.kernel_gs_base = state.msrs.kernel_gs_base;
    save.sysenter_cs = state.msrs.sysenter_cs;
    save.sysenter_esp = state.msrs.sysenter_esp;
    save.sysenter_eip = state.msrs.sysenter_eip;
    save.cr2 = state.cr2;
    save.g_pat = state.msrs.pat;
    save.spec_ctrl = state.msrs.spec_ctrl;
    let control = &mut vmcb.control;
    // What ran on the bare machine meanwhile left this identifier's translations stale.
    control.tlb_control = vmcb::TLB_FLUSH_ALL;
    control.virtual_interrupt = 0;
    control.interrupt_shadow = u64::from(state.interruptibility.shadow.is_some());
    // The control block has no place for a debug exception that is due: it is injected.
    let debug = state.interruptibility.debug;
    let due = if debug & SINGLE_STEP != 0 { Some(Event::DEBUG) } else { None };
    save.dr6 |= debug & SINGLE_STEP;
    control.event_injection = state.pending.or(due).map_or(0, Event::encode);
    control.exit_int_info = 0;
    control.clean = 0;
}

/// Takes the state out of the control block: the reverse of [`load`], with what the CPU put into the block since.
#[inline]
pub fn store(vmcb: &Vmcb, state: &mut CpuState) {
    let save = &vmcb.save;
    let segments = &mut state.segments;
    segments.es = save.es;
    segments.cs = save.cs;
    segments.ss = save.ss;
    segments.ds = save.ds;
    segments.fs = save.fs;
    segments.gs = save.gs;
    segments.ldtr = save.ldtr;
    segments.tr = save.tr;
    state.gdtr = TableRegister { base: save.gdtr.base, limit: save.gdtr.limit as u16 };
    state.idtr = TableRegister { base: save.idtr.base, limit: save.idtr.limit as u16 };
    state.msrs.efer = save.efer & !EFER_SVME;
    state.cr4 = save.cr4;
    state.cr3 = save.cr3;
    state.cr0 = save.cr0;
    state.dr7 = save.dr7;
    state.dr6 = save.dr6;
    state.rflags = save.rflags;
    state.rip = save.rip;
    state.rsp = save.rsp;
    state.registers.rax = save.rax;
    state.msrs.star = save.star;
    state.msrs.lstar = save.lstar;
    state.msrs.cstar = save.cstar;
    state.msrs.sfmask = save.sfmask;
    state.msrs.kernel_gs_base = save.kernel_gs_base;
    state.msrs.sysenter_cs = save.sysenter_cs;
    state.msrs.sysenter_esp = save.sysenter_esp;
    state.msrs.sysenter_eip = save.sysenter_eip;
    state.cr2 = save.cr2;
    state.msrs.pat = save.g_pat;
    state.msrs.spec_ctrl = save.spec_ctrl;
    // Which of the two it was is not told. STI leaves interrupts enabled.
    let kind = if save.rflags & RFLAGS_IF != 0 { Shadow::Sti } else { Shadow::MovSs };
    let shadow = (vmcb.control.interrupt_shadow & 1 != 0).then_some(kind);
    state.interruptibility = Interruptibility { shadow, ..Interruptibility::default() };
    state.pending = Event::decode(vmcb.control.event_injection);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use x86defs::event::Kind;
    use x86defs::state::{Msrs, Segments};

    fn segment() -> impl Strategy<Value = Segment> {
        any::<(u16, u16, u32, u64)>().prop_map(|(selector, attributes, limit, base)| Segment {
            selector,
            attributes: attributes & 0xfff,
            limit,
            base,
        })
    }

    fn event() -> impl Strategy<Value = Option<Event>> {
        let kinds =
            prop::sample::select([Kind::Interrupt, Kind::Nmi, Kind::Exception, Kind::Software].to_vec());
        prop::option::of((kinds, any::<u8>(), any::<Option<u32>>()))
            .prop_map(|event| event.map(|(kind, vector, error)| Event { kind, vector, error }))
    }

    prop_compose! {
        fn states()(
            segments in prop::array::uniform8(segment()), words in prop::array::uniform24(any::<u64>()),
            tables in any::<(u64, u16, u64, u16)>(), shadow: bool, pending in event(), rax: u64,
        ) -> CpuState {
            let [es, cs, ss, ds, fs, gs, ldtr, tr] = segments;
            let mut state = CpuState {
                rip: words[0], rsp: words[1], rflags: words[2], cr0: words[3], cr2: words[4], cr3: words[5],
                cr4: words[6], dr6: words[7], dr7: words[8],
                segments: Segments { es, cs, ss, ds, fs, gs, ldtr, tr },
                gdtr: TableRegister { base: tables.0, limit: tables.1 },
                idtr: TableRegister { base: tables.2, limit: tables.3 },
                msrs: Msrs {
                    efer: words[9] & !EFER_SVME, pat: words[10], star: words[11], lstar: words[12],
                    cstar: words[13], sfmask: words[14], kernel_gs_base: words[15], sysenter_cs: words[16],
                    sysenter_esp: words[17], sysenter_eip: words[18], spec_ctrl: words[19], debugctl: 0,
                },
                pending, ..CpuState::default()
            };
            state.registers.rax = rax;
            let kind = if state.rflags & RFLAGS_IF != 0 { Shadow::Sti } else { Shadow::MovSs };
            state.interruptibility.shadow = shadow.then_some(kind);
            state
        }
    }

    proptest! {
        #[test]
        fn a_state_goes_round(state in states(), old in states()) {
            let mut vmcb = Vmcb::ZERO;
            load(&mut vmcb, &old);
            load(&mut vmcb, &state);
            let mut back = CpuState::default();
            store(&vmcb, &mut back);
            prop_assert_eq!(back, state);
            prop_assert_eq!(vmcb.save.efer & EFER_SVME, EFER_SVME);
        }
    }

    #[test]
    fn a_single_step_that_is_due_is_injected() {
        let mut vmcb = Vmcb::ZERO;
        let mut state = CpuState { dr6: 0xffff_0ff0, ..CpuState::default() };
        state.interruptibility.debug = SINGLE_STEP;
        load(&mut vmcb, &state);
        assert_eq!((vmcb.control.event_injection, vmcb.save.dr6), (Event::DEBUG.encode(), 0xffff_4ff0));
        store(&vmcb, &mut state);
        assert!(state.is_stepped());
    }

    #[test]
    fn loading_leaves_the_set_up_alone() {
        let mut vmcb = Vmcb::ZERO;
        set_up(&mut vmcb.control, Maps { msr: 0x1000, io: 0x3000, nested: 0x6000 });
        let before = vmcb.control;
        load(&mut vmcb, &CpuState::default());
        assert_eq!(vmcb.control, Control { tlb_control: vmcb::TLB_FLUSH_ALL, ..before });
    }
}
