//! Threads that keep values in registers while they take the CPU from one another.

use alloc::vec::Vec;
use app::Env;
use app::thread::{Builder, CpuSet};
use app::time::{Duration, Instant};
use core::arch::asm;
use core::arch::x86_64::__cpuid;

const TIME: Duration = Duration::from_millis(60);

/// Fills registers with `seed`, waits some iterations (long enough to be interrupted now and then) and compares. Returns
/// how many registers differ.
fn general_and_sse(seed: u64) -> u64 {
    let wrong: u64;
    // SAFETY: uses and names only registers; the loop ends.
    unsafe {
        asm!(
            "mov r8, {seed}", "lea r9, [r8 + 1]", "lea r10, [r8 + 2]", "lea r11, [r8 + 3]",
            "movq xmm0, r8", "movq xmm7, r9", "movq xmm15, r10",
            "push r8", "fild qword ptr [rsp]", "add rsp, 8",
            "mov {count}, 20000",
            "2:", "dec {count}", "jnz 2b",
            "xor {wrong:e}, {wrong:e}",
            "lea {count}, [{seed} + 1]", "cmp r9, {count}", "setne {count:l}", "movzx {count:e}, {count:l}", "add {wrong}, {count}",
            "lea {count}, [{seed} + 2]", "cmp r10, {count}", "setne {count:l}", "movzx {count:e}, {count:l}", "add {wrong}, {count}",
            "lea {count}, [{seed} + 3]", "cmp r11, {count}", "setne {count:l}", "movzx {count:e}, {count:l}", "add {wrong}, {count}",
            "movq {count}, xmm0", "cmp {count}, {seed}", "setne {count:l}", "movzx {count:e}, {count:l}", "add {wrong}, {count}",
            "movq {count}, xmm7", "cmp {count}, r9", "setne {count:l}", "movzx {count:e}, {count:l}", "add {wrong}, {count}",
            "movq {count}, xmm15", "cmp {count}, r10", "setne {count:l}", "movzx {count:e}, {count:l}", "add {wrong}, {count}",
            "push 0", "fistp qword ptr [rsp]", "pop {count}",
            "cmp {count}, {seed}", "setne {count:l}", "movzx {count:e}, {count:l}", "add {wrong}, {count}",
            seed = in(reg) seed,
            count = out(reg_abcd) _,
            wrong = out(reg) wrong,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
            out("xmm0") _, out("xmm7") _, out("xmm15") _, out("st(0)") _,
        );
    }
    wrong
}

/// The same for the upper halves of AVX registers.
fn avx(seed: u64) -> u64 {
    let (low, high): (u64, u64);
    // SAFETY: the caller has asked CPUID for AVX, and the system switches its state on where the CPU has it.
    unsafe {
        asm!(
            "movq xmm3, {seed}", "vinsertf128 ymm3, ymm3, xmm3, 1",
            "mov {count}, 20000",
            "2:", "dec {count}", "jnz 2b",
            "movq {low}, xmm3", "vextractf128 xmm4, ymm3, 1", "movq {high}, xmm4",
            seed = in(reg) seed,
            count = out(reg) _,
            low = out(reg) low,
            high = out(reg) high,
            out("xmm3") _, out("xmm4") _,
        );
    }
    u64::from(low != seed) + u64::from(high != seed)
}

pub fn survive_preemption(env: &'static Env) -> Result<(), &'static str> {
    let features = __cpuid(1).ecx;
    let has_avx = features & 1 << 28 != 0 && features & 1 << 27 != 0;
    let mut threads = Vec::new();
    // Three on each CPU, so that they take turns; odd ones use AVX.
    for number in 0..3 * env.cpus() as u64 {
        let worker = move || {
            let end = Instant::now().saturating_add(TIME);
            let mut wrong = 0;
            while Instant::now() < end {
                let seed = number << 20 | 0x1234;
                wrong += if number % 2 == 1 && has_avx { avx(seed) } else { general_and_sse(seed) };
            }
            wrong
        };
        let cpu = CpuSet(1 << (number / 3));
        threads.push(Builder::new("registers").affinity(cpu).spawn(worker).map_err(|_| "no thread")?);
    }
    let wrong: u64 = threads.into_iter().map(|thread| thread.join()).sum();
    crate::check(wrong == 0, "a register changed")
}
