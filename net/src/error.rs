//! What can go wrong with sockets.

use core::fmt;

/// Why the stack was not started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartError {
    /// It runs already.
    AlreadyStarted,
    /// No memory.
    OutOfMemory,
    /// The device's Ethernet address is a multicast one.
    BadAddress,
}

/// Why a port was not bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindError {
    /// There is no network (yet).
    NotStarted,
    /// Port 0, where one has to be named.
    InvalidPort,
    /// Another socket has the port.
    InUse,
    /// No memory.
    OutOfMemory,
}

/// Why a connection was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectError {
    /// There is no network (yet).
    NotStarted,
    /// Port 0, the unspecified address, or no address of ours of the same family.
    Unaddressable,
    /// The peer said no.
    Refused,
    /// The peer said nothing.
    TimedOut,
    /// Every port is taken.
    NoPort,
    /// No memory, or too many connections.
    OutOfMemory,
}

/// Why a connection can't be read or written any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpError {
    /// Ended by the peer, by [`abort`](crate::TcpStream::abort), or because our address went away.
    Reset,
    /// The peer has been silent for too long.
    TimedOut,
    /// Written after [`shutdown`](crate::TcpStream::shutdown).
    Closed,
}

/// Why a datagram was not sent or received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UdpError {
    /// Port 0 or the unspecified address.
    Unaddressable,
    /// Longer than a packet on this link.
    MessageTooLong,
}

/// Why a name was not resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsError {
    /// There is no network (yet).
    NotStarted,
    /// No name server is known.
    NoServer,
    /// Not a host name.
    InvalidName,
    /// Too many questions at once.
    Busy,
    /// The name servers know nothing, or don't answer.
    Failed,
}

macro_rules! messages {
    ($type:ty { $($variant:ident => $message:literal,)* }) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $message,)* })
            }
        }
        impl core::error::Error for $type {}
    };
}

messages!(StartError {
    AlreadyStarted => "the network runs already",
    OutOfMemory => "out of memory",
    BadAddress => "the device has no valid Ethernet address",
});
messages!(BindError {
    NotStarted => "there is no network",
    InvalidPort => "port 0 can't be bound",
    InUse => "the port is in use",
    OutOfMemory => "out of memory",
});
messages!(ConnectError {
    NotStarted => "there is no network",
    Unaddressable => "the address can't be reached from here",
    Refused => "connection refused",
    TimedOut => "connection timed out",
    NoPort => "no free port",
    OutOfMemory => "out of memory",
});
messages!(TcpError {
    Reset => "connection reset",
    TimedOut => "connection timed out",
    Closed => "connection closed for writing",
});
messages!(UdpError {
    Unaddressable => "the address can't be sent to",
    MessageTooLong => "message too long",
});
messages!(DnsError {
    NotStarted => "there is no network",
    NoServer => "no name server is known",
    InvalidName => "not a host name",
    Busy => "too many questions at once",
    Failed => "the name could not be resolved",
});
