//! A first look at a received frame, before smoltcp: whose it is, and where its transport header lies.
//!
//! Lengths are checked here as far as the fields looked at need it; smoltcp checks the rest again.

use crate::checksum;
use crate::flow::FlowKey;
use crate::statistics::Drop;

/// Length of an Ethernet II header in bytes.
pub(crate) const ETHERNET_HEADER: usize = 14;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
const ICMPV6: u8 = 58;

/// Flags of a TCP header (RFC 9293, 3.1).
pub(crate) mod flags {
    pub(crate) const SYN: u8 = 0x02;
    pub(crate) const ACK: u8 = 0x10;
    pub(crate) const RST: u8 = 0x04;
}

/// Where the transport lies in a frame, in bytes from the frame's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Start of the two IP addresses.
    pub(crate) addresses: usize,
    /// Start of the transport header.
    pub(crate) transport: usize,
    /// End of the IP packet; Ethernet padding may follow.
    pub(crate) end: usize,
    /// Protocol number.
    pub(crate) protocol: u8,
}

/// A TCP segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) layout: Layout,
    pub(crate) flow: FlowKey,
    /// See [`flags`].
    pub(crate) flags: u8,
    /// Payload bytes.
    pub(crate) payload: usize,
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peek {
    /// A whole TCP segment.
    Tcp(Segment),
    /// A whole UDP datagram.
    Udp(Layout),
    /// ARP or ICMPv6: may tell who has an address.
    Neighbor,
    /// Anything else: smoltcp knows what to do.
    Other,
    /// Not worth going on with.
    Drop(Drop),
}

/// Looks at a frame.
pub(crate) fn peek(frame: &[u8]) -> Peek {
    match layout(frame) {
        Ok(Some(layout)) => match layout.protocol {
            TCP => segment(frame, layout).map_or(Peek::Drop(Drop::Malformed), Peek::Tcp),
            UDP if layout.end - layout.transport >= 8 => Peek::Udp(layout),
            UDP => Peek::Drop(Drop::Malformed),
            ICMPV6 if layout.transport == ETHERNET_HEADER + 40 => Peek::Neighbor,
            _ => Peek::Other,
        },
        Ok(None) if frame[12..14] == [0x08, 0x06] => Peek::Neighbor,
        Ok(None) => Peek::Other,
        Err(reason) => Peek::Drop(reason),
    }
}

/// Where the transport lies; `None` if the frame is not an IP packet.
pub(crate) fn layout(frame: &[u8]) -> Result<Option<Layout>, Drop> {
    let Some((ethernet, packet)) = frame.split_at_checked(ETHERNET_HEADER) else {
        return Err(Drop::Malformed);
    };
    match [ethernet[12], ethernet[13]] {
        [0x08, 0x00] => {
            let Some((header, _)) = packet.split_first_chunk::<20>() else { return Err(Drop::Malformed) };
            let header_length = usize::from(header[0] & 0x0f) * 4;
            let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
            if header[0] >> 4 != 4 || header_length < 20 || total < header_length || total > packet.len() {
                return Err(Drop::Malformed);
            }
            // More fragments to come, or not the first one.
            if u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0 {
                return Err(Drop::Fragment);
            }
            Ok(Some(Layout {
                addresses: ETHERNET_HEADER + 12,
                transport: ETHERNET_HEADER + header_length,
                end: ETHERNET_HEADER + total,
                protocol: header[9],
            }))
        }
        [0x86, 0xdd] => {
            let Some((header, rest)) = packet.split_first_chunk::<40>() else { return Err(Drop::Malformed) };
            let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
            if header[0] >> 4 != 6 || length > rest.len() {
                return Err(Drop::Malformed);
            }
            Ok(Some(Layout {
                addresses: ETHERNET_HEADER + 8,
                transport: ETHERNET_HEADER + 40,
                end: ETHERNET_HEADER + 40 + length,
                protocol: header[6],
            }))
        }
        _ => Ok(None),
    }
}

fn segment(frame: &[u8], layout: Layout) -> Option<Segment> {
    let (header, rest) = frame.get(layout.transport..layout.end)?.split_first_chunk::<20>()?;
    let options = (usize::from(header[12] >> 4) * 4).checked_sub(20)?;
    let payload = rest.len().checked_sub(options)?;
    let remote_port = u16::from_be_bytes([header[0], header[1]]);
    let local_port = u16::from_be_bytes([header[2], header[3]]);
    let addresses = frame.get(layout.addresses..)?;
    let flow = if frame[12] == 0x08 {
        let (source, rest) = addresses.split_first_chunk()?;
        FlowKey::v4(*source, *rest.first_chunk()?, remote_port, local_port)
    } else {
        let (source, rest) = addresses.split_first_chunk()?;
        FlowKey::v6(*source, *rest.first_chunk()?, remote_port, local_port)
    };
    Some(Segment { layout, flow, flags: header[13], payload })
}

impl Layout {
    /// The two addresses, as they lie in the header.
    pub(crate) fn addresses<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        let length = if frame[12] == 0x08 { 8 } else { 32 };
        &frame[self.addresses..self.addresses + length]
    }

    /// Whether the transport's checksum is right. UDP over IPv4 may come without one (RFC 768).
    pub(crate) fn checksum_is_good(&self, frame: &[u8]) -> bool {
        let transport = &frame[self.transport..self.end];
        if self.protocol == UDP {
            let absent = transport[6..8] == [0, 0];
            if absent {
                return frame[12] == 0x08;
            }
        }
        let pseudo = checksum::pseudo_header(self.addresses(frame), self.protocol, transport.len());
        checksum::add(pseudo, checksum::sum(transport)) == 0xffff
    }
}
