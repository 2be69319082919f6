//! Intel's gigabit cards 82540EM (e1000) and 82574L (e1000e), with legacy descriptors, which both have.
//!
//! Sources: Intel, "PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual" (8254x), chapters 3, 13 and
//! 14; Intel, "82574 GbE Controller Family Datasheet", chapters 7 and 10.

mod ring;

use crate::mmio::Registers;
use alloc::vec::Vec;
use core::ptr::NonNull;
use drivers_api::{
    Checksum, Device, DeviceState, ExportedState, LifecycleError, LinkInfo, MacAddr, NetDevice, Offloads,
    RxFrame, StateKind, TransmitError, TxMeta,
};
use machine::time::{Duration, Instant};
use ring::{DONE, END_OF_PACKET, Ring};

/// Register offsets (8254x, table 13-2).
mod register {
    pub const CTRL: usize = 0x0000;
    pub const STATUS: usize = 0x0008;
    pub const EERD: usize = 0x0014;
    pub const ICR: usize = 0x00c0;
    pub const IMS: usize = 0x00d0;
    pub const IMC: usize = 0x00d8;
    pub const IVAR: usize = 0x00e4;
    pub const RCTL: usize = 0x0100;
    pub const TCTL: usize = 0x0400;
    pub const TIPG: usize = 0x0410;
    pub const RDBAL: usize = 0x2800;
    pub const TDBAL: usize = 0x3800;
    pub const MTA: usize = 0x5200;
    pub const RAL0: usize = 0x5400;
    pub const RAH0: usize = 0x5404;
}

const CTRL_ASDE: u32 = 1 << 5;
const CTRL_SLU: u32 = 1 << 6;
const CTRL_RST: u32 = 1 << 26;
const STATUS_LU: u32 = 1 << 1;
const RCTL_EN: u32 = 1 << 1;
const RCTL_BAM: u32 = 1 << 15;
const RCTL_SECRC: u32 = 1 << 26;
const TCTL_EN: u32 = 1 << 1;
const TCTL_PSP: u32 = 1 << 3;
const RAH_AV: u32 = 1 << 31;

/// Interrupt causes (13.4.17): transmit written back, link change, receive descriptors low, overrun, receive timer; and the
/// 82574's queue causes.
const CAUSE_TXDW: u32 = 1;
const CAUSE_RECEIVE: u32 = 1 << 2 | 1 << 4 | 1 << 6 | 1 << 7 | 1 << 20 | 1 << 24;
const CAUSE_TRANSMIT: u32 = CAUSE_TXDW | 1 << 22;

/// How long a reset may take.
const RESET_PATIENCE: Duration = Duration::from_millis(500);

const DESCRIPTORS: usize = 256;
const BUFFER: usize = 2048;
const MTU: usize = 1500;
const MAX_FRAME: usize = MTU + 14 + 4;

/// The same layout as virtio-net's, so that one can take over from the other: MAC (6 bytes), MTU (u16), offloads (u8).
const STATE: StateKind = crate::virtio::net::STATE;

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

/// For the interrupt handler: whether the card has interrupted. Reading the cause clears it; the card then stays quiet until
/// the driver allows interrupts again, so that a level-triggered line falls.
pub fn acknowledge(registers: &Registers) -> bool {
    let cause = registers.read::<u32>(register::ICR);
    if cause == 0 || cause == u32::MAX {
        return false;
    }
    registers.write(register::IMC, u32::MAX);
    true
}

/// Sends all causes of an 82574 to MSI-X entry 0 (82574, 10.2.4.9: entry number and valid bit for each cause).
pub fn use_msix(registers: &Registers) {
    registers.write(register::IVAR, 0x0008_8888u32 | 1 << 31);
}

/// A card.
pub struct E1000 {
    registers: Registers,
    model: Model,
    state: DeviceState,
    mac: MacAddr,
    rx: Ring,
    tx: Ring,
    /// Next receive descriptor to look at, and how many were taken and not returned.
    rx_next: usize,
    rx_held: usize,
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
            rx_next: 0,
            rx_held: 0,
            tx_next: 0,
            tx_oldest: 0,
            tx_told: 0,
        };
        card.reset().map_err(|()| E1000Error::Reset)?;
        if let Some(mac) = card.read_mac() {
            card.mac = mac;
        }
        card.set_up();
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
        self.write(register::CTRL, self.read(register::CTRL) | CTRL_RST);
        // The reset bit clears itself within a microsecond on hardware.
        let deadline = Instant::now().saturating_add(RESET_PATIENCE);
        while Instant::now() < deadline {
            if self.read(register::CTRL) & CTRL_RST == 0 {
                self.write(register::IMC, u32::MAX);
                self.read(register::ICR);
                return Ok(());
            }
            core::hint::spin_loop();
        }
        Err(())
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
        (self.rx_next, self.rx_held, self.tx_next, self.tx_oldest, self.tx_told) = (0, 0, 0, 0, 0);
        for (base, ring) in [(register::RDBAL, &self.rx), (register::TDBAL, &self.tx)] {
            self.write(base, ring.physical() as u32);
            self.write(base + 4, (ring.physical() >> 32) as u32);
            self.write(base + 8, (DESCRIPTORS * 16) as u32);
            self.write(base + 0x10, 0); // head
            self.write(base + 0x18, 0); // tail
        }
        self.write(register::CTRL, self.read(register::CTRL) | CTRL_SLU | CTRL_ASDE);
        // Gap times for copper (13.4.34), collision threshold and distance for full duplex (14.5).
        self.write(register::TIPG, 10 | 8 << 10 | 6 << 20);
        self.write(register::TCTL, TCTL_EN | TCTL_PSP | 15 << 4 | 64 << 12);
        // Buffers of 2 KiB (BSIZE 0), broadcast accepted, checksum sequence stripped.
        self.write(register::RCTL, RCTL_EN | RCTL_BAM | RCTL_SECRC);
        // All but one: head = tail means empty (3.2.6).
        self.write(register::RDBAL + 0x18, (DESCRIPTORS - 1) as u32);
        self.state = DeviceState::Running;
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

