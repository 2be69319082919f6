//! The partition for checkpoints.

use super::seat::{self, Seat};
use super::shelf::shelf;
use super::{Drive, Guid, Partition};
use alloc::sync::Arc;
use alloc::vec::Vec;
use drivers_api::BlockError;
use machine::sync::{MutexGuard, SpinLock};
use slots::Blocks;

static PLACE: SpinLock<Option<Place>> = SpinLock::new(None);

/// A partition for checkpoints. Its disk is locked for each access alone: whoever holds the lock of it finds it at rest.
#[derive(Clone, Copy)]
pub struct Place {
    seat: &'static Seat,
    partition: Partition,
}

/// The place for checkpoints, if a disk has one.
pub fn place() -> Option<Place> {
    *PLACE.lock()
}

/// Takes a disk if it has a place for checkpoints and is the first; whether it is taken.
pub(super) fn offer(name: &str, seat: &Arc<Seat>, partition: &dyn Fn(Guid) -> Option<Partition>) -> bool {
    let Some(partition) = partition(slots::PARTITION) else { return false };
    if place().is_some() {
        log::warn!("{name} is left alone: the machine's checkpoints are on another disk");
        return false;
    }
    if let Some(drive) = &mut *seat.lock() {
        drive.learn();
    }
    *PLACE.lock() = Some(Place { seat: seat.keep(), partition });
    true
}

/// The disks at rest, and those that nobody uses.
pub struct Held {
    seats: Vec<MutexGuard<'static, Option<Drive>>>,
    shelf: MutexGuard<'static, Vec<Drive>>,
}

/// Waits until nobody reads or writes a disk, nor takes one from the shelf, and keeps it so.
pub fn hold() -> Held {
    let seats = seat::all().into_iter().map(Seat::lock).collect();
    Held { seats, shelf: shelf() }
}

impl Held {
    fn all(&mut self) -> impl Iterator<Item = &mut Drive> {
        let used = self.seats.iter_mut().filter_map(|seat| seat.as_mut());
        used.chain(self.shelf.iter_mut())
    }

    /// Resets the disks.
    pub fn halt(&mut self) {
        self.all().for_each(Drive::halt);
    }

    /// Gives them up, without touching what may be other devices by now. There is no place for checkpoints until another is offered.
    pub fn abandon(&mut self) {
        self.all().for_each(Drive::abandon);
        self.seats.iter_mut().for_each(|seat| **seat = None);
        self.shelf.clear();
        seat::forget();
        *PLACE.lock() = None;
    }
}

impl Blocks for Place {
    type Error = BlockError;

    fn is_out(error: &BlockError) -> bool {
        slots::is_out(error)
    }

    fn sectors(&self) -> u64 {
        self.partition.sectors
    }

    fn read(&mut self, sector: u64, bytes: &mut [u8]) -> Result<(), BlockError> {
        self.seat.ask(|disk| self.partition.view(disk).read(sector, bytes))
    }

    fn write(&mut self, sector: u64, bytes: &[u8]) -> Result<(), BlockError> {
        self.seat.ask(|disk| self.partition.view(disk).write(sector, bytes))
    }

    fn flush(&mut self) -> Result<(), BlockError> {
        self.seat.ask(|disk| self.partition.view(disk).flush())
    }
}
