//! What benchmarks need to know, and why one is left out.

use alloc::string::String;
use app::task::OutOfMemory;
use app::thread::SpawnError;
use app::{Env, TcpError, UdpError};
use core::fmt;
use core::net::{IpAddr, SocketAddr};

use crate::storage::DiskError;

/// The echo service's port: a peer's, unless it says otherwise.
const ECHO: u16 = 7;

/// What benchmarks need to know.
#[derive(Clone, Debug)]
pub struct Context {
    /// CPUs of the machine.
    pub cpus: usize,
    /// Ticks of the time-stamp counter a second.
    pub hertz: u64,
    /// One tick is one instruction.
    pub instructions: bool,
    /// A tenth of the samples, in fewer runs and of smaller things.
    pub quick: bool,
    /// Memory that is free, in bytes.
    pub memory: u64,
    /// `bench.peer=ADDRESS[:PORT]`: whose echo the network is measured with.
    pub peer: Option<Result<SocketAddr, &'static str>>,
}

impl Context {
    /// Of this machine; `quick` or as the settings say.
    pub fn new(env: &Env, quick: bool) -> Self {
        #[cfg(bare_metal)]
        let hertz = machine::time::tsc_hertz();
        #[cfg(not(bare_metal))]
        let hertz = 1_000_000_000;
        let peer = |text: &'static str| {
            let alone = || text.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, ECHO));
            text.parse().ok().or_else(alone).ok_or(text)
        };
        Self {
            cpus: env.cpus(),
            hertz,
            instructions: env.setting("bench.unit") == Some("instructions"),
            quick: quick || env.setting("bench.quick") == Some("on"),
            memory: env.free_memory_bytes(),
            peer: env.setting("bench.peer").map(peer),
        }
    }

    /// Runs of each benchmark in each mode.
    pub fn runs(&self) -> usize {
        if self.quick { 2 } else { 5 }
    }

    #[cfg(test)]
    pub(crate) fn for_tests() -> Self {
        Self { hertz: 1_000_000_000, ..Self::new(&Env::new(""), false) }
    }
}

/// Why a benchmark gave no figure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It needs more CPUs.
    Cpus(usize),
    /// There is no memory for it.
    Memory,
    /// There is no guest mode, for a reason.
    Monitor(String),
    /// No peer is named.
    NoPeer,
    /// The setting of the peer makes no sense.
    BadPeer(&'static str),
    /// The peer did not answer as it should.
    Peer(&'static str),
    /// There is no disk to be overwritten.
    Disk(DiskError),
    /// What it computed is wrong: the machine is broken.
    Wrong,
}

impl Failure {
    /// Whether something is broken, and not only missing.
    pub fn is_fault(&self) -> bool {
        match self {
            Self::BadPeer(_) | Self::Peer(_) | Self::Wrong => true,
            Self::Disk(error) => error.is_fault(),
            Self::Cpus(_) | Self::Memory | Self::Monitor(_) | Self::NoPeer => false,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpus(count) => write!(f, "it takes {count} CPUs"),
            Self::Memory => f.write_str("there is too little memory"),
            Self::Monitor(reason) => f.write_str(reason),
            Self::NoPeer => f.write_str("bench.peer=ADDRESS[:PORT] names no echo service"),
            Self::BadPeer(text) => write!(f, "bench.peer={text} is no ADDRESS[:PORT]"),
            Self::Peer(what) => write!(f, "the peer: {what}"),
            Self::Disk(error) => error.fmt(f),
            Self::Wrong => f.write_str("the result is wrong"),
        }
    }
}

impl From<SpawnError> for Failure {
    fn from(error: SpawnError) -> Self {
        match error {
            SpawnError::OutOfMemory => Self::Memory,
            SpawnError::NoSuchCpu => Self::Cpus(2),
        }
    }
}

impl From<alloc::collections::TryReserveError> for Failure {
    fn from(_: alloc::collections::TryReserveError) -> Self {
        Self::Memory
    }
}

impl From<OutOfMemory> for Failure {
    fn from(_: OutOfMemory) -> Self {
        Self::Memory
    }
}

impl From<TcpError> for Failure {
    fn from(_: TcpError) -> Self {
        Self::Peer("the connection broke")
    }
}

impl From<UdpError> for Failure {
    fn from(_: UdpError) -> Self {
        Self::Peer("it can't be sent to")
    }
}

impl From<DiskError> for Failure {
    fn from(error: DiskError) -> Self {
        Self::Disk(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read() {
        let context = Context::new(&Env::new("bench.unit=instructions bench.peer=10.0.2.2:7007"), false);
        assert!(context.instructions && !context.quick);
        assert_eq!(context.peer, Some(Ok(SocketAddr::from(([10, 0, 2, 2], 7007)))));
        let context = Context::new(&Env::new("bench.quick=on bench.peer=10.0.2.2"), false);
        assert!(context.quick && context.runs() == 2);
        assert_eq!(context.peer, Some(Ok(SocketAddr::from(([10, 0, 2, 2], ECHO)))));
        assert_eq!(Context::new(&Env::new("bench.peer=there"), false).peer, Some(Err("there")));
    }
}
