//! What the calling convention keeps of x87 and SSE: their control words, and an x87 stack that is empty.

use core::arch::asm;

/// The control words of a CPU.
#[derive(Clone, Copy, Debug, Default)]
pub struct FloatControls {
    mxcsr: u32,
    x87: u16,
}

impl FloatControls {
    /// Those of the CPU that runs this.
    pub fn take() -> Self {
        let mut taken = Self::default();
        // SAFETY: stores two words that are ours.
        unsafe {
            asm!("stmxcsr [{}]", "fnstcw [{}]", in(reg) &raw mut taken.mxcsr, in(reg) &raw mut taken.x87, options(nostack));
        }
        taken
    }

    /// Gives them to the CPU that runs this, with an empty x87 stack.
    pub fn install(self) {
        // SAFETY: between two calls the stack is empty, and the words are some that a CPU had.
        unsafe {
            asm!("fninit", "fldcw [{}]", "ldmxcsr [{}]", in(reg) &raw const self.x87, in(reg) &raw const self.mxcsr, options(nostack));
        }
    }
}
