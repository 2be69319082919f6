//! What happens at each exit, the same for all vendors. Runs on the VMM's stack with interrupts held; touches nothing of the
//! system's memory.

mod cpuid;
mod hypercall;
mod memory;
#[cfg(test)]
mod tests;
mod xsetbv;

use crate::call::Count;
use crate::nested::{Format, Tables};
use crate::shared::Shared;
use crate::vcpu::{Exit, Vcpu};
use x86defs::cpuid::Source;
use x86defs::event::Event;
use x86defs::registers::msr;

pub use cpuid::SIGNATURE;

/// What the handlers need of the machine.
pub trait Platform: Source {
    /// Raises the interrupt that makes the system fetch reports.
    fn notify(&self);
    /// Sets XCR0 to a value that this CPU accepts: it stays in the CPU, the system's and the VMM's alike.
    fn set_xcr0(&self, value: u64);
}

/// What follows an exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The guest goes on.
    Resume,
    /// The VMM leaves this CPU.
    Leave,
    /// The CPU refused to enter: the system goes on as if nothing had been tried.
    Refused,
    /// The system can't go on.
    Stop(Stop),
}

/// Why the system can't go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// A triple fault.
    Shutdown,
    /// INIT was sent to this CPU.
    Init,
    /// The tables are used up, with an access waiting that can't be let pass.
    Dry,
    /// An exit that nobody asked for.
    Unexpected(u64),
}

impl Stop {
    /// In words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Shutdown => "a triple fault",
            Self::Init => "INIT",
            Self::Dry => "a nested fault, with no table left to resolve it",
            Self::Unexpected(_) => "an exit that nobody asked for",
        }
    }
}

/// Exceptions that are injected.
const INVALID_OPCODE: Event = Event::exception(6);
const GENERAL_PROTECTION: Event = Event::fault(13, 0);

/// Bytes of RDMSR, WRMSR, CPUID and INVD.
const SHORT: u64 = 2;

/// Handles one exit.
#[inline]
pub fn handle<V: Vcpu, F: Format, T: Tables>(
    vcpu: &mut V,
    shared: &Shared<F, T>,
    platform: &impl Platform,
) -> Next {
    let exit = vcpu.exit();
    let interrupted = vcpu.interrupted();
    vcpu.begin();
    let next = match exit {
        Exit::Hypercall => hypercall::handle(vcpu, shared),
        Exit::Cpuid => {
            shared.count(Count::Cpuid);
            cpuid::handle(vcpu, platform);
            Next::Resume
        }
        Exit::Nested { address, access } => memory::handle(vcpu, shared, platform, address, access),
        Exit::WriteMsr(register) => {
            shared.count(Count::Msr);
            write_msr(vcpu, register);
            Next::Resume
        }
        Exit::ReadMsr(_) => {
            shared.count(Count::Msr);
            vcpu.inject(GENERAL_PROTECTION);
            Next::Resume
        }
        Exit::Virtualization => {
            shared.count(Count::Other);
            vcpu.inject(INVALID_OPCODE);
            Next::Resume
        }
        Exit::ControlRegister => {
            shared.count(Count::Other);
            vcpu.inject(GENERAL_PROTECTION);
            Next::Resume
        }
        Exit::Xsetbv => {
            shared.count(Count::Other);
            xsetbv::handle(vcpu, platform);
            Next::Resume
        }
        Exit::Invd => {
            // Caches are kept as they are: what the VMM has in them may not be thrown away unwritten.
            shared.count(Count::Other);
            vcpu.skip(SHORT);
            Next::Resume
        }
        Exit::Refused => Next::Refused,
        Exit::Shutdown => Next::Stop(Stop::Shutdown),
        Exit::Init => Next::Stop(Stop::Init),
        Exit::Unexpected(code) => Next::Stop(Stop::Unexpected(code)),
    };
    // What the exit interrupted is older than what the handler injects: exits that inject are instructions, which are not
    // reached while an event is on its way.
    if let (Some(event), Next::Resume) = (interrupted, next) {
        vcpu.inject(event);
    }
    next
}

/// EFER may change, but for what keeps the guest a guest; what belongs to the VMM may not.
fn write_msr<V: Vcpu>(vcpu: &mut V, register: u32) {
    if register == msr::EFER {
        let value = vcpu.registers().rdx << 32 | vcpu.rax() & 0xffff_ffff;
        if is_sound_efer(value) {
            vcpu.set_efer(value);
            vcpu.flush();
            vcpu.skip(SHORT);
            return;
        }
    }
    vcpu.inject(GENERAL_PROTECTION);
}

/// Long mode stays on, and nothing is set that the system did not have: a guest may switch NXE and SCE.
const fn is_sound_efer(value: u64) -> bool {
    use x86defs::registers::{EFER_LMA, EFER_LME, EFER_NXE, EFER_SCE, EFER_SVME};
    let must = EFER_LME | EFER_LMA;
    value & must == must && value & !(must | EFER_NXE | EFER_SCE | EFER_SVME) == 0
}
