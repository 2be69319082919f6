//! The x87 unit: each thread has a stack of its own in it, and a rounding.

use core::arch::asm;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

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
pub fn rooms() -> u32 {
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
pub fn rounds_down() {
    // SAFETY: exceptions stay masked; rounding is this thread's own affair.
    unsafe { asm!("fldcw [{}]", in(reg) &DOWN, options(nostack)) };
}

/// Whether it is as [`rounds_down`] has set it.
pub fn rounds_down_still() -> bool {
    let mut word = 0u16;
    // SAFETY: two bytes are written.
    unsafe { asm!("fnstcw [{}]", in(reg) &raw mut word, options(nostack)) };
    word == DOWN
}
