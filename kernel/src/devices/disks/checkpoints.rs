//! The partition for checkpoints.

use super::{Disk, Drive, Guid, Partition, swap};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use drivers_api::BlockError;
use gpt::View;
use machine::sync::{MutexGuard, SpinLock};
use slots::Blocks;

static PLACE: SpinLock<Option<Place>> = SpinLock::new(None);

/// A partition for checkpoints. Its disk is locked for each access alone: whoever holds the lock of it finds it at rest.
#[derive(Clone, Copy)]
pub struct Place {
    disk: &'static Disk,
    partition: Partition,
}

/// The place for checkpoints, if a disk has one.
pub fn place() -> Option<Place> {
    *PLACE.lock()
}

/// Takes a disk if it has a place for checkpoints and is the first; whether it is taken.
pub(super) fn offer(name: &str, disk: &Arc<Disk>, partition: &dyn Fn(Guid) -> Option<Partition>) -> bool {
    let Some(partition) = partition(slots::PARTITION) else { return false };
    let mut place = PLACE.lock();
    if place.is_some() {
        log::warn!("{name} is left alone: the machine's checkpoints are on another disk");
        return false;
    }
    // For as long as the machine runs.
    let disk: &'static Arc<Disk> = Box::leak(Box::new(Arc::clone(disk)));
    *place = Some(Place { disk, partition });
    true
}

/// The disk at rest, and those that nobody uses.
pub struct Held {
    drive: Option<MutexGuard<'static, Option<Drive>>>,
    shelf: MutexGuard<'static, Vec<Drive>>,
}

/// Waits until nobody reads or writes checkpoints, nor any disk on the shelf, and keeps it so.
pub fn hold() -> Held {
    let drive = place().map(|place| place.lock());
    Held { drive, shelf: swap::shelf() }
}

impl Held {
    fn all(&mut self) -> impl Iterator<Item = &mut Drive> {
        let used = self.drive.as_deref_mut().and_then(Option::as_mut);
        used.into_iter().chain(self.shelf.iter_mut())
    }

    /// Resets the disks.
    pub fn halt(&mut self) {
        self.all().for_each(Drive::halt);
    }

    /// Gives them up, without touching what may be other devices by now. There is no place for checkpoints until another is offered.
    pub fn abandon(&mut self) {
        self.all().for_each(Drive::abandon);
        if let Some(drive) = &mut self.drive {
            **drive = None;
        }
        self.shelf.clear();
        *PLACE.lock() = None;
    }
}

impl Place {
    /// Waits until nobody uses its disk.
    pub(super) fn lock(&self) -> MutexGuard<'static, Option<Drive>> {
        self.disk.drive.lock()
    }

    fn with_disk(&self, f: impl FnOnce(View<'_>) -> Result<(), BlockError>) -> Result<(), BlockError> {
        let mut drive = self.lock();
        let drive = drive.as_mut().ok_or(BlockError::NotRunning)?;
        drive.with(|disk| f(self.partition.view(disk)))
    }
}

impl Blocks for Place {
    type Error = BlockError;

    fn sectors(&self) -> u64 {
        self.partition.sectors
    }

    fn read(&mut self, sector: u64, bytes: &mut [u8]) -> Result<(), BlockError> {
        self.with_disk(|mut disk| disk.read(sector, bytes))
    }

    fn write(&mut self, sector: u64, bytes: &[u8]) -> Result<(), BlockError> {
        self.with_disk(|mut disk| disk.write(sector, bytes))
    }

    fn flush(&mut self) -> Result<(), BlockError> {
        self.with_disk(|mut disk| disk.flush())
    }
}
