//! A check of everything that a program can see of a CPU: all general registers, flags, x87, MXCSR, all XMM or YMM registers.
//! They are filled, something happens that should change none of them, and they are compared.

use alloc::boxed::Box;
use core::arch::{asm, naked_asm};
use core::ffi::c_void;
use core::mem::offset_of;
use core::sync::atomic::AtomicU64;

/// What happens between filling and comparing. In guest mode all but the first are exits, or may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Middle {
    /// A thousand instructions that do nothing: time for interrupts.
    Nothing,
    /// CPUID.
    Cpuid,
    /// A write to [`Setup::page`], an exit if the page is watched.
    Write,
    /// EFER is written with what it has. Not while the mode changes: it has another value in each.
    Efer,
    /// XCR0 is written with what it has, which exits on Intel's CPUs. Where there are YMM registers.
    Xsetbv,
    /// AMD's hypercall, an invalid opcode on a bare machine.
    Vmmcall,
    /// Intel's.
    Vmcall,
}

impl Middle {
    fn code(self) -> unsafe extern "C" fn() {
        match self {
            Self::Nothing => nothing,
            Self::Cpuid => cpuid,
            Self::Write => write,
            Self::Efer => efer,
            Self::Xsetbv => xsetbv,
            Self::Vmmcall => vmmcall,
            Self::Vmcall => vmcall,
        }
    }
}

/// Memory that nobody else looks at, and that can be watched.
#[derive(Debug)]
#[repr(align(4096))]
pub struct Page(pub [AtomicU64; 512]);

/// What is filled and compared.
#[derive(Debug)]
pub struct Setup {
    /// The CPU has AVX: YMM instead of XMM.
    pub avx: bool,
    /// Values on the x87 stack, too. QEMU can't bear it on any CPU but the first: `kernel/doc/switch.md`, "A race in QEMU".
    pub x87: bool,
    /// Where [`Middle::Write`] writes.
    pub page: Box<Page>,
}

/// Runs one round; returns how many of the values differ. Every third looks at vectors, the others at all else.
pub fn round(seed: u64, middle: Middle, setup: &Setup) -> u64 {
    let spread = seed.wrapping_mul(SPREAD);
    if seed.is_multiple_of(3) {
        let filled = vectors_of(spread);
        let mut found = [[0; 4]; 16];
        // SAFETY: what the ABI wants preserved is; AVX only where the caller has asked CPUID.
        unsafe { vectors(&filled, &mut found, middle.code(), setup.page.0[0].as_ptr(), setup.avx) };
        differing(&filled, &found, if setup.avx { 0..4 } else { 0..2 })
    } else {
        // SAFETY: as above.
        unsafe { scalars(spread, middle.code(), setup.page.0[0].as_ptr(), setup.x87) }
    }
}

/// Calls something while registers hold values that a function has to leave alone, or that no code of ours touches; returns
/// how many differ.
pub fn across<F: FnMut()>(seed: u64, setup: &Setup, mut call: F) -> u64 {
    extern "C" fn enter<F: FnMut()>(call: *mut c_void) {
        // SAFETY: the closure that `across` has passed on.
        unsafe { (*call.cast::<F>())() }
    }
    let spread = seed.wrapping_mul(SPREAD);
    let mut held = Held {
        seed: spread,
        differences: 0,
        call: enter::<F>,
        argument: (&raw mut call).cast(),
        avx: setup.avx.into(),
        x87: setup.x87.into(),
        filled: vectors_of(spread),
        found: [[0; 4]; 16],
    };
    // SAFETY: as in `round`; the x87 stack of a thread that calls is empty.
    unsafe { hold(&mut held) };
    // Lower halves are the callee's to use.
    held.differences + if setup.avx { differing(&held.filled, &held.found, 2..4) } else { 0 }
}

/// The selector in SS.
pub fn stack_segment() -> u16 {
    let selector: u16;
    // SAFETY: reading it has no effect.
    unsafe { asm!("mov {0:x}, ss", out(reg) selector, options(nomem, nostack, preserves_flags)) };
    selector
}

/// Makes small numbers into such with all bits in use.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

type Vectors = [[u64; 4]; 16];

fn vectors_of(spread: u64) -> Vectors {
    core::array::from_fn(|number| {
        core::array::from_fn(|word| spread.rotate_left((4 * number + word) as u32) ^ number as u64)
    })
}

fn differing(filled: &Vectors, found: &Vectors, words: core::ops::Range<usize>) -> u64 {
    filled.iter().zip(found).filter(|(old, new)| old[words.clone()] != new[words.clone()]).count() as u64
}

/// What is called in the middle: changes no register and no flag. `frame + 56` has the address to write to.
macro_rules! middle {
    ($name:ident: $($line:expr),*) => {
        #[unsafe(naked)]
        unsafe extern "C" fn $name() {
            naked_asm!($($line,)* ".rept 300", "nop", ".endr", "ret")
        }
    };
}

middle!(nothing: ".rept 1500", "nop", ".endr");
middle!(cpuid: "push rax", "push rbx", "push rcx", "push rdx", "mov eax, 0x40000000", "cpuid",
    "pop rdx", "pop rcx", "pop rbx", "pop rax");
