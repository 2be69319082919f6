//! The network device as smoltcp sees it: one received frame in, frames out.
#![expect(unsafe_code, reason = "received frames are lent by the driver through a pointer")]

use crate::frame::ETHERNET_HEADER;
use crate::offload::{self, Sequence};
use crate::statistics::{Drop, Statistics};
use alloc::vec::Vec;
use core::num::{NonZeroU16, NonZeroUsize};
use drivers_api::{LinkInfo, NetDevice, RxFrame, TransmitError, TxMeta};
use smoltcp::phy::{self, Checksum, DeviceCapabilities, Medium, PacketMeta};
use smoltcp::time::Instant;

/// Longest IP packet.
const MAX_PACKET: usize = 65535;

/// The bytes of a received frame.
pub(crate) fn bytes(frame: &mut RxFrame) -> &mut [u8] {
    // SAFETY: the buffer is ours alone from `NetDevice::receive` until `recycle`, which takes the frame by value, and so
    // can't happen while the slice borrows it.
    unsafe { frame.data.as_mut() }
}

/// What every [`Port`] of one stack shares.
pub(crate) struct Output {
    pub(crate) link: LinkInfo,
    pub(crate) statistics: Statistics,
    /// Where smoltcp writes a frame that can't be sent after all.
    scratch: Vec<u8>,
}

impl Output {
    /// For a device with this link. `None` without memory.
    pub(crate) fn new(link: LinkInfo) -> Option<Self> {
        let mut scratch = Vec::new();
        scratch.try_reserve_exact(ETHERNET_HEADER + MAX_PACKET).ok()?;
        scratch.resize(ETHERNET_HEADER + MAX_PACKET, 0);
        Some(Self { link, statistics: Statistics::default(), scratch })
    }
}

/// A device for the length of one call into smoltcp.
pub(crate) struct Port<'a> {
    device: &'a mut dyn NetDevice,
    output: &'a mut Output,
    received: Option<&'a [u8]>,
    sequence: Option<&'a mut Sequence>,
    /// The device had no room for more.
    pub(crate) full: bool,
    /// A packet could not be sent because its neighbor's Ethernet address is not known.
    pub(crate) unresolved: bool,
    /// A packet went out.
    pub(crate) sent: bool,
}

impl<'a> Port<'a> {
    pub(crate) fn new(device: &'a mut dyn NetDevice, output: &'a mut Output) -> Self {
        Self { device, output, received: None, sequence: None, full: false, unresolved: false, sent: false }
    }

    /// With a frame to be received.
    pub(crate) fn receiving(self, frame: &'a [u8]) -> Self {
        Self { received: Some(frame), ..self }
    }

    /// On behalf of one connection.
    pub(crate) fn of_connection(self, sequence: &'a mut Sequence) -> Self {
        Self { sequence: Some(sequence), ..self }
    }
}

/// What the interface has to know of a device with this link.
pub(crate) fn capabilities(link: &LinkInfo) -> DeviceCapabilities {
    let mut capabilities = DeviceCapabilities::default();
    capabilities.medium = Medium::Ethernet;
    capabilities.max_transmission_unit = link.mtu + ETHERNET_HEADER;
    // Done in `offload` and `frame`.
    capabilities.checksum.tcp = Checksum::None;
    capabilities.checksum.udp = Checksum::None;
    if link.offloads.tso4 && link.offloads.tx_checksum && link.offloads.max_tso > link.mtu {
        let longest = link.offloads.max_tso.min(MAX_PACKET) + ETHERNET_HEADER;
        capabilities.segmentation.tcpv4 = NonZeroUsize::new(longest);
    }
    capabilities
}

impl phy::Device for Port<'_> {
    type RxToken<'b>
        = Received<'b>
    where
        Self: 'b;
    type TxToken<'b>
        = Transmit<'b>
    where
        Self: 'b;

    fn receive(&mut self, _: Instant) -> Option<(Received<'_>, Transmit<'_>)> {
        let frame = self.received.take()?;
        Some((Received { frame }, self.token()))
    }

    fn transmit(&mut self, _: Instant) -> Option<Transmit<'_>> {
        if self.device.can_transmit() {
            self.unresolved = true;
            Some(self.token())
        } else {
            self.full = true;
            None
        }
    }

    fn capabilities(&self) -> DeviceCapabilities {
        capabilities(&self.output.link)
    }
}

impl<'a> Port<'a> {
    fn token(&mut self) -> Transmit<'_> {
        Transmit {
            device: self.device,
            output: self.output,
            sequence: self.sequence.as_deref_mut(),
            unresolved: &mut self.unresolved,
            sent: &mut self.sent,
            segment_size: None,
        }
    }
}

/// The received frame.
pub(crate) struct Received<'a> {
    frame: &'a [u8],
}

impl phy::RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.frame)
    }
}

/// Room for one frame.
pub(crate) struct Transmit<'a> {
    device: &'a mut dyn NetDevice,
    output: &'a mut Output,
    sequence: Option<&'a mut Sequence>,
    unresolved: &'a mut bool,
    sent: &'a mut bool,
    segment_size: Option<NonZeroU16>,
}

impl phy::TxToken for Transmit<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(mut self, len: usize, f: F) -> R {
        let mut write = Some(f);
        let mut result = None;
        let offloads = &self.output.link.offloads;
        let mut fill = |frame: &mut [u8]| match write.take() {
            Some(write) => {
                result = Some(write(frame));
                let sequence = self.sequence.as_deref_mut();
                let finished = offload::finish(frame, sequence, offloads, self.segment_size);
                *self.unresolved = finished.asks_neighbor;
                *self.sent |= !finished.asks_neighbor;
                finished.meta
            }
            None => TxMeta::default(),
        };
        let sent = if self.segment_size.is_none() && len > self.output.link.mtu + ETHERNET_HEADER {
            Err(TransmitError::TooLong)
        } else {
            self.device.transmit(len, &mut fill)
        };
        let statistics = &mut self.output.statistics;
        match sent {
            Ok(()) => {
                statistics.sent_frames += 1;
                statistics.sent_bytes += len as u64;
            }
            Err(TransmitError::TooLong) => statistics.count_drop(Drop::TooLong),
            Err(TransmitError::Full | TransmitError::NotRunning) => statistics.count_drop(Drop::DeviceFull),
        }
        match (result, write) {
            (Some(result), _) => result,
            // smoltcp needs its answer all the same; a lost frame is nothing new to it.
            (None, Some(write)) => {
                *self.unresolved = false;
                write(self.output.scratch.get_mut(..len).expect("no frame is longer than an IP packet"))
            }
            (None, None) => unreachable!("`write` is taken where `result` is set"),
        }
    }

    fn set_meta(&mut self, meta: PacketMeta) {
        self.segment_size = meta.segmentation_offload_size;
    }
}
