//! The partition for checkpoints.

use super::{Disk, Guid, Partition};
use alloc::boxed::Box;
use alloc::sync::Arc;
use drivers::probe::Attached;
use drivers_api::{BlockDevice, BlockError};
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
pub(super) fn offer(disk: &Arc<Disk>, partition: &dyn Fn(Guid) -> Option<Partition>) -> bool {
    let Some(partition) = partition(slots::PARTITION) else { return false };
    let mut place = PLACE.lock();
    if let Some(first) = &*place {
        log::warn!("{} is left alone: the machine's checkpoints are on {}", disk.name, first.disk.name);
        return false;
    }
    // For as long as the machine runs.
    let disk: &'static Arc<Disk> = Box::leak(Box::new(Arc::clone(disk)));
    *place = Some(Place { disk, partition });
    true
}

/// The disk at rest.
pub struct Held(MutexGuard<'static, Option<Attached<dyn BlockDevice>>>);

/// Waits until nobody reads or writes checkpoints, and keeps it so.
pub fn hold() -> Option<Held> {
    place().map(|place| Held(place.disk.device.lock()))
}

impl Held {
    /// Resets the disk.
    pub fn halt(&mut self) {
        if let Some(disk) = &mut *self.0 {
            disk.device.halt();
        }
    }

    /// Gives it up, without touching what may be another device by now. There is no place for checkpoints until another is offered.
    pub fn abandon(&mut self) {
        if let Some(mut disk) = self.0.take() {
            disk.device.abandon();
        }
        *PLACE.lock() = None;
    }
}

impl Place {
    fn with_disk(&self, f: impl FnOnce(View<'_>) -> Result<(), BlockError>) -> Result<(), BlockError> {
        let mut disk = self.disk.device.lock();
        let disk = disk.as_mut().ok_or(BlockError::NotRunning)?;
        f(self.partition.view(&mut *disk.device))
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
