//! Intel's gigabit cards 82540EM (e1000) and 82574L (e1000e), with legacy descriptors, which both have.
//!
//! Sources: Intel, "PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual" (8254x), chapters 3, 13 and
//! 14; Intel, "82574 GbE Controller Family Datasheet", chapters 7 and 10.

mod held;
mod register;
mod ring;

pub use register::acknowledge;

use crate::mmio::{Registers, wait};
use core::ptr::NonNull;
use drivers_api::{
    Checksum, Device, DeviceState, Driver, ExportedState, LifecycleError, LinkInfo, MacAddr, NetDevice,
    NetState, Offloads, RxFrame, TransmitError, TxMeta,
};
use held::Held;
use machine::time::Duration;
use register::{
    CAUSE_RECEIVE, CAUSE_TRANSMIT, CTRL_ASDE, CTRL_MASTER_DISABLE, CTRL_RST, CTRL_SLU, RAH_AV, RCTL_BAM,
    RCTL_EN, RCTL_SECRC, STATUS_LU, STATUS_MASTER, TCTL_EN, TCTL_PSP,
};
use ring::{DONE, END_OF_PACKET, Ring};

/// How long a reset may take.
const RESET_PATIENCE: Duration = Duration::from_millis(500);
/// How long the card may take to send what is queued, and to end its accesses to memory: a full ring takes 3 ms at 1 Gbit/s.
const DRAIN_PATIENCE: Duration = Duration::from_millis(50);
/// How long registers must not be touched after a reset began (8254x, 13.4.1: 1 us).
const RESET_SETTLE: Duration = Duration::from_micros(10);

const DESCRIPTORS: usize = 256;
const BUFFER: usize = 2048;
const MTU: usize = 1500;
const MAX_FRAME: usize = MTU + 14 + 4;

/// Which card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// 82540EM.
    E1000,
    /// 82574L.
    E1000e,
}

impl Model {
    /// The model of a PCI function, if it is one of these.
    pub fn of(vendor: u16, device: u16) -> Option<Self> {
        match (vendor, device) {
            (0x8086, 0x100e) => Some(Self::E1000),
            (0x8086, 0x10d3) => Some(Self::E1000e),
            _ => None,
        }
    }
}

/// Why a card can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum E1000Error {
    /// Its registers are fewer than 128 KiB.
    Registers,
    /// It did not finish a reset.
    Reset,
    /// No memory in the DMA pool.
    OutOfMemory,
}

/// A card.
pub struct E1000 {
    registers: Registers,
    model: Model,
    state: DeviceState,
    mac: MacAddr,
    rx: Ring,
    tx: Ring,
    /// Receive descriptors taken and not returned.
    rx_held: Held,
    /// Whether the next descriptor goes on with a frame too long for one.
    rx_skipping: bool,
    /// Next transmit descriptor to fill, the oldest not reclaimed, and what the card was told last.
    tx_next: usize,
    tx_oldest: usize,
    tx_told: usize,
}

impl E1000 {
    /// Resets the card and brings it up with interrupts off. `fallback` is the address of a card that has none.
    pub fn new(registers: Registers, fallback: MacAddr, model: Model) -> Result<Self, E1000Error> {
        if registers.length() < 0x2_0000 {
            return Err(E1000Error::Registers);
        }
        let ring = || Ring::new(DESCRIPTORS, BUFFER).ok_or(E1000Error::OutOfMemory);
        let mut card = Self {
            registers,
            model,
            state: DeviceState::Quiesced,
            mac: fallback,
            rx: ring()?,
            tx: ring()?,
            rx_held: Held::new(),
            rx_skipping: false,
            tx_next: 0,
            tx_oldest: 0,
            tx_told: 0,
        };
        card.reset().map_err(|()| E1000Error::Reset)?;
        if let Some(mac) = card.read_mac() {
            card.mac = mac;
        }
        card.set_up();
        card.state = DeviceState::Running;
        Ok(card)
    }

    fn read(&self, register: usize) -> u32 {
        self.registers.read(register)
    }

    fn write(&self, register: usize, value: u32) {
        self.registers.write(register, value);
    }

    /// Resets everything but the PCI configuration (13.4.1, RST).
    fn reset(&mut self) -> Result<(), ()> {
        self.write(register::IMC, u32::MAX);
        self.write(register::RCTL, 0);
        self.write(register::TCTL, 0);
        if self.model == Model::E1000e {
            // A reset amid a bus access could hang it (82574, 10.2.2.1); if the card won't end its accesses, reset all the same.
            self.write(register::CTRL, self.read(register::CTRL) | CTRL_MASTER_DISABLE);
            wait(DRAIN_PATIENCE, || self.read(register::STATUS) & STATUS_MASTER == 0);
        }
        self.write(register::CTRL, self.read(register::CTRL) | CTRL_RST);
        wait(RESET_SETTLE, || false);
        if !wait(RESET_PATIENCE, || self.read(register::CTRL) & CTRL_RST == 0) {
            return Err(());
        }
        self.write(register::IMC, u32::MAX);
        self.read(register::ICR);
        Ok(())
    }

