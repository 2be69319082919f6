//! A disk whose requests wait when it is pulled out, until it is back or it has taken too long.

use alloc::boxed::Box;
use drivers_api::{
    BlockDevice, BlockError, BlockGeometry, BlockIdentity, Device, DeviceState, ExportedState, LifecycleError,
};
use gpt::SECTOR;

/// Where disks come from that are plugged in.
pub trait Replacements: Send {
    /// A disk was pulled out: the time that one may take begins.
    fn is_gone(&mut self);
    /// Waits for a disk that nobody uses; none once the time is over.
    fn next(&mut self) -> Option<Box<dyn BlockDevice>>;
    /// Takes a disk back that is not the one that was pulled out.
    fn reject(&mut self, disk: Box<dyn BlockDevice>);
}

/// A disk that may be pulled out and plugged in again, perhaps somewhere else and under another driver. What is not the same disk, by its
/// size and its first sectors, is not taken: its content would be another.
///
/// A request that the disk's end met is made again on its return; if it does not come back in time each ends once, with
/// [`BlockError::Gone`]. What was written and not flushed may be lost with the power of the disk, so the next flush after its
/// return fails, once, with the same.
pub struct Waiting<R> {
    disk: Option<Box<dyn BlockDevice>>,
    replacements: R,
    geometry: BlockGeometry,
    name: &'static str,
    /// Its protective MBR and the header of its table.
    first: [u8; 2 * SECTOR],
    /// Something was written since the last flush.
    is_dirty: bool,
    /// Something may be lost that was written, and nobody has been told.
    is_lossy: bool,
}

impl<R: Replacements> Waiting<R> {
    /// Around a disk that is there.
    pub fn new(mut disk: Box<dyn BlockDevice>, replacements: R) -> Result<Self, BlockError> {
        let first = first(&mut *disk)?;
        let (geometry, name) = (disk.geometry(), disk.name());
        Ok(Self { disk: Some(disk), replacements, geometry, name, first, is_dirty: false, is_lossy: false })
    }

    /// Makes a request until a disk that is there has answered it.
    fn ask(
        &mut self,
        mut request: impl FnMut(&mut dyn BlockDevice) -> Result<(), BlockError>,
    ) -> Result<(), BlockError> {
        loop {
            match &mut self.disk {
                Some(disk) => match request(&mut **disk) {
                    Err(BlockError::Gone) => self.lose(),
                    answer => return answer,
                },
                None => self.disk = Some(self.find().ok_or(BlockError::Gone)?),
            }
        }
    }

    fn lose(&mut self) {
        if let Some(mut disk) = self.disk.take() {
            disk.abandon();
        }
        self.is_lossy |= self.is_dirty;
        self.is_dirty = false;
        self.replacements.is_gone();
    }

    fn find(&mut self) -> Option<Box<dyn BlockDevice>> {
        loop {
            let mut disk = self.replacements.next()?;
            if disk.geometry() == self.geometry && first(&mut *disk) == Ok(self.first) {
                self.name = disk.name();
                return Some(disk);
            }
            self.replacements.reject(disk);
        }
    }

    fn gone(&self) -> LifecycleError {
        LifecycleError::WrongState(DeviceState::Halted)
    }
}

fn first(disk: &mut dyn BlockDevice) -> Result<[u8; 2 * SECTOR], BlockError> {
    let mut bytes = [0; 2 * SECTOR];
    disk.read(0, &mut bytes)?;
    Ok(bytes)
}

impl<R: Replacements> Device for Waiting<R> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn state(&self) -> DeviceState {
        self.disk.as_ref().map_or(DeviceState::Halted, |disk| disk.state())
    }

    fn quiesce(&mut self) -> Result<(), LifecycleError> {
        let gone = self.gone();
        self.disk.as_mut().map_or(Err(gone), |disk| disk.quiesce())
    }

    fn export(&self) -> Result<ExportedState, LifecycleError> {
        self.disk.as_ref().map_or(Err(self.gone()), |disk| disk.export())
    }

    fn import(&mut self, state: &ExportedState) -> Result<(), LifecycleError> {
        let gone = self.gone();
        self.disk.as_mut().map_or(Err(gone), |disk| disk.import(state))
    }

    fn resume(&mut self) -> Result<(), LifecycleError> {
        let gone = self.gone();
        self.disk.as_mut().map_or(Err(gone), |disk| disk.resume())
    }

    fn halt(&mut self) {
        if let Some(disk) = &mut self.disk {
            disk.halt();
        }
    }

    fn abandon(&mut self) {
        if let Some(disk) = &mut self.disk {
            disk.abandon();
        }
    }
}

impl<R: Replacements> BlockDevice for Waiting<R> {
    fn geometry(&self) -> BlockGeometry {
        self.geometry
    }

    fn identity(&mut self) -> Result<BlockIdentity, BlockError> {
        self.disk.as_mut().map_or(Err(BlockError::Gone), |disk| disk.identity())
    }

    fn read(&mut self, sector: u64, buffer: &mut [u8]) -> Result<(), BlockError> {
        self.ask(|disk| disk.read(sector, buffer))
    }

    fn write(&mut self, sector: u64, buffer: &[u8]) -> Result<(), BlockError> {
        let written = self.ask(|disk| disk.write(sector, buffer));
        self.is_dirty |= written.is_ok();
        if written.is_ok() && sector < 2 {
            // Who writes the table changes what the disk is known by.
            let at = sector as usize * SECTOR;
            let length = buffer.len().min(2 * SECTOR - at);
            self.first[at..at + length].copy_from_slice(&buffer[..length]);
        }
        written
    }

    fn flush(&mut self) -> Result<(), BlockError> {
        self.ask(|disk| disk.flush())?;
        self.is_dirty = false;
        if core::mem::take(&mut self.is_lossy) { Err(BlockError::Gone) } else { Ok(()) }
    }
}
