//! TCP connections: each a socket in a set of its own, so that a packet's cost does not grow with their number.

use crate::error::TcpError;
use crate::flow::FlowKey;
use crate::offload::Sequence;
use crate::tcp::ListenOptions;
use alloc::vec::Vec;
use core::task::Waker;
use smoltcp::iface::{SocketHandle, SocketSet, SocketStorage};
use smoltcp::socket::tcp;
use smoltcp::time::Duration;

/// Memory of a connection besides its buffers, in bytes; an estimate.
const OVERHEAD: usize = 2048;
/// Smallest buffer in bytes.
const MIN_BUFFER: usize = 1024;
/// Largest buffer in bytes; more window than that takes a whole second to fill at 64 MB/s.
const MAX_BUFFER: usize = 64 << 20;
/// How long an acknowledgement may wait for data to ride on.
pub(super) const ACK_DELAY: Duration = Duration::from_millis(10);
/// Silence after which keep-alive gives up, in its intervals.
const KEEP_ALIVE_INTERVALS: u32 = 4;

/// Names a connection; stays wrong for ever once the connection is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id {
    pub(super) index: u32,
    generation: u32,
}

/// Who holds a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The listener on this port, which waits for the handshake to end.
    HalfOpen(u16),
    /// The accept queue of the listener on this port.
    Queue(u16),
    /// A stream of an application.
    Stream,
    /// Nobody: it ends by itself.
    Orphan,
}

/// One connection.
pub(super) struct Connection {
    pub(super) id: Id,
    pub(super) set: SocketSet<'static>,
    handle: SocketHandle,
    pub(super) flow: FlowKey,
    pub(super) sequence: Sequence,
    pub(super) owner: Owner,
    pub(super) read_waker: Option<Waker>,
    pub(super) write_waker: Option<Waker>,
    /// In the list of connections that have something to send.
    pub(super) dirty: bool,
    /// In the list of connections that wait for an Ethernet address.
    pub(super) unresolved: bool,
    /// In the table of flows.
    pub(super) mapped: bool,
    /// Counted among those in TIME-WAIT.
    pub(super) time_wait: bool,
    /// The peer has sent its FIN.
    pub(super) finished: bool,
    /// When smoltcp wants to be called, in nanoseconds.
    pub(super) deadline: Option<u64>,
    /// When the connection is given up, in nanoseconds.
    pub(super) limit: Option<u64>,
    /// The earliest entry in the timer queue, in nanoseconds.
    pub(super) queued: Option<u64>,
    /// When the peer was last heard of, in nanoseconds.
    pub(super) heard: u64,
    /// Why it ended, where that was decided here.
    pub(super) failure: Option<TcpError>,
    /// Bytes of memory it holds.
    pub(super) memory: usize,
}

impl Connection {
    pub(super) fn socket(&self) -> &tcp::Socket<'static> {
        self.set.get(self.handle)
    }

    pub(super) fn socket_mut(&mut self) -> &mut tcp::Socket<'static> {
        self.set.get_mut(self.handle)
    }

    /// Ends it without a word: neither the peer nor anybody else hears of it.
    pub(super) fn cut(&mut self) {
        self.set.remove(self.handle);
        self.handle = self
            .set
            .add(tcp::Socket::new(tcp::SocketBuffer::new(Vec::new()), tcp::SocketBuffer::new(Vec::new())));
        self.failure = Some(TcpError::Reset);
    }

    /// Over, with nothing left to say to the peer.
    pub(super) fn is_over(&self) -> bool {
        let socket = self.socket();
        socket.state() == tcp::State::Closed && socket.remote_endpoint().is_none()
    }
}

/// Sockets and their buffers, allocated but not yet a connection.
pub(super) struct Allocated {
    socket: tcp::Socket<'static>,
    storage: Vec<SocketStorage<'static>>,
    pub(super) memory: usize,
}

/// What a connection with these options takes, in bytes.
pub(super) fn memory(options: &ListenOptions) -> usize {
    OVERHEAD + clamp(options.receive_buffer) + clamp(options.send_buffer)
}

fn clamp(length: usize) -> usize {
    length.clamp(MIN_BUFFER, MAX_BUFFER)
}

/// Allocates a socket. `None` without memory.
pub(super) fn allocate(options: &ListenOptions) -> Option<Allocated> {
    let mut socket = tcp::Socket::new(buffer(options.receive_buffer)?, buffer(options.send_buffer)?);
    socket.set_congestion_control(tcp::CongestionControl::Reno);
    socket.set_nagle_enabled(!options.no_delay);
    socket.set_ack_delay(Some(ACK_DELAY));
    if let Some(interval) = options.keep_alive {
        let interval = Duration::from_micros(u64::try_from(interval.as_micros()).unwrap_or(u64::MAX / 8));
        socket.set_keep_alive(Some(interval));
        socket.set_timeout(Some(interval * KEEP_ALIVE_INTERVALS));
    }
    let mut storage = Vec::new();
    storage.try_reserve_exact(1).ok()?;
    storage.push(SocketStorage::EMPTY);
    Some(Allocated { socket, storage, memory: memory(options) })
}

impl Allocated {
    pub(super) fn socket_mut(&mut self) -> &mut tcp::Socket<'static> {
        &mut self.socket
    }
}

fn buffer(length: usize) -> Option<tcp::SocketBuffer<'static>> {
    let length = clamp(length);
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(length).ok()?;
    bytes.resize(length, 0);
    Some(tcp::SocketBuffer::new(bytes))
}

struct Slot {
    generation: u32,
    connection: Option<Connection>,
}

/// All connections.
#[derive(Default)]
pub(super) struct Connections {
    slots: Vec<Slot>,
    free: Vec<u32>,
    count: usize,
}

impl Connections {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Adds a connection. `None` without memory.
    pub(super) fn insert(
        &mut self,
        allocated: Allocated,
        flow: FlowKey,
        owner: Owner,
        offset: u32,
        now: u64,
    ) -> Option<Id> {
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                let index = u32::try_from(self.slots.len()).ok()?;
                self.slots.try_reserve(1).ok()?;
                // So that freeing never allocates.
                self.free.try_reserve(self.slots.len() + 1).ok()?;
                self.slots.push(Slot { generation: 0, connection: None });
                index
            }
        };
        let slot = &mut self.slots[index as usize];
        let id = Id { index, generation: slot.generation };
        let memory = allocated.memory;
        let mut set = SocketSet::new(allocated.storage);
        let handle = set.add(allocated.socket);
        slot.connection = Some(Connection {
            id,
            set,
            handle,
            flow,
            sequence: Sequence::new(offset),
            owner,
            read_waker: None,
            write_waker: None,
            dirty: false,
            unresolved: false,
            mapped: false,
            time_wait: false,
            finished: false,
            deadline: None,
            limit: None,
            queued: None,
            heard: now,
            failure: None,
            memory,
        });
        self.count += 1;
        Some(id)
    }

    pub(super) fn remove(&mut self, id: Id) -> Option<Connection> {
        let slot = self.slots.get_mut(id.index as usize).filter(|slot| slot.generation == id.generation)?;
        let connection = slot.connection.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id.index);
        self.count -= 1;
        Some(connection)
    }

    /// Their names.
    pub(super) fn ids(&self) -> Vec<Id> {
        self.slots.iter().filter_map(|slot| Some(slot.connection.as_ref()?.id)).collect()
    }

    pub(super) fn lookup(&mut self, id: Id) -> Option<&mut Connection> {
        let slot = self.slots.get_mut(id.index as usize).filter(|slot| slot.generation == id.generation)?;
        slot.connection.as_mut()
    }
}