middle!(write: "push rax", "mov rax, [rsp + 72]", "mov [rax], rsp", "pop rax");
middle!(efer: "push rax", "push rcx", "push rdx", "mov ecx, 0xc0000080", "rdmsr", "wrmsr",
    "pop rdx", "pop rcx", "pop rax");
middle!(xsetbv: "push rax", "push rcx", "push rdx", "mov ecx, 0", "xgetbv", "xsetbv",
    "pop rdx", "pop rcx", "pop rax");
middle!(vmmcall: "push rax", "push rdx", "mov eax, 0", "vmmcall", "pop rdx", "pop rax");
middle!(vmcall: "push rax", "push rdx", "mov eax, 0", "vmcall", "pop rdx", "pop rax");

/// Counts a difference.
macro_rules! differs {
    () => {
        "je 9f\n inc qword ptr [rsp + 24]\n 9:\n"
    };
}

/// Fills the eight registers of the x87 stack from the word at RSP. Takes RAX and the word at RSP + 16.
macro_rules! fill_x87 {
    () => {
        ".irp number, 1, 2, 3, 4, 5, 6, 7, 8\n\
         mov rax, [rsp]\n add rax, \\number\n mov [rsp + 16], rax\n fild qword ptr [rsp + 16]\n\
         .endr"
    };
}

/// Empties it again and compares.
macro_rules! compare_x87 {
    () => {
        ".irp number, 8, 7, 6, 5, 4, 3, 2, 1\n\
         fistp qword ptr [rsp + 16]\n mov rax, [rsp + 16]\n sub rax, \\number\n cmp rax, [rsp]\n\
         je 9f\n inc qword ptr [rsp + 24]\n 9:\n\
         .endr"
    };
}

/// Another rounding, still all exceptions masked, in MXCSR and in the control word of x87.
const MXCSR: u32 = 0x7f80;
const CONTROL: u32 = 0x0f7f;
/// CF, PF, AF, ZF, SF, DF, OF, AC, ID. The interrupt flag may differ; the others are not ours to set.
const FLAGS: u32 = 0x24_0cd5;

/// RDI = seed, RSI = code, RDX = address, RCX = whether x87. The frame: +0 seed, +8 flags, +16 scratch, +24 differences,
/// +32 MXCSR, +36 control word, +40 the old ones, +48 code, +56 address, +64 old flags, +72 whether x87.
#[unsafe(naked)]
unsafe extern "C" fn scalars(seed: u64, middle: unsafe extern "C" fn(), page: *mut u64, x87: bool) -> u64 {
    naked_asm!(
        "push rbx",
        "push rbp",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "sub rsp, 104",
        "mov [rsp], rdi",
        "mov [rsp + 48], rsi",
        "mov [rsp + 56], rdx",
        "movzx ecx, cl",
        "mov [rsp + 72], rcx",
        "mov qword ptr [rsp + 24], 0",
        "pushfq",
        "pop [rsp + 64]",
        "stmxcsr [rsp + 40]",
        "fnstcw [rsp + 44]",
        "mov dword ptr [rsp + 32], {mxcsr}",
        "ldmxcsr [rsp + 32]",
        "mov dword ptr [rsp + 36], {control}",
        "test ecx, ecx",
        "jz 3f",
        "fldcw [rsp + 36]",
        fill_x87!(),
        "3:",
        // All flags set; then clear on the other rounds.
        "pushfq",
        "or qword ptr [rsp], {flags}",
        "test byte ptr [rsp + 8], 1",
        "jz 2f",
        "xor qword ptr [rsp], {flags}",
        "2:",
        "pop [rsp + 8]",
        ".set distance, 1",
        ".irp register, rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15",
        "mov \\register, [rsp]",
        "add \\register, distance",
        ".set distance, distance + 1",
        ".endr",
        "push [rsp + 8]",
        "popfq",
        "call [rsp + 48]",
        "pushfq",
        "pop [rsp + 16]",
        "cld",
        "push rax",
        "mov rax, [rsp + 16]",
        "xor rax, [rsp + 24]",
        "test rax, {flags}",
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
        "cmp qword ptr [rsp + 72], 0",
        "je 3f",
        compare_x87!(),
        "fnstcw [rsp + 16]",
        "cmp word ptr [rsp + 16], {control}",
        differs!(),
        "fldcw [rsp + 44]",
        "3:",
        "stmxcsr [rsp + 16]",
        "cmp dword ptr [rsp + 16], {mxcsr}",
        differs!(),
        "ldmxcsr [rsp + 40]",
        "push [rsp + 64]",
        "popfq",
        "mov rax, [rsp + 24]",
        "add rsp, 104",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbp",
        "pop rbx",
        "ret",
        mxcsr = const MXCSR,
        control = const CONTROL,
        flags = const FLAGS,
    )
}

