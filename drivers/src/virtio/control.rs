//! The control queue of a network card (virtio 1.2, 5.1.6.5): it is told to have another address (5.1.6.5.2).

use super::queue::Queue;
use super::transport::{Transport, VirtioError, queue_size};
use crate::mmio::wait;
use drivers_api::{LifecycleError, MacAddr};
use machine::dma::DmaRegion;
use machine::time::Duration;

/// Its number, where there is one pair of queues for frames (5.1.2).
const CONTROL: u16 = 2;
const SIZE: u16 = 4;

/// Class and command: set the address.
const MAC: u8 = 1;
const ADDR_SET: u8 = 1;
/// What the device answers to a command that it has carried out.
const OK: u8 = 0;

/// A command, and then the byte for its answer.
const COMMAND: usize = 8;

/// How long the device may take. An emulator carries commands out when its host gives it the time.
const PATIENCE: Duration = Duration::from_secs(1);

/// The queue, polled.
pub(super) struct Control {
    queue: Queue,
    buffer: DmaRegion,
}

impl Control {
    /// For a device that has agreed on it.
    pub(super) fn new(transport: &mut dyn Transport, event_index: bool) -> Result<Self, VirtioError> {
        let queue = Queue::new(queue_size(transport, CONTROL, SIZE)?, event_index)?;
        if queue.size() < 2 {
            return Err(VirtioError::Queue);
        }
        Ok(Self { queue, buffer: DmaRegion::new(1).ok_or(VirtioError::OutOfMemory)? })
    }

    /// Begins anew with a device that was reset.
    pub(super) fn restart(&mut self, event_index: bool) -> Result<(), VirtioError> {
        self.queue = Queue::new(self.queue.size(), event_index)?;
        Ok(())
    }

    /// Hands the queue to the device.
    pub(super) fn set_up(&self, transport: &mut dyn Transport) {
        transport.set_queue(CONTROL, &self.queue);
    }

    /// Tells a device that runs to have another address.
    pub(super) fn set_mac(
        &mut self,
        transport: &mut dyn Transport,
        mac: MacAddr,
    ) -> Result<(), LifecycleError> {
        let [a, b, c, d, e, f] = mac.0;
        let command = [MAC, ADDR_SET, a, b, c, d, e, f, !OK];
        // SAFETY: the page is ours between commands; one that was late ended with the device's reset.
        unsafe { self.buffer.pointer().cast::<[u8; COMMAND + 1]>().write(command) };
        self.queue.set_interrupts(false);
        self.queue.describe(0, self.buffer.span(0, COMMAND), false, Some(1));
        self.queue.describe(1, self.buffer.span(COMMAND, 1), true, None);
        self.queue.push(0);
        if self.queue.publish() {
            transport.notify(CONTROL);
        }
        if !wait(PATIENCE, || self.queue.has_used()) || self.queue.pop().is_err() {
            return Err(LifecycleError::Timeout);
        }
        // SAFETY: the command has ended; the byte lies in the page.
        match unsafe { self.buffer.pointer().add(COMMAND).read_volatile() } {
            OK => Ok(()),
            _ => Err(LifecycleError::Malformed("mac")),
        }
    }
}
