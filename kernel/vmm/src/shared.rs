//! What the handlers of all CPUs share, in the reserve.

use crate::call::Count;
use crate::frozen::Pages;
use crate::meeting::Meeting;
use crate::memory::{AbsorbError, Memory};
use crate::nested::{Format, Tables};
use crate::takeover::Plan;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};
use spin::Mutex;
use x86defs::state::CpuState;

/// Reports kept until the system fetches them; further ones are only counted.
const REPORTS: usize = 16;

/// An access that was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Guest-physical address.
    pub address: u64,
    /// Where the instruction is.
    pub rip: u64,
}

/// Fixed bounds of the system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The image's text: hypercalls from elsewhere are refused.
    pub text: Range<u64>,
    /// The image's facts of the machine, which a restore leaves as they are.
    pub facts: Range<u64>,
    /// The VMM's reserve.
    pub reserve: Range<u64>,
    /// RAM ends here.
    pub memory_end: u64,
}

/// Reports waiting to be fetched.
#[derive(Debug)]
pub struct Reports {
    waiting: [Option<Report>; REPORTS],
    fetched: Option<Report>,
}

impl Reports {
    const fn new() -> Self {
        Self { waiting: [None; REPORTS], fetched: None }
    }

    /// Keeps a report if there is room.
    pub fn push(&mut self, report: Report) {
        if let Some(place) = self.waiting.iter_mut().find(|place| place.is_none()) {
            *place = Some(report);
        }
    }

    /// Takes the oldest.
    pub fn fetch(&mut self) -> Option<Report> {
        let oldest = self.waiting[0].take()?;
        self.waiting.rotate_left(1);
        self.fetched = Some(oldest);
        Some(oldest)
    }

    /// The one fetched last.
    pub fn fetched(&self) -> Option<Report> {
        self.fetched
    }
}

/// What the handlers share.
#[derive(Debug)]
pub struct Shared<F: Format, T> {
    /// Fixed bounds.
    pub bounds: Bounds,
    /// Nested tables.
    pub memory: Mutex<Memory<F, T>>,
    /// Stopped accesses.
    pub reports: Mutex<Reports>,
    /// Each CPU's state at the last freeze.
    pub states: &'static [Mutex<CpuState>],
    /// Where CPUs meet to freeze, to restore, and to change what all of them reach.
    pub meeting: Meeting,
    /// By which they restore, if nobody objects.
    pub takeover: Mutex<Option<Plan>>,
    /// What came of the last change of device memory that they met for.
    pub interposed: Mutex<Result<(), AbsorbError>>,
    exits: [AtomicU64; Count::ALL.len()],
}

impl<F: Format, T: Tables + Pages> Shared<F, T> {
    /// Nothing counted yet. There is a state for each CPU.
    pub fn new(bounds: Bounds, memory: Memory<F, T>, states: &'static [Mutex<CpuState>]) -> Self {
        Self {
            bounds,
            memory: Mutex::new(memory),
            reports: Mutex::new(Reports::new()),
            states,
            meeting: Meeting::new(),
            takeover: Mutex::new(None),
            interposed: Mutex::new(Ok(())),
            exits: [const { AtomicU64::new(0) }; Count::ALL.len()],
        }
    }

    /// Counts an exit.
    #[inline]
    pub fn count(&self, kind: Count) {
        self.exits[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Exits of a kind so far, on all CPUs.
    pub fn exits(&self, kind: Count) -> u64 {
        self.exits[kind as usize].load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_come_in_order_and_the_surplus_is_dropped() {
        let mut reports = Reports::new();
        for address in 0..20 {
            reports.push(Report { address, rip: 1 });
        }
        let fetched: [_; 17] = core::array::from_fn(|_| reports.fetch().map(|report| report.address));
        assert_eq!(fetched[..3], [Some(0), Some(1), Some(2)]);
        assert_eq!(fetched[15..], [Some(15), None]);
        assert_eq!(reports.fetched(), Some(Report { address: 15, rip: 1 }));
    }
}
