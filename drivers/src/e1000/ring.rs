//! A ring of legacy descriptors with a buffer each (8254x, 3.2.3 and 3.3.3).
//!
//! Both kinds are 16 bytes: address (8), length (2), then for receiving checksum (2), status, errors, special (2); for
//! transmitting checksum offset, command, status, checksum start, special (2).

use core::ptr::NonNull;
use core::sync::atomic::{Ordering, fence};
use machine::dma::{DmaRegion, DmaSpan};

/// Status: the card has finished with the descriptor.
pub(super) const DONE: u8 = 1;
/// Status of a received frame: it ends here.
pub(super) const END_OF_PACKET: u8 = 2;
/// Command of a frame to send: end of packet, insert the frame check sequence, report status.
const SEND: u8 = 1 | 2 | 8;

/// Descriptors and buffers.
#[derive(Debug)]
pub(super) struct Ring {
    descriptors: DmaRegion,
    buffers: DmaRegion,
    count: usize,
    buffer_size: usize,
}

impl Ring {
    pub(super) fn new(count: usize, buffer_size: usize) -> Option<Self> {
        Some(Self {
            descriptors: DmaRegion::new((count * 16).div_ceil(4096))?,
            buffers: DmaRegion::new((count * buffer_size).div_ceil(4096))?,
            count,
            buffer_size,
        })
    }

    /// The descriptors.
    pub(super) fn descriptors(&self) -> DmaSpan {
        self.descriptors.span(0, self.count * 16)
    }

    fn at(&self, index: usize, offset: usize) -> *mut u8 {
        debug_assert!(index < self.count && offset < 16);
        // SAFETY: within the descriptor table.
        unsafe { self.descriptors.pointer().as_ptr().add(index * 16 + offset) }
    }

    /// The buffer of a descriptor.
    pub(super) fn buffer(&self, index: usize) -> NonNull<u8> {
        debug_assert!(index < self.count);
        // SAFETY: within the buffers.
        unsafe { self.buffers.pointer().add(index * self.buffer_size) }
    }

    /// Describes every buffer anew. The card is stopped.
    pub(super) fn reset(&mut self) {
        for index in 0..self.count {
            let buffer = self.buffers.span(index * self.buffer_size, self.buffer_size);
            // SAFETY: a descriptor of the table, aligned to 16.
            unsafe {
                self.at(index, 0).cast::<u64>().write_volatile(buffer.lend());
                self.at(index, 8).cast::<u64>().write_volatile(0);
            }
        }
    }

    pub(super) fn status(&self, index: usize) -> u8 {
        // SAFETY: a byte of the descriptor; the card may write it meanwhile.
        let status = unsafe { self.at(index, 12).read_volatile() };
        fence(Ordering::Acquire);
        status
    }

    /// Length in bytes and error bits of a received frame.
    pub(super) fn received(&self, index: usize) -> (usize, u8) {
        // SAFETY: as for `status`; the card has finished with the descriptor.
        unsafe {
            (usize::from(self.at(index, 8).cast::<u16>().read_volatile()), self.at(index, 13).read_volatile())
        }
    }

    /// Makes a receive descriptor ready for the next frame.
    pub(super) fn clear(&mut self, index: usize) {
        // SAFETY: the descriptor is ours until the tail moves past it.
        unsafe { self.at(index, 8).cast::<u64>().write_volatile(0) };
        fence(Ordering::Release);
    }

    /// Describes a frame to send.
    pub(super) fn send(&mut self, index: usize, length: u16) {
        // SAFETY: as for `clear`. Length from bit 0, command from bit 24; status zero.
        unsafe { self.at(index, 8).cast::<u64>().write_volatile(u64::from(length) | u64::from(SEND) << 24) };
    }
}
