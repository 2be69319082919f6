//! How long a CPU has been idle, readable from any other at any time.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Set while the CPU is idle.
const IDLE: u64 = 1 << 63;

/// Nanoseconds of idleness. The CPU itself is the only writer.
pub(crate) struct IdleClock {
    /// One word, so that no reader sees half of a change: while the CPU works, the sum; while it is idle, [`IDLE`] and what has
    /// to be added to the time (modulo 2^63) for the sum.
    state: AtomicU64,
    /// The most that a reader was told.
    told: AtomicU64,
}

impl IdleClock {
    pub(crate) const fn new() -> Self {
        Self { state: AtomicU64::new(0), told: AtomicU64::new(0) }
    }

    /// The CPU has nothing to do from `now` on, in nanoseconds since boot.
    pub(crate) fn begin(&self, now: u64) {
        self.state.store(self.sum(now).wrapping_sub(now) | IDLE, Relaxed);
    }

    /// It has again.
    pub(crate) fn end(&self, now: u64) {
        self.state.store(self.sum(now), Relaxed);
    }

    /// For any CPU: the sum until `now`. It never goes back, though the reader's clock was read a little before or after the
    /// change that it sees.
    pub(crate) fn read(&self, now: u64) -> u64 {
        let sum = self.sum(now);
        // Earlier than the beginning of the first idleness.
        let sum = if sum > IDLE / 2 { 0 } else { sum };
        self.told.fetch_max(sum, Relaxed).max(sum)
    }

    fn sum(&self, now: u64) -> u64 {
        match self.state.load(Relaxed) {
            sum if sum & IDLE == 0 => sum,
            offset => offset.wrapping_add(now) & !IDLE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idleness_is_counted_while_it_lasts() {
        let clock = IdleClock::new();
        assert_eq!(clock.read(100), 0);
        clock.begin(100);
        assert_eq!((clock.read(99), clock.read(100), clock.read(130)), (0, 0, 30));
        clock.end(150);
        assert_eq!((clock.read(150), clock.read(1000)), (50, 50));
        clock.begin(1000);
        assert_eq!(clock.read(1001), 51);
        // Twice is as good as once.
        clock.begin(1010);
        clock.end(1020);
        clock.end(1030);
        assert_eq!(clock.read(2000), 70);
    }

    #[test]
    fn what_was_told_is_never_taken_back() {
        let clock = IdleClock::new();
        clock.begin(100);
        // The reader is late: by its clock the CPU is idle still.
        assert_eq!(clock.read(160), 60);
        clock.end(155);
        assert_eq!(clock.read(170), 60);
        clock.begin(200);
        assert_eq!((clock.read(203), clock.read(210)), (60, 65));
    }
}
