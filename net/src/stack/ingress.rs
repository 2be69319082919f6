//! Frames in.

use super::connection::{ACK_DELAY, Id, Owner};
use super::{Stack, instant};
use crate::frame::{self, Peek, Segment, flags};
use crate::port::Port;
use crate::statistics::Drop;
use drivers_api::{Checksum, NetDevice};
use smoltcp::time::Duration;

impl Stack {
    /// Takes in one frame. Its acknowledgement number may be changed in place.
    pub(crate) fn receive(
        &mut self,
        now: u64,
        device: &mut dyn NetDevice,
        frame: &mut [u8],
        checksum: Checksum,
    ) {
        let statistics = &mut self.output.statistics;
        statistics.received_frames += 1;
        statistics.received_bytes += frame.len() as u64;
        match frame::peek(frame) {
            Peek::Drop(reason) => statistics.count_drop(reason),
            Peek::Tcp(segment) => {
                if checksum == Checksum::Unknown && !segment.layout.checksum_is_good(frame) {
                    statistics.count_drop(Drop::Checksum);
                } else if frame[..6] != self.output.link.mac.0 {
                    statistics.count_drop(Drop::ForeignAddress);
                } else {
                    self.receive_segment(now, device, frame, &segment);
                }
            }
            Peek::Udp(layout) => {
                if checksum == Checksum::Unknown && !layout.checksum_is_good(frame) {
                    statistics.count_drop(Drop::Checksum);
                } else {
                    self.receive_common(now, device, frame);
                }
            }
            Peek::Neighbor => {
                self.defend(device, frame);
                self.receive_common(now, device, frame);
                self.resolved();
            }
            Peek::Other => self.receive_common(now, device, frame),
        }
    }

    fn receive_segment(&mut self, now: u64, device: &mut dyn NetDevice, frame: &mut [u8], segment: &Segment) {
        let opens = segment.flags & (flags::SYN | flags::ACK | flags::RST) == flags::SYN;
        let mut found = self.flows.get(&segment.flow).copied();
        if let Some(id) = found
            && opens
            && self.connections.lookup(id).is_some_and(|connection| connection.time_wait)
        {
            // The peer uses its port again before we have forgotten it (RFC 6191).
            self.forget_time_wait(id);
            found = None;
        }
        if found.is_none() && opens && self.listeners.contains_key(&segment.flow.local_port()) {
            found = self.open_half(now, segment);
            if found.is_none() {
                return;
            }
        }
        match found {
            Some(id) => self.deliver(now, device, frame, segment, id),
            None => {
                let mut port = Port::new(device, &mut self.output).receiving(frame);
                self.interface.poll_ingress_single(instant(now), &mut port, &mut self.nobody);
            }
        }
    }

    fn deliver(&mut self, now: u64, device: &mut dyn NetDevice, frame: &mut [u8], segment: &Segment, id: Id) {
        let connection = self.connections.lookup(id).expect("flows name living connections");
        connection.heard = now;
        if segment.flags & flags::ACK != 0 {
            connection.sequence.translate_acknowledgement(&mut frame[segment.layout.transport..]);
        }
        // Several segments merged by the device are acknowledged at once: smoltcp would take them for a single one and
        // wait for another.
        let merged = segment.payload > self.output.link.mtu;
        if merged {
            connection.socket_mut().set_ack_delay(Some(Duration::ZERO));
        }
        let mut port =
            Port::new(device, &mut self.output).receiving(frame).of_connection(&mut connection.sequence);
        self.interface.poll_ingress_single(instant(now), &mut port, &mut connection.set);
        if merged {
            connection.socket_mut().set_ack_delay(Some(ACK_DELAY));
        }
        if connection.owner == Owner::Orphan {
            // Nobody will read it.
            while matches!(connection.socket_mut().recv(|data| (data.len(), data.len())), Ok(1..)) {}
        }
        self.settle(id, now, true);
    }

    /// Somebody may have told an Ethernet address that connections wait for.
    fn resolved(&mut self) {
        let Self { unresolved, connections, dirty, .. } = self;
        // They stay in the list until a packet of theirs has gone out: it may have been about somebody else.
        unresolved.retain(|&id| {
            let connection = connections.lookup(id);
            connection.is_some_and(|connection| {
                super::egress::mark_dirty(connection, dirty);
                true
            })
        });
    }
}
