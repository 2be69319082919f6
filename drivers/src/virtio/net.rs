//! The network device (virtio 1.2, 5.1).
//!
//! Receive buffers are 4 KiB pieces of one contiguous area, always available in ring order and always returned in order. So a
//! packet that the device merged from several buffers (MRG_RXBUF: up to 64 KiB when segments are coalesced) lies
//! contiguous in memory, except where it wraps around the area's end: only that one is copied.

use super::control::Control;
use super::device_type;
use super::queue::Queue;
use super::transport::{Transport, VirtioError, feature, negotiate, queue_size, reset, run};
use crate::mmio::wait;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ptr::NonNull;
use drivers_api::{
    Checksum, Device, DeviceState, Driver, ExportedState, LifecycleError, LinkInfo, MacAddr, NetDevice,
    NetState, Offloads, RxFrame, TransmitError, TxMeta,
};
use machine::dma::DmaRegion;
use machine::time::Duration;

const CSUM: u64 = 1;
const GUEST_CSUM: u64 = 1 << 1;
const MTU: u64 = 1 << 3;
const MAC: u64 = 1 << 5;
const GUEST_TSO4: u64 = 1 << 7;
const GUEST_TSO6: u64 = 1 << 8;
const HOST_TSO4: u64 = 1 << 11;
const HOST_TSO6: u64 = 1 << 12;
const MRG_RXBUF: u64 = 1 << 15;
const STATUS: u64 = 1 << 16;
const CTRL_VQ: u64 = 1 << 17;
const CTRL_MAC_ADDR: u64 = 1 << 23;

const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;
const QUEUE_SIZE: u16 = 256;

const HEADER: usize = 12;
const RX_BUFFER: usize = 4096;
const TX_SMALL: usize = 2048;
const TX_LARGE: usize = 17 * 4096;
const TX_LARGE_COUNT: usize = 16;
/// Longest frame: a 64 KiB IP packet behind an Ethernet header.
const MAX_FRAME: usize = 65535 + 14;

const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;

/// How long the device may take to send what is queued.
const DRAIN_PATIENCE: Duration = Duration::from_millis(50);

/// A virtio network card.
pub struct VirtioNet {
    transport: Box<dyn Transport>,
    state: DeviceState,
    link: LinkInfo,
    /// The address it has after a reset.
    own: MacAddr,
    features: u64,
    /// Where the device takes another address.
    control: Option<Control>,
    rx: Queue,
    tx: Queue,
    rx_buffers: DmaRegion,
    tx_small: DmaRegion,
    tx_large: Option<DmaRegion>,
    /// Where a packet that wraps around is put together.
    bounce: Vec<u8>,
    tx_free: Vec<u16>,
    large_free: Vec<u8>,
    /// Large buffer that a transmit descriptor uses.
    large_of: [Option<u8>; QUEUE_SIZE as usize],
    broken: bool,
}

impl VirtioNet {
    /// Brings the device up, receiving, with interrupts off.
    pub fn new(mut transport: Box<dyn Transport>) -> Result<Self, VirtioError> {
        if transport.device_type() != device_type::NETWORK {
            return Err(VirtioError::WrongDevice);
        }
        let features = negotiate_net(&mut *transport)?;
        let rx_size = queue_size(&mut *transport, RECEIVE, QUEUE_SIZE)?;
        let tx_size = queue_size(&mut *transport, TRANSMIT, QUEUE_SIZE)?;
        let event_index = features & feature::EVENT_IDX != 0;
        let mut mac = [0; 6];
        if features & MAC != 0 {
            for (offset, byte) in mac.iter_mut().enumerate() {
                *byte = transport.config(offset);
            }
        } else {
            mac = [0x02, b'q', b's', 0, 0, 1];
        }
        let mtu = if features & MTU != 0 {
            usize::from(u16::from_le_bytes([transport.config(10), transport.config(11)])).clamp(576, 9000)
        } else {
            1500
        };
        let tso = features & (HOST_TSO4 | HOST_TSO6) != 0;
        let pages = |bytes: usize| DmaRegion::new(bytes.div_ceil(4096)).ok_or(VirtioError::OutOfMemory);
        let tx_large = if tso { DmaRegion::new(TX_LARGE_COUNT * TX_LARGE / 4096) } else { None };
        let offloads = Offloads {
            tx_checksum: features & CSUM != 0,
            tso4: features & HOST_TSO4 != 0 && tx_large.is_some(),
            tso6: features & HOST_TSO6 != 0 && tx_large.is_some(),
            max_tso: 65535,
        };
        let mut bounce = Vec::new();
        bounce.try_reserve_exact(MAX_FRAME).map_err(|_| VirtioError::OutOfMemory)?;
        let mut device = Self {
            state: DeviceState::Running,
            link: LinkInfo { mac: MacAddr(mac), mtu, offloads },
            own: MacAddr(mac),
            features,
            control: takes_address(features)
                .then(|| Control::new(&mut *transport, event_index))
                .transpose()?,
            rx: Queue::new(rx_size, event_index)?,
            tx: Queue::new(tx_size, event_index)?,
            rx_buffers: pages(usize::from(rx_size) * RX_BUFFER)?,
            tx_small: pages(usize::from(tx_size) * TX_SMALL)?,
            tx_large,
            bounce,
            tx_free: Vec::with_capacity(usize::from(tx_size)),
            large_free: Vec::with_capacity(TX_LARGE_COUNT),
            large_of: [None; QUEUE_SIZE as usize],
            broken: false,
            transport,
        };
        device.set_up();
        Ok(device)
    }

