//! The network stack as a pure machine: frames, calls and the time go in, frames and wakers come out.
//!
//! Nothing here waits, sleeps or locks, so that all of it is tested on the host. [`crate::runtime`] holds the
//! system's stacks. Times are nanoseconds since boot.
//!
//! smoltcp does the protocols. What surrounds it:
//! - Every TCP connection is alone in a socket set. Segments are told apart by a hash table before smoltcp sees them, and
//!   only connections with something to send or a timer that is due are looked at again.
//! - A batch of frames is taken in first, and answered after: acknowledgements of one batch become one, and ride on
//!   replies where these come soon.
//! - Wakers are collected, and woken when the lock is free again.

mod addresses;
mod announce;
mod conflict;
mod connection;
mod datagram;
mod egress;
mod ingress;
mod listen;
mod sockets;
mod timers;

#[cfg(test)]
pub(crate) mod tests;

pub(crate) use connection::Id;
pub(crate) use datagram::UdpId;

use crate::config::{Config, Ipv4Config, Ipv6Config};
use crate::error::StartError;
use crate::flow::{FlowKey, SecretHash};
use crate::port::{Output, Port, bytes};
use crate::statistics::Statistics;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use announce::Announcements;
use connection::Connections;
use core::net::IpAddr;
use core::task::Waker;
use datagram::Common;
use drivers_api::NetDevice;
use hashbrown::HashMap;
use listen::Listener;
use smoltcp::iface::{Interface, SocketSet};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr, Ipv6Address, Ipv6Cidr};
use timers::Timers;

/// How many connections may linger in TIME-WAIT; the oldest make room.
const TIME_WAIT_LIMIT: usize = 256;
/// How long to wait, in nanoseconds, before trying a full device again. It sends no interrupt for room.
const FULL_RETRY: u64 = 100_000;

/// The stack of one interface.
pub(crate) struct Stack {
    interface: Interface,
    output: Output,
    connections: Connections,
    flows: HashMap<FlowKey, Id, SecretHash>,
    listeners: BTreeMap<u16, Listener>,
    /// Everything but TCP.
    common: Common,
    /// For segments that are nobody's.
    nobody: SocketSet<'static>,
    timers: Timers,
    /// Connections with something to send, each once.
    dirty: Vec<Id>,
    /// Connections whose neighbor's Ethernet address is asked for.
    unresolved: Vec<Id>,
    /// Connections in TIME-WAIT, oldest first.
    time_wait: VecDeque<Id>,
    /// To be woken when the lock is free.
    wakers: Vec<Waker>,
    /// When a full device is tried again.
    blocked_until: Option<u64>,
    announcements: Announcements,
    slaac: bool,
    random: fn(&mut [u8]),
    max_connections: usize,
    connection_memory: usize,
}

impl Stack {
    /// Starts on a device. `random` gives unpredictable bytes.
    pub(crate) fn new(
        device: &mut dyn NetDevice,
        config: &Config,
        random: fn(&mut [u8]),
        now: u64,
    ) -> Result<Self, StartError> {
        let link = device.link();
        let mac = EthernetAddress(link.mac.0);
        if !mac.is_unicast() {
            return Err(StartError::BadAddress);
        }
        let mut output = Output::new(link).ok_or(StartError::OutOfMemory)?;
        let slaac = config.ipv6 == Ipv6Config::Auto;
        let interface = interface(device, &mut output, slaac, random, now);
        let mut time_wait = VecDeque::new();
        time_wait.try_reserve_exact(TIME_WAIT_LIMIT + 1).map_err(|_| StartError::OutOfMemory)?;
        let mut stack = Self {
            interface,
            output,
            connections: Connections::default(),
            flows: HashMap::with_hasher(SecretHash::new(random)),
            listeners: BTreeMap::new(),
            common: Common::new(config),
            nobody: SocketSet::new(Vec::new()),
            timers: Timers::default(),
            dirty: Vec::new(),
            unresolved: Vec::new(),
            time_wait,
            wakers: Vec::new(),
            blocked_until: None,
            announcements: Announcements::default(),
            slaac,
            random,
            max_connections: config.max_connections,
            connection_memory: config.connection_memory,
        };
        stack.configure(config, mac);
        Ok(stack)
    }

    /// Goes on with another device, of any link: with all connections and addresses, but without the neighbors it knew, who are told that
    /// there is another Ethernet address.
    pub(crate) fn adopt(&mut self, device: &mut dyn NetDevice, now: u64) -> Result<(), StartError> {
        let link = device.link();
        if !EthernetAddress(link.mac.0).is_unicast() {
            return Err(StartError::BadAddress);
        }
        self.output.link = link;
        // What it knows of its device is fixed when it is made.
        let mut successor = interface(device, &mut self.output, self.slaac, self.random, now);
        successor.update_ip_addrs(|addresses| addresses.extend(self.interface.ip_addrs().iter().copied()));
        self.interface.routes_mut().update(|old| successor.routes_mut().update(|new| *new = old.clone()));
        self.interface = successor;
        self.blocked_until = None;
        self.announcements.start();
        Ok(())
    }

