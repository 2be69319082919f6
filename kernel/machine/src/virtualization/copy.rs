//! Copying a page in as few instructions as SSE allows: each first write to a frozen page pays them.

use core::arch::asm;

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
