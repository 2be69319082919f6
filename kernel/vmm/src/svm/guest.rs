//! One CPU's exit in neutral words.

use super::checks::{Limits, check};
use super::state::{load, store};
use crate::vcpu::{Access, Exit, Vcpu};
use x86defs::event::{Event, Kind};
use x86defs::registers::{EFER_SVME, RFLAGS_TF};
use x86defs::state::{CpuState, Registers, SINGLE_STEP};
use x86defs::svm::{Vmcb, exit_code, vmcb};

/// Lowest vector of an external interrupt.
const FIRST_INTERRUPT: u8 = 32;
const NMI_VECTOR: u8 = 2;
/// INT3 and INTO raise these; nothing else does.
const BREAKPOINT_VECTOR: u8 = 3;
const OVERFLOW_VECTOR: u8 = 4;

/// A guest between exit and entry.
#[derive(Debug)]
pub struct Guest<'a> {
    /// The control block; RAX and RSP are in here.
    pub vmcb: &'a mut Vmcb,
    /// The other general registers.
    pub registers: &'a mut Registers,
    /// What this CPU supports.
    pub limits: &'a Limits,
}

impl Vcpu for Guest<'_> {
    #[inline]
    fn exit(&self) -> Exit {
        let control = &self.vmcb.control;
        match control.exit_code {
            exit_code::VMMCALL => Exit::Hypercall,
            exit_code::CPUID => Exit::Cpuid,
            exit_code::NPF => {
                Exit::Nested { address: control.exit_info_2, access: access(control.exit_info_1) }
            }
            exit_code::MSR if control.exit_info_1 & 1 != 0 => Exit::WriteMsr(self.registers.rcx as u32),
            exit_code::MSR => Exit::ReadMsr(self.registers.rcx as u32),
            exit_code::INVLPGA | exit_code::VMRUN..=exit_code::SKINIT => Exit::Virtualization,
            exit_code::SHUTDOWN => Exit::Shutdown,
            exit_code::INIT => Exit::Init,
            exit_code::INVALID | exit_code::INVALID_32 => Exit::Refused,
            other => Exit::Unexpected(other),
        }
    }

    fn registers(&mut self) -> &mut Registers {
        self.registers
    }

    fn rax(&self) -> u64 {
        self.vmcb.save.rax
    }

    fn set_rax(&mut self, value: u64) {
        self.vmcb.save.rax = value;
    }

    fn rip(&self) -> u64 {
        self.vmcb.save.rip
    }

    fn privilege(&self) -> u8 {
        self.vmcb.save.cpl
    }

    fn set_efer(&mut self, value: u64) {
        self.vmcb.save.efer = value | EFER_SVME;
    }

    /// CPUs with NRIPS say where the next instruction is (15.7.1); else `length` counts.
    ///
    /// A guest that steps through its code gets the debug exception behind the instruction, as without a VMM.
    #[inline]
    fn skip(&mut self, length: u64) {
        let Vmcb { control, save } = &mut *self.vmcb;
        let next = control.next_rip;
        save.rip = if next != 0 { next } else { save.rip + length };
        control.interrupt_shadow = 0;
        if save.rflags & RFLAGS_TF != 0 {
            save.dr6 |= SINGLE_STEP;
            control.event_injection = Event::DEBUG.encode();
        }
    }

    #[inline]
    fn inject(&mut self, event: Event) {
        self.vmcb.control.event_injection = event.encode();
    }

    /// EXITINTINFO (15.7.2), to be injected again as it stands, exceptions too: faults would occur again by themselves, but RIP of
    /// traps (single steps, data breakpoints) is behind what caused them, and a machine check comes once. But for two cases:
    ///
    /// - what an instruction raises (INT n, INT3, INTO) is executed again, since RIP still points to it;
    /// - **QEMU's fault, mended here:** it reports an external interrupt or an NMI whose delivery hit a nested fault as an
    ///   exception (type 3). Injecting that is refused, dropping it loses the interrupt. Exceptions have vectors below 32
    ///   and none has 2, so nothing else can be meant.
    #[inline]
    fn interrupted(&self) -> Option<Event> {
        let event = Event::decode(self.vmcb.control.exit_int_info)?;
        match event.kind {
            Kind::Software => None,
            Kind::Exception if event.vector >= FIRST_INTERRUPT => {
                Some(Event { kind: Kind::Interrupt, error: None, ..event })
            }
            Kind::Exception if event.vector == NMI_VECTOR => {
                Some(Event { kind: Kind::Nmi, error: None, ..event })
            }
            Kind::Exception if matches!(event.vector, BREAKPOINT_VECTOR | OVERFLOW_VECTOR) => None,
            Kind::Interrupt | Kind::Nmi | Kind::Exception => Some(event),
        }
    }

    #[inline]
    fn begin(&mut self) {
        // Flushing was for one entry, and an event is injected once.
        let control = &mut self.vmcb.control;
        control.tlb_control = vmcb::TLB_NOTHING;
        control.event_injection = 0;
    }

    fn flush(&mut self) {
        self.vmcb.control.tlb_control = vmcb::TLB_FLUSH_ALL;
    }

    #[inline]
    fn load(&mut self, state: &CpuState) {
        load(self.vmcb, state);
        *self.registers = state.registers;
    }

    fn is_sound(&self) -> bool {
        check(self.vmcb, self.limits).is_ok()
    }

    #[inline]
    fn store(&self, state: &mut CpuState) {
        state.registers = *self.registers;
        store(self.vmcb, state);
    }
}

