//! When which connection wants attention: a heap with lazy deletion.
//!
//! A connection's deadline moves with nearly every packet, mostly further away. So it keeps its earliest entry, and is
//! entered again only when that comes up too early, or is later than the new deadline.

use super::connection::{Connection, Connections, Id};
use alloc::collections::{BinaryHeap, TryReserveError};
use core::cmp::Reverse;

/// Entries without a connection that are not worth looking for.
const STALE: usize = 1024;

/// The queue.
#[derive(Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(u64, Id)>>,
}

impl Timers {
    /// Makes room for one more connection.
    pub(super) fn reserve(&mut self, connections: &mut Connections) -> Result<(), TryReserveError> {
        // Connections that end soon leave their entries behind.
        if self.heap.len() > 2 * connections.len() + STALE {
            self.heap.retain(|Reverse((at, id))| {
                connections.lookup(*id).is_some_and(|connection| connection.queued == Some(*at))
            });
        }
        self.heap.try_reserve(1)
    }

    /// Sees to it that the connection comes up at its deadline or before.
    pub(super) fn schedule(&mut self, connection: &mut Connection) {
        let wanted = match (connection.deadline, connection.limit) {
            (Some(deadline), Some(limit)) => deadline.min(limit),
            (Some(at), None) | (None, Some(at)) => at,
            (None, None) => return,
        };
        if connection.queued.is_none_or(|queued| wanted < queued) {
            // Without memory the connection still lives by its packets.
            if self.heap.try_reserve(1).is_ok() {
                connection.queued = Some(wanted);
                self.heap.push(Reverse((wanted, connection.id)));
            }
        }
    }

    /// The next entry that is due.
    pub(super) fn pop(&mut self, now: u64) -> Option<(u64, Id)> {
        let due = self.heap.peek().is_some_and(|Reverse((at, _))| *at <= now);
        if due { self.heap.pop().map(|Reverse(entry)| entry) } else { None }
    }

    /// When the next entry is due.
    pub(super) fn next(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }
}
