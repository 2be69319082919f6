//! Frames out, timers, and what follows from a connection's change of state.

use super::connection::{Connection, Id, Owner};
use super::{FULL_RETRY, Stack, TIME_WAIT_LIMIT, instant, nanos};
use crate::error::TcpError;
use crate::port::Port;
use alloc::vec::Vec;
use drivers_api::NetDevice;
use smoltcp::iface::PollResult;
use smoltcp::socket::tcp::State;

const SECOND: u64 = 1_000_000_000;
/// How long a peer may leave what we sent unanswered, in nanoseconds.
const SILENCE: u64 = 300 * SECOND;
/// How long we wait for the FIN of a peer after ours, once no application is left, in nanoseconds.
const FIN_WAIT: u64 = 60 * SECOND;
/// How soon to look again at a connection that wanted to send and did not, in nanoseconds.
const STUCK_RETRY: u64 = 10_000_000;

/// Enters a connection in the list of those with something to send.
pub(super) fn mark_dirty(connection: &mut Connection, dirty: &mut Vec<Id>) {
    // Without memory for the list its next packet or timer brings it up again.
    if !connection.dirty && dirty.try_reserve(1).is_ok() {
        connection.dirty = true;
        dirty.push(connection.id);
    }
}

impl Stack {
    /// Sends what is ready, as far as the device takes it. The caller then tells the device (`NetDevice::flush`).
    pub(crate) fn egress(&mut self, now: u64, device: &mut dyn NetDevice) {
        self.blocked_until = None;
        let mut blocked = !self.egress_common(now, device);
        let mut list = core::mem::take(&mut self.dirty);
        let mut done = 0;
        while done < list.len() && !blocked {
            blocked = !self.egress_connection(now, device, list[done]);
            done += usize::from(!blocked);
        }
        list.drain(..done);
        list.append(&mut self.dirty);
        self.dirty = list;
        if blocked {
            self.blocked_until = Some(now + FULL_RETRY);
        }
    }

    /// Sends all a connection has to send. False if the device was full.
    fn egress_connection(&mut self, now: u64, device: &mut dyn NetDevice, id: Id) -> bool {
        let Some(connection) = self.connections.lookup(id) else { return true };
        let mut port = Port::new(device, &mut self.output).of_connection(&mut connection.sequence);
        while self.interface.poll_egress(instant(now), &mut port, &mut connection.set) != PollResult::None {}
        let Port { full, unresolved, sent, .. } = port;
        self.output.statistics.retransmits += core::mem::take(&mut connection.sequence.retransmits);
        if full {
            return false;
        }
        connection.dirty = false;
        if unresolved && !connection.unresolved && self.unresolved.try_reserve(1).is_ok() {
            connection.unresolved = true;
            self.unresolved.push(id);
        } else if sent && connection.unresolved {
            connection.unresolved = false;
            self.unresolved.retain(|&other| other != id);
        }
        self.settle(id, now, false);
        true
    }

    /// Draws the consequences after a connection was worked on: queues, wakers, timers, the end. What it still wants to
    /// send is sent soon if `may_send`, or else tried again later.
    pub(super) fn settle(&mut self, id: Id, now: u64, may_send: bool) {
        let Some(connection) = self.connections.lookup(id) else { return };
        let state = connection.socket().state();
        connection.finished |=
            matches!(state, State::CloseWait | State::LastAck | State::Closing | State::TimeWait);
        match connection.owner {
            Owner::HalfOpen(_) => match state {
                State::SynReceived => {}
                // A reset brings smoltcp's socket back to listening.
                State::Listen | State::Closed => return self.drop_half(id),
                _ => {
                    if !self.complete_half(id) {
                        return;
                    }
                }
            },
            Owner::Orphan => {
                if connection.is_over() || (state == State::Closed && connection.unresolved) {
                    return self.remove(id);
                }
                if state == State::FinWait2 {
                    let limit = now + FIN_WAIT;
                    connection.limit = Some(connection.limit.map_or(limit, |earlier| earlier.min(limit)));
                }
            }
            Owner::Queue(_) | Owner::Stream => {
                if connection.is_over() {
                    self.unmap(id);
                }
            }
        }
        if state == State::TimeWait {
            self.note_time_wait(id);
        }
        let Some(connection) = self.connections.lookup(id) else { return };
        let socket = connection.socket();
        let readable = socket.can_recv() || !socket.may_recv();
        // Not for every few bytes: a writer should find room for a good part of the buffer.
        let room = socket.send_capacity() - socket.send_queue();
        let writable = room >= socket.send_capacity() / 4 || !socket.may_send();
        if readable {
            Self::wake(&mut self.wakers, connection.read_waker.take());
        }
        if writable {
            Self::wake(&mut self.wakers, connection.write_waker.take());
        }
        connection.deadline = match self.interface.poll_at(instant(now), &connection.set) {
            Some(at) if at > instant(now) => Some(nanos(at)),
            Some(_) if may_send => {
                mark_dirty(connection, &mut self.dirty);
                None
            }
            Some(_) => Some(now + STUCK_RETRY),
            None => None,
        };
        self.timers.schedule(connection);
    }

