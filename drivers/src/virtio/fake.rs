//! A virtio device for tests: registers in a struct, and the device's side of the queues.

extern crate std;
use super::{Queue, Transport, status};
use crate::fake::{assert_pooled, put, word};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use std::vec;
use std::vec::Vec;

/// What the device knows of a queue: size and the three addresses.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ring {
    size: u16,
    descriptors: u64,
    driver: u64,
    device: u64,
    seen: u16,
    used: u16,
}

#[derive(Debug, Default)]
pub struct State {
    pub device_type: u16,
    pub offered: u64,
    pub accepted: u64,
    pub status: u8,
    pub refuses_features: bool,
    pub queue_max: u16,
    pub rings: [Ring; 3],
    pub config: Vec<u8>,
    pub notified: Vec<u16>,
    pub resets: usize,
    /// Answers commands of the control queue with this, once it has noted them.
    pub obeys: Option<u8>,
    /// How long it takes to.
    pub hesitates: Duration,
    pub commands: Vec<Vec<u8>>,
}

/// The device; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Fake(pub Arc<Mutex<State>>);

/// A buffer of a chain: address, length, whether the device may write.
pub type Buffer = (u64, u32, bool);

impl Fake {
    pub fn new(device_type: u16, offered: u64, queue_max: u16, config: Vec<u8>) -> Self {
        let offered = offered | super::feature::VERSION_1;
        Self(Arc::new(Mutex::new(State { device_type, offered, queue_max, config, ..State::default() })))
    }

    /// Takes the next available chain: its first descriptor and its buffers. All that the device is told of has to be memory of the pool.
    pub fn take(&self, queue: usize) -> Option<(u16, Vec<Buffer>)> {
        let mut state = self.0.lock().unwrap();
        let ring = &mut state.rings[queue];
        if ring.size == 0 || word::<u16>(ring.driver + 2) == ring.seen {
            return None;
        }
        let head: u16 = word(ring.driver + 4 + u64::from(ring.seen % ring.size) * 2);
        ring.seen = ring.seen.wrapping_add(1);
        let mut buffers = vec![];
        let mut at = head;
        loop {
            let entry = ring.descriptors + u64::from(at) * 16;
            let flags: u16 = word(entry + 12);
            let (address, length) = (word(entry), word(entry + 8));
            assert_pooled(address, length);
            buffers.push((address, length, flags & 2 != 0));
            if flags & 1 == 0 {
                return Some((head, buffers));
            }
            at = word(entry + 14);
        }
    }

    /// Returns a chain, honest or not.
    pub fn give(&self, queue: usize, id: u32, length: u32) {
        let mut state = self.0.lock().unwrap();
        let ring = &mut state.rings[queue];
        let at = ring.device + 4 + u64::from(ring.used % ring.size) * 8;
        put(at, id);
        put(at + 4, length);
        ring.used = ring.used.wrapping_add(1);
        put(ring.device + 2, ring.used);
    }

    /// Does what the control queue says.
    fn obey(&self) {
        let Some(answer) = self.0.lock().unwrap().obeys else { return };
        while let Some((id, buffers)) = self.take(2) {
            let command = self.read(buffers[0].0, buffers[0].1);
            self.0.lock().unwrap().commands.push(command);
            self.write(buffers[1].0, &[answer]);
            self.give(2, u32::from(id), 1);
        }
    }

    /// Writes into buffers the driver lent.
    pub fn write(&self, address: u64, bytes: &[u8]) {
        for (offset, &byte) in bytes.iter().enumerate() {
            put(address + offset as u64, byte);
        }
    }

    /// Reads a buffer.
    pub fn read(&self, address: u64, length: u32) -> Vec<u8> {
        (0..u64::from(length)).map(|offset| word(address + offset)).collect()
    }
}

impl Transport for Fake {
    fn device_type(&self) -> u16 {
        self.0.lock().unwrap().device_type
    }
    fn device_features(&mut self) -> u64 {
        self.0.lock().unwrap().offered
    }
    fn set_driver_features(&mut self, features: u64) {
        self.0.lock().unwrap().accepted = features;
    }
    fn status(&self) -> u8 {
        self.0.lock().unwrap().status
    }
    fn set_status(&mut self, status: u8) {
        let mut state = self.0.lock().unwrap();
        if status == 0 {
            state.resets += 1;
            state.rings = [Ring::default(); 3];
        }
        state.status = if state.refuses_features { status & !status::FEATURES_OK } else { status };
    }
    fn queue_max(&mut self, _: u16) -> u16 {
        self.0.lock().unwrap().queue_max
    }
    fn set_queue(&mut self, queue: u16, memory: &Queue) {
        for area in [memory.descriptors(), memory.driver_area(), memory.device_area()] {
            assert_pooled(area.lend(), area.len());
        }
        self.0.lock().unwrap().rings[queue as usize] = Ring {
            size: memory.size(),
            descriptors: memory.descriptors().lend(),
            driver: memory.driver_area().lend(),
            device: memory.device_area().lend(),
            ..Ring::default()
        };
    }
    fn notify(&self, queue: u16) {
        self.0.lock().unwrap().notified.push(queue);
        if queue == 2 {
            let hesitates = self.0.lock().unwrap().hesitates;
            if hesitates.is_zero() {
                self.obey();
            } else {
                let device = self.clone();
                thread::spawn(move || {
                    thread::sleep(hesitates);
                    device.obey();
                });
            }
        }
    }
    fn config(&self, offset: usize) -> u8 {
        self.0.lock().unwrap().config.get(offset).copied().unwrap_or(0)
    }
}
