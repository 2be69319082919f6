//! The clock of a thousand ticks a second on each CPU that `bench=ticks` is. Made for tests: what goes wrong is a panic.

use serde::Deserialize;

use crate::guest::{Guest, wait_until};

/// A line of the clock: all CPUs together, since they began.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Clock {
    /// Ticks that came.
    pub ticks: u64,
    /// Moments of the CPU that is most behind that have passed without a tick.
    pub missing: u64,
    /// Ticks that came a period or more after their moment.
    pub late: u64,
    /// The latest of the last second, in microseconds.
    pub worst_us: u64,
}

/// Where a line begins.
const BEGIN: &str = "{\"ticks\"";
/// A CPU whose timer interrupts go on is behind by less, in ticks, as soon as the host has time for it.
const BEHIND: u64 = 100;

impl Clock {
    /// The newest line, told anew.
    ///
    /// # Panics
    /// When none comes.
    pub fn of(guest: &Guest) -> Self {
        let lines = || guest.serial_text().matches(BEGIN).count();
        let old = lines();
        wait_until("a line of the clock", || lines() > old + 1);
        let text = guest.serial_text();
        // The last may be half written.
        let line = text.lines().rev().skip(1).find_map(|line| line.find(BEGIN).map(|start| &line[start..]));
        let line = line.unwrap_or_else(|| panic!("no clock in {text}"));
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    /// Waits until every CPU has had each tick that is due: where an interrupt was lost, that CPU has no more of them.
    ///
    /// # Panics
    /// When one has not.
    pub fn without_loss(guest: &Guest) -> Self {
        let mut clock = Self::of(guest);
        wait_until("each tick that is due", || {
            clock = Self::of(guest);
            clock.missing < BEHIND
        });
        clock
    }
}