    /// Looks after the connections whose time has come.
    pub(super) fn run_timers(&mut self, now: u64) {
        if self.common.deadline.is_some_and(|at| at <= now) {
            self.common.dirty = true;
        }
        self.announcements.run(now);
        while let Some((at, id)) = self.timers.pop(now) {
            let Some(connection) = self.connections.lookup(id) else { continue };
            if connection.queued != Some(at) {
                continue;
            }
            connection.queued = None;
            let unanswered =
                connection.socket().send_queue() > 0 && now.saturating_sub(connection.heard) > SILENCE;
            if unanswered || connection.limit.is_some_and(|limit| limit <= now) {
                self.give_up(id);
            } else if connection.deadline.is_some_and(|deadline| deadline <= now) {
                connection.deadline = None;
                mark_dirty(connection, &mut self.dirty);
                self.timers.schedule(connection);
            } else {
                self.timers.schedule(connection);
            }
        }
    }

    fn give_up(&mut self, id: Id) {
        let Some(connection) = self.connections.lookup(id) else { return };
        if let Owner::HalfOpen(_) = connection.owner {
            return self.drop_half(id);
        }
        self.output.statistics.timed_out += 1;
        connection.limit = None;
        connection.failure = Some(TcpError::TimedOut);
        connection.socket_mut().abort();
        Self::wake(&mut self.wakers, connection.read_waker.take());
        Self::wake(&mut self.wakers, connection.write_waker.take());
        mark_dirty(connection, &mut self.dirty);
    }

    /// Bounds the number of connections in TIME-WAIT.
    fn note_time_wait(&mut self, id: Id) {
        let Some(connection) = self.connections.lookup(id) else { return };
        if connection.time_wait {
            return;
        }
        connection.time_wait = true;
        self.time_wait.push_back(id);
        if self.time_wait.len() > TIME_WAIT_LIMIT {
            self.evict_time_wait();
        }
    }

    /// Ends the oldest connection in TIME-WAIT. False if there is none.
    pub(super) fn evict_time_wait(&mut self) -> bool {
        let Some(oldest) = self.time_wait.pop_front() else { return false };
        self.forget_time_wait(oldest);
        true
    }

    /// Ends a connection in TIME-WAIT before its time; a stream that still holds it reads on to the end.
    pub(super) fn forget_time_wait(&mut self, id: Id) {
        match self.connections.lookup(id) {
            Some(connection) if connection.owner == Owner::Orphan => self.remove(id),
            Some(_) => self.unmap(id),
            None => {}
        }
    }

    /// Takes a connection out of the table of flows: no segment reaches it any more.
    pub(super) fn unmap(&mut self, id: Id) {
        if let Some(connection) = self.connections.lookup(id)
            && core::mem::take(&mut connection.mapped)
        {
            self.flows.remove(&connection.flow);
        }
    }

    /// Frees a connection.
    pub(super) fn remove(&mut self, id: Id) {
        self.unmap(id);
        if let Some(connection) = self.connections.remove(id) {
            self.output.statistics.buffer_bytes -= connection.memory as u64;
        }
    }
}
