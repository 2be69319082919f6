//! The entropy device (virtio 1.2, 5.4): random bytes on request, polled.

use super::transport::{Transport, VirtioError, negotiate, queue_size, reset, run};
use super::{Queue, device_type};
use alloc::boxed::Box;
use alloc::vec::Vec;
use drivers_api::{Device, DeviceState, Driver, ExportedState, LifecycleError, StateKind};
use machine::dma::DmaRegion;
use machine::time::{Duration, Instant};

/// How long the device may take.
const PATIENCE: Duration = Duration::from_millis(100);

/// Layout of the exported state: nothing. Random bytes must not be kept, and there is nothing else.
const STATE: StateKind = StateKind { kind: *b"rng0", version: 1 };

/// An entropy device.
pub struct EntropyDevice {
    transport: Box<dyn Transport>,
    state: DeviceState,
    queue: Queue,
    buffer: DmaRegion,
    /// The device may still write to the buffer, or returned what it never had; over with the next reset.
    broken: bool,
}

impl EntropyDevice {
    /// Brings the device up.
    pub fn new(mut transport: Box<dyn Transport>) -> Result<Self, VirtioError> {
        if transport.device_type() != device_type::ENTROPY {
            return Err(VirtioError::WrongDevice);
        }
        negotiate(&mut *transport, 0, 0)?;
        let queue = Queue::new(queue_size(&mut *transport, 0, 8)?, false)?;
        let buffer = DmaRegion::new(1).ok_or(VirtioError::OutOfMemory)?;
        let mut device = Self { transport, state: DeviceState::Running, queue, buffer, broken: false };
        device.set_up();
        Ok(device)
    }

    /// Gives the queue to a device with which features are agreed, and lets it run.
    fn set_up(&mut self) {
        self.transport.set_queue(0, &self.queue);
        self.queue.set_interrupts(false);
        run(&mut *self.transport);
        self.broken = false;
    }

    /// Asks for random bytes; returns how many came within 100 ms, at most a page (4 KiB). None come from a device that is
    /// not running, nor, until it has been quiesced and resumed, from one that once was late or returned a wrong buffer.
    pub fn fill(&mut self, bytes: &mut [u8]) -> usize {
        let wanted = bytes.len().min(self.buffer.len());
        // The device has to write a byte at least (5.4.6.2), so it can't be asked for none.
        if self.state != DeviceState::Running || self.broken || wanted == 0 {
            return 0;
        }
        self.queue.describe(0, self.buffer.span(0, wanted), true, None);
        self.queue.push(0);
        if self.queue.publish() {
            self.transport.notify(0);
        }
        let deadline = Instant::now().saturating_add(PATIENCE);
        while !self.queue.has_used() && Instant::now() < deadline {
            core::hint::spin_loop();
        }
        let length = match self.queue.pop() {
            Ok(Some(used)) if used.id == 0 => (used.length as usize).min(wanted),
            _ => {
                self.broken = true;
                return 0;
            }
        };
        // SAFETY: the device has returned the buffer, of which it had the first `wanted` bytes.
        let random = unsafe { core::slice::from_raw_parts_mut(self.buffer.pointer().as_ptr(), wanted) };
        bytes[..length].copy_from_slice(&random[..length]);
        // Bytes that were given out must not come a second time from a device that claims more than it writes.
        random.fill(0);
        length
    }
}

impl Driver for EntropyDevice {
    fn driver_name(&self) -> &'static str {
        "virtio-rng"
    }

    fn standing(&self) -> DeviceState {
        self.state
    }

    fn stand(&mut self, state: DeviceState) {
        self.state = state;
    }

    fn stop(&mut self) -> Result<(), LifecycleError> {
        // A request that was late may still be in flight; the reset ends it.
        reset(&mut *self.transport).map_err(|_| LifecycleError::Timeout)
    }

    fn describe(&self) -> ExportedState {
        ExportedState { kind: STATE, payload: Vec::new() }
    }

    fn accept(&mut self, state: &ExportedState) -> Result<(), LifecycleError> {
        if state.kind != STATE {
            return Err(LifecycleError::ForeignState(state.kind));
        }
        if state.payload.is_empty() { Ok(()) } else { Err(LifecycleError::Malformed("length")) }
    }

    fn start(&mut self) -> Result<(), LifecycleError> {
        negotiate(&mut *self.transport, 0, 0).map_err(|_| LifecycleError::Timeout)?;
        self.queue = Queue::new(self.queue.size(), false).map_err(|_| LifecycleError::Timeout)?;
        self.set_up();
        Ok(())
    }
}

