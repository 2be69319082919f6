//! Native and guest mode: the states a machine goes through, how all CPUs go together or not at all, and what may hold
//! them back.
//!
//! | module | what |
//! |---|---|
//! | [`phase`] | the transition table |
//! | [`pins`] | what must not straddle a switch |
//! | [`rendezvous`] | all CPUs prepare, vote, and commit or undo |
//! | [`steps`] | what that is, for a switch, a freeze, a restore and what is done to devices |
//! | [`trace`] | what each CPU did when, in a switch |
//! | [`board`] | what is known about the switches so far, for whoever only reads |
//! | [`switch`] | a switch from request to answer |
//! | [`bare`] | all of it bound to the machine and the monitor |
//!
//! All but [`bare`] is logic over the [`World`] trait and is tested on the host with threads for CPUs.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

#[cfg(bare_metal)]
pub mod bare;
pub mod board;
pub mod phase;
pub mod pins;
pub mod rendezvous;
pub mod steps;
pub mod switch;
#[cfg(test)]
mod tests;
pub mod trace;

use core::fmt::{Debug, Display};
use core::time::Duration;

pub use phase::{Event, Phase};
pub use pins::{Held, Pin, Pins};
pub use steps::Round;
pub use switch::{Outcome, Refused, Switch, Turn};

/// Which way a switch goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The monitor slips beneath.
    Enter,
    /// The monitor goes away.
    Leave,
}

impl Direction {
    /// The phase it leads to.
    pub const fn target(self) -> Phase {
        match self {
            Self::Enter => Phase::Guest,
            Self::Leave => Phase::Native,
        }
    }

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enter => "enter",
            Self::Leave => "leave",
        }
    }
}

/// The CPUs and what is done on each: the machine, or the tests' threads.
///
/// Steps run on the CPU they are for, with interrupts off.
pub trait World: Sync {
    /// Why a step fails.
    type Error: Copy + Debug + Display + Send;
    /// CPUs that run.
    fn cpus(&self) -> usize;
    /// The CPU that runs this.
    fn cpu(&self) -> usize;
    /// Asks all others to call [`rendezvous::Rendezvous::take_part`], soon.
    fn call_others(&self);
    /// The time-stamp counter.
    fn ticks(&self) -> u64;
    /// How many ticks a duration is.
    fn ticks_of(&self, duration: Duration) -> u64;
    /// Waits a moment.
    fn relax(&self);
    /// Runs with interrupts off, on one CPU.
    fn without_interrupts<R>(&self, f: impl FnOnce() -> R) -> R;
    /// Looks beforehand whether a switch is sound at all. On a thread, before anybody is called.
    fn check(&self, direction: Direction) -> Result<(), Self::Error>;
    /// What a switch does once and nobody undoes. On a thread, after [`World::check`], before anybody is called.
    fn ready(&self, direction: Direction) -> Result<(), Self::Error>;
    /// Everything that can fail and can be undone.
    fn prepare(&self, cpu: usize, direction: Direction) -> Result<(), Self::Error>;
    /// Undoes a [`World::prepare`] that succeeded.
    fn undo(&self, cpu: usize, direction: Direction);
    /// Goes over. If that fails, the CPU is as it was before [`World::prepare`].
    fn commit(&self, cpu: usize, direction: Direction) -> Result<(), Self::Error>;
    /// Goes back after a [`World::commit`] that succeeded, because another CPU's did not.
    fn revert(&self, cpu: usize, direction: Direction);
    /// Freezes memory, in guest mode: returns on each CPU when all have come, with the same answer. One of them is given what is to be done
    /// there, before all others go on, by a system that was restored.
    fn freeze(&self, cpu: usize, restored: Option<&dyn Fn()>) -> Result<(), Self::Error>;
    /// Becomes the system that is to be restored, in guest mode: all CPUs go on where that one stood, or this returns on each, with the
    /// same error. (The tests' threads come back from it.)
    fn restore(&self, cpu: usize) -> Result<(), Self::Error>;
    /// Changes which devices can be reached, in guest mode: returns on each CPU when all have come, with the same answer.
    fn interpose(&self, cpu: usize) -> Result<(), Self::Error>;
    /// Puts in order on the bare machine what guest mode has left. On a thread, after leaving, before anybody enters again.
    fn settle(&self);
}
