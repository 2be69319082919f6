//! What each CPU did when, in a switch.

use crate::Direction;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

/// A moment of a switch on one CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Mark {
    /// The leader calls the others.
    Call,
    /// The CPU is there, interrupts off.
    Arrive,
    /// It has prepared itself and votes.
    Prepared,
    /// It knows how the vote went.
    Verdict,
    /// It has gone over.
    Over,
    /// It knows that all have.
    Release,
    /// It goes on with what it was doing.
    End,
}

impl Mark {
    /// All of them in their order, with their names in reports.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::Call, "call"),
        (Self::Arrive, "arrive"),
        (Self::Prepared, "prepared"),
        (Self::Verdict, "verdict"),
        (Self::Over, "over"),
        (Self::Release, "release"),
        (Self::End, "end"),
    ];
}

/// The moments of one CPU in one switch, in ticks; 0 = did not happen.
#[derive(Debug)]
pub struct Marks([AtomicU64; Mark::ALL.len()]);

impl Marks {
    pub(crate) const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; Mark::ALL.len()])
    }

    pub(crate) fn set(&self, mark: Mark, ticks: u64) {
        self.0[mark as usize].store(ticks, Ordering::Relaxed);
    }

    pub(crate) fn clear(&self) {
        self.0.iter().for_each(|mark| mark.store(0, Ordering::Relaxed));
    }

    pub(crate) fn write(&self, marks: &[u64; Mark::ALL.len()]) {
        self.0.iter().zip(marks).for_each(|(mark, ticks)| mark.store(*ticks, Ordering::Relaxed));
    }

    pub(crate) fn read(&self) -> [u64; Mark::ALL.len()] {
        core::array::from_fn(|index| self.0[index].load(Ordering::Relaxed))
    }
}

/// One CPU in one switch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTrace {
    /// Ticks by [`Mark`].
    pub marks: [u64; Mark::ALL.len()],
}

impl CpuTrace {
    fn at(&self, mark: Mark) -> u64 {
        self.marks[mark as usize]
    }

    /// Ticks this CPU worked for the switch with interrupts off; waiting for others is not in it.
    pub fn window(&self) -> u64 {
        let part = |from, to| self.at(to).saturating_sub(self.at(from));
        part(Mark::Arrive, Mark::Prepared) + part(Mark::Verdict, Mark::Over) + part(Mark::Release, Mark::End)
    }

    /// Ticks this CPU waited for others.
    pub fn rendezvous(&self) -> u64 {
        let part = |from, to| self.at(to).saturating_sub(self.at(from));
        part(Mark::Prepared, Mark::Verdict) + part(Mark::Over, Mark::Release)
    }
}

/// How long not all CPUs ran the system, in ticks: from the leader's call to the others until the last one went on.
pub fn stop(cpus: &[CpuTrace]) -> u64 {
    let marks = |mark| cpus.iter().map(move |cpu| cpu.at(mark));
    let begin = marks(Mark::Call).find(|ticks| *ticks > 0).unwrap_or(0);
    marks(Mark::End).max().unwrap_or(0).saturating_sub(begin)
}

/// One switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Counts from 0, those that were undone included.
    pub number: u64,
    /// When it ended, in nanoseconds since boot.
    pub nanos: u64,
    /// Which way.
    pub direction: Direction,
    /// Whether the machine went over.
    pub done: bool,
    /// By CPU.
    pub cpus: Vec<CpuTrace>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_lasts_until_the_last_cpu_goes_on() {
        let of = |call, end| CpuTrace { marks: [call, 10, 110, 300, 350, 1000, end] };
        assert_eq!(stop(&[of(0, 1012), of(5, 1007), of(0, 1009)]), 1007);
    }

    #[test]
    fn the_window_is_the_cpus_own_work() {
        let trace = CpuTrace { marks: [5, 10, 110, 300, 350, 1000, 1007] };
        assert_eq!((trace.window(), trace.rendezvous()), (157, 840));
        // A switch that was undone has no commit.
        let undone = CpuTrace { marks: [0, 10, 110, 0, 0, 0, 0] };
        assert_eq!(undone.window(), 100);
    }
}
