//! Copying a page in as few instructions as SSE allows: each first write to a frozen page pays them. And filling one.

use core::arch::asm;
use core::arch::x86_64::{_mm_clflush, _mm_mfence};

/// Copies 4 KiB, 256 bytes at a time: `memcpy`, which serves any length, takes a third more.
///
/// # Safety
/// Both are multiples of 4 KiB and mapped; the page at `to` is nobody else's, and the one at `from` is written by nobody meanwhile.
#[inline]
pub unsafe fn copy_page(from: u64, to: u64) {
    macro_rules! lines {
        ($instruction:literal, $order:tt, $($number:literal $offset:literal),*) => {
            concat!($(lines!($instruction, $order, $number, $offset)),*)
        };
        ($instruction:literal, load, $number:literal, $offset:literal) => {
            concat!($instruction, " xmm", $number, ", [{from} + {at} + ", $offset, "]\n")
        };
        ($instruction:literal, store, $number:literal, $offset:literal) => {
            concat!($instruction, " [{to} + {at} + ", $offset, "], xmm", $number, "\n")
        };
        ($order:tt) => {
            lines!("movaps", $order, "0" "0", "1" "16", "2" "32", "3" "48", "4" "64", "5" "80", "6" "96", "7" "112",
                "8" "128", "9" "144", "10" "160", "11" "176", "12" "192", "13" "208", "14" "224", "15" "240")
        };
    }
    // From the end of the page on, so that the index reaches 0: one comparison less.
    // SAFETY: the caller's contract.
    unsafe {
        asm!(
            "2:",
            lines!(load),
            lines!(store),
            "add {at}, 256",
            "jnz 2b",
            from = in(reg) from + 4096,
            to = in(reg) to + 4096,
            at = inout(reg) -4096i64 => _,
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _, out("xmm6") _,
            out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _, out("xmm12") _,
            out("xmm13") _, out("xmm14") _, out("xmm15") _,
            options(nostack)
        );
    }
}

/// Fills 4 KiB with a word, and has it in memory: a CPU that reads it as device memory goes past the caches, and it need not look into those of
/// others (SDM vol. 3, 13.12.4: aliases of different types; APM vol. 2, 7.8.7).
///
/// # Safety
/// A multiple of 4 KiB, mapped, and nobody else's.
pub unsafe fn fill_page(page: u64, word: u64) {
    const LINE: u64 = 64;
    for at in (page..page + 4096).step_by(8) {
        // SAFETY: the caller's contract.
        unsafe { (at as *mut u64).write(word) };
    }
    for line in (page..page + 4096).step_by(LINE as usize) {
        // SAFETY: the caller's contract; all CPUs of 64 bits have it.
        unsafe { _mm_clflush(line as *const u8) };
    }
    // SAFETY: the same.
    unsafe { _mm_mfence() };
}
