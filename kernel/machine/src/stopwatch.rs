//! How long something has lasted in all, such as a CPU's idleness, readable from any CPU at any time.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Set while it lasts.
const RUNS: u64 = 1 << 63;

/// Nanoseconds in all. One thread at a time begins and ends.
#[derive(Debug, Default)]
pub struct Stopwatch {
    /// One word, so that no reader sees half of a change: while it stands, the sum; while it runs, [`RUNS`] and what has to
    /// be added to the time (modulo 2^63) for the sum.
    state: AtomicU64,
    /// The most that a reader was told.
    told: AtomicU64,
}

impl Stopwatch {
    /// It has never run.
    pub const fn new() -> Self {
        Self { state: AtomicU64::new(0), told: AtomicU64::new(0) }
    }

    /// Runs from `now` on, in nanoseconds since boot.
    pub fn begin(&self, now: u64) {
        self.state.store(self.sum(now).wrapping_sub(now) | RUNS, Relaxed);
    }

    /// Stands from `now` on.
    pub fn end(&self, now: u64) {
        self.state.store(self.sum(now), Relaxed);
    }

    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        self.state.load(Relaxed) & RUNS != 0
    }

    /// For any CPU: the sum until `now`. It never goes back, though the reader's clock was read a little before or after the
    /// change that it sees.
    pub fn read(&self, now: u64) -> u64 {
        let sum = self.sum(now);
        // Earlier than the first beginning.
        let sum = if sum > RUNS / 2 { 0 } else { sum };
        self.told.fetch_max(sum, Relaxed).max(sum)
    }

    fn sum(&self, now: u64) -> u64 {
        match self.state.load(Relaxed) {
            sum if sum & RUNS == 0 => sum,
            offset => offset.wrapping_add(now) & !RUNS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_counted_while_it_lasts() {
        let clock = Stopwatch::new();
        assert_eq!(clock.read(100), 0);
        clock.begin(100);
        assert_eq!((clock.read(99), clock.read(100), clock.read(130)), (0, 0, 30));
        clock.end(150);
        assert_eq!((clock.read(150), clock.read(1000)), (50, 50));
        assert!(!clock.is_running());
        clock.begin(1000);
        assert!(clock.is_running());
        assert_eq!(clock.read(1001), 51);
        // Twice is as good as once.
        clock.begin(1010);
        clock.end(1020);
        clock.end(1030);
        assert_eq!(clock.read(2000), 70);
    }

    #[test]
    fn what_was_told_is_never_taken_back() {
        let clock = Stopwatch::new();
        clock.begin(100);
        // The reader is late: by its clock it runs still.
        assert_eq!(clock.read(160), 60);
        clock.end(155);
        assert_eq!(clock.read(170), 60);
        clock.begin(200);
        assert_eq!((clock.read(203), clock.read(210)), (60, 65));
    }
}
