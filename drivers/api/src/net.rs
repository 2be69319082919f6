//! Network devices. Frames are Ethernet II without the frame check sequence.

use core::time::Duration;

use crate::Device;

/// An Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddr(pub [u8; 6]);

impl core::fmt::Display for MacAddr {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// What the device does in place of software.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// Fills TCP and UDP checksums of frames sent with [`TxMeta::checksum`].
    pub tx_checksum: bool,
    /// Cuts TCP over IPv4 frames into segments ([`TxMeta::segmentation`]).
    pub tso4: bool,
    /// Cuts TCP over IPv6 frames into segments.
    pub tso6: bool,
    /// Longest frame, in bytes without the Ethernet header, that `transmit` takes when segmentation is asked for.
    pub max_tso: usize,
}

/// What is fixed about the device's link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkInfo {
    /// The device's address.
    pub mac: MacAddr,
    /// Longest IP packet on the wire, in bytes.
    pub mtu: usize,
    /// What the device does in place of software.
    pub offloads: Offloads,
}

/// What is known about a received frame's transport checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// Not looked at: software checks.
    Unknown,
    /// The device (or a trusted local peer that never computed it) vouches for it.
    Good,
}

/// A received frame in the driver's own buffer. Give it back with [`NetDevice::recycle`].
#[derive(Debug)]
pub struct RxFrame {
    /// The frame, from the destination address on. May be longer than the MTU where the device merged segments.
    pub data: core::ptr::NonNull<[u8]>,
    /// Checksum state.
    pub checksum: Checksum,
    /// The driver's own mark for the buffer.
    pub token: u32,
}

/// Asks the device to fill in a transport checksum: offsets in bytes from the frame's start.
///
/// The field at `start + offset` holds the pseudo-header's sum (folded, not complemented), as virtio 1.2, 5.1.6.2, wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxChecksum {
    /// Where the sum starts (the transport header).
    pub start: u16,
    /// Where, counted from `start`, the sum is stored.
    pub offset: u16,
}

/// Asks the device to cut one long TCP frame into segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segmentation {
    /// Payload bytes per segment.
    pub segment_size: u16,
    /// Length of Ethernet, IP and TCP headers together.
    pub header_len: u16,
    /// Whether the frame is IPv6.
    pub ipv6: bool,
}

/// What the device has to do to a frame on its way out; decided after the frame was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TxMeta {
    /// Fill in a transport checksum.
    pub checksum: Option<TxChecksum>,
    /// Cut into segments.
    pub segmentation: Option<Segmentation>,
}

/// Why a frame was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransmitError {
    /// No free descriptor; try again after the device has sent something.
    Full,
    /// Longer than the device can send.
    TooLong,
    /// Quiesced or halted.
    NotRunning,
}

/// A network device, driven by one owner (the network stack, under its lock).
///
/// Interrupts only wake the owner; all work happens in these calls. The owner disables interrupts while it polls and
/// enables them before it sleeps.
pub trait NetDevice: Device {
    /// Address, MTU, offloads.
    fn link(&self) -> LinkInfo;
    /// Whether the carrier is there.
    fn link_up(&self) -> bool;
    /// How long after `resume` it may take until it takes in what comes.
    fn warm_up(&self) -> Duration {
        Duration::ZERO
    }
    /// The next received frame, if there is one. Several may be held at once, but they are recycled in order.
    fn receive(&mut self) -> Option<RxFrame>;
    /// Returns a frame's buffer to the device.
    fn recycle(&mut self, frame: RxFrame);
    /// Whether `transmit` would find room now. Reclaims finished descriptors.
    fn can_transmit(&mut self) -> bool;
    /// Lets `fill` write a frame of `len` bytes straight into the device's buffer and queues it as the returned meta asks.
    fn transmit(
        &mut self,
        len: usize,
        fill: &mut dyn FnMut(&mut [u8]) -> TxMeta,
    ) -> Result<(), TransmitError>;
    /// Tells the device about everything queued since the last call (one notification for many frames).
    fn flush(&mut self);
    /// Allows or forbids receive interrupts. After allowing: true if frames came in meanwhile, so that the owner must
    /// poll again before it sleeps.
    fn set_interrupts(&mut self, enabled: bool) -> bool;
}