    /// Becomes another host: with other addresses, and without a connection. Who had one finds it reset; nobody on the network hears of it, for
    /// there the old addresses may be another's.
    pub(crate) fn start_over(&mut self, device: &mut dyn NetDevice, config: &Config, now: u64) {
        for id in self.connections.ids() {
            if let Some(connection) = self.connections.lookup(id) {
                connection.cut();
            }
            self.settle(id, now, false);
        }
        self.slaac = config.ipv6 == Ipv6Config::Auto;
        self.interface = interface(device, &mut self.output, self.slaac, self.random, now);
        self.common.start_over(config);
        self.configure(config, EthernetAddress(self.output.link.mac.0));
    }

    fn configure(&mut self, config: &Config, mac: EthernetAddress) {
        let own = match config.ipv6 {
            Ipv6Config::Off => None,
            _ => Some(Ipv6Cidr::new(link_local(mac), 64)),
        };
        let global = match config.ipv6 {
            Ipv6Config::Static { address, prefix, gateway } => {
                if let Some(gateway) = gateway {
                    // Room for it is fixed, and the table is empty.
                    let _ = self.interface.routes_mut().add_default_ipv6_route(gateway);
                }
                Some(Ipv6Cidr::new(address, prefix))
            }
            _ => None,
        };
        self.interface.update_ip_addrs(|addresses| {
            for cidr in [global, own].into_iter().flatten() {
                addresses.push(IpCidr::Ipv6(cidr)).expect("there is room for six");
            }
        });
        if let Ipv4Config::Static { address, prefix, gateway, dns } = config.ipv4 {
            self.set_ipv4(Some((address, prefix)), gateway, dns.as_slice());
        }
    }

    /// One round: at most `budget` frames in, timers, everything that is ready out. Returns the number of frames.
    pub(crate) fn poll(&mut self, now: u64, device: &mut dyn NetDevice, budget: usize) -> usize {
        let mut count = 0;
        while count < budget {
            let Some(mut frame) = device.receive() else { break };
            let checksum = frame.checksum;
            self.receive(now, device, bytes(&mut frame), checksum);
            device.recycle(frame);
            count += 1;
        }
        self.run_timers(now);
        self.egress(now, device);
        count
    }

    /// When `poll` has to be called again, if no frame comes before.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        // Asked several times a packet: four comparisons.
        let or_never = |deadline: Option<u64>| deadline.unwrap_or(u64::MAX);
        let timer = or_never(self.timers.next()).min(or_never(self.common.deadline));
        let timer = timer.min(or_never(self.announcements.deadline()));
        Some(timer.min(or_never(self.blocked_until))).filter(|at| *at != u64::MAX)
    }

    /// Whether something waits to be sent by [`egress`](Self::egress).
    pub(crate) fn has_pending(&self) -> bool {
        !self.dirty.is_empty() || self.common.dirty || self.announcements.is_due()
    }

    /// Hands over the wakers to be woken, in exchange for an empty list for the next ones.
    pub(crate) fn swap_wakers(&mut self, list: &mut Vec<Waker>) {
        if !self.wakers.is_empty() {
            core::mem::swap(&mut self.wakers, list);
        }
    }

    /// What was counted.
    pub(crate) fn statistics(&self) -> Statistics {
        Statistics { connections: self.connections.len() as u64, ..self.output.statistics }
    }

    /// The interface's addresses, with the lengths of their prefixes.
    pub(crate) fn addresses(&self) -> Vec<(IpAddr, u8)> {
        self.interface.ip_addrs().iter().map(|cidr| (cidr.address().into(), cidr.prefix_len())).collect()
    }

    /// Queues a waker, or wakes it at once where there is no memory for that.
    fn wake(wakers: &mut Vec<Waker>, waker: Option<Waker>) {
        if let Some(waker) = waker {
            if wakers.try_reserve(1).is_ok() { wakers.push(waker) } else { waker.wake() }
        }
    }

    fn random_u32(&self) -> u32 {
        let mut bytes = [0; 4];
        (self.random)(&mut bytes);
        u32::from_ne_bytes(bytes)
    }
}

/// What smoltcp needs for a device.
fn interface(
    device: &mut dyn NetDevice,
    output: &mut Output,
    slaac: bool,
    random: fn(&mut [u8]),
    now: u64,
) -> Interface {
    let mac = EthernetAddress(output.link.mac.0);
    let mut settings = smoltcp::iface::Config::new(HardwareAddress::Ethernet(mac));
    let mut seed = [0; 8];
    random(&mut seed);
    settings.random_seed = u64::from_ne_bytes(seed);
    settings.slaac = slaac;
    Interface::new(settings, &mut Port::new(device, output), instant(now))
}

/// As smoltcp counts: in microseconds.
fn instant(now: u64) -> Instant {
    Instant::from_micros((now / 1000) as i64)
}

/// As we count; rounded so that smoltcp finds its time come.
fn nanos(instant: Instant) -> u64 {
    u64::try_from(instant.total_micros()).unwrap_or(0).saturating_mul(1000)
}

/// Remembers a waker; the one before, if another task's, is forgotten.
fn remember(slot: &mut Option<Waker>, waker: &Waker) {
    match slot {
        Some(held) => held.clone_from(waker),
        None => *slot = Some(waker.clone()),
    }
}

/// The link-local address of an Ethernet address (RFC 4291, appendix A).
fn link_local(mac: EthernetAddress) -> Ipv6Address {
    let [a, b, c, d, e, f] = mac.0;
    let words = [[a ^ 2, b], [c, 0xff], [0xfe, d], [e, f]].map(u16::from_be_bytes);
    Ipv6Address::new(0xfe80, 0, 0, 0, words[0], words[1], words[2], words[3])
}