    /// The address in the first receive address register, which a reset loads from the EEPROM, else from the EEPROM itself.
    fn read_mac(&self) -> Option<MacAddr> {
        let (low, high) = (self.read(register::RAL0), self.read(register::RAH0));
        if high & RAH_AV != 0 && (low != 0 || high & 0xffff != 0) {
            let [a, b, c, d] = low.to_le_bytes();
            let [e, f, ..] = high.to_le_bytes();
            return Some(MacAddr([a, b, c, d, e, f]));
        }
        let mut mac = [0; 6];
        for (index, pair) in mac.chunks_exact_mut(2).enumerate() {
            pair.copy_from_slice(&self.read_eeprom(index as u32)?.to_le_bytes());
        }
        (mac != [0; 6] && mac != [0xff; 6]).then_some(MacAddr(mac))
    }

    fn read_eeprom(&self, word: u32) -> Option<u16> {
        // EERD (13.4.4): the 82540EM has the address from bit 8 and done in bit 4, the 82574 from bit 2 and bit 1.
        let (shift, done) = match self.model {
            Model::E1000 => (8, 1 << 4),
            Model::E1000e => (2, 1 << 1),
        };
        self.write(register::EERD, word << shift | 1);
        (0..100_000).find_map(|_| {
            let value = self.read(register::EERD);
            (value & done != 0).then_some((value >> 16) as u16)
        })
    }

    /// Programs a reset card (14.3 to 14.5) and lets it run.
    fn set_up(&mut self) {
        let [a, b, c, d, e, f] = self.mac.0;
        self.write(register::RAL0, u32::from_le_bytes([a, b, c, d]));
        self.write(register::RAH0, u32::from(u16::from_le_bytes([e, f])) | RAH_AV);
        // All multicast groups: IPv6 needs some, and the stack drops the rest.
        for index in 0..128 {
            self.write(register::MTA + index * 4, u32::MAX);
        }
        self.rx.reset();
        self.tx.reset();
        self.rx_held.restart();
        self.rx_skipping = false;
        (self.tx_next, self.tx_oldest, self.tx_told) = (0, 0, 0);
        for (base, ring) in [(register::RDBAL, &self.rx), (register::TDBAL, &self.tx)] {
            self.registers.lend(base, ring.descriptors());
            self.write(base + 8, ring.descriptors().len());
            self.write(base + 0x10, 0); // head
            self.write(base + 0x18, 0); // tail
        }
        if self.model == Model::E1000e {
            // A reset forgets it; without MSI-X it means nothing.
            register::use_msix(&self.registers);
        }
        self.write(register::CTRL, self.read(register::CTRL) & !CTRL_MASTER_DISABLE | CTRL_SLU | CTRL_ASDE);
        // Gap times for copper (13.4.34), collision threshold and distance for full duplex (14.5).
        self.write(register::TIPG, 10 | 8 << 10 | 6 << 20);
        self.write(register::TCTL, TCTL_EN | TCTL_PSP | 15 << 4 | 64 << 12);
        // Buffers of 2 KiB (BSIZE 0), broadcast accepted, checksum sequence stripped.
        self.write(register::RCTL, RCTL_EN | RCTL_BAM | RCTL_SECRC);
        // All but one: head = tail means empty (3.2.6).
        self.write(register::RDBAL + 0x18, (DESCRIPTORS - 1) as u32);
    }

    fn reclaim(&mut self) {
        while self.tx_oldest != self.tx_told && self.tx.status(self.tx_oldest) & DONE != 0 {
            self.tx_oldest = (self.tx_oldest + 1) % DESCRIPTORS;
        }
    }

    fn has_room(&self) -> bool {
        (self.tx_next + 1) % DESCRIPTORS != self.tx_oldest
    }
}

impl Driver for E1000 {
    fn driver_name(&self) -> &'static str {
        match self.model {
            Model::E1000 => "e1000",
            Model::E1000e => "e1000e",
        }
    }

    fn standing(&self) -> DeviceState {
        self.state
    }

    fn stand(&mut self, state: DeviceState) {
        self.state = state;
    }

    fn finish(&mut self) {
        self.write(register::IMC, u32::MAX);
        self.write(register::RCTL, 0);
        // What is queued is sent. Without a carrier it never is, and is lost, as on a wire.
        self.flush();
        wait(DRAIN_PATIENCE, || {
            self.reclaim();
            self.tx_oldest == self.tx_next
        });
    }

    fn stop(&mut self) -> Result<(), LifecycleError> {
        self.reset().map_err(|()| LifecycleError::Timeout)
    }

    fn describe(&self) -> ExportedState {
        NetState::of(&self.link()).encode()
    }

    fn accept(&mut self, state: &ExportedState) -> Result<(), LifecycleError> {
        self.mac = NetState::decode(state)?.mac;
        Ok(())
    }

    fn start(&mut self) -> Result<(), LifecycleError> {
        self.set_up();
        Ok(())
    }
}

