//! One CPU's exit in neutral words.

#[cfg(test)]
mod tests;

use super::checks::{Limits, check};
use super::state::{DEBUGCTL_BTF, deliver, load, store};
use crate::vcpu::{Access, Exit, Vcpu};
use x86defs::event::{Event, Kind};
use x86defs::registers::RFLAGS_TF;
use x86defs::state::{CpuState, Registers, SINGLE_STEP};
use x86defs::vmx::access_rights;
use x86defs::vmx::exit_reason::{EptViolation, ExitReason, Reason};
use x86defs::vmx::field::{Vmcs, control, exit, guest};
use x86defs::vmx::interruption::{self, activity, interruptibility};

/// A guest between exit and entry.
#[derive(Debug)]
pub struct Guest<'a, V> {
    /// The VMCS.
    pub vmcs: &'a mut V,
    /// General registers, RAX among them; RSP is in the VMCS.
    pub registers: &'a mut Registers,
    /// Translations have to be flushed before the next entry: INVEPT, as [`Controls::flush_ept`](super::Controls::flush_ept)
    /// says. That drops everything of the guest's, whatever its identifier (29.4.3.1).
    pub stale: bool,
    /// What this CPU supports.
    pub limits: &'a Limits,
}

impl<'a, V: Vmcs> Guest<'a, V> {
    /// A guest that has just stopped.
    #[inline]
    pub fn new(vmcs: &'a mut V, registers: &'a mut Registers, limits: &'a Limits) -> Self {
        Self { vmcs, registers, stale: false, limits }
    }

    /// What an EPT violation was.
    #[inline]
    fn violation(&self) -> EptViolation {
        EptViolation::from_qualification(self.vmcs.read(exit::QUALIFICATION))
    }
}

