//! A check of everything that a program can see of a CPU: all general registers, flags, x87, MXCSR, all XMM or YMM registers
//! and one word below and above the stack pointer. They are filled, left alone for a few thousand instructions, and compared.

use core::arch::{asm, naked_asm};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Runs one round; returns how many of the values differ. `avx`: YMM instead of XMM.
pub fn round(seed: u64, avx: bool) -> u64 {
    // SAFETY: what the ABI wants preserved is; AVX only where the caller has asked CPUID.
    unsafe { if avx { vectors(seed) } else { scalars(seed) } }
}

/// Counts a difference.
macro_rules! differs {
    () => {
        "je 9f\n inc qword ptr [rsp + 24]\n 9:\n"
    };
}

/// RDI = seed. The frame: +0 seed, +8 flags, +16 scratch, +24 differences, +32 MXCSR, +36 control word, +40 the old ones.
#[unsafe(naked)]
unsafe extern "C" fn scalars(seed: u64) -> u64 {
    naked_asm!(
        "push rbx",
        "push rbp",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "sub rsp, 64",
        "mov [rsp], rdi",
        "mov qword ptr [rsp + 24], 0",
        "stmxcsr [rsp + 40]",
        "fnstcw [rsp + 44]",
        // Another rounding, still all exceptions masked.
        "mov dword ptr [rsp + 32], 0x7f80",
        "ldmxcsr [rsp + 32]",
        "mov word ptr [rsp + 36], 0x0f7f",
        "fldcw [rsp + 36]",
        "fild qword ptr [rsp]",
        "fldpi",
        "fild qword ptr [rsp]",
        ".set distance, 1",
        ".irp register, rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15",
        "mov \\register, [rsp]",
        "add \\register, distance",
        ".set distance, distance + 1",
        ".endr",
        ".irp number, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
        "movq xmm\\number, [rsp]",
        "pslldq xmm\\number, (\\number) % 8",
        ".endr",
        // CF, PF, AF, ZF, SF, OF set; then clear on the other rounds.
        "pushfq",
        "or qword ptr [rsp], 0x8d5",
        "test byte ptr [rsp + 8], 1",
        "jz 2f",
        "xor qword ptr [rsp], 0x8d5",
        "2:",
        "pop [rsp + 8]",
        "push [rsp + 8]",
        "popfq",
        ".rept 3000",
        "nop",
        ".endr",
        "pushfq",
        "pop [rsp + 16]",
        "push rax",
        "mov rax, [rsp + 16]",
        "xor rax, [rsp + 24]",
        // The interrupt flag and what is above it may differ; the six of arithmetic may not.
        "test rax, 0x8d5",
        "pop rax",
        differs!(),
        ".set distance, 1",
        ".irp register, rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15",
        "sub \\register, distance",
        "cmp \\register, [rsp]",
        "je 9f",
        "inc qword ptr [rsp + 24]",
        "9:",
        ".set distance, distance + 1",
        ".endr",
        ".irp number, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
        "movq xmm0, [rsp]",
        "pslldq xmm0, (\\number) % 8",
        "pcmpeqb xmm0, xmm\\number",
        "pmovmskb eax, xmm0",
        "cmp eax, 0xffff",
        "je 9f",
        "inc qword ptr [rsp + 24]",
        "9:",
        ".endr",
        "fistp qword ptr [rsp + 16]",
        "mov rax, [rsp + 16]",
        "cmp rax, [rsp]",
        differs!(),
        "fldpi",
        "fcomip st, st(1)",
        "fstp st",
        differs!(),
        "fistp qword ptr [rsp + 16]",
        "mov rax, [rsp + 16]",
        "cmp rax, [rsp]",
        differs!(),
        "stmxcsr [rsp + 16]",
        "cmp dword ptr [rsp + 16], 0x7f80",
        differs!(),
        "fnstcw [rsp + 16]",
        "cmp word ptr [rsp + 16], 0x0f7f",
        differs!(),
        "ldmxcsr [rsp + 40]",
        "fldcw [rsp + 44]",
        "mov rax, [rsp + 24]",
        "add rsp, 64",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbp",
        "pop rbx",
        "ret",
    )
}

/// RDI = seed. All of the YMM registers, upper halves included.
#[unsafe(naked)]
unsafe extern "C" fn vectors(seed: u64) -> u64 {
    naked_asm!(
        "push rdi",
        "xor ecx, ecx",
        ".irp number, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
        "vmovq xmm\\number, [rsp]",
        "vpslldq xmm\\number, xmm\\number, (\\number) % 8",
        "vinsertf128 ymm\\number, ymm\\number, xmm\\number, 1",
        ".endr",
        ".rept 3000",
        "nop",
        ".endr",
        ".irp number, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
        "vmovq xmm0, [rsp]",
        "vpslldq xmm0, xmm0, (\\number) % 8",
        "vpcmpeqb xmm0, xmm0, xmm\\number",
        "vpmovmskb eax, xmm0",
        "cmp eax, 0xffff",
        "je 9f",
        "inc ecx",
        "9:",
        "vextractf128 xmm0, ymm\\number, 1",
        "vpcmpeqb xmm0, xmm0, xmm\\number",
        "vpmovmskb eax, xmm0",
        "cmp eax, 0xffff",
        "je 9f",
        "inc ecx",
        "9:",
        ".endr",
        "vzeroupper",
        "mov eax, ecx",
        "pop rdi",
        "ret",
    )
}

/// Fills the x87 stack over and over, leaves the values there for a while and adds them up, until it is over; whether the sum
/// was always right.
pub fn compute_until(over: &AtomicBool, at_work: &AtomicU64) -> bool {
    let mut right = true;
    while !over.load(Ordering::Relaxed) {
        at_work.fetch_add(1, Ordering::Relaxed);
        let mut sum = 0u32;
        // SAFETY: the stack is empty before and after; one word of memory is written.
        unsafe {
            asm!(
                ".rept 8",
                "fld1",
                ".endr",
                ".rept 3000",
                "nop",
                ".endr",
                ".rept 7",
                "faddp",
                ".endr",
                "fistp dword ptr [{sum}]",
                sum = in(reg) &raw mut sum,
                options(nostack)
            );
        }
        right &= sum == 8;
    }
    right
}

/// How many registers of the x87 stack are empty.
pub fn x87_rooms() -> u32 {
    let mut environment = [0u32; 7];
    // SAFETY: 28 bytes are written; FNSTENV masks all exceptions, which FLDCW sets as they were.
    unsafe {
        asm!("fnstenv [{0}]", "fldcw [{0}]", in(reg) &raw mut environment, options(nostack));
    }
    (0..8).filter(|register| environment[2] >> (2 * register) & 3 == 3).count() as u32
}

/// Rounding towards minus infinity, all exceptions masked.
const DOWN: u16 = 0x077f;

/// Sets this thread's rounding.
pub fn x87_rounds_down() {
    // SAFETY: exceptions stay masked; rounding is this thread's own affair.
    unsafe { asm!("fldcw [{}]", in(reg) &DOWN, options(nostack)) };
}

/// Whether it is as [`x87_rounds_down`] has set it.
pub fn x87_rounds_down_still() -> bool {
    let mut word = 0u16;
    // SAFETY: two bytes are written.
    unsafe { asm!("fnstcw [{}]", in(reg) &raw mut word, options(nostack)) };
    word == DOWN
}
