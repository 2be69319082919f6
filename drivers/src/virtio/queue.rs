//! The split virtqueue (virtio 1.2, 2.7), with event indices.
//!
//! Descriptors are set by their users, once or for each request; the queue moves indices between the two rings, and
//! decides when the device has to be told and when it may interrupt.

use super::transport::VirtioError;
use core::sync::atomic::{Ordering, fence};
use machine::dma::{DmaRegion, DmaSpan};

/// Descriptor flags (2.7.5).
const NEXT: u16 = 1;
const WRITE: u16 = 2;

/// A chain the device has finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// Its first descriptor.
    pub id: u16,
    /// Bytes the device wrote.
    pub length: u32,
}

/// What the device did wrong; the queue is not to be used any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueError {
    /// It returned a descriptor that does not exist.
    BadId(u32),
}

/// A virtqueue.
#[derive(Debug)]
pub struct Queue {
    region: DmaRegion,
    size: u16,
    event_index: bool,
    /// Index the next available entry gets.
    available: u16,
    /// What the device last was told of.
    told: u16,
    /// Index of the next used entry to take.
    used: u16,
    driver_area: usize,
    device_area: usize,
}

impl Queue {
    /// A queue of `size` descriptors, a power of two up to 1024.
    pub fn new(size: u16, event_index: bool) -> Result<Self, VirtioError> {
        if !size.is_power_of_two() || size > 1024 {
            return Err(VirtioError::Queue);
        }
        let entries = usize::from(size);
        let driver_area = entries * 16;
        // The ring wants 4 bytes of alignment; its entries, which begin 4 bytes in, are read as words of 8.
        let device_area = (driver_area + 6 + entries * 2).next_multiple_of(8) + 4;
        let bytes = device_area + 6 + entries * 8;
        let region = DmaRegion::new(bytes.div_ceil(4096)).ok_or(VirtioError::OutOfMemory)?;
        Ok(Self { region, size, event_index, available: 0, told: 0, used: 0, driver_area, device_area })
    }

    /// Number of descriptors.
    pub fn size(&self) -> u16 {
        self.size
    }

    /// The descriptor table.
    pub fn descriptors(&self) -> DmaSpan {
        self.region.span(0, self.driver_area)
    }

    /// The available ring.
    pub fn driver_area(&self) -> DmaSpan {
        self.region.span(self.driver_area, 6 + usize::from(self.size) * 2)
    }

    /// The used ring.
    pub fn device_area(&self) -> DmaSpan {
        self.region.span(self.device_area, 6 + usize::from(self.size) * 8)
    }

    #[inline]
    fn read<T: Copy>(&self, offset: usize) -> T {
        debug_assert!(offset + size_of::<T>() <= self.region.len());
        // SAFETY: callers compute offsets from masked indices, so they lie within the region.
        unsafe { self.region.pointer().add(offset).cast::<T>().read_volatile() }
    }

    #[inline]
    fn write<T: Copy>(&mut self, offset: usize, value: T) {
        debug_assert!(offset + size_of::<T>() <= self.region.len());
        // SAFETY: as for `read`.
        unsafe { self.region.pointer().add(offset).cast::<T>().write_volatile(value) };
    }

    #[inline]
    fn slot(&self, index: u16) -> usize {
        usize::from(index & (self.size - 1))
    }

    /// Describes a buffer. `next` continues the chain; `writable` lets the device write.
    #[inline]
    pub fn describe(&mut self, id: u16, memory: DmaSpan, writable: bool, next: Option<u16>) {
        let at = self.slot(id) * 16;
        let flags = if writable { WRITE } else { 0 } | if next.is_some() { NEXT } else { 0 };
        self.write(at, memory.lend());
        let rest = u64::from(memory.len()) | u64::from(flags) << 32 | u64::from(next.unwrap_or(0)) << 48;
        self.write(at + 8, rest);
    }

    /// Makes a chain available by its first descriptor. The device sees it with the next [`Queue::publish`].
    #[inline]
    pub fn push(&mut self, id: u16) {
        let at = self.driver_area + 4 + self.slot(self.available) * 2;
        self.write(at, id);
        self.available = self.available.wrapping_add(1);
    }

    /// Shows the device what was pushed; true if it wants to be told.
    #[inline]
    pub fn publish(&mut self) -> bool {
        if self.available == self.told {
            return false;
        }
        fence(Ordering::Release);
        self.write(self.driver_area + 2, self.available);
        // The device's wish must be read after it can see the entries (2.7.13.4.1).
        fence(Ordering::SeqCst);
        let (old, new) = (self.told, self.available);
        self.told = new;
        if self.event_index {
            let event: u16 = self.read(self.device_area + 4 + usize::from(self.size) * 8);
            new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
        } else {
            self.read::<u16>(self.device_area) & 1 == 0
        }
    }

    /// Whether a used entry waits.
    #[inline]
    pub fn has_used(&self) -> bool {
        self.read::<u16>(self.device_area + 2) != self.used
    }

    /// Takes the next used entry.
    #[inline]
    pub fn pop(&mut self) -> Result<Option<Used>, QueueError> {
        if !self.has_used() {
            return Ok(None);
        }
        fence(Ordering::Acquire);
        let entry: u64 = self.read(self.device_area + 4 + self.slot(self.used) * 8);
        let id = entry as u32;
        if id >= u32::from(self.size) {
            return Err(QueueError::BadId(id));
        }
        self.used = self.used.wrapping_add(1);
        Ok(Some(Used { id: id as u16, length: (entry >> 32) as u32 }))
    }

    /// Lets the device interrupt at the next used entry, or not at all. After allowing: whether one waits already.
    #[inline]
    pub fn set_interrupts(&mut self, enabled: bool) -> bool {
        if self.event_index {
            // Off: an event just passed, which comes round again after 65,536 entries.
            let event = if enabled { self.used } else { self.used.wrapping_sub(1) };
            self.write(self.driver_area + 4 + usize::from(self.size) * 2, event);
        } else {
            self.write(self.driver_area, u16::from(!enabled));
        }
        fence(Ordering::SeqCst);
        enabled && self.has_used()
    }
}
