//! The way into the VMM and back to the bare machine, as far as it is the same for all vendors.

use core::arch::naked_asm;
use core::mem::offset_of;
use x86defs::registers::{RFLAGS_FIXED, RFLAGS_TF};
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

/// The SSE state of the guest during an exit, as FXSAVE lays it out (Intel SDM vol. 1, 10.5.1). The VMM has no x87 code and none
/// for AVX: those states stay in the CPU.
#[repr(C, align(64))]
#[derive(Debug)]
pub(super) struct SseArea([u8; 512]);

impl SseArea {
    pub(super) const NEW: Self = Self([0; 512]);
}

/// Loads the SSE state from the area at an address, register by register. FXRSTOR would load the x87 state, too, and XRSTOR faults
/// where the guest has switched SSE off in XCR0, which the VMM shares with it; the upper halves of AVX registers stay as they are.
///
/// Under QEMU it matters: there, who loads the x87 status word on any CPU rewrites flags of the first CPU that decide whether
/// it is in guest mode, without a lock (`kernel/doc/switch.md`, "A race in QEMU").
macro_rules! load_sse {
    ($area:literal) => {
        concat!(
            load_sse!($area, "0" "160", "1" "176", "2" "192", "3" "208", "4" "224", "5" "240", "6" "256", "7" "272"),
            load_sse!($area, "8" "288", "9" "304", "10" "320", "11" "336", "12" "352", "13" "368", "14" "384"),
            load_sse!($area, "15" "400"),
            "ldmxcsr [", $area, " + 24]",
        )
    };
    ($area:literal, $($register:literal $at:literal),*) => {
        concat!($("movaps xmm", $register, ", [", $area, " + ", $at, "]\n"),*)
    };
}
pub(super) use load_sse;

/// Where a launch goes on in the system, in either mode: RAX says how it went. Takes back what the launch has pushed.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn landed() -> u64 {
    naked_asm!("pop r15", "pop r14", "pop r13", "pop r12", "pop rbp", "pop rbx", "ret")
}

/// RIP of a system that has just entered: the state to enter with has it.
pub fn landing() -> u64 {
    landed as *const () as u64
}

/// The flags with which [`resume_bare`] executes its IRETQ. The single step that an instruction owes, which the VMM has carried
/// out for the system, comes behind the IRETQ then: TF counts as it was before an instruction (Intel SDM vol. 3, 18.3.1.4).
pub(super) fn last_flags(state: &CpuState) -> u64 {
    if state.is_stepped() { RFLAGS_FIXED | RFLAGS_TF } else { RFLAGS_FIXED }
}

/// Goes on in the system, on the bare machine: RDI = state, RSI = SSE state, RDX = [`last_flags`]. IRETQ loads CS, RIP, RFLAGS and
/// RSP at once.
///
/// # Safety
/// The rest of the state is in the CPU already.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn resume_bare(state: *const CpuState, sse: *const SseArea, flags: u64) -> ! {
    naked_asm!(
        load_sse!("rsi"),
        "movzx eax, word ptr [rdi + {ss}]",
        "push rax",
        "push [rdi + {rsp}]",
        "push [rdi + {rflags}]",
        "movzx eax, word ptr [rdi + {cs}]",
        "push rax",
        "push [rdi + {rip}]",
        "push rdx",
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
        "popfq",
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
