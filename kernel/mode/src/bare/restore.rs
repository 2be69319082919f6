//! Another system of this image, or this one as it was, takes the place of the one that runs.

use super::{CpuError, switch};
use crate::Phase;
use crate::switch::Refused;
use core::fmt;
use core::sync::atomic::Ordering;
use core::time::Duration;
use machine::time::Instant;
use vmm::monitor::BuildError;

/// Why this system is still the one that runs. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreError {
    /// There is no monitor.
    Unavailable(BuildError),
    /// The machine is in native mode.
    Native,
    /// As for switches.
    Refused(Refused<CpuError>),
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(error) => error.fmt(f),
            Self::Native => f.write_str("a system can be restored in guest mode only"),
            Self::Refused(refused) => refused.fmt(f),
        }
    }
}

/// Restores the system that a plan describes (physical address of its head; see [`vmm::takeover`]): all CPUs go on in its
/// [`freeze`](super::freeze), which returns [`Returned::Restored`](super::Returned::Restored), and nothing of this one is left. On a
/// thread, interrupts on, in guest mode. Gives up at the deadline. No device writes memory any more: that is the caller's word.
///
/// Returns only where that fails.
pub fn restore(plan: u64, deadline: Duration) -> RestoreError {
    let until = Instant::now().saturating_add(deadline);
    let switch = match switch() {
        Ok(switch) => switch,
        Err(error) => return RestoreError::Unavailable(error),
    };
    let turn = switch.turn();
    if turn.phase() != Phase::Guest {
        return RestoreError::Native;
    }
    switch.world().plan.store(plan, Ordering::Relaxed);
    match turn.restore(until) {
        Err(refused) => RestoreError::Refused(refused),
        Ok(()) => unreachable!("who was restored comes back from another call"),
    }
}
