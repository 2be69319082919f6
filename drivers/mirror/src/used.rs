//! What users have of a disk, which may be pulled out, and while another one takes its place.

use drivers_api::{
    BlockDevice, BlockError, BlockGeometry, BlockIdentity, Device, DeviceState, ExportedState, LifecycleError,
};

use crate::{Mirror, Unflushed};

/// A disk, and its new one, which is told what is written. Lives as long as a user's turn.
///
/// When the disk was pulled out and is back, the next flush fails with [`BlockError::Lost`], once, if there was something to be flushed.
pub struct Used<'d> {
    /// The one that is read.
    pub disk: &'d mut dyn BlockDevice,
    /// What may be lost of it.
    pub unflushed: &'d mut Unflushed,
    /// The one that is to take its place, and what is done to keep them the same.
    pub new: Option<(&'d mut Mirror, &'d mut dyn BlockDevice)>,
}

impl Device for Used<'_> {
    fn name(&self) -> &'static str {
        self.disk.name()
    }

    fn state(&self) -> DeviceState {
        self.disk.state()
    }

    fn quiesce(&mut self) -> Result<(), LifecycleError> {
        self.disk.quiesce()
    }

    fn export(&self) -> Result<ExportedState, LifecycleError> {
        self.disk.export()
    }

    fn import(&mut self, state: &ExportedState) -> Result<(), LifecycleError> {
        self.disk.import(state)
    }

    fn resume(&mut self) -> Result<(), LifecycleError> {
        self.disk.resume()
    }

    fn halt(&mut self) {
        self.disk.halt();
        if let Some((_, new)) = &mut self.new {
            new.halt();
        }
    }

    fn abandon(&mut self) {
        self.disk.abandon();
        if let Some((_, new)) = &mut self.new {
            new.abandon();
        }
    }
}

impl BlockDevice for Used<'_> {
    fn geometry(&self) -> BlockGeometry {
        self.disk.geometry()
    }

    fn identity(&mut self) -> Result<BlockIdentity, BlockError> {
        self.disk.identity()
    }

    fn read(&mut self, sector: u64, buffer: &mut [u8]) -> Result<(), BlockError> {
        self.disk.read(sector, buffer)
    }

    fn write(&mut self, sector: u64, buffer: &[u8]) -> Result<(), BlockError> {
        self.unflushed.write();
        let result = self.disk.write(sector, buffer);
        if let Some((mirror, new)) = &mut self.new {
            mirror.wrote(sector, buffer, result, &mut **new);
        }
        result
    }

    /// The old disk's flush is the user's; the new one's matters from the switch on, and before it in what is there after a power cut.
    fn flush(&mut self) -> Result<(), BlockError> {
        self.disk.flush()?;
        if let Some((mirror, new)) = &mut self.new {
            mirror.flush(&mut **new);
        }
        self.unflushed.flush()
    }
}
