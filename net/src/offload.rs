//! What is done to a frame after smoltcp wrote it: sequence numbers moved by the connection's secret, checksum and
//! segmentation given to the device or done here.

use crate::checksum;
use crate::frame::{self, ETHERNET_HEADER, TCP, UDP};
use core::num::NonZeroU16;
use drivers_api::{Offloads, Segmentation, TxChecksum, TxMeta};

/// How far one connection's sequence numbers on the wire lie from smoltcp's, whose initial ones can be guessed, and how
/// far it has sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sequence {
    /// Added to what is sent, taken from what is acknowledged.
    pub(crate) offset: u32,
    /// One past the highest sequence number sent, as smoltcp counts.
    highest: Option<u32>,
    /// Segments that began below `highest`: sent again.
    pub(crate) retransmits: u64,
}

impl Sequence {
    /// With a secret offset.
    pub(crate) fn new(offset: u32) -> Self {
        Self { offset, ..Self::default() }
    }

    fn sent(&mut self, start: u32, length: u32) {
        let end = start.wrapping_add(length);
        match self.highest {
            Some(highest) if (highest.wrapping_sub(start) as i32) > 0 && length > 0 => {
                self.retransmits += 1;
                if (end.wrapping_sub(highest) as i32) > 0 {
                    self.highest = Some(end);
                }
            }
            _ => self.highest = Some(end),
        }
    }

    /// Moves the acknowledgement number of a received TCP header back to smoltcp's counting. The checksum is not mended.
    pub(crate) fn translate_acknowledgement(&self, header: &mut [u8]) {
        if let Some(field) = header[8..].first_chunk_mut::<4>() {
            *field = u32::from_be_bytes(*field).wrapping_sub(self.offset).to_be_bytes();
        }
    }
}

/// What a finished frame turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Finished {
    /// For the device.
    pub(crate) meta: TxMeta,
    /// Whether it only asks who has an address: what was to be sent still waits.
    pub(crate) asks_neighbor: bool,
}

/// Finishes a frame that smoltcp has written with the transport's checksum left out.
pub(crate) fn finish(
    frame: &mut [u8],
    sequence: Option<&mut Sequence>,
    offloads: &Offloads,
    segment_size: Option<NonZeroU16>,
) -> Finished {
    let mut finished = Finished { meta: TxMeta::default(), asks_neighbor: false };
    let Ok(Some(layout)) = frame::layout(frame) else {
        finished.asks_neighbor = frame.get(12..14) == Some(&[0x08, 0x06]);
        return finished;
    };
    let checksum_offset = match layout.protocol {
        TCP => 16,
        UDP => 6,
        // Neighbor solicitation (RFC 4861, 4.3).
        58 => {
            finished.asks_neighbor = frame.get(layout.transport) == Some(&135);
            return finished;
        }
        _ => return finished,
    };
    let length = layout.end - layout.transport;
    if layout.protocol == TCP {
        let header = &mut frame[layout.transport..layout.end];
        let header_len = usize::from(header[12] >> 4) * 4;
        if let Some(sequence) = sequence {
            translate(header, header_len, sequence);
        }
        if let Some(size) = segment_size {
            finished.meta.segmentation = Some(Segmentation {
                segment_size: size.get(),
                header_len: (layout.transport + header_len) as u16,
                ipv6: layout.transport == ETHERNET_HEADER + 40 && frame[12] == 0x86,
            });
        }
    }
    let pseudo = checksum::pseudo_header(layout.addresses(frame), layout.protocol, length);
    let field = layout.transport + checksum_offset;
    let value = if offloads.tx_checksum {
        finished.meta.checksum =
            Some(TxChecksum { start: layout.transport as u16, offset: checksum_offset as u16 });
        pseudo
    } else {
        frame[field..field + 2].fill(0);
        let sum = !checksum::add(pseudo, checksum::sum(&frame[layout.transport..layout.end]));
        // Zero would mean "none" in UDP; all ones is the same sum (RFC 768).
        if sum == 0 && layout.protocol == UDP { 0xffff } else { sum }
    };
    frame[field..field + 2].copy_from_slice(&value.to_be_bytes());
    finished
}

fn translate(header: &mut [u8], header_len: usize, sequence: &mut Sequence) {
    let payload = header.len().saturating_sub(header_len) as u32;
    let control = u32::from(header[13] & 1) + u32::from(header[13] >> 1 & 1);
    if let Some(field) = header[4..].first_chunk_mut::<4>() {
        let start = u32::from_be_bytes(*field);
        *field = start.wrapping_add(sequence.offset).to_be_bytes();
        sequence.sent(start, payload + control);
    }
}
