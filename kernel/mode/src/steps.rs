//! What a CPU does in a round, by the kind of round: each kind is code of its own, so that none is slowed by what another needs.

use crate::{Direction, World};

/// What all CPUs do together.
#[derive(Clone, Copy)]
pub enum Round<'a> {
    /// They switch.
    Switch(Direction),
    /// They freeze memory. The machine is in guest mode. Who comes back restored does this first, on the leader's CPU.
    Freeze(&'a dyn Fn()),
    /// They become another system. The machine is in guest mode.
    Restore,
    /// They change which devices can be reached. The machine is in guest mode.
    Interpose,
}

impl Round<'_> {
    /// As a number.
    pub(crate) const fn code(self) -> u64 {
        match self {
            Self::Switch(Direction::Enter) => ENTER,
            Self::Switch(Direction::Leave) => 1,
            Self::Freeze(_) => FREEZE,
            Self::Restore => RESTORE,
            Self::Interpose => INTERPOSE,
        }
    }
}

/// Entering as a number.
pub(crate) const ENTER: u64 = 0;
/// [`Round::Freeze`] as a number.
pub(crate) const FREEZE: u64 = 2;
/// [`Round::Restore`] as a number.
pub(crate) const RESTORE: u64 = 3;
/// [`Round::Interpose`] as a number.
pub(crate) const INTERPOSE: u64 = 4;

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

/// Of a switch, one type for each direction.
macro_rules! switching {
    ($name:ident) => {
        pub(crate) struct $name<'a, W>(pub &'a W);

        impl<W: World> Steps<W::Error> for $name<'_, W> {
            #[inline(always)]
            fn prepare(&self, cpu: usize) -> Result<(), W::Error> {
                self.0.prepare(cpu, Direction::$name)
            }
            fn undo(&self, cpu: usize) {
                self.0.undo(cpu, Direction::$name);
            }
            #[inline(always)]
            fn commit(&self, cpu: usize) -> Result<(), W::Error> {
                self.0.commit(cpu, Direction::$name)
            }
            fn revert(&self, cpu: usize) {
                self.0.revert(cpu, Direction::$name);
            }
        }
    };
}
switching!(Enter);
switching!(Leave);

/// Of what all CPUs do together in the VMM: nothing is prepared, and either all CPUs do it or none does.
macro_rules! together {
    ($type:ty, |$steps:ident, $cpu:ident| $commit:expr) => {
        impl<W: World> Steps<W::Error> for $type {
            fn prepare(&self, _: usize) -> Result<(), W::Error> {
                Ok(())
            }
            fn undo(&self, _: usize) {}
            fn commit(&self, $cpu: usize) -> Result<(), W::Error> {
                let $steps = self;
                $commit
            }
            fn revert(&self, _: usize) {}
        }
    };
}

/// With what the leader does when it comes back restored.
pub(crate) struct Freeze<'a, W>(pub &'a W, pub Option<&'a dyn Fn()>);
pub(crate) struct Restore<'a, W>(pub &'a W);
pub(crate) struct Interpose<'a, W>(pub &'a W);

together!(Freeze<'_, W>, |steps, cpu| steps.0.freeze(cpu, steps.1));
together!(Restore<'_, W>, |steps, cpu| steps.0.restore(cpu));
together!(Interpose<'_, W>, |steps, cpu| steps.0.interpose(cpu));
