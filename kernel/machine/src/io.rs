//! Ports and device memory.

use crate::paging;
use core::arch::asm;
use core::ptr::NonNull;

macro_rules! port {
    ($in:ident, $out:ident, $type:ty, $register:tt) => {
        /// Reads a port.
        ///
        /// # Safety
        /// Reading can have effects on the device behind the port.
        #[inline]
        pub unsafe fn $in(port: u16) -> $type {
            let value: $type;
            // SAFETY: the caller's contract.
            unsafe { asm!(concat!("in ", $register, ", dx"), in("dx") port, out($register) value, options(nostack, preserves_flags)) };
            value
        }
        /// Writes a port.
        ///
        /// # Safety
        /// Writing can do anything the device behind the port can do.
        #[inline]
        pub unsafe fn $out(port: u16, value: $type) {
            // SAFETY: the caller's contract.
            unsafe { asm!(concat!("out dx, ", $register), in("dx") port, in($register) value, options(nostack, preserves_flags)) };
        }
    };
}

port!(inb, outb, u8, "al");
port!(inw, outw, u16, "ax");
port!(inl, outl, u32, "eax");

/// Maps `bytes` of device memory, uncached, at its physical address, and returns it.
///
/// `None` if the range wraps, lies beyond what the page tables reach, or no frame is left for a page table.
pub fn map_device(physical: u64, bytes: usize) -> Option<NonNull<u8>> {
    paging::map_device(physical, bytes as u64).ok()?;
    NonNull::new(physical as *mut u8)
}