impl Drop for E1000 {
    fn drop(&mut self) {
        // The memory goes back to the pool, so the card must have let go of it.
        if self.state == DeviceState::Running {
            self.halt();
        }
    }
}

impl NetDevice for E1000 {
    fn link(&self) -> LinkInfo {
        LinkInfo { mac: self.mac, mtu: MTU, offloads: Offloads::default() }
    }

    /// QEMU's 82540EM lets frames wait for a second after its receiver was switched on (`flush_queue_timer` in hw/net/e1000.c). The card itself takes
    /// them at once.
    fn warm_up(&self) -> Duration {
        match self.model {
            Model::E1000 => Duration::from_millis(1010),
            Model::E1000e => Duration::ZERO,
        }
    }

    fn link_up(&self) -> bool {
        self.read(register::STATUS) & STATUS_LU != 0
    }

    fn receive(&mut self) -> Option<RxFrame> {
        while self.state == DeviceState::Running && !self.rx_held.is_all() {
            let at = self.rx_held.next();
            let status = self.rx.status(at);
            if status & DONE == 0 {
                return None;
            }
            let (length, errors) = self.rx.received(at);
            let frame = RxFrame {
                data: NonNull::slice_from_raw_parts(self.rx.buffer(at), length.min(BUFFER)),
                checksum: Checksum::Unknown,
                token: self.rx_held.take(),
            };
            let is_last = status & END_OF_PACKET != 0;
            let is_whole = is_last && !self.rx_skipping;
            self.rx_skipping = !is_last;
            if is_whole && errors == 0 && length <= BUFFER {
                return Some(frame);
            }
            // Longer than a buffer, or damaged.
            self.recycle(frame);
        }
        None
    }

    fn recycle(&mut self, frame: RxFrame) {
        if self.state != DeviceState::Running {
            return;
        }
        let mut tail = None;
        let (held, ring) = (&mut self.rx_held, &mut self.rx);
        held.give_back(frame.token, |at| {
            ring.clear(at);
            tail = Some(at);
        });
        if let Some(tail) = tail {
            self.write(register::RDBAL + 0x18, tail as u32);
        }
    }

    fn can_transmit(&mut self) -> bool {
        self.reclaim();
        if !self.has_room() && self.state == DeviceState::Running {
            self.write(register::IMS, CAUSE_TRANSMIT);
            self.reclaim();
        }
        self.has_room()
    }

    fn transmit(
        &mut self,
        len: usize,
        fill: &mut dyn FnMut(&mut [u8]) -> TxMeta,
    ) -> Result<(), TransmitError> {
        if self.state != DeviceState::Running {
            return Err(TransmitError::NotRunning);
        }
        if len > MAX_FRAME {
            return Err(TransmitError::TooLong);
        }
        if !self.has_room() {
            self.reclaim();
        }
        if !self.has_room() {
            return Err(TransmitError::Full);
        }
        let at = self.tx_next;
        // SAFETY: the descriptor is reclaimed, so the card does not use its buffer, which holds `len` bytes.
        let frame = unsafe { core::slice::from_raw_parts_mut(self.tx.buffer(at).as_ptr(), len) };
        // No offload was offered, so the meta asks for nothing.
        fill(frame);
        self.tx.send(at, len as u16);
        self.tx_next = (at + 1) % DESCRIPTORS;
        Ok(())
    }

    fn flush(&mut self) {
        if self.tx_told != self.tx_next && self.state == DeviceState::Running {
            core::sync::atomic::fence(core::sync::atomic::Ordering::Release);
            self.write(register::TDBAL + 0x18, self.tx_next as u32);
            self.tx_told = self.tx_next;
        }
    }

    fn set_interrupts(&mut self, enabled: bool) -> bool {
        if self.state != DeviceState::Running {
            return false;
        }
        if !enabled {
            self.write(register::IMC, u32::MAX);
            return false;
        }
        let was_full = !self.has_room();
        self.write(register::IMS, if was_full { CAUSE_RECEIVE | CAUSE_TRANSMIT } else { CAUSE_RECEIVE });
        // Room that came before the interrupt was allowed is worth a poll as well.
        self.reclaim();
        !self.rx_held.is_all() && self.rx.status(self.rx_held.next()) & DONE != 0
            || was_full && self.has_room()
    }
}

#[cfg(test)]
mod tests;
