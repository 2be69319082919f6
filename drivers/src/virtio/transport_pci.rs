//! virtio over PCI (virtio 1.2, 4.1).

use super::{Queue, Transport, VirtioError};
use crate::mmio::Registers;
use crate::pci::{ConfigSpace, Function, Msix};

const VENDOR_CAPABILITY: u8 = 0x09;
const COMMON: u8 = 1;
const NOTIFY: u8 = 2;
const ISR: u8 = 3;
const DEVICE: u8 = 4;
const NO_VECTOR: u16 = 0xffff;

/// Offsets in the common configuration structure (4.1.4.3).
mod common {
    pub const DEVICE_FEATURE_SELECT: usize = 0;
    pub const DEVICE_FEATURE: usize = 4;
    pub const DRIVER_FEATURE_SELECT: usize = 8;
    pub const DRIVER_FEATURE: usize = 12;
    pub const CONFIG_MSIX_VECTOR: usize = 16;
    pub const DEVICE_STATUS: usize = 20;
    pub const QUEUE_SELECT: usize = 22;
    pub const QUEUE_SIZE: usize = 24;
    pub const QUEUE_MSIX_VECTOR: usize = 26;
    pub const QUEUE_ENABLE: usize = 28;
    pub const QUEUE_NOTIFY_OFF: usize = 30;
    pub const QUEUE_DESC: usize = 32;
    pub const QUEUE_DRIVER: usize = 40;
    pub const QUEUE_DEVICE: usize = 48;
}

/// A virtio device on PCI.
#[derive(Debug)]
pub struct PciTransport {
    device_type: u16,
    common: Registers,
    notify: Registers,
    isr: Registers,
    device: Option<Registers>,
    multiplier: usize,
    /// Notification offset of the first queues.
    offsets: [u16; 8],
    msix: Option<Msix>,
}

impl PciTransport {
    /// Takes a function whose memory is assigned and enabled.
    pub fn new(space: &dyn ConfigSpace, function: &Function) -> Result<Self, VirtioError> {
        if function.vendor != 0x1af4 {
            return Err(VirtioError::WrongDevice);
        }
        let device_type = match function.device {
            // Transitional devices have their type as subsystem ID.
            0x1000..=0x103f => (space.read(function.address, 0x2c) >> 16) as u16,
            id @ 0x1040..=0x107f => id - 0x1040,
            _ => return Err(VirtioError::WrongDevice),
        };
        let mut found: [Option<Registers>; 5] = [None; 5];
        let mut multiplier = 0;
        for at in function.capabilities(space, VENDOR_CAPABILITY) {
            let kind = (space.read(function.address, at) >> 24) as u8;
            let bar = space.read(function.address, at + 4) as u8;
            let offset = space.read(function.address, at + 8) as usize;
            let length = space.read(function.address, at + 12) as usize;
            if !(COMMON..=DEVICE).contains(&kind) || found[kind as usize].is_some() {
                continue;
            }
            if let Ok(memory) = function.map(space, bar) {
                found[kind as usize] = memory.part(offset, length);
            }
            if kind == NOTIFY {
                multiplier = space.read(function.address, at + 16) as usize;
            }
        }
        let structure = |kind: u8, name| found[kind as usize].ok_or(VirtioError::Structure(name));
        if found[COMMON as usize].is_none() && function.device < 0x1040 {
            return Err(VirtioError::Legacy);
        }
        Ok(Self {
            device_type,
            common: structure(COMMON, "common configuration")?,
            notify: structure(NOTIFY, "notification")?,
            isr: structure(ISR, "interrupt status")?,
            device: found[DEVICE as usize],
            multiplier,
            offsets: [0; 8],
            msix: None,
        })
    }

    /// Uses MSI-X: every queue's interrupts go to entry 0.
    pub fn use_msix(&mut self, msix: Msix) {
        self.msix = Some(msix);
    }

    /// The interrupt status register; reading it ends a line interrupt.
    pub fn interrupt_status(&self) -> Registers {
        self.isr
    }
}

impl Transport for PciTransport {
    fn device_type(&self) -> u16 {
        self.device_type
    }

    fn device_features(&mut self) -> u64 {
        let word = |index: u32| {
            self.common.write(common::DEVICE_FEATURE_SELECT, index);
            u64::from(self.common.read::<u32>(common::DEVICE_FEATURE))
        };
        word(0) | word(1) << 32
    }

    fn set_driver_features(&mut self, features: u64) {
        for index in 0..2u32 {
            self.common.write(common::DRIVER_FEATURE_SELECT, index);
            self.common.write(common::DRIVER_FEATURE, (features >> (32 * index)) as u32);
        }
    }

    fn status(&self) -> u8 {
        self.common.read(common::DEVICE_STATUS)
    }

    fn set_status(&mut self, status: u8) {
        self.common.write(common::DEVICE_STATUS, status);
    }

    fn queue_max(&mut self, queue: u16) -> u16 {
        self.common.write(common::QUEUE_SELECT, queue);
        self.common.read(common::QUEUE_SIZE)
    }

    fn set_queue(&mut self, queue: u16, memory: &Queue) {
        self.common.write(common::CONFIG_MSIX_VECTOR, NO_VECTOR);
        self.common.write(common::QUEUE_SELECT, queue);
        self.common.write(common::QUEUE_SIZE, memory.size());
        let vector = if self.msix.is_some() { 0 } else { NO_VECTOR };
        self.common.write(common::QUEUE_MSIX_VECTOR, vector);
        self.common.lend(common::QUEUE_DESC, memory.descriptors());
        self.common.lend(common::QUEUE_DRIVER, memory.driver_area());
        self.common.lend(common::QUEUE_DEVICE, memory.device_area());
        if let Some(place) = self.offsets.get_mut(queue as usize) {
            *place = self.common.read(common::QUEUE_NOTIFY_OFF);
        }
        self.common.write(common::QUEUE_ENABLE, 1u16);
    }

    fn notify(&self, queue: u16) {
        let offset = self.offsets.get(queue as usize).map_or(0, |&offset| usize::from(offset));
        self.notify.write(offset * self.multiplier, queue);
    }

    fn config(&self, offset: usize) -> u8 {
        self.device.map_or(0, |device| device.read(offset))
    }
}