impl Drop for EntropyDevice {
    fn drop(&mut self) {
        // The memory goes back to the pool, so the device must have let go of it.
        if self.state == DeviceState::Running {
            self.halt();
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::super::fake::Fake;
    use super::*;
    use std::vec;

    fn device() -> (Fake, EntropyDevice) {
        let fake = Fake::new(device_type::ENTROPY, 0, 8, vec![]);
        let device = EntropyDevice::new(Box::new(fake.clone())).unwrap();
        (fake, device)
    }

    /// Asks for 16 bytes. The device has written `bytes` when it is asked, and returned `id` with a claim of `length` bytes:
    /// one so fast that no second thread has to play it.
    fn ask(fake: &Fake, device: &mut EntropyDevice, bytes: &[u8], id: u32, length: u32) -> Vec<u8> {
        let buffer = device.buffer.physical();
        fake.write(buffer, bytes);
        fake.give(0, id, length);
        let mut got = [0xee; 16];
        let count = device.fill(&mut got);
        assert_eq!(fake.take(0), Some((0, vec![(buffer, 16, true)])));
        got[..count].to_vec()
    }

    #[test]
    fn a_device_that_claims_too_much_repeats_nothing() {
        let (fake, mut device) = device();
        assert_eq!(ask(&fake, &mut device, &[9; 16], 0, 4000), [9; 16]);
        assert_eq!(ask(&fake, &mut device, &[8; 2], 0, 4)[..], [8, 8, 0, 0]);
        assert_eq!(device.fill(&mut []), 0);
        assert!(fake.take(0).is_none(), "nothing was asked for");
    }

    #[test]
    fn a_late_device_is_left_alone_until_it_was_reset() {
        let (fake, mut device) = device();
        let mut bytes = [0; 16];
        assert_eq!(device.fill(&mut bytes), 0);
        // The answer comes now; what the next one asks for must not be mixed up with it.
        let (id, buffers) = fake.take(0).unwrap();
        fake.write(buffers[0].0, &[7; 16]);
        fake.give(0, u32::from(id), 16);
        assert_eq!((device.fill(&mut bytes), bytes), (0, [0; 16]));
        device.quiesce().unwrap();
        device.resume().unwrap();
        assert_eq!(ask(&fake, &mut device, &[5; 16], 0, 16), [5; 16]);
    }

    #[test]
    fn a_wrong_buffer_is_not_read() {
        for id in [1, 8, u32::MAX] {
            let (fake, mut device) = device();
            assert_eq!(ask(&fake, &mut device, &[6; 16], id, 16), []);
            assert_eq!(device.fill(&mut [0; 16]), 0);
        }
    }

    #[test]
    fn it_lives_through_its_cycle() {
        let (fake, mut device) = device();
        let running = LifecycleError::WrongState(DeviceState::Running);
        assert_eq!((device.name(), device.state()), ("virtio-rng", DeviceState::Running));
        let state = device.export().unwrap();
        assert_eq!(device.resume(), Err(running));
        device.quiesce().unwrap();
        assert_eq!(fake.0.lock().unwrap().status, 0);
        assert_eq!(device.quiesce(), Err(LifecycleError::WrongState(DeviceState::Quiesced)));
        assert_eq!(device.fill(&mut [0; 16]), 0);
        assert_eq!(device.export().unwrap(), state);
        let mut other = state.clone();
        other.kind.version = 9;
        assert_eq!(device.import(&other), Err(LifecycleError::ForeignState(other.kind)));
        other = state.clone();
        other.payload.push(0);
        assert_eq!(device.import(&other), Err(LifecycleError::Malformed("length")));
        device.import(&state).unwrap();
        device.resume().unwrap();
        assert_eq!(device.import(&state), Err(running));
        assert_eq!(ask(&fake, &mut device, &[4; 16], 0, 16), [4; 16]);
        device.halt();
        assert_eq!(device.resume(), Err(LifecycleError::WrongState(DeviceState::Halted)));
        assert_eq!((fake.0.lock().unwrap().status, device.fill(&mut [0; 16])), (0, 0));
    }

    #[test]
    fn a_device_is_silent_when_its_driver_is_gone() {
        let (fake, device) = device();
        assert_ne!(fake.0.lock().unwrap().status, 0);
        drop(device);
        assert_eq!(fake.0.lock().unwrap().status, 0);
        let disk = Fake::new(device_type::BLOCK, 0, 8, vec![]);
        assert_eq!(EntropyDevice::new(Box::new(disk)).err(), Some(VirtioError::WrongDevice));
    }
}
