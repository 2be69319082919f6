//! Everything but TCP: the sockets that share one set (DHCP, UDP, names), and with them ARP and ICMP.

use super::{Stack, instant, nanos, remember};
use crate::config::{Config, Ipv4Config};
use crate::error::{BindError, DnsError, UdpError};
use crate::port::Port;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::task::{Poll, Waker};
use drivers_api::NetDevice;
use smoltcp::iface::{PollResult, SocketHandle, SocketSet};
use smoltcp::socket::{dhcpv4, dns, udp};
use smoltcp::wire::{DhcpOption, DnsQueryType, IpAddress};

/// Datagrams a UDP socket holds in each direction.
const UDP_DATAGRAMS: usize = 64;
/// Bytes of datagrams a UDP socket holds in each direction.
const UDP_BYTES: usize = 128 << 10;
/// Questions under way at once.
const DNS_QUERIES: usize = 32;
/// How soon to look again at sockets that wanted to send and did not, in nanoseconds.
const STUCK_RETRY: u64 = 10_000_000;

/// Names a UDP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UdpId(u16);

struct Udp {
    port: u16,
    handle: SocketHandle,
    read_waker: Option<Waker>,
    write_waker: Option<Waker>,
}

/// The socket that asks for an address, if one is to be asked for.
fn dhcp(set: &mut SocketSet<'static>, config: &Config) -> Option<SocketHandle> {
    if config.ipv4 != Ipv4Config::Dhcp {
        return None;
    }
    let mut socket = dhcpv4::Socket::new();
    if let Some(name) = config.hostname {
        // The socket lives as long as the system, and so does its one option.
        let options: &'static [DhcpOption<'static>] =
            Box::leak(Box::new([DhcpOption { kind: 12, data: name.as_bytes() }]));
        socket.set_outgoing_options(options);
    }
    Some(set.add(socket))
}

/// The sockets that share one set.
pub(super) struct Common {
    pub(super) set: SocketSet<'static>,
    pub(super) dhcp: Option<SocketHandle>,
    dns: SocketHandle,
    servers: usize,
    questions: usize,
    udp: Vec<Udp>,
    dns_wakers: Vec<Waker>,
    /// Something may be ready to be sent.
    pub(super) dirty: bool,
    /// When smoltcp wants to be called, in nanoseconds.
    pub(super) deadline: Option<u64>,
}

impl Common {
    pub(super) fn new(config: &Config) -> Self {
        let mut set = SocketSet::new(Vec::new());
        let dns = set.add(dns::Socket::new(&[], Vec::new()));
        let dhcp = dhcp(&mut set, config);
        Self {
            set,
            dhcp,
            dns,
            servers: 0,
            questions: 0,
            udp: Vec::new(),
            dns_wakers: Vec::new(),
            dirty: true,
            deadline: None,
        }
    }

    /// Asks for another address, or for none.
    pub(super) fn start_over(&mut self, config: &Config) {
        if let Some(old) = self.dhcp.take() {
            self.set.remove(old);
        }
        self.dhcp = dhcp(&mut self.set, config);
        self.set_servers(&[]);
        self.dirty = true;
    }

    /// The name servers to be asked; three at most.
    pub(super) fn set_servers(&mut self, servers: &[Ipv4Addr]) {
        let mut list = [IpAddress::v4(0, 0, 0, 0); 3];
        let count = servers.len().min(list.len());
        for (place, server) in list.iter_mut().zip(servers) {
            *place = IpAddress::Ipv4(*server);
        }
        self.set.get_mut::<dns::Socket<'_>>(self.dns).update_servers(&list[..count]);
        self.servers = count;
    }
}

impl Stack {
    /// Gives a frame to the common sockets.
    pub(super) fn receive_common(&mut self, now: u64, device: &mut dyn NetDevice, frame: &[u8]) {
        let mut port = Port::new(device, &mut self.output).receiving(frame);
        self.interface.poll_ingress_single(instant(now), &mut port, &mut self.common.set);
        self.common.dirty = true;
    }

    /// Sends what the common sockets have to send. False if the device was full.
    pub(super) fn egress_common(&mut self, now: u64, device: &mut dyn NetDevice) -> bool {
        if self.announcements.is_due() && !self.send_announcement(now, device) {
            return false;
        }
        if !core::mem::take(&mut self.common.dirty) {
            return true;
        }
        let at = instant(now);
        self.interface.poll_maintenance(at);
        let mut port = Port::new(device, &mut self.output);
        while self.interface.poll_egress(at, &mut port, &mut self.common.set) != PollResult::None {}
        let full = port.full;
        self.poll_dhcp();
        self.wake_common();
        self.common.deadline = match self.interface.poll_at(at, &self.common.set) {
            Some(next) if next > at => Some(nanos(next)),
            Some(_) => Some(now + STUCK_RETRY),
            None => None,
        };
        self.common.dirty = full;
        !full && (!self.announcements.is_due() || self.send_announcement(now, device))
    }

    fn wake_common(&mut self) {
        for udp in &mut self.common.udp {
            let socket = self.common.set.get::<udp::Socket<'_>>(udp.handle);
            if socket.can_recv() {
                Self::wake(&mut self.wakers, udp.read_waker.take());
            }
            if socket.can_send() {
                Self::wake(&mut self.wakers, udp.write_waker.take());
            }
        }
        for waker in self.common.dns_wakers.drain(..) {
            Self::wake(&mut self.wakers, Some(waker));
        }
    }

