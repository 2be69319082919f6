//! A guest's CPU between exit and entry, whoever made the silicon. What the handlers in [`exits`](crate::exits) and the
//! switch need of a vendor, and no more.

use x86defs::event::Event;
use x86defs::state::{CpuState, Registers};

/// What the guest tried at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// It wrote.
    pub write: bool,
    /// It fetched an instruction.
    pub fetch: bool,
    /// Something is mapped there, but not for this.
    pub present: bool,
}

/// Why the guest stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// CPUID.
    Cpuid,
    /// The system calls the VMM.
    Hypercall,
    /// RDMSR of an intercepted register.
    ReadMsr(u32),
    /// WRMSR of an intercepted register.
    WriteMsr(u32),
    /// The nested tables do not allow an access.
    Nested {
        /// Guest-physical address.
        address: u64,
        /// What was tried.
        access: Access,
    },
    /// An instruction of the vendor's virtualization itself.
    Virtualization,
    /// A write to a control register that would change a bit that belongs to the vendor's virtualization.
    ControlRegister,
    /// XSETBV: not every vendor can leave it to the guest.
    Xsetbv,
    /// INVD: the same.
    Invd,
    /// A triple fault.
    Shutdown,
    /// INIT.
    Init,
    /// A start-up interrupt, which only a CPU gets that waits for one.
    StartUp,
    /// The CPU refused to enter.
    Refused,
    /// Anything else, with the vendor's number.
    Unexpected(u64),
}

/// A virtual CPU that has stopped.
pub trait Vcpu {
    /// Why.
    fn exit(&self) -> Exit;
    /// General registers but RAX and RSP.
    fn registers(&mut self) -> &mut Registers;
    /// RAX.
    fn rax(&self) -> u64;
    /// Sets RAX.
    fn set_rax(&mut self, value: u64);
    /// Where it stopped.
    fn rip(&self) -> u64;
    /// Privilege level, 0 to 3.
    fn privilege(&self) -> u8;
    /// Sets EFER as the guest sees it; what virtualization itself needs stays set.
    fn set_efer(&mut self, value: u64);
    /// Goes on behind the instruction, `length` bytes long unless the CPU knows better. Ends the interrupt shadow.
    fn skip(&mut self, length: u64);
    /// Delivers an event at the next entry.
    fn inject(&mut self, event: Event);
    /// The event whose delivery the exit interrupted, if it has to be delivered again by [`Vcpu::inject`].
    fn interrupted(&self) -> Option<Event>;
    /// Ends what was meant for the last entry alone: flushing, injection.
    fn begin(&mut self);
    /// Flushes this CPU's translations at the next entry.
    fn flush(&mut self);
    /// Puts a state in.
    fn load(&mut self, state: &CpuState);
    /// Whether what is in keeps the rules of the vendor's manual: whether an entry would accept it.
    fn is_sound(&self) -> bool;
    /// Takes the state out.
    fn store(&self, state: &mut CpuState);
}
