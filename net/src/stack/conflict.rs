//! Who has an IPv4 address: asked of all, and answered (RFC 5227; RFC 826 for the packets).

use super::Stack;
use core::net::Ipv4Addr;
use drivers_api::{MacAddr, NetDevice};
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr,
};

/// Length of an Ethernet frame that carries ARP for IPv4.
const ARP_FRAME: usize = 42;
const NOBODY: EthernetAddress = EthernetAddress([0; 6]);

fn parse(frame: &[u8]) -> Option<ArpRepr> {
    let frame = EthernetFrame::new_checked(frame).ok()?;
    if frame.ethertype() != EthernetProtocol::Arp {
        return None;
    }
    ArpRepr::parse(&ArpPacket::new_checked(frame.payload()).ok()?).ok()
}

impl Stack {
    fn own_address(&self) -> Option<(EthernetAddress, Ipv4Addr)> {
        Some((EthernetAddress(self.output.link.mac.0), self.interface.ipv4_addr()?))
    }

    /// Our IPv4 address.
    pub(crate) fn ipv4(&self) -> Option<Ipv4Addr> {
        self.interface.ipv4_addr()
    }

    /// False if the device was full.
    fn send_arp(&mut self, device: &mut dyn NetDevice, to: EthernetAddress, arp: ArpRepr) -> bool {
        if !device.can_transmit() {
            return false;
        }
        let ethernet = EthernetRepr {
            src_addr: EthernetAddress(self.output.link.mac.0),
            dst_addr: to,
            ethertype: EthernetProtocol::Arp,
        };
        self.transmit_own(device, ARP_FRAME, |bytes| {
            let mut frame = EthernetFrame::new_unchecked(bytes);
            ethernet.emit(&mut frame);
            arp.emit(&mut ArpPacket::new_unchecked(frame.payload_mut()));
        })
    }

    /// A request for our own address, to all: from `source`. False if the device was full.
    pub(super) fn ask_for_own(
        &mut self,
        device: &mut dyn NetDevice,
        source: impl Fn(Ipv4Addr) -> Ipv4Addr,
    ) -> bool {
        let Some((mac, address)) = self.own_address() else { return true };
        let request = ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Request,
            source_hardware_addr: mac,
            source_protocol_addr: source(address),
            target_hardware_addr: NOBODY,
            target_protocol_addr: address,
        };
        self.send_arp(device, EthernetAddress::BROADCAST, request)
    }

    /// An ARP probe (RFC 5227, 2.1.1): nobody learns anything, and whoever has our address answers.
    pub(crate) fn send_probe(&mut self, device: &mut dyn NetDevice) -> bool {
        self.ask_for_own(device, |_| Ipv4Addr::UNSPECIFIED)
    }

    /// Who, by this frame, has our address too, or is about to take it.
    pub(crate) fn rival(&self, frame: &[u8]) -> Option<MacAddr> {
        let (_, own) = self.own_address()?;
        let ArpRepr::EthernetIpv4 {
            source_hardware_addr, source_protocol_addr, target_protocol_addr, ..
        } = parse(frame)?
        else {
            return None;
        };
        let probes = source_protocol_addr.is_unspecified() && target_protocol_addr == own;
        (source_protocol_addr == own || probes).then_some(MacAddr(source_hardware_addr.0))
    }

    /// Answers a probe for our address: smoltcp takes no packet without a sender. Where the device is full the next probe is.
    pub(super) fn defend(&mut self, device: &mut dyn NetDevice, frame: &[u8]) {
        let Some((mac, own)) = self.own_address() else { return };
        if let Some(ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Request,
            source_hardware_addr: asker,
            source_protocol_addr: Ipv4Addr::UNSPECIFIED,
            target_protocol_addr,
            ..
        }) = parse(frame)
            && target_protocol_addr == own
            && asker.is_unicast()
        {
            let reply = ArpRepr::EthernetIpv4 {
                operation: ArpOperation::Reply,
                source_hardware_addr: mac,
                source_protocol_addr: own,
                target_hardware_addr: asker,
                target_protocol_addr: Ipv4Addr::UNSPECIFIED,
            };
            self.send_arp(device, asker, reply);
        }
    }
}