impl<V: Vmcs> Vcpu for Guest<'_, V> {
    #[inline]
    fn exit(&self) -> Exit {
        let field = ExitReason(self.vmcs.read(exit::REASON));
        if field.is_entry_failure() {
            return Exit::Refused;
        }
        let register = self.registers.rcx as u32;
        match field.basic() {
            Some(Reason::Vmcall) => Exit::Hypercall,
            Some(Reason::Cpuid) => Exit::Cpuid,
            Some(Reason::EptViolation) => {
                let EptViolation { write, fetch, present, .. } = self.violation();
                let address = self.vmcs.read(exit::GUEST_PHYSICAL_ADDRESS);
                Exit::Nested { address, access: Access { write, fetch, present } }
            }
            Some(Reason::Wrmsr) => Exit::WriteMsr(register),
            Some(Reason::Rdmsr) => Exit::ReadMsr(register),
            Some(Reason::Xsetbv) => Exit::Xsetbv,
            Some(Reason::Invd) => Exit::Invd,
            Some(Reason::ControlRegister) => Exit::ControlRegister,
            // What is not a virtual machine's to do. GETSEC comes only if the guest has set CR4.SMXE.
            Some(
                Reason::Getsec
                | Reason::Vmclear
                | Reason::Vmlaunch
                | Reason::Vmptrld
                | Reason::Vmptrst
                | Reason::Vmread
                | Reason::Vmresume
                | Reason::Vmwrite
                | Reason::Vmxoff
                | Reason::Vmxon
                | Reason::Invept
                | Reason::Invvpid
                | Reason::Vmfunc,
            ) => Exit::Virtualization,
            Some(Reason::TripleFault) => Exit::Shutdown,
            Some(Reason::Init) => Exit::Init,
            Some(Reason::Sipi) => Exit::StartUp,
            _ => Exit::Unexpected(u64::from(field.0 & 0xffff)),
        }
    }

    fn registers(&mut self) -> &mut Registers {
        self.registers
    }

    fn rax(&self) -> u64 {
        self.registers.rax
    }

    fn set_rax(&mut self, value: u64) {
        self.registers.rax = value;
    }

    fn rip(&self) -> u64 {
        self.vmcs.read(guest::RIP)
    }

    /// That of the stack segment, which counts even if it can't be used (25.4.1).
    fn privilege(&self) -> u8 {
        let attributes = access_rights::to_attributes(self.vmcs.read(guest::SS_ACCESS_RIGHTS));
        (attributes >> 5 & 3) as u8
    }

    fn set_efer(&mut self, value: u64) {
        self.vmcs.write(guest::EFER, value);
    }

    /// The CPU says how long the instruction is (28.2.5); `length` counts where it does not.
    ///
    /// A guest that steps through its code gets the debug exception behind the instruction, as without a VMM.
    #[inline]
    fn skip(&mut self, length: u64) {
        let said = u64::from(self.vmcs.read(exit::INSTRUCTION_LENGTH));
        let length = if said != 0 { said } else { length };
        self.vmcs.write(guest::RIP, self.vmcs.read(guest::RIP).wrapping_add(length));
        let blocked = self.vmcs.read(guest::INTERRUPTIBILITY);
        if blocked & interruptibility::SHADOW != 0 {
            self.vmcs.write(guest::INTERRUPTIBILITY, blocked & !interruptibility::SHADOW);
        }
        let stepping = self.vmcs.read(guest::RFLAGS) & RFLAGS_TF != 0;
        if stepping && self.vmcs.read(guest::DEBUGCTL) & DEBUGCTL_BTF == 0 {
            let pending = self.vmcs.read(guest::PENDING_DEBUG);
            self.vmcs.write(guest::PENDING_DEBUG, pending | SINGLE_STEP);
        }
    }

    /// Also makes the guest such that the entry accepts the event (27.2.1.3, 27.3.1.5): awake, and nothing blocks what was
    /// about to be delivered when the exit came between.
    #[inline]
    fn inject(&mut self, event: Event) {
        deliver(self.vmcs, event, self.vmcs.read(exit::INSTRUCTION_LENGTH));
        let unblocked = match event.kind {
            Kind::Interrupt => interruptibility::SHADOW,
            // A delivery that did not come to its end has left NMIs blocked; it will block them again.
            Kind::Nmi => interruptibility::SHADOW | interruptibility::NMI,
            Kind::Exception | Kind::Software => 0,
        };
        let blocked = self.vmcs.read(guest::INTERRUPTIBILITY);
        if blocked & unblocked != 0 {
            self.vmcs.write(guest::INTERRUPTIBILITY, blocked & !unblocked);
        }
        self.vmcs.write(guest::ACTIVITY, activity::ACTIVE);
    }

    /// The IDT-vectoring information (25.9.3), to be injected as it stands, exceptions too: RIP of some (single steps, data
    /// breakpoints) points behind what caused them, so they would not come again. A software interrupt or exception is
    /// executed again instead, since RIP still points to its instruction.
    #[inline]
    fn interrupted(&self) -> Option<Event> {
        let information = self.vmcs.read(exit::IDT_VECTORING);
        if information & interruption::VALID == 0 {
            return None;
        }
        let error = if information & interruption::DELIVER_ERROR_CODE != 0 {
            self.vmcs.read(exit::IDT_VECTORING_ERROR_CODE)
        } else {
            0
        };
        interruption::decode(information, error).filter(|event| event.kind != Kind::Software)
    }

    /// An event is injected once: the CPU clears it at an exit, but not where the entry failed (27.8).
    ///
    /// If the exit came while an IRET was executed that had already ended the blocking of NMIs, they are blocked again: the
    /// IRET is executed again (28.2.3).
    #[inline]
    fn begin(&mut self) {
        self.stale = false;
        self.vmcs.write(control::ENTRY_INTERRUPTION, 0);
        let reason = ExitReason(self.vmcs.read(exit::REASON)).basic();
        if reason == Some(Reason::EptViolation)
            && self.violation().nmi_unblocked
            && self.vmcs.read(exit::IDT_VECTORING) & interruption::VALID == 0
        {
            let blocked = self.vmcs.read(guest::INTERRUPTIBILITY);
            self.vmcs.write(guest::INTERRUPTIBILITY, blocked | interruptibility::NMI);
        }
    }

    fn flush(&mut self) {
        self.stale = true;
    }

    #[inline]
    fn load(&mut self, state: &CpuState) {
        load(self.vmcs, state);
        *self.registers = state.registers;
        self.stale = true;
    }

    fn is_sound(&self) -> bool {
        check(self.vmcs, self.limits).is_ok()
    }

    #[inline]
    fn store(&self, state: &mut CpuState) {
        state.registers = *self.registers;
        store(self.vmcs, state);
    }
}
