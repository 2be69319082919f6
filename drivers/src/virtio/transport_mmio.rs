//! virtio in memory (virtio 1.2, 4.2), version 2.

use super::{Queue, Transport, VirtioError};
use crate::mmio::Registers;

const MAGIC: u32 = 0x7472_6976;

/// Offsets of registers (table 4.1).
mod register {
    pub const MAGIC: usize = 0x00;
    pub const VERSION: usize = 0x04;
    pub const DEVICE_ID: usize = 0x08;
    pub const DEVICE_FEATURES: usize = 0x10;
    pub const DEVICE_FEATURES_SELECT: usize = 0x14;
    pub const DRIVER_FEATURES: usize = 0x20;
    pub const DRIVER_FEATURES_SELECT: usize = 0x24;
    pub const QUEUE_SELECT: usize = 0x30;
    pub const QUEUE_MAX: usize = 0x34;
    pub const QUEUE_SIZE: usize = 0x38;
    pub const QUEUE_READY: usize = 0x44;
    pub const QUEUE_NOTIFY: usize = 0x50;
    pub const INTERRUPT_STATUS: usize = 0x60;
    pub const INTERRUPT_ACKNOWLEDGE: usize = 0x64;
    pub const STATUS: usize = 0x70;
    pub const QUEUE_DESC: usize = 0x80;
    pub const QUEUE_DRIVER: usize = 0x90;
    pub const QUEUE_DEVICE: usize = 0xa0;
    pub const CONFIG: usize = 0x100;
}

/// A virtio device in memory.
#[derive(Debug)]
pub struct MmioTransport(Registers);

impl MmioTransport {
    /// Takes the registers of a device; an empty place (device ID 0) is [`VirtioError::WrongDevice`].
    pub fn new(registers: Registers) -> Result<Self, VirtioError> {
        let word = |offset| registers.read::<u32>(offset);
        if word(register::MAGIC) != MAGIC || word(register::DEVICE_ID) == 0 {
            return Err(VirtioError::WrongDevice);
        }
        if word(register::VERSION) != 2 {
            return Err(VirtioError::Legacy);
        }
        Ok(Self(registers))
    }

    /// Ends an interrupt: acknowledges whatever is pending.
    pub fn acknowledge(registers: &Registers) {
        let pending = registers.read::<u32>(register::INTERRUPT_STATUS);
        registers.write(register::INTERRUPT_ACKNOWLEDGE, pending);
    }
}

impl Transport for MmioTransport {
    fn device_type(&self) -> u16 {
        self.0.read::<u32>(register::DEVICE_ID) as u16
    }

    fn device_features(&mut self) -> u64 {
        let word = |index: u32| {
            self.0.write(register::DEVICE_FEATURES_SELECT, index);
            u64::from(self.0.read::<u32>(register::DEVICE_FEATURES))
        };
        word(0) | word(1) << 32
    }

    fn set_driver_features(&mut self, features: u64) {
        for index in 0..2u32 {
            self.0.write(register::DRIVER_FEATURES_SELECT, index);
            self.0.write(register::DRIVER_FEATURES, (features >> (32 * index)) as u32);
        }
    }

    fn status(&self) -> u8 {
        self.0.read::<u32>(register::STATUS) as u8
    }

    fn set_status(&mut self, status: u8) {
        self.0.write(register::STATUS, u32::from(status));
    }

    fn queue_max(&mut self, queue: u16) -> u16 {
        self.0.write(register::QUEUE_SELECT, u32::from(queue));
        self.0.read::<u32>(register::QUEUE_MAX).min(32768) as u16
    }

    fn set_queue(&mut self, queue: u16, memory: &Queue) {
        self.0.write(register::QUEUE_SELECT, u32::from(queue));
        self.0.write(register::QUEUE_SIZE, u32::from(memory.size()));
        self.0.lend(register::QUEUE_DESC, memory.descriptors());
        self.0.lend(register::QUEUE_DRIVER, memory.driver_area());
        self.0.lend(register::QUEUE_DEVICE, memory.device_area());
        self.0.write(register::QUEUE_READY, 1u32);
    }

    fn notify(&self, queue: u16) {
        self.0.write(register::QUEUE_NOTIFY, u32::from(queue));
    }

    fn config(&self, offset: usize) -> u8 {
        self.0.read(register::CONFIG + offset)
    }
}