const fn access(error: u64) -> Access {
    Access {
        write: error & exit_code::NPF_WRITE != 0,
        fetch: error & exit_code::NPF_FETCH != 0,
        present: error & exit_code::NPF_PRESENT != 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::svm::checks::tests::LIMITS;

    fn interrupted(info: u64) -> Option<Event> {
        let (mut vmcb, mut registers) = (Vmcb::ZERO, Registers::default());
        vmcb.control.exit_int_info = info;
        Guest { vmcb: &mut vmcb, registers: &mut registers, limits: &LIMITS }.interrupted()
    }

    #[test]
    fn an_interrupted_delivery_is_repeated() {
        let interrupt = Event { kind: Kind::Interrupt, vector: 0xf0, error: None };
        assert_eq!(interrupted(interrupt.encode()), Some(interrupt));
        // As QEMU reports them.
        assert_eq!(interrupted(Event::exception(0xf0).encode()), Some(interrupt));
        let nmi = Event { kind: Kind::Nmi, vector: 2, error: None };
        assert_eq!(interrupted(Event::exception(2).encode()), Some(nmi));
        assert_eq!(interrupted(nmi.encode()), Some(nmi));
        // A fault, a trap, a machine check.
        for exception in [Event::fault(14, 2), Event::DEBUG, Event::exception(18)] {
            assert_eq!(interrupted(exception.encode()), Some(exception));
        }
        // INT n, INT3, INTO: executed again.
        let software = Event { kind: Kind::Software, vector: 0x80, error: None };
        for software in [software, Event::exception(3), Event::exception(4)] {
            assert_eq!(interrupted(software.encode()), None);
        }
        assert_eq!(interrupted(0), None);
    }

    #[test]
    fn exits_are_told_apart() {
        let (mut vmcb, mut registers) = (Vmcb::ZERO, Registers { rcx: 0xc000_0080, ..Registers::default() });
        let mut exit = |code, info_1, info_2| {
            vmcb.control.exit_code = code;
            vmcb.control.exit_info_1 = info_1;
            vmcb.control.exit_info_2 = info_2;
            Guest { vmcb: &mut vmcb, registers: &mut registers, limits: &LIMITS }.exit()
        };
        assert_eq!(exit(0x7c, 1, 0), Exit::WriteMsr(0xc000_0080));
        assert_eq!(exit(0x7c, 0, 0), Exit::ReadMsr(0xc000_0080));
        // A write to a write-protected page, as QEMU and the manual number it.
        let access = Access { write: true, fetch: false, present: true };
        assert_eq!(exit(0x400, 0x1_0000_0007, 0x5000), Exit::Nested { address: 0x5000, access });
        for code in [0x7a, 0x80, 0x82, 0x86] {
            assert_eq!(exit(code, 0, 0), Exit::Virtualization);
        }
        // As hardware and as QEMU say it.
        assert_eq!((exit(u64::MAX, 0, 0), exit(0xffff_ffff, 0, 0)), (Exit::Refused, Exit::Refused));
        assert_eq!(exit(0x60, 0, 0), Exit::Unexpected(0x60));
    }

    #[test]
    fn the_cpus_word_on_the_next_instruction_counts() {
        let (mut vmcb, mut registers) = (Vmcb::ZERO, Registers::default());
        vmcb.save.rip = 0x1000;
        vmcb.control.interrupt_shadow = 1;
        Guest { vmcb: &mut vmcb, registers: &mut registers, limits: &LIMITS }.skip(3);
        assert_eq!((vmcb.save.rip, vmcb.control.interrupt_shadow), (0x1003, 0));
        vmcb.control.next_rip = 0x1009;
        Guest { vmcb: &mut vmcb, registers: &mut registers, limits: &LIMITS }.skip(3);
        assert_eq!((vmcb.save.rip, vmcb.control.event_injection), (0x1009, 0));
    }

    #[test]
    fn a_step_over_a_skipped_instruction_is_honoured() {
        let (mut vmcb, mut registers) = (Vmcb::ZERO, Registers::default());
        vmcb.save.rflags = RFLAGS_TF;
        let mut guest = Guest { vmcb: &mut vmcb, registers: &mut registers, limits: &LIMITS };
        guest.skip(2);
        let mut state = CpuState::default();
        guest.store(&mut state);
        // If the instruction made the VMM leave, it comes on the bare machine.
        assert!(state.is_stepped());
        assert_eq!((state.rip, state.dr6, state.pending), (2, SINGLE_STEP, Some(Event::DEBUG)));
    }
}