    /// Hands the queues to the device, which has agreed on features, and starts it.
    fn set_up(&mut self) {
        self.transport.set_queue(RECEIVE, &self.rx);
        self.transport.set_queue(TRANSMIT, &self.tx);
        if let Some(control) = &self.control {
            control.set_up(&mut *self.transport);
        }
        self.tx_free.clear();
        self.tx_free.extend((0..self.tx.size()).rev());
        self.large_free.clear();
        if self.tx_large.is_some() {
            self.large_free.extend(0..TX_LARGE_COUNT as u8);
        }
        self.large_of = [None; QUEUE_SIZE as usize];
        self.rx.set_interrupts(false);
        self.tx.set_interrupts(false);
        run(&mut *self.transport);
        for id in 0..self.rx.size() {
            let buffer = self.rx_buffers.span(usize::from(id) * RX_BUFFER, RX_BUFFER);
            self.rx.describe(id, buffer, true, None);
            self.rx.push(id);
        }
        if self.rx.publish() {
            self.transport.notify(RECEIVE);
        }
    }

    fn give_up(&mut self, what: &str) {
        if !self.broken {
            log::error!("virtio-net: {what}; the device is left alone");
        }
        self.broken = true;
    }

    /// Address of received bytes: buffer `id`, `offset` bytes in.
    fn rx_pointer(&self, id: u16, offset: usize) -> *mut u8 {
        debug_assert!(usize::from(id) * RX_BUFFER + offset <= self.rx_buffers.len());
        // SAFETY: ids are below the queue's size and offsets within a buffer, so this stays in the area.
        unsafe { self.rx_buffers.pointer().as_ptr().add(usize::from(id) * RX_BUFFER + offset) }
    }

    /// Takes the remaining buffers of a merged packet. Returns the packet if it is sound.
    fn merge(&mut self, first: u16, length: usize, count: u16) -> Option<NonNull<[u8]>> {
        let mut total = length;
        let mut contiguous = true;
        self.bounce.clear();
        for index in 1..count {
            let used = match self.rx.pop() {
                Ok(Some(used)) if used.length as usize <= RX_BUFFER => used,
                _ => {
                    self.give_up("a merged packet lacks its buffers");
                    return None;
                }
            };
            if used.id != (first + index) & (self.rx.size() - 1) {
                self.give_up("buffers come back out of order");
                return None;
            }
            let full = total == usize::from(index) * RX_BUFFER;
            if contiguous && (used.id == 0 || !full) {
                // The area ends here (or a buffer was not filled): the rest goes behind a copy of what came so far.
                contiguous = false;
                // SAFETY: `total` bytes from the first buffer on are contiguous so far.
                let so_far = unsafe { core::slice::from_raw_parts(self.rx_pointer(first, 0), total) };
                self.bounce.extend_from_slice(&so_far[HEADER..]);
            }
            total += used.length as usize;
            if total > MAX_FRAME + HEADER {
                self.give_up("a packet is longer than 64 KiB");
                return None;
            }
            if !contiguous {
                // SAFETY: the device has returned this buffer, and `length` is at most its size.
                let part =
                    unsafe { core::slice::from_raw_parts(self.rx_pointer(used.id, 0), used.length as usize) };
                self.bounce.extend_from_slice(part);
            }
        }
        Some(if contiguous {
            NonNull::slice_from_raw_parts(NonNull::new(self.rx_pointer(first, HEADER))?, total - HEADER)
        } else {
            NonNull::from(&mut self.bounce[..])
        })
    }

