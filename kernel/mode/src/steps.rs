//! What a CPU does in a round, by the kind of round: each kind is code of its own, so that none is slowed by what another needs.

use crate::{Direction, World};

/// What all CPUs do together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    /// They switch.
    Switch(Direction),
    /// They freeze memory. The machine is in guest mode.
    Freeze,
}

impl Round {
    /// As a number.
    pub(crate) const fn code(self) -> u64 {
        match self {
            Self::Switch(Direction::Enter) => 0,
            Self::Switch(Direction::Leave) => 1,
            Self::Freeze => FREEZE,
        }
    }
}

/// [`Round::Freeze`] as a number.
pub(crate) const FREEZE: u64 = 2;

/// The steps of a kind of round, on the CPU that they are for, interrupts off. See [`World`].
pub(crate) trait Steps<E> {
    /// Everything that can fail and can be undone.
    fn prepare(&self, cpu: usize) -> Result<(), E>;
    /// Undoes it.
    fn undo(&self, cpu: usize);
    /// Does it.
    fn commit(&self, cpu: usize) -> Result<(), E>;
    /// Undoes that, because another CPU could not.
    fn revert(&self, cpu: usize);
}

/// Of a switch.
pub(crate) struct Switching<'a, W> {
    pub world: &'a W,
    pub direction: Direction,
}

impl<W: World> Steps<W::Error> for Switching<'_, W> {
    #[inline(always)]
    fn prepare(&self, cpu: usize) -> Result<(), W::Error> {
        self.world.prepare(cpu, self.direction)
    }
    fn undo(&self, cpu: usize) {
        self.world.undo(cpu, self.direction);
    }
    #[inline(always)]
    fn commit(&self, cpu: usize) -> Result<(), W::Error> {
        self.world.commit(cpu, self.direction)
    }
    fn revert(&self, cpu: usize) {
        self.world.revert(cpu, self.direction);
    }
}

/// Of a freeze: nothing is prepared, and either all CPUs freeze or none does.
pub(crate) struct Freezing<'a, W> {
    pub world: &'a W,
}

impl<W: World> Steps<W::Error> for Freezing<'_, W> {
    fn prepare(&self, _: usize) -> Result<(), W::Error> {
        Ok(())
    }
    fn undo(&self, _: usize) {}
    fn commit(&self, cpu: usize) -> Result<(), W::Error> {
        self.world.freeze(cpu)
    }
    fn revert(&self, _: usize) {}
}