/// RDI = values, RSI = where they go afterwards, RDX = code, RCX = address, R8 = whether YMM.
#[unsafe(naked)]
unsafe extern "C" fn vectors(
    filled: &Vectors,
    found: &mut Vectors,
    middle: unsafe extern "C" fn(),
    page: *mut u64,
    avx: bool,
) {
    naked_asm!(
        "sub rsp, 72",
        "mov [rsp], rsi",
        "mov [rsp + 48], rdx",
        "mov [rsp + 56], rcx",
        "test r8b, r8b",
        "jz 2f",
        ".irp number, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
        "vmovdqu ymm\\number, [rdi + \\number * 32]",
        ".endr",
        "call [rsp + 48]",
        "mov rsi, [rsp]",
        ".irp number, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
        "vmovdqu [rsi + \\number * 32], ymm\\number",
        ".endr",
        "vzeroupper",
        "jmp 3f",
        "2:",
        ".irp number, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
        "movups xmm\\number, [rdi + \\number * 32]",
        ".endr",
        "call [rsp + 48]",
        "mov rsi, [rsp]",
        ".irp number, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
        "movups [rsi + \\number * 32], xmm\\number",
        ".endr",
        "3:",
        "add rsp, 72",
        "ret",
    )
}

/// What [`hold`] works on.
#[repr(C)]
struct Held {
    seed: u64,
    differences: u64,
    call: extern "C" fn(*mut c_void),
    argument: *mut c_void,
    avx: u64,
    x87: u64,
    filled: Vectors,
    found: Vectors,
}

/// Flags that no compiler's code changes: AC, ID.
const QUIET_FLAGS: u32 = 0x24_0000;

/// RDI = what to hold. The frame: +0 seed, +8 the old MXCSR and control word, +16 scratch, +24 differences, +32 the record, +40
/// old flags.
#[unsafe(naked)]
unsafe extern "C" fn hold(held: &mut Held) {
    naked_asm!(
        "push rbx",
        "push rbp",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "sub rsp, 56",
        "mov [rsp + 32], rdi",
        "mov rax, [rdi + {seed}]",
        "mov [rsp], rax",
        "mov qword ptr [rsp + 24], 0",
        "stmxcsr [rsp + 8]",
        "fnstcw [rsp + 12]",
        "mov dword ptr [rsp + 16], {mxcsr}",
        "ldmxcsr [rsp + 16]",
        "cmp qword ptr [rdi + {x87}], 0",
        "je 2f",
        "mov dword ptr [rsp + 16], {control}",
        "fldcw [rsp + 16]",
        fill_x87!(),
        "2:",
        "cmp qword ptr [rdi + {avx}], 0",
        "je 2f",
        ".irp number, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
        "vmovdqu ymm\\number, [rdi + {filled} + \\number * 32]",
        ".endr",
        "2:",
        "pushfq",
        "mov rax, [rsp]",
        "mov [rsp + 48], rax",
        "or qword ptr [rsp], {flags}",
        "popfq",
        ".set distance, 1",
        ".irp register, rbx, rbp, r12, r13, r14, r15",
        "mov \\register, [rsp]",
        "add \\register, distance",
        ".set distance, distance + 1",
        ".endr",
        "mov rax, [rdi + {call}]",
        "mov rdi, [rdi + {argument}]",
        "call rax",
        "pushfq",
        "pop rax",
        "and eax, {flags}",
        "cmp eax, {flags}",
        differs!(),
        "push [rsp + 40]",
        "popfq",
        ".set distance, 1",
        ".irp register, rbx, rbp, r12, r13, r14, r15",
        "sub \\register, distance",
        "cmp \\register, [rsp]",
        "je 9f",
        "inc qword ptr [rsp + 24]",
        "9:",
        ".set distance, distance + 1",
        ".endr",
        // Its lowest bits say what exceptions have happened.
        "stmxcsr [rsp + 16]",
        "mov eax, [rsp + 16]",
        "xor eax, {mxcsr}",
        "test eax, 0xffffffc0",
        differs!(),
        "ldmxcsr [rsp + 8]",
        "mov rdi, [rsp + 32]",
        "cmp qword ptr [rdi + {avx}], 0",
        "je 2f",
        ".irp number, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
        "vmovdqu [rdi + {found} + \\number * 32], ymm\\number",
        ".endr",
        "vzeroupper",
        "2:",
        "cmp qword ptr [rdi + {x87}], 0",
        "je 2f",
        compare_x87!(),
        "fnstcw [rsp + 16]",
        "cmp word ptr [rsp + 16], {control}",
        differs!(),
        "fldcw [rsp + 12]",
        "2:",
        "mov rax, [rsp + 24]",
        "mov [rdi + {differences}], rax",
        "add rsp, 56",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbp",
        "pop rbx",
        "ret",
        seed = const offset_of!(Held, seed),
        differences = const offset_of!(Held, differences),
        call = const offset_of!(Held, call),
        argument = const offset_of!(Held, argument),
        avx = const offset_of!(Held, avx),
        x87 = const offset_of!(Held, x87),
        filled = const offset_of!(Held, filled),
        found = const offset_of!(Held, found),
        mxcsr = const MXCSR,
        control = const CONTROL,
        flags = const QUIET_FLAGS,
    )
}