    fn reclaim(&mut self) {
        loop {
            match self.tx.pop() {
                Ok(Some(used)) => {
                    if let Some(large) = self.large_of[usize::from(used.id)].take() {
                        self.large_free.push(large);
                    }
                    if self.tx_free.len() < usize::from(self.tx.size()) {
                        self.tx_free.push(used.id);
                    }
                }
                Ok(None) => return,
                Err(error) => {
                    log::error!("virtio-net: {error:?}");
                    return self.give_up("it returned a descriptor that does not exist");
                }
            }
        }
    }
}

fn negotiate_net(transport: &mut dyn Transport) -> Result<u64, VirtioError> {
    let offered = CSUM | GUEST_CSUM | GUEST_TSO4 | GUEST_TSO6 | HOST_TSO4 | HOST_TSO6;
    let control = CTRL_VQ | CTRL_MAC_ADDR;
    negotiate(transport, offered | MTU | MAC | STATUS | control | feature::EVENT_IDX, MRG_RXBUF)
}

/// Whether it can be told to have another address; the second feature needs the first (5.1.3.1).
const fn takes_address(features: u64) -> bool {
    features & CTRL_VQ != 0 && features & CTRL_MAC_ADDR != 0
}

impl Driver for VirtioNet {
    fn driver_name(&self) -> &'static str {
        "virtio-net"
    }

    fn standing(&self) -> DeviceState {
        self.state
    }

    fn stand(&mut self, state: DeviceState) {
        self.state = state;
    }

    fn finish(&mut self) {
        // Without a carrier it is never sent, and is lost, as on a wire.
        self.flush();
        wait(DRAIN_PATIENCE, || {
            self.reclaim();
            self.broken || self.tx_free.len() == usize::from(self.tx.size())
        });
    }

    fn stop(&mut self) -> Result<(), LifecycleError> {
        // Nothing but a reset stops reception; what was received and not taken is lost, as on a wire.
        reset(&mut *self.transport).map_err(|_| LifecycleError::Timeout)
    }

    fn describe(&self) -> ExportedState {
        NetState::of(&self.link).encode()
    }

    /// Takes the address; without the features for that it keeps its own.
    fn accept(&mut self, state: &ExportedState) -> Result<(), LifecycleError> {
        let mac = NetState::decode(state)?.mac;
        if self.control.is_some() {
            self.link.mac = mac;
        }
        Ok(())
    }

    fn start(&mut self) -> Result<(), LifecycleError> {
        let features = negotiate_net(&mut *self.transport).map_err(|_| LifecycleError::Timeout)?;
        if features != self.features {
            return Err(LifecycleError::Malformed("features"));
        }
        let event_index = features & feature::EVENT_IDX != 0;
        let queue = |size| Queue::new(size, event_index).map_err(|_| LifecycleError::Timeout);
        self.rx = queue(self.rx.size())?;
        self.tx = queue(self.tx.size())?;
        if let Some(control) = &mut self.control {
            control.restart(event_index).map_err(|_| LifecycleError::Timeout)?;
        }
        self.broken = false;
        self.set_up();
        let (mac, is_own) = (self.link.mac, self.link.mac == self.own);
        if let Some(control) = self.control.as_mut().filter(|_| !is_own) {
            let told = control.set_mac(&mut *self.transport, mac);
            if told.is_err() {
                self.stop()?;
            }
            return told;
        }
        Ok(())
    }
}

impl Drop for VirtioNet {
    fn drop(&mut self) {
        // The memory goes back to the pool, so the device must have let go of it.
        if self.state == DeviceState::Running {
            self.halt();
        }
    }
}

impl NetDevice for VirtioNet {
    fn link(&self) -> LinkInfo {
        self.link
    }

    fn link_up(&self) -> bool {
        self.features & STATUS == 0 || self.transport.config(6) & 1 != 0
    }

