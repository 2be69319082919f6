//! Our addresses: from DHCP or the command line, and told to the neighbors.

use super::Stack;
use core::net::Ipv4Addr;
use smoltcp::socket::dhcpv4;
use smoltcp::wire::{IpAddress, IpCidr, Ipv4Cidr};

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
        match address {
            Some(_) => self.announcements.start(),
            None => self.announcements.stop(),
        }
    }
}
