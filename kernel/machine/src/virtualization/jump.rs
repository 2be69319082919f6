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

/// The SSE state of the guest during an exit, as FXSAVE lays it out, and the header by which XRSTOR knows what there is
/// (Intel SDM vol. 1, 13.4). The VMM has no x87 code and none for AVX: those states stay in the CPU.
#[repr(C, align(64))]
#[derive(Debug)]
pub(super) struct SseArea {
    legacy: [u8; 512],
    present: u64,
    reserved: [u64; 7],
}

impl SseArea {
    pub(super) const NEW: Self = Self { legacy: [0; 512], present: SSE, reserved: [0; 7] };
}

/// SSE's bit in XCR0, XSTATE_BV and the operand of XRSTOR.
pub(super) const SSE: u64 = 1 << 1;

/// Loads the SSE state from the area at an address and leaves x87 alone, as far as the CPU can: FXRSTOR loads both. Takes RAX
/// and RDX. Operands `xsave` and `sse`: [`XSAVE_MASK`](crate::traps::XSAVE_MASK) and [`SSE`].
///
/// Under QEMU it matters: there, who loads the x87 status word on any CPU rewrites flags of the first CPU that decide whether
/// it is in guest mode, without a lock (`kernel/doc/switch.md`, "A race in QEMU").
macro_rules! load_sse {
    ($area:literal) => {
        concat!(
            "cmp dword ptr [rip + {xsave}], 0\n",
            "je 91f\n",
            "mov eax, {sse}\n",
            "xor edx, edx\n",
            "xrstor64 [",
            $area,
            "]\n",
            "jmp 92f\n",
            "91: fxrstor64 [",
            $area,
            "]\n",
            "92:",
        )
    };
}
pub(super) use load_sse;

/// Goes on in the system, on the bare machine: RDI = state, RSI = SSE state. IRETQ loads CS, RIP, RFLAGS and RSP at once.
///
/// # Safety
/// The rest of the state is in the CPU already.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn resume_bare(state: *const CpuState, sse: *const SseArea) -> ! {
    naked_asm!(
        load_sse!("rsi"),
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
        xsave = sym crate::traps::XSAVE_MASK,
        sse = const SSE,
        ss = const offset_of!(CpuState, segments) + offset_of!(x86defs::state::Segments, ss),
        cs = const offset_of!(CpuState, segments) + offset_of!(x86defs::state::Segments, cs),
        rsp = const offset_of!(CpuState, rsp),
        rflags = const offset_of!(CpuState, rflags),
        rip = const offset_of!(CpuState, rip),
    )
}
const _: () =
    assert!(offset_of!(CpuState, registers) == 0 && offset_of!(x86defs::segment::Segment, selector) == 0);
