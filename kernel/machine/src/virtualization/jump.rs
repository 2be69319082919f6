//! The way back from the VMM to the bare machine, as far as it is the same for all vendors.

use core::arch::naked_asm;
use core::mem::offset_of;
use x86defs::state::CpuState;

/// What follows an exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Next {
    /// The guest goes on.
    Resume = 0,
    /// The system goes on without the VMM, from [`Head::state`].
    Leave = 1,
}

/// All SSE exceptions masked.
pub(super) static DEFAULT_MXCSR: u32 = 0x1f80;

/// Goes on in the system, on the bare machine: RDI = state, RSI = x87 and SSE state. IRETQ loads CS, RIP, RFLAGS and RSP at
/// once.
///
/// # Safety
/// The rest of the state is in the CPU already.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn resume_bare(state: *const CpuState, fx: *const [u8; 512]) -> ! {
    naked_asm!(
        "fxrstor64 [rsi]",
        "movzx eax, word ptr [rdi + {ss}]",
        "push rax",
        "push [rdi + {rsp}]",
        "push [rdi + {rflags}]",
        "movzx eax, word ptr [rdi + {cs}]",
        "push rax",
        "push [rdi + {rip}]",
        "mov rax, [rdi]",
        "mov rbx, [rdi + 8]",
        "mov rcx, [rdi + 16]",
        "mov rdx, [rdi + 24]",
        "mov rsi, [rdi + 32]",
        "mov rbp, [rdi + 48]",
        "mov r8, [rdi + 56]",
        "mov r9, [rdi + 64]",
        "mov r10, [rdi + 72]",
        "mov r11, [rdi + 80]",
        "mov r12, [rdi + 88]",
        "mov r13, [rdi + 96]",
        "mov r14, [rdi + 104]",
        "mov r15, [rdi + 112]",
        "mov rdi, [rdi + 40]",
        "iretq",
        ss = const offset_of!(CpuState, segments) + offset_of!(x86defs::state::Segments, ss),
        cs = const offset_of!(CpuState, segments) + offset_of!(x86defs::state::Segments, cs),
        rsp = const offset_of!(CpuState, rsp),
        rflags = const offset_of!(CpuState, rflags),
        rip = const offset_of!(CpuState, rip),
    )
}
const _: () =
    assert!(offset_of!(CpuState, registers) == 0 && offset_of!(x86defs::segment::Segment, selector) == 0);
