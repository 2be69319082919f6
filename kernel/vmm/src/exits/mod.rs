//! What happens at each exit, the same for all vendors. Runs on the VMM's stack with interrupts held; touches nothing of the
//! system's memory but for a snapshot.

mod cpuid;
mod hypercall;
mod interpose;
mod memory;
mod restore;
mod snapshot;
#[cfg(test)]
mod tests;
mod xsetbv;

use crate::call::Count;
use crate::frozen::Pages;
use crate::nested::{Format, Tables};
use crate::shared::Shared;
use crate::vcpu::{Exit, Vcpu};
use x86defs::cpuid::{EXTENDED1_EDX_NX, Source};
use x86defs::event::{Event, Kind};
use x86defs::registers::{EFER_LMA, EFER_LME, EFER_NXE, EFER_SCE, EFER_SVME, msr};
use x86defs::state::CpuState;

pub use cpuid::SIGNATURE;

/// What the handlers need of the machine.
pub trait Platform: Source {
    /// Raises the interrupt that makes the system fetch reports.
    fn notify(&self);
    /// Sets XCR0 to a value that this CPU accepts: it stays in the CPU, the system's and the VMM's alike.
    fn set_xcr0(&self, value: u64);
    /// The number of the CPU that runs this.
    fn cpu(&self) -> usize;
    /// The time-stamp counter.
    fn ticks(&self) -> u64;
    /// How many ticks a CPU waits for others that have to come.
    fn patience(&self) -> u64;
    /// Adds what [`Vcpu::store`] can't know: what an exit has left in the CPU.
    fn complete(&self, state: &mut CpuState);
    /// Puts into the CPU what [`Vcpu::load`] can't: the reverse. The state [is installable](machine::state::is_installable).
    fn install(&self, state: &CpuState);
}

/// Whether a CPU still waits for others, from now on.
fn patience(platform: &impl Platform) -> impl Fn() -> bool {
    let start = platform.ticks();
    move || platform.ticks().wrapping_sub(start) < platform.patience()
}

/// What follows an exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The guest goes on.
    Resume,
    /// A guest goes on that another system has left: nothing is known of it but its state.
    Restored,
    /// The VMM leaves this CPU.
    Leave,
    /// The CPU refused to enter: at the first entry the system goes on as if nothing had been tried, later it can't go on.
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
    /// A start-up interrupt was sent to this CPU.
    StartUp,
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
            Self::StartUp => "a start-up interrupt",
            Self::Dry => "a nested fault, with no table left to resolve it",
            Self::Unexpected(_) => "an exit that nobody asked for",
        }
    }
}

/// Exceptions that are injected.
const INVALID_OPCODE: Event = Event::exception(6);
const GENERAL_PROTECTION: Event = Event::fault(13, 0);

/// Vector of the double fault, whose error code is 0.
const DOUBLE_FAULT: u8 = 8;

/// Bytes of RDMSR, WRMSR, CPUID and INVD.
const SHORT: u64 = 2;

/// Handles one exit.
#[inline]
pub fn handle<V: Vcpu, F: Format, T: Tables + Pages>(
    vcpu: &mut V,
    shared: &Shared<F, T>,
    platform: &impl Platform,
) -> Next {
    let exit = vcpu.exit();
    let mut interrupted = vcpu.interrupted();
    vcpu.begin();
    let next = match exit {
        Exit::Hypercall => hypercall::handle(vcpu, shared, platform),
        Exit::Cpuid => {
            shared.count(Count::Cpuid);
            cpuid::handle(vcpu, platform);
            Next::Resume
        }
        Exit::Nested { address, access } => match memory::handle(vcpu, shared, platform, address, access) {
            memory::Outcome::Repeat => Next::Resume,
            memory::Outcome::Forbidden => forbid(vcpu, interrupted.take()),
            memory::Outcome::Stop(reason) => Next::Stop(reason),
        },
        // Besides, registers outside of the maps exit: they are none of this architecture's, but other hypervisors' (4000_0000h and
        // up), whose CPUID leaves the guest does not see.
        Exit::WriteMsr(register) => {
            shared.count(Count::Msr);
            write_msr(vcpu, platform, register);
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
        Exit::StartUp => Next::Stop(Stop::StartUp),
        Exit::Unexpected(code) => Next::Stop(Stop::Unexpected(code)),
    };
    // Exits that inject are instructions, which are not reached while an event is on its way, or have taken it.
    if let (Some(event), Next::Resume) = (interrupted, next) {
        vcpu.inject(event);
    }
    next
}

/// A general protection fault for a forbidden access. If it was made to deliver an exception that can't be followed by one, a
/// double fault; and behind that, nothing (APM vol. 2, 8.2.9; Intel SDM vol. 3, table 6-5).
#[cold]
fn forbid<V: Vcpu>(vcpu: &mut V, interrupted: Option<Event>) -> Next {
    let fault = match interrupted {
        Some(Event { kind: Kind::Exception, vector: DOUBLE_FAULT, .. }) => return Next::Stop(Stop::Shutdown),
        Some(Event { kind: Kind::Exception, vector: 0 | 10..=14, .. }) => Event::fault(DOUBLE_FAULT, 0),
        _ => GENERAL_PROTECTION,
    };
    vcpu.inject(fault);
    Next::Resume
}

/// EFER may change, but for what keeps the guest a guest; what belongs to the VMM may not.
fn write_msr<V: Vcpu>(vcpu: &mut V, platform: &impl Platform, register: u32) {
    if register == msr::EFER {
        let value = vcpu.registers().rdx << 32 | vcpu.rax() & 0xffff_ffff;
        if is_sound_efer(value, efer_of_guest(platform)) {
            vcpu.set_efer(value);
            vcpu.flush();
            vcpu.skip(SHORT);
            return;
        }
    }
    vcpu.inject(GENERAL_PROTECTION);
}

/// What a guest must have in EFER.
const LONG_MODE: u64 = EFER_LME | EFER_LMA;

/// Bits that a guest may have in EFER: long mode, and what it may switch, NXE and SCE.
pub(crate) fn efer_of_guest(cpuid: &impl Source) -> u64 {
    let no_execute = cpuid.leaf(0x8000_0001).edx & EXTENDED1_EDX_NX != 0;
    LONG_MODE | EFER_SCE | if no_execute { EFER_NXE } else { 0 }
}

/// Long mode stays on, and nothing is set but what may be; the bit that makes a guest is as the system believes.
const fn is_sound_efer(value: u64, may: u64) -> bool {
    value & LONG_MODE == LONG_MODE && value & !(may | EFER_SVME) == 0
}