    /// Binds a UDP socket; port 0 takes a free one.
    pub(crate) fn udp_bind(&mut self, port: u16) -> Result<UdpId, BindError> {
        let taken = |stack: &Self, port| port == 0 || stack.common.udp.iter().any(|udp| udp.port == port);
        let mut bound = port;
        let mut attempts = 0;
        while taken(self, bound) {
            attempts += 1;
            if port != 0 || attempts > 64 {
                return Err(BindError::InUse);
            }
            bound = 49152 | self.random_u32() as u16;
        }
        let receive = udp_buffer().ok_or(BindError::OutOfMemory)?;
        let send = udp_buffer().ok_or(BindError::OutOfMemory)?;
        self.common.udp.try_reserve(1).map_err(|_| BindError::OutOfMemory)?;
        let mut socket = udp::Socket::new(receive, send);
        socket.bind(bound).map_err(|_| BindError::InvalidPort)?;
        let handle = self.common.set.add(socket);
        self.common.udp.push(Udp { port: bound, handle, read_waker: None, write_waker: None });
        Ok(UdpId(bound))
    }

    /// Closes a UDP socket.
    pub(crate) fn udp_close(&mut self, id: UdpId) {
        if let Some(index) = self.common.udp.iter().position(|udp| udp.port == id.0) {
            let udp = self.common.udp.swap_remove(index);
            self.common.set.remove(udp.handle);
        }
    }

    /// Queues a datagram.
    pub(crate) fn udp_send(
        &mut self,
        id: UdpId,
        waker: &Waker,
        data: &[u8],
        to: SocketAddr,
    ) -> Poll<Result<(), UdpError>> {
        let headers = if to.is_ipv4() { 28 } else { 48 };
        if data.len() + headers > self.output.link.mtu {
            return Poll::Ready(Err(UdpError::MessageTooLong));
        }
        let Some(udp) = self.common.udp.iter_mut().find(|udp| udp.port == id.0) else {
            return Poll::Ready(Err(UdpError::Unaddressable));
        };
        match self.common.set.get_mut::<udp::Socket<'_>>(udp.handle).send_slice(data, to) {
            Ok(()) => {
                self.common.dirty = true;
                Poll::Ready(Ok(()))
            }
            Err(udp::SendError::BufferFull) => {
                remember(&mut udp.write_waker, waker);
                Poll::Pending
            }
            Err(udp::SendError::Unaddressable) => Poll::Ready(Err(UdpError::Unaddressable)),
        }
    }

    /// Takes a datagram; what does not fit into `buffer` is lost. Returns its own length and where it came from.
    pub(crate) fn udp_receive(
        &mut self,
        id: UdpId,
        waker: &Waker,
        buffer: &mut [u8],
    ) -> Poll<(usize, SocketAddr)> {
        let Some(udp) = self.common.udp.iter_mut().find(|udp| udp.port == id.0) else { return Poll::Pending };
        match self.common.set.get_mut::<udp::Socket<'_>>(udp.handle).recv() {
            Ok((data, from)) => {
                let count = data.len().min(buffer.len());
                buffer[..count].copy_from_slice(&data[..count]);
                Poll::Ready((data.len(), SocketAddr::new(from.endpoint.addr.into(), from.endpoint.port)))
            }
            Err(_) => {
                remember(&mut udp.read_waker, waker);
                Poll::Pending
            }
        }
    }

    /// Asks for a name's addresses of one family.
    pub(crate) fn dns_start(&mut self, name: &str, ipv6: bool) -> Result<dns::QueryHandle, DnsError> {
        if self.common.servers == 0 {
            return Err(DnsError::NoServer);
        }
        if self.common.questions >= DNS_QUERIES {
            return Err(DnsError::Busy);
        }
        let kind = if ipv6 { DnsQueryType::Aaaa } else { DnsQueryType::A };
        let socket = self.common.set.get_mut::<dns::Socket<'_>>(self.common.dns);
        let handle =
            socket.start_query(self.interface.context(), name, kind).map_err(|_| DnsError::InvalidName)?;
        self.common.questions += 1;
        self.common.dirty = true;
        Ok(handle)
    }

    /// The answer, if it has come; the question is over then.
    pub(crate) fn dns_answer(
        &mut self,
        handle: dns::QueryHandle,
        waker: &Waker,
    ) -> Poll<Result<Vec<IpAddr>, DnsError>> {
        let socket = self.common.set.get_mut::<dns::Socket<'_>>(self.common.dns);
        match socket.get_query_result(handle) {
            Ok(addresses) => {
                self.common.questions -= 1;
                Poll::Ready(Ok(addresses.into_iter().map(IpAddr::from).collect()))
            }
            Err(dns::GetQueryResultError::Pending) => {
                if !self.common.dns_wakers.iter().any(|held| held.will_wake(waker)) {
                    self.common.dns_wakers.push(waker.clone());
                }
                Poll::Pending
            }
            Err(dns::GetQueryResultError::Failed) => {
                self.common.questions -= 1;
                Poll::Ready(Err(DnsError::Failed))
            }
        }
    }

    /// Nobody wants the answer any more.
    pub(crate) fn dns_cancel(&mut self, handle: dns::QueryHandle) {
        self.common.set.get_mut::<dns::Socket<'_>>(self.common.dns).cancel_query(handle);
        self.common.questions -= 1;
    }
}

fn udp_buffer() -> Option<udp::PacketBuffer<'static>> {
    let mut metadata = Vec::new();
    metadata.try_reserve_exact(UDP_DATAGRAMS).ok()?;
    metadata.resize(UDP_DATAGRAMS, udp::PacketMetadata::EMPTY);
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(UDP_BYTES).ok()?;
    bytes.resize(UDP_BYTES, 0);
    Some(udp::PacketBuffer::new(metadata, bytes))
}
