//! Our addresses: from DHCP or the command line, and told to the neighbors.

use super::Stack;
use core::net::Ipv4Addr;
use drivers_api::{NetDevice, TxMeta};
use smoltcp::socket::dhcpv4;
use smoltcp::wire::{IpAddress, IpCidr, Ipv4Cidr};

/// Length of an Ethernet frame that carries ARP for IPv4.
const ARP_FRAME: usize = 42;

impl Stack {
    /// Takes on what the DHCP server has said.
    pub(super) fn poll_dhcp(&mut self) {
        let Some(handle) = self.common.dhcp else { return };
        match self.common.set.get_mut::<dhcpv4::Socket<'_>>(handle).poll() {
            Some(dhcpv4::Event::Configured(lease)) => {
                let (cidr, router, servers) = (lease.address, lease.router, lease.dns_servers.clone());
                log::info!("address {cidr} by DHCP on {}", self.output.link.mac);
                self.set_ipv4(Some((cidr.address(), cidr.prefix_len())), router, &servers);
            }
            Some(dhcpv4::Event::Deconfigured) => self.set_ipv4(None, None, &[]),
            None => {}
        }
    }

    /// Takes on another IPv4 address, or none.
    pub(super) fn set_ipv4(
        &mut self,
        address: Option<(Ipv4Addr, u8)>,
        gateway: Option<Ipv4Addr>,
        servers: &[Ipv4Addr],
    ) {
        self.interface.update_ip_addrs(|addresses| {
            addresses.retain(|cidr| !matches!(cidr, IpCidr::Ipv4(_)));
            if let Some((address, prefix)) = address
                && IpAddress::Ipv4(address).is_unicast()
            {
                addresses
                    .insert(0, IpCidr::Ipv4(Ipv4Cidr::new(address, prefix)))
                    .expect("one of six places is kept for IPv4");
            }
        });
        self.interface.routes_mut().remove_default_ipv4_route();
        if let Some(gateway) = gateway {
            // Room for it is fixed, and the one before is gone.
            let _ = self.interface.routes_mut().add_default_ipv4_route(gateway);
        }
        self.common.set_servers(servers);
        self.announce = address.is_some();
    }

    /// Gratuitous ARP (RFC 5227, 3): a request for our own address, to all. False if the device was full.
    pub(super) fn send_announcement(&mut self, device: &mut dyn NetDevice) -> bool {
        let Some(address) = self.interface.ipv4_addr() else {
            self.announce = false;
            return true;
        };
        let (mac, address) = (self.output.link.mac.0, address.octets());
        if !device.can_transmit() {
            return false;
        }
        let sent = device.transmit(ARP_FRAME, &mut |frame| {
            let (ethernet, arp) = frame.split_at_mut(14);
            ethernet[..6].fill(0xff);
            ethernet[6..12].copy_from_slice(&mac);
            ethernet[12..].copy_from_slice(&[0x08, 0x06]);
            // Ethernet and IPv4, their lengths, request.
            arp[..8].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, 1]);
            arp[8..14].copy_from_slice(&mac);
            arp[14..18].copy_from_slice(&address);
            arp[18..24].fill(0);
            arp[24..28].copy_from_slice(&address);
            TxMeta::default()
        });
        if sent.is_ok() {
            self.output.statistics.sent_frames += 1;
            self.output.statistics.sent_bytes += ARP_FRAME as u64;
            self.announce = false;
        }
        sent.is_ok()
    }
}
