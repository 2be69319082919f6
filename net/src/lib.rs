//! The network: smoltcp's protocols behind sockets for tasks ([`TcpListener`], [`TcpStream`], [`UdpSocket`]) and threads
//! ([`blocking`]).
//!
//! Read `stack` for how a packet goes. Writing queues; [`flush`] sends what is queued, once for many writes: the task
//! executor calls it before it sleeps, the blocking calls do it themselves.
//!
//! There may be two networks: sockets are on [`Network::Main`] unless their [`ListenOptions`] say otherwise.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod blocking;
mod checksum;
mod config;
pub mod dns;
mod error;
mod flow;
mod frame;
mod offload;
mod port;
mod runtime;
pub mod ssh;
mod stack;
mod statistics;
mod tcp;
mod udp;

pub use config::{Config, ConfigError, ConfigReason, Ipv4Config, Ipv6Config, Nic};
pub use error::{BindError, ConnectError, DnsError, StartError, TcpError, UdpError};
pub use runtime::{Exchange, Held, Network, flush};
pub use statistics::Statistics;
pub use tcp::{ListenOptions, TcpListener, TcpStream};
pub use udp::UdpSocket;
