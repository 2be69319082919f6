//! Where our addresses are, told to all neighbors: gratuitous ARP (RFC 5227, 2.3) and unsolicited advertisements (RFC 4861, 7.2.6).

use super::Stack;
use core::net::Ipv6Addr;
use drivers_api::{NetDevice, TxMeta};
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, Icmpv6Packet, Icmpv6Repr, IpAddress,
    Ipv6Packet, Ipv6Repr, NdiscNeighborFlags, NdiscRepr,
};

/// How often it is told: neighbors may miss one, or take it for too early (RFC 5227, 1.1: ANNOUNCE_NUM).
const TIMES: u32 = 2;
/// Between one and the next, in nanoseconds (the same: ANNOUNCE_INTERVAL).
const INTERVAL: u64 = 2_000_000_000;
/// Length of the headers, and of the advertisement with its one option.
const ETHERNET: usize = 14;
const IPV6: usize = 40;
const ADVERTISEMENT: usize = 32;

/// Announcements that are still to be made.
#[derive(Debug, Default)]
pub(super) struct Announcements {
    is_due: bool,
    left: u32,
    /// When the next one is due.
    next: Option<u64>,
}

impl Announcements {
    /// There is something new to tell.
    pub(super) fn start(&mut self) {
        *self = Self { is_due: true, left: TIMES, next: None };
    }

    /// There is nothing to tell any more.
    pub(super) fn stop(&mut self) {
        *self = Self::default();
    }

    pub(super) fn is_due(&self) -> bool {
        self.is_due
    }

    pub(super) fn deadline(&self) -> Option<u64> {
        self.next
    }

    pub(super) fn run(&mut self, now: u64) {
        if self.next.is_some_and(|at| at <= now) {
            (self.is_due, self.next) = (true, None);
        }
    }

    fn sent(&mut self, now: u64) {
        self.left -= 1;
        (self.is_due, self.next) = (false, (self.left > 0).then_some(now + INTERVAL));
    }
}

impl Stack {
    /// Tells the neighbors where our addresses are now.
    pub(crate) fn announce(&mut self) {
        self.announcements.start();
    }

    /// False if the device was full: all are told once more then.
    pub(super) fn send_announcement(&mut self, now: u64, device: &mut dyn NetDevice) -> bool {
        let mut sent = self.ask_for_own(device, |own| own);
        for index in 0..self.interface.ip_addrs().len() {
            if let IpAddress::Ipv6(address) = self.interface.ip_addrs()[index].address() {
                sent = sent && self.advertise(device, address);
            }
        }
        if sent {
            self.announcements.sent(now);
        }
        sent
    }

    fn advertise(&mut self, device: &mut dyn NetDevice, address: Ipv6Addr) -> bool {
        const ALL: EthernetAddress = EthernetAddress([0x33, 0x33, 0, 0, 0, 1]);
        const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
        if !device.can_transmit() {
            return false;
        }
        let own = EthernetAddress(self.output.link.mac.0);
        let advert = Icmpv6Repr::Ndisc(NdiscRepr::NeighborAdvert {
            flags: NdiscNeighborFlags::OVERRIDE,
            target_addr: address,
            lladdr: Some(own.into()),
        });
        let ethernet = EthernetRepr { src_addr: own, dst_addr: ALL, ethertype: EthernetProtocol::Ipv6 };
        let ip = Ipv6Repr {
            src_addr: address,
            dst_addr: ALL_NODES,
            next_header: smoltcp::wire::IpProtocol::Icmpv6,
            payload_len: ADVERTISEMENT,
            hop_limit: 255,
        };
        self.transmit_own(device, ETHERNET + IPV6 + ADVERTISEMENT, |bytes| {
            let mut frame = EthernetFrame::new_unchecked(bytes);
            ethernet.emit(&mut frame);
            let mut packet = Ipv6Packet::new_unchecked(frame.payload_mut());
            ip.emit(&mut packet);
            let mut message = Icmpv6Packet::new_unchecked(packet.payload_mut());
            advert.emit(&address, &ALL_NODES, &mut message, &Default::default());
        })
    }

    /// Sends a frame that no socket has made. False if the device has refused it.
    pub(super) fn transmit_own(
        &mut self,
        device: &mut dyn NetDevice,
        length: usize,
        fill: impl Fn(&mut [u8]),
    ) -> bool {
        let sent = device.transmit(length, &mut |bytes| {
            fill(bytes);
            TxMeta::default()
        });
        if sent.is_ok() {
            self.output.statistics.sent_frames += 1;
            self.output.statistics.sent_bytes += length as u64;
        }
        sent.is_ok()
    }
}
