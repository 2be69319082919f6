//! Instructions that the CPU may refuse: tried, with the exception as the answer.
//!
//! [`attempt!`](crate::attempt) leaves the addresses of such an instruction and of what follows it in a table of the image; an
//! invalid opcode or a general protection fault at one goes on at the other.

use crate::frames;
use crate::paging::{self, Rights};
use crate::traps::TrapFrame;
use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

/// Vector of an invalid opcode.
pub const INVALID_OPCODE: u64 = 6;
/// Vector of a general protection fault.
pub const GENERAL_PROTECTION: u64 = 13;

/// Carries out one instruction, with operands as for `asm!`: 0 if the CPU took it, else the vector of the exception. Takes R11.
/// In an `unsafe` block: what the instruction does if it is taken has to be sound.
#[macro_export]
macro_rules! attempt {
    ($instruction:literal $(, $($operands:tt)*)?) => {{
        let vector: u64;
        ::core::arch::asm!(
            "xor r11d, r11d",
            "2:",
            $instruction,
            "3:",
            ".pushsection .probes, \"a\"",
            ".quad 2b, 3b",
            ".popsection",
            out("r11") vector,
            $($($operands)*)?
        );
        vector
    }};
}

unsafe extern "C" {
    static __probes_start: u8;
    static __probes_end: u8;
}

/// What [`beyond_text`] runs; 0 if nothing.
static BEYOND: AtomicU64 = AtomicU64::new(0);

/// Goes on behind an instruction that was tried; false if the exception is a real one.
pub(crate) fn resume(frame: &mut TrapFrame) -> bool {
    if frame.rip == BEYOND.load(Ordering::Relaxed) {
        // SAFETY: `beyond_text` has called it, so the address to return to is on top of the stack.
        frame.rip = unsafe { (frame.rsp as *const u64).read() };
        frame.rsp += 8;
        frame.r11 = frame.vector;
        return true;
    }
    let start = &raw const __probes_start as u64;
    let length = (&raw const __probes_end as u64 - start) / 16;
    // SAFETY: the linker script keeps the table in one piece, in read-only data.
    let table = unsafe { core::slice::from_raw_parts(start as *const [u64; 2], length as usize) };
    let Some([_, next]) = table.iter().find(|[tried, _]| *tried == frame.rip) else { return false };
    frame.rip = *next;
    frame.r11 = frame.vector;
    true
}

/// Runs an instruction of at most 15 bytes in memory that is not the image's: like [`attempt!`](crate::attempt), with RAX = 0;
/// `None` when memory is out. For one caller at a time.
///
/// # Safety
/// The bytes are one instruction that changes no registers but RAX, RDX and R11, and no memory.
pub unsafe fn beyond_text(instruction: &[u8]) -> Option<u64> {
    const RET: u8 = 0xc3;
    let page = frames::allocate(0)?;
    let length = instruction.len().min(15);
    // SAFETY: the frame is ours and identity-mapped.
    unsafe {
        core::ptr::copy_nonoverlapping(instruction.as_ptr(), page as *mut u8, length);
        (page as *mut u8).add(length).write(RET);
    }
    let executable = paging::protect(page, Rights::READ_EXECUTE).is_ok();
    let mut vector = None;
    if executable {
        BEYOND.store(page, Ordering::Relaxed);
        let raised: u64;
        // SAFETY: by the contract the callee keeps all other registers, and it returns, by itself or by `resume`.
        unsafe {
            asm!("xor r11d, r11d", "call {page}", page = in(reg) page, inout("rax") 0u64 => _, out("rdx") _, out("r11") raised);
        }
        vector = Some(raised);
        BEYOND.store(0, Ordering::Relaxed);
    }
    if paging::protect(page, Rights::READ_WRITE).is_ok() {
        frames::free(page, 0);
    }
    vector
}
