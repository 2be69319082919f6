//! Listeners: handshakes under way, and connections that wait to be accepted.

use super::connection::{self, Allocated, Id, Owner};
use super::egress::mark_dirty;
use super::{Stack, remember};
use crate::error::BindError;
use crate::flow::FlowKey;
use crate::frame::Segment;
use crate::tcp::ListenOptions;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::task::{Poll, Waker};

/// How long a handshake may take, in nanoseconds.
const HANDSHAKE: u64 = 20_000_000_000;

/// A port that is listened on.
pub(super) struct Listener {
    options: ListenOptions,
    /// Handshakes under way, oldest first; never more than the backlog.
    half_open: VecDeque<Id>,
    /// Waiting to be accepted, oldest first; never more than the backlog.
    queue: VecDeque<Id>,
    wakers: Vec<Waker>,
}

impl Stack {
    /// Listens on a port.
    pub(crate) fn listen(&mut self, port: u16, mut options: ListenOptions) -> Result<(), BindError> {
        if port == 0 {
            return Err(BindError::InvalidPort);
        }
        if self.listeners.contains_key(&port) {
            return Err(BindError::InUse);
        }
        options.backlog = options.backlog.max(1);
        let mut queues = [VecDeque::new(), VecDeque::new()];
        for queue in &mut queues {
            queue.try_reserve_exact(options.backlog).map_err(|_| BindError::OutOfMemory)?;
        }
        let [half_open, queue] = queues;
        self.listeners.insert(port, Listener { options, half_open, queue, wakers: Vec::new() });
        Ok(())
    }

    /// Listens no more: connections that nobody accepted are reset.
    pub(crate) fn unlisten(&mut self, port: u16) {
        let Some(listener) = self.listeners.remove(&port) else { return };
        for id in listener.half_open {
            self.remove(id);
        }
        for id in listener.queue {
            self.abort(id);
            self.release(id, 0);
        }
        for waker in listener.wakers {
            Self::wake(&mut self.wakers, Some(waker));
        }
    }

    /// The next connection on a port.
    pub(crate) fn accept(&mut self, port: u16, waker: &Waker) -> Poll<Id> {
        let Some(listener) = self.listeners.get_mut(&port) else { return Poll::Pending };
        if let Some(id) = listener.queue.pop_front() {
            let connection = self.connections.lookup(id).expect("queued connections live");
            connection.owner = Owner::Stream;
            self.output.statistics.accepted += 1;
            return Poll::Ready(id);
        }
        if !listener.wakers.iter().any(|held| held.will_wake(waker)) {
            let mut held = None;
            remember(&mut held, waker);
            listener.wakers.extend(held);
        }
        Poll::Pending
    }

    /// Begins a connection for a SYN; smoltcp has not seen it yet. `None` if there is no room or no memory.
    pub(super) fn open_half(&mut self, now: u64, segment: &Segment) -> Option<Id> {
        let port = segment.flow.local_port();
        if !self.interface.has_ip_addr(segment.flow.local_address()) {
            return None;
        }
        let listener = self.listeners.get_mut(&port)?;
        if listener.queue.len() >= listener.options.backlog {
            self.output.statistics.refused_backlog += 1;
            return None;
        }
        let options = listener.options;
        if listener.half_open.len() >= listener.options.backlog
            && let Some(oldest) = listener.half_open.pop_front()
        {
            self.output.statistics.half_open_dropped += 1;
            self.remove(oldest);
        }
        let mut allocated = self.allocate(&options)?;
        allocated.socket_mut().listen(port).expect("the port is not zero and the socket is closed");
        let id = self.enter(allocated, segment.flow, Owner::HalfOpen(port), now)?;
        self.connections.lookup(id)?.limit = Some(now + HANDSHAKE);
        self.listeners.get_mut(&port)?.half_open.push_back(id);
        Some(id)
    }

    /// Allocates a socket if the limits allow it.
    pub(super) fn allocate(&mut self, options: &ListenOptions) -> Option<Allocated> {
        let wanted = connection::memory(options);
        loop {
            let held = self.output.statistics.buffer_bytes as usize;
            if self.connections.len() < self.max_connections && held + wanted <= self.connection_memory {
                break;
            }
            if !self.evict_time_wait() {
                self.output.statistics.refused_memory += 1;
                return None;
            }
        }
        let allocated = connection::allocate(options);
        if allocated.is_none() {
            self.output.statistics.refused_memory += 1;
        }
        allocated
    }

    /// Makes an allocated socket a connection that segments find.
    pub(super) fn enter(
        &mut self,
        allocated: Allocated,
        flow: FlowKey,
        owner: Owner,
        now: u64,
    ) -> Option<Id> {
        let offset = self.random_u32();
        let memory = allocated.memory as u64;
        let reserved =
            self.flows.try_reserve(1).is_ok() && self.timers.reserve(&mut self.connections).is_ok();
        let id = reserved.then(|| self.connections.insert(allocated, flow, owner, offset, now)).flatten();
        let Some(id) = id else {
            self.output.statistics.refused_memory += 1;
            return None;
        };
        self.output.statistics.buffer_bytes += memory;
        self.flows.insert(flow, id);
        self.connections.lookup(id)?.mapped = true;
        Some(id)
    }

    /// The handshake is done: the connection waits to be accepted. False if it was reset instead, for want of room.
    pub(super) fn complete_half(&mut self, id: Id) -> bool {
        let Some(connection) = self.connections.lookup(id) else { return false };
        let Owner::HalfOpen(port) = connection.owner else { return true };
        connection.limit = None;
        let Some(listener) = self.listeners.get_mut(&port) else { return false };
        listener.half_open.retain(|&other| other != id);
        if listener.queue.len() >= listener.options.backlog {
            self.output.statistics.refused_backlog += 1;
            connection.owner = Owner::Orphan;
            connection.socket_mut().abort();
            mark_dirty(connection, &mut self.dirty);
            return false;
        }
        connection.owner = Owner::Queue(port);
        listener.queue.push_back(id);
        for waker in listener.wakers.drain(..) {
            Self::wake(&mut self.wakers, Some(waker));
        }
        true
    }

    /// Forgets a handshake that came to nothing.
    pub(super) fn drop_half(&mut self, id: Id) {
        if let Some(connection) = self.connections.lookup(id)
            && let Owner::HalfOpen(port) = connection.owner
            && let Some(listener) = self.listeners.get_mut(&port)
        {
            listener.half_open.retain(|&other| other != id);
            self.output.statistics.half_open_dropped += 1;
        }
        self.remove(id);
    }
}
