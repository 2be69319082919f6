//! The architectural state of one CPU, as far as a switch moves it.
//!
//! What neither entering nor leaving touches is not in here, it stays in the CPU: extended state (x87, SSE, AVX), DR0 to DR3,
//! CR8, XCR0, TSC_AUX.
//!
//! Sources: AMD64 APM vol. 2, 3.1 (control registers), 13.1 (debug registers), 15.5.1 (what VMRUN loads).

use crate::event::Event;
use crate::segment::{Segment, TableRegister};

/// General-purpose registers but RSP. The order is known to assembly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[expect(missing_docs, reason = "register names")]
pub struct Registers {
    pub rax: u64,
    pub rbx: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub rbp: u64,
    pub r8: u64,
    pub r9: u64,
    pub r10: u64,
    pub r11: u64,
    pub r12: u64,
    pub r13: u64,
    pub r14: u64,
    pub r15: u64,
}
const _: () = assert!(size_of::<Registers>() == 15 * 8);

/// Segment registers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[expect(missing_docs, reason = "register names")]
pub struct Segments {
    pub es: Segment,
    pub cs: Segment,
    pub ss: Segment,
    pub ds: Segment,
    pub fs: Segment,
    pub gs: Segment,
    pub ldtr: Segment,
    pub tr: Segment,
}

/// Model-specific registers that VMRUN or VMLOAD, or the VM-entry of VMX, load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[expect(missing_docs, reason = "register names")]
pub struct Msrs {
    pub efer: u64,
    pub pat: u64,
    pub star: u64,
    pub lstar: u64,
    pub cstar: u64,
    pub sfmask: u64,
    pub kernel_gs_base: u64,
    pub sysenter_cs: u64,
    pub sysenter_esp: u64,
    pub sysenter_eip: u64,
    /// Moved by SVM where the CPU virtualizes it; else it stays in the CPU, and this is 0.
    pub spec_ctrl: u64,
    /// Moved by VMX where the CPU has it; else it stays in the CPU, and this is 0.
    pub debugctl: u64,
}

/// What makes interrupts wait for one more instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shadow {
    /// STI: interrupts wait. There is none with RFLAGS.IF clear.
    Sti,
    /// MOV SS or POP SS: interrupts, NMIs and debug exceptions wait.
    MovSs,
}

/// Whether a CPU executes instructions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activity {
    /// It does.
    #[default]
    Active,
    /// Halted by HLT.
    Halted,
    /// Shut down by a triple fault.
    Shutdown,
    /// Waiting for a start-up interrupt.
    WaitForSipi,
}

/// What is between two instructions besides registers (Intel SDM vol. 3, 25.4.2; APM vol. 2, 15.21.5). SVM's control block
/// knows only whether there is a shadow; NMIs that are blocked, and an activity other than [`Activity::Active`], it can't hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interruptibility {
    /// Interrupts wait one more instruction.
    pub shadow: Option<Shadow>,
    /// NMIs wait for an IRET.
    pub nmi_blocked: bool,
    /// What the CPU does.
    pub activity: Activity,
    /// Debug exceptions that are due before the next instruction: bits of DR6, and [`SINGLE_STEP`], [`BREAKPOINT`].
    pub debug: u64,
}

/// [`Interruptibility::debug`]: a single step, as in DR6.
pub const SINGLE_STEP: u64 = 1 << 14;
/// [`Interruptibility::debug`]: at least one breakpoint that DR7 enables was met.
pub const BREAKPOINT: u64 = 1 << 12;

/// The state of a CPU between two instructions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[expect(missing_docs, reason = "register names")]
pub struct CpuState {
    pub registers: Registers,
    pub rip: u64,
    pub rsp: u64,
    pub rflags: u64,
    pub cr0: u64,
    pub cr2: u64,
    pub cr3: u64,
    pub cr4: u64,
    pub dr6: u64,
    pub dr7: u64,
    pub segments: Segments,
    pub gdtr: TableRegister,
    pub idtr: TableRegister,
    pub msrs: Msrs,
    pub interruptibility: Interruptibility,
    /// An event that was being delivered and has to be delivered first.
    pub pending: Option<Event>,
}

impl CpuState {
    /// Whether a single step is due before the next instruction.
    #[inline]
    pub fn is_stepped(&self) -> bool {
        self.interruptibility.debug & SINGLE_STEP != 0 || self.pending == Some(Event::DEBUG)
    }
}
