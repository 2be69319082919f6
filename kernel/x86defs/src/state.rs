//! All architectural state of one CPU that a switch, a snapshot and a restore need.
//!
//! Extended state (x87, SSE, AVX) is not in here: a switch leaves it in the registers, a snapshot saves it with XSAVE.
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
}

/// Registers that neither entering nor leaving touches: they stay in the CPU. A snapshot and a restore need them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[expect(missing_docs, reason = "register names")]
pub struct Resident {
    pub dr: [u64; 4],
    pub cr8: u64,
    /// 0 where the CPU has no XSAVE.
    pub xcr0: u64,
    /// 0 where the CPU has no RDTSCP.
    pub tsc_aux: u64,
    /// 0 where the CPU has no such register.
    pub spec_ctrl: u64,
}

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
    pub resident: Resident,
    /// Interrupts wait one more instruction (after STI or MOV SS).
    pub interrupt_shadow: bool,
    /// An event that was being delivered and has to be delivered first.
    pub pending: Option<Event>,
}