    fn receive(&mut self) -> Option<RxFrame> {
        if self.state != DeviceState::Running || self.broken {
            return None;
        }
        let used = match self.rx.pop() {
            Ok(used) => used?,
            Err(error) => {
                log::error!("virtio-net: {error:?}");
                self.give_up("it returned a buffer that does not exist");
                return None;
            }
        };
        let length = used.length as usize;
        if !(HEADER..=RX_BUFFER).contains(&length) {
            self.give_up("a packet has an impossible length");
            return None;
        }
        // SAFETY: the device has returned the buffer, which begins with the header.
        let header: [u8; HEADER] = unsafe { self.rx_pointer(used.id, 0).cast::<[u8; HEADER]>().read() };
        let checksum =
            if header[0] & (NEEDS_CSUM | DATA_VALID) != 0 { Checksum::Good } else { Checksum::Unknown };
        let count = u16::from_le_bytes([header[10], header[11]]).max(1);
        let data = if count == 1 {
            NonNull::slice_from_raw_parts(NonNull::new(self.rx_pointer(used.id, HEADER))?, length - HEADER)
        } else {
            self.merge(used.id, length, count.min(self.rx.size()))?
        };
        Some(RxFrame { data, checksum, token: u32::from(count) << 16 | u32::from(used.id) })
    }

    fn recycle(&mut self, frame: RxFrame) {
        if self.state != DeviceState::Running || self.broken {
            return;
        }
        let (first, count) = (frame.token as u16, (frame.token >> 16) as u16);
        for index in 0..count {
            self.rx.push((first + index) & (self.rx.size() - 1));
        }
    }

    fn can_transmit(&mut self) -> bool {
        self.reclaim();
        let room = !self.tx_free.is_empty() && (self.tx_large.is_none() || !self.large_free.is_empty());
        if !room {
            // The owner sleeps until the device has sent something.
            if self.tx.set_interrupts(true) {
                self.reclaim();
            }
        }
        !self.tx_free.is_empty() && (self.tx_large.is_none() || !self.large_free.is_empty())
    }

    fn transmit(
        &mut self,
        len: usize,
        fill: &mut dyn FnMut(&mut [u8]) -> TxMeta,
    ) -> Result<(), TransmitError> {
        if self.state != DeviceState::Running || self.broken {
            return Err(TransmitError::NotRunning);
        }
        let small = len + HEADER <= TX_SMALL;
        if len > MAX_FRAME || !small && self.tx_large.is_none() {
            return Err(TransmitError::TooLong);
        }
        if self.tx_free.is_empty() || !small && self.large_free.is_empty() {
            self.reclaim();
        }
        let Some(&id) = self.tx_free.last() else { return Err(TransmitError::Full) };
        let (pointer, memory) = match (&self.tx_large, small) {
            (Some(region), false) => {
                let Some(large) = self.large_free.pop() else { return Err(TransmitError::Full) };
                self.large_of[usize::from(id)] = Some(large);
                let offset = usize::from(large) * TX_LARGE;
                // SAFETY: `large` is below the number of buffers.
                (unsafe { region.pointer().add(offset) }, region.span(offset, HEADER + len))
            }
            _ => {
                let offset = usize::from(id) * TX_SMALL;
                // SAFETY: `id` is below the queue's size.
                (unsafe { self.tx_small.pointer().add(offset) }, self.tx_small.span(offset, HEADER + len))
            }
        };
        self.tx_free.pop();
        // SAFETY: the buffer is free, so the device does not use it, and holds header and frame.
        let buffer = unsafe { core::slice::from_raw_parts_mut(pointer.as_ptr(), HEADER + len) };
        let (header, frame) = buffer.split_at_mut(HEADER);
        let meta = fill(frame);
        header.fill(0);
        if let Some(checksum) = meta.checksum {
            header[0] = NEEDS_CSUM;
            header[6..8].copy_from_slice(&checksum.start.to_le_bytes());
            header[8..10].copy_from_slice(&checksum.offset.to_le_bytes());
        }
        if let Some(segmentation) = meta.segmentation {
            header[1] = if segmentation.ipv6 { 4 } else { 1 };
            header[2..4].copy_from_slice(&segmentation.header_len.to_le_bytes());
            header[4..6].copy_from_slice(&segmentation.segment_size.to_le_bytes());
        }
        self.tx.describe(id, memory, false, None);
        self.tx.push(id);
        Ok(())
    }

    fn flush(&mut self) {
        if self.state != DeviceState::Running || self.broken {
            return;
        }
        if self.tx.publish() {
            self.transport.notify(TRANSMIT);
        }
        if self.rx.publish() {
            self.transport.notify(RECEIVE);
        }
    }

    fn set_interrupts(&mut self, enabled: bool) -> bool {
        if enabled && self.rx.publish() {
            self.transport.notify(RECEIVE);
        }
        let room = !self.tx_free.is_empty();
        if room {
            self.tx.set_interrupts(false);
        }
        self.rx.set_interrupts(enabled)
    }
}
