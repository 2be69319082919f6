//! The entropy device (virtio 1.2, 5.4): random bytes on request, polled.

use super::transport::{Transport, VirtioError, negotiate, queue_size, reset, run};
use super::{Queue, device_type};
use alloc::boxed::Box;
use machine::dma::DmaRegion;
use machine::time::{Duration, Instant};

/// How long the device may take.
const PATIENCE: Duration = Duration::from_millis(100);

/// An entropy device.
pub struct EntropyDevice {
    transport: Box<dyn Transport>,
    queue: Queue,
    buffer: DmaRegion,
}

impl EntropyDevice {
    /// Brings the device up.
    pub fn new(mut transport: Box<dyn Transport>) -> Result<Self, VirtioError> {
        if transport.device_type() != device_type::ENTROPY {
            return Err(VirtioError::WrongDevice);
        }
        negotiate(&mut *transport, 0, 0)?;
        let queue = Queue::new(queue_size(&mut *transport, 0, 8)?, false)?;
        transport.set_queue(0, &queue);
        let buffer = DmaRegion::new(1).ok_or(VirtioError::OutOfMemory)?;
        run(&mut *transport);
        Ok(Self { transport, queue, buffer })
    }

    /// Asks for random bytes; returns how many came in time, at most a page.
    pub fn fill(&mut self, bytes: &mut [u8]) -> usize {
        let wanted = bytes.len().min(self.buffer.len());
        self.queue.set_interrupts(false);
        self.queue.describe(0, self.buffer.physical(), wanted as u32, true, None);
        self.queue.push(0);
        if self.queue.publish() {
            self.transport.notify(0);
        }
        let deadline = Instant::now().saturating_add(PATIENCE);
        loop {
            match self.queue.pop() {
                Ok(Some(used)) => {
                    let length = (used.length as usize).min(wanted);
                    // SAFETY: the device has returned the buffer, which holds at least `wanted` bytes.
                    let random =
                        unsafe { core::slice::from_raw_parts(self.buffer.pointer().as_ptr(), length) };
                    bytes[..length].copy_from_slice(random);
                    return length;
                }
                Ok(None) if Instant::now() < deadline => core::hint::spin_loop(),
                _ => return 0,
            }
        }
    }
}

impl Drop for EntropyDevice {
    fn drop(&mut self) {
        // A device that can't be reset keeps the memory: better lost than overwritten.
        if reset(&mut *self.transport).is_err() {
            log::warn!("virtio-rng does not reset");
        }
    }
}
