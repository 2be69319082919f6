//! A submission queue with its completion queue (4.1), and what is in them (4.2, 4.6).
//!
//! One command is in flight at a time, so a queue is never full.

use super::controller::Controller;
use core::mem::offset_of;
use core::sync::atomic::{Ordering, fence};
use machine::dma::{DmaRegion, DmaSpan};

const PAGE: usize = 4096;
/// Entries of each queue at most; each queue is in a page of its own.
pub(super) const ENTRIES: usize = 16;

/// A submission queue entry.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Command {
    pub opcode: u8,
    /// Data by PRPs, no fused operation: zero.
    pub flags: u8,
    /// Set when it is submitted.
    pub id: u16,
    /// NSID.
    pub namespace: u32,
    pub reserved: u64,
    /// There is none.
    pub metadata: u64,
    pub prp1: u64,
    pub prp2: u64,
    /// CDW10 to CDW15.
    pub words: [u32; 6],
}

const _: () = {
    assert!(size_of::<Command>() == 64);
    assert!(offset_of!(Command, id) == 2 && offset_of!(Command, namespace) == 4);
    assert!(offset_of!(Command, prp1) == 24 && offset_of!(Command, prp2) == 32);
    assert!(offset_of!(Command, words) == 40);
    assert!(ENTRIES * size_of::<Command>() <= PAGE);
};

/// How a command ended: status code type and status code (4.6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// 0: generic; 1: of the command; 2: of the medium; 7: of the vendor.
    pub kind: u8,
    /// What it means depends on the kind.
    pub code: u8,
}

impl Status {
    /// The command did what it was to do.
    pub const SUCCESS: Self = Self { kind: 0, code: 0 };
}

/// A completion queue entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    /// The submission queue it belongs to.
    pub queue: u16,
    pub id: u16,
    pub status: Status,
}

/// The two queues.
#[derive(Debug)]
pub(super) struct QueuePair {
    number: u16,
    entries: usize,
    /// A page of submissions, a page of completions.
    memory: DmaRegion,
    tail: usize,
    head: usize,
    /// What the phase tag of the next completion is.
    phase: bool,
    /// Identifier of the last command.
    id: u16,
}

impl QueuePair {
    /// Of 2 to [`ENTRIES`] entries each.
    pub fn new(number: u16, entries: usize) -> Option<Self> {
        debug_assert!((2..=ENTRIES).contains(&entries));
        let memory = DmaRegion::new(2)?;
        Some(Self { number, entries, memory, tail: 0, head: 0, phase: true, id: 0 })
    }

    pub fn number(&self) -> u16 {
        self.number
    }

    pub fn entries(&self) -> usize {
        self.entries
    }

    /// The submission queue.
    pub fn submissions(&self) -> DmaSpan {
        self.memory.span(0, self.entries * size_of::<Command>())
    }

    /// The completion queue.
    pub fn completions(&self) -> DmaSpan {
        self.memory.span(PAGE, self.entries * 16)
    }

    /// Begins anew. The controller does not use it.
    pub fn reset(&mut self) {
        // SAFETY: the region is two pages, and ours alone.
        unsafe { self.memory.pointer().write_bytes(0, 2 * PAGE) };
        (self.tail, self.head, self.phase) = (0, 0, true);
    }

    /// Hands a command over; returns its identifier.
    pub fn submit(&mut self, controller: &Controller, mut command: Command) -> u16 {
        self.id = self.id.wrapping_add(1);
        command.id = self.id;
        // SAFETY: the tail lies within the page; the entry is ours, as no other command is in flight.
        unsafe { self.memory.pointer().cast::<Command>().add(self.tail).write_volatile(command) };
        self.tail = (self.tail + 1) % self.entries;
        fence(Ordering::Release);
        controller.ring_tail(self.number, self.tail as u32);
        self.id
    }

    /// Takes the next completion, if there is one.
    pub fn take(&mut self, controller: &Controller) -> Option<Ended> {
        let word = |index: usize| {
            let at = PAGE + self.head * 16 + index * 4;
            // SAFETY: the head lies within the second page; the controller may write it meanwhile.
            unsafe { self.memory.pointer().add(at).cast::<u32>().read_volatile() }
        };
        let last = word(3);
        if (last >> 16 & 1 != 0) != self.phase {
            return None;
        }
        fence(Ordering::Acquire);
        let status = Status { kind: (last >> 25 & 7) as u8, code: (last >> 17) as u8 };
        let ended = Ended { queue: (word(2) >> 16) as u16, id: last as u16, status };
        self.head = (self.head + 1) % self.entries;
        self.phase ^= self.head == 0;
        controller.ring_head(self.number, self.head as u32);
        Some(ended)
    }
}
