//! The one transition table.

use core::fmt;

/// Where the machine stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// On the bare machine, the monitor asleep.
    Native,
    /// CPUs gather and prepare; nothing is changed yet.
    Preparing,
    /// Past the point of no return towards guest mode.
    Entering,
    /// The monitor is beneath.
    Guest,
    /// Past the point of no return towards native mode.
    Leaving,
}

/// What happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody asks for guest mode.
    Enter,
    /// All CPUs voted for it.
    Commit,
    /// A CPU voted against it, or did not answer in time.
    Undo,
    /// All CPUs have done it.
    Done,
    /// Somebody asks for native mode.
    Leave,
}

/// Why an event changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A switch is under way.
    Busy,
    /// The machine is there already.
    Already(Phase),
    /// The event does not belong to this phase.
    OutOfOrder(Phase, Event),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("a switch is under way"),
            Self::Already(phase) => write!(f, "the machine is {phase:?} already"),
            Self::OutOfOrder(phase, event) => write!(f, "{event:?} does not happen while {phase:?}"),
        }
    }
}

impl Phase {
    /// The phase after an event.
    pub const fn next(self, event: Event) -> Result<Self, Refused> {
        use Event::{Commit, Done, Enter, Leave, Undo};
        match (self, event) {
            (Self::Native, Enter) => Ok(Self::Preparing),
            (Self::Preparing, Commit) => Ok(Self::Entering),
            (Self::Preparing, Undo) => Ok(Self::Native),
            (Self::Entering, Done) => Ok(Self::Guest),
            (Self::Guest, Leave) => Ok(Self::Leaving),
            (Self::Leaving, Undo) => Ok(Self::Guest),
            (Self::Leaving, Done) => Ok(Self::Native),
            (Self::Guest, Enter) | (Self::Native, Leave) => Err(Refused::Already(self)),
            (Self::Preparing | Self::Entering | Self::Leaving, Enter | Leave) => Err(Refused::Busy),
            _ => Err(Refused::OutOfOrder(self, event)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Event::*;
    use Phase::*;

    #[test]
    fn every_pair_has_its_answer() {
        let table = [
            (Native, [Ok(Preparing), Err(0), Err(0), Err(0), Err(2)]),
            (Preparing, [Err(1), Ok(Entering), Ok(Native), Err(0), Err(1)]),
            (Entering, [Err(1), Err(0), Err(0), Ok(Guest), Err(1)]),
            (Guest, [Err(2), Err(0), Err(0), Err(0), Ok(Leaving)]),
            (Leaving, [Err(1), Err(0), Ok(Guest), Ok(Native), Err(1)]),
        ];
        for (phase, answers) in table {
            for (event, answer) in [Enter, Commit, Undo, Done, Leave].into_iter().zip(answers) {
                let found = phase.next(event).map_err(|refused| match refused {
                    Refused::OutOfOrder(..) => 0,
                    Refused::Busy => 1,
                    Refused::Already(_) => 2,
                });
                assert_eq!(found, answer, "{phase:?} {event:?}");
            }
        }
    }
}