impl Device for E1000 {
    fn name(&self) -> &'static str {
        match self.model {
            Model::E1000 => "e1000",
            Model::E1000e => "e1000e",
        }
    }

    fn state(&self) -> DeviceState {
        self.state
    }

    fn quiesce(&mut self) -> Result<(), LifecycleError> {
        if self.state != DeviceState::Running {
            return Err(LifecycleError::WrongState(self.state));
        }
        // A reset stops both directions at once; frames on the way are lost, as on a wire.
        self.reset().map_err(|()| LifecycleError::Timeout)?;
        self.state = DeviceState::Quiesced;
        Ok(())
    }

    fn export(&self) -> Result<ExportedState, LifecycleError> {
        if self.state != DeviceState::Quiesced {
            return Err(LifecycleError::WrongState(self.state));
        }
        let mut payload = Vec::from(self.mac.0);
        payload.extend_from_slice(&(MTU as u16).to_le_bytes());
        payload.push(0);
        Ok(ExportedState { kind: STATE, payload })
    }

    fn import(&mut self, state: &ExportedState) -> Result<(), LifecycleError> {
        if self.state != DeviceState::Quiesced {
            return Err(LifecycleError::WrongState(self.state));
        }
        if state.kind != STATE {
            return Err(LifecycleError::ForeignState(state.kind));
        }
        let [a, b, c, d, e, f, mtu_low, mtu_high, offloads] = state.payload[..] else {
            return Err(LifecycleError::Malformed("length"));
        };
        if usize::from(u16::from_le_bytes([mtu_low, mtu_high])) != MTU {
            return Err(LifecycleError::Malformed("mtu"));
        }
        if offloads != 0 {
            return Err(LifecycleError::Malformed("offloads"));
        }
        self.mac = MacAddr([a, b, c, d, e, f]);
        Ok(())
    }

    fn resume(&mut self) -> Result<(), LifecycleError> {
        if self.state != DeviceState::Quiesced {
            return Err(LifecycleError::WrongState(self.state));
        }
        self.set_up();
        Ok(())
    }

    fn halt(&mut self) {
        if self.reset().is_err() {
            log::warn!("{} does not reset", self.name());
        }
        self.state = DeviceState::Halted;
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

    fn link_up(&self) -> bool {
        self.read(register::STATUS) & STATUS_LU != 0
    }

    fn receive(&mut self) -> Option<RxFrame> {
        while self.state == DeviceState::Running && self.rx_held < DESCRIPTORS - 1 {
            let at = self.rx_next;
            let status = self.rx.status(at);
            if status & DONE == 0 {
                return None;
            }
            self.rx_next = (at + 1) % DESCRIPTORS;
            self.rx_held += 1;
            let (length, errors) = self.rx.received(at);
            let frame = RxFrame {
                data: NonNull::slice_from_raw_parts(self.rx.buffer(at), length.min(BUFFER)),
                checksum: Checksum::Unknown,
                token: at as u32,
            };
            if status & END_OF_PACKET != 0 && errors == 0 && length <= BUFFER {
                return Some(frame);
            }
            // Longer than a buffer, or damaged.
            self.recycle(frame);
        }
        None
    }

    fn recycle(&mut self, frame: RxFrame) {
        if self.state != DeviceState::Running || self.rx_held == 0 {
            return;
        }
        let at = frame.token as usize % DESCRIPTORS;
        self.rx_held -= 1;
        self.rx.clear(at);
        // The tail is one before the first descriptor still held: returned in order, that is this one.
        self.write(register::RDBAL + 0x18, at as u32);
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
        self.write(register::IMS, CAUSE_RECEIVE);
        self.rx.status(self.rx_next) & DONE != 0
    }
}

#[cfg(test)]
mod tests;
