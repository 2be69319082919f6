//! What every transport can do, and the way a device is brought up (virtio 1.2, 3.1.1).

use super::queue::Queue;

/// Device status bits (2.1).
pub mod status {
    #![allow(missing_docs, reason = "the specification's names")]
    pub const ACKNOWLEDGE: u8 = 1;
    pub const DRIVER: u8 = 2;
    pub const DRIVER_OK: u8 = 4;
    pub const FEATURES_OK: u8 = 8;
    pub const FAILED: u8 = 128;
    /// What a device reads as that is not there; none has all bits, for some have no meaning.
    pub const ABSENT: u8 = 0xff;
}

/// Feature bits common to all devices (6).
pub mod feature {
    #![allow(missing_docs, reason = "the specification's names")]
    pub const EVENT_IDX: u64 = 1 << 29;
    pub const VERSION_1: u64 = 1 << 32;
}

/// Why a device can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VirtioError {
    /// Not of the expected type, or no virtio device.
    WrongDevice,
    /// It speaks only the legacy interface (under QEMU: `-global virtio-mmio.force-legacy=false`).
    Legacy,
    /// A register structure is missing or does not fit its memory.
    Structure(&'static str),
    /// It does not accept the features we need.
    Features,
    /// A queue is missing or too small.
    Queue,
    /// No memory in the DMA pool.
    OutOfMemory,
    /// It did not finish a reset.
    Reset,
    /// The disk's sectors have this many bytes; ours have 512.
    SectorSize(u32),
}

/// The registers of a virtio device.
pub trait Transport: Send {
    /// The device's type.
    fn device_type(&self) -> u16;
    /// Features it offers.
    fn device_features(&mut self) -> u64;
    /// Features we accept.
    fn set_driver_features(&mut self, features: u64);
    /// Device status.
    fn status(&self) -> u8;
    /// Sets the device status; 0 resets.
    fn set_status(&mut self, status: u8);
    /// Largest size of a queue; 0 if there is none.
    fn queue_max(&mut self, queue: u16) -> u16;
    /// Tells the device where a queue is and enables it; its interrupts go to MSI-X entry 0 where there is MSI-X.
    fn set_queue(&mut self, queue: u16, memory: &Queue);
    /// Tells the device to look at a queue.
    fn notify(&self, queue: u16);
    /// A byte of the device's own configuration.
    fn config(&self, offset: usize) -> u8;
}

/// Resets the device and agrees on features: those of `wanted` that it offers, which must include `needed`.
pub(super) fn negotiate(transport: &mut dyn Transport, wanted: u64, needed: u64) -> Result<u64, VirtioError> {
    reset(transport)?;
    transport.set_status(status::ACKNOWLEDGE);
    transport.set_status(status::ACKNOWLEDGE | status::DRIVER);
    let features = transport.device_features() & (wanted | needed | feature::VERSION_1);
    if features & feature::VERSION_1 == 0 {
        return Err(VirtioError::Legacy);
    }
    if features & needed != needed {
        transport.set_status(status::FAILED);
        return Err(VirtioError::Features);
    }
    transport.set_driver_features(features);
    let agreed = status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK;
    transport.set_status(agreed);
    if transport.status() & status::FEATURES_OK == 0 {
        transport.set_status(status::FAILED);
        return Err(VirtioError::Features);
    }
    Ok(features)
}

/// Last step of bringing a device up.
pub(super) fn run(transport: &mut dyn Transport) {
    let agreed = status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK;
    transport.set_status(agreed | status::DRIVER_OK);
}

/// Resets the device and waits until it says so.
pub(super) fn reset(transport: &mut dyn Transport) -> Result<(), VirtioError> {
    transport.set_status(0);
    for _ in 0..1_000_000 {
        match transport.status() {
            0 => return Ok(()),
            status::ABSENT => break,
            _ => {}
        }
        core::hint::spin_loop();
    }
    Err(VirtioError::Reset)
}

/// The size a queue gets: the device's largest, at most `limit`, a power of two.
pub(super) fn queue_size(transport: &mut dyn Transport, queue: u16, limit: u16) -> Result<u16, VirtioError> {
    match transport.queue_max(queue).min(limit) {
        0 => Err(VirtioError::Queue),
        size => Ok(1 << size.ilog2()),
    }
}
