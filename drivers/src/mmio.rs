//! Device memory as a checked range of registers.

use core::ptr::NonNull;
use machine::dma::DmaSpan;
use machine::time::{Duration, Instant};

/// Registers at a base address; every access is checked against the length.
#[derive(Clone, Copy, Debug)]
pub struct Registers {
    base: NonNull<u8>,
    length: usize,
}

// SAFETY: device memory may be accessed from any CPU; whoever shares a `Registers` orders the accesses.
unsafe impl Send for Registers {}
// SAFETY: as above.
unsafe impl Sync for Registers {}

impl Registers {
    /// Registers in `length` bytes from `base`.
    ///
    /// # Safety
    /// The range is mapped, device memory (or memory that stands for it), and stays so as long as this is used.
    pub const unsafe fn new(base: NonNull<u8>, length: usize) -> Self {
        Self { base, length }
    }

    /// Length in bytes.
    pub const fn length(&self) -> usize {
        self.length
    }

    /// A part of the range; `None` if it does not lie within.
    pub fn part(&self, offset: usize, length: usize) -> Option<Self> {
        let end = offset.checked_add(length)?;
        // SAFETY: within the range.
        (end <= self.length).then(|| Self { base: unsafe { self.base.add(offset) }, length })
    }

    /// Reads a register; all ones outside the range, as absent hardware reads.
    #[inline]
    pub fn read<T: Register>(&self, offset: usize) -> T {
        if offset + size_of::<T>() > self.length {
            return T::ONES;
        }
        // SAFETY: within the range, by the check and `new`'s contract.
        unsafe { self.base.add(offset).cast::<T>().read_volatile() }
    }

    /// Writes a register; nothing outside the range.
    #[inline]
    pub fn write<T: Register>(&self, offset: usize, value: T) {
        if offset + size_of::<T>() <= self.length {
            // SAFETY: as for `read`.
            unsafe { self.base.add(offset).cast::<T>().write_volatile(value) };
        }
    }

    /// Lends memory to the device: its address goes to two registers of 32 bits, the lower half first.
    pub fn lend(&self, offset: usize, memory: DmaSpan) {
        let address = memory.lend();
        self.write(offset, address as u32);
        self.write(offset + 4, (address >> 32) as u32);
    }
}

/// Widths of registers.
pub trait Register: Copy {
    /// What absent hardware reads as.
    const ONES: Self;
}

macro_rules! register {
    ($($type:ty)*) => { $(impl Register for $type { const ONES: Self = <$type>::MAX; })* };
}
register!(u8 u16 u32 u64);

/// Polls until `done`; false if it takes longer than `patience`.
pub(crate) fn wait(patience: Duration, mut done: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now().saturating_add(patience);
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        core::hint::spin_loop();
    }
}
