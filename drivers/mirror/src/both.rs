//! What users have while a disk takes another's place.

use drivers_api::{
    BlockDevice, BlockError, BlockGeometry, BlockIdentity, Device, DeviceState, ExportedState, LifecycleError,
};

use crate::Mirror;

/// The old disk, whose new one is told what is written. Lives as long as a user's turn.
pub struct Both<'d> {
    /// What is done to keep them the same.
    pub mirror: &'d mut Mirror,
    /// The one that is read.
    pub old: &'d mut dyn BlockDevice,
    /// The one that is to take its place.
    pub new: &'d mut dyn BlockDevice,
}

impl Device for Both<'_> {
    fn name(&self) -> &'static str {
        self.old.name()
    }

    fn state(&self) -> DeviceState {
        self.old.state()
    }

    fn quiesce(&mut self) -> Result<(), LifecycleError> {
        self.old.quiesce()
    }

    fn export(&self) -> Result<ExportedState, LifecycleError> {
        self.old.export()
    }

    fn import(&mut self, state: &ExportedState) -> Result<(), LifecycleError> {
        self.old.import(state)
    }

    fn resume(&mut self) -> Result<(), LifecycleError> {
        self.old.resume()
    }

    fn halt(&mut self) {
        self.old.halt();
        self.new.halt();
    }

    fn abandon(&mut self) {
        self.old.abandon();
        self.new.abandon();
    }
}

impl BlockDevice for Both<'_> {
    fn geometry(&self) -> BlockGeometry {
        self.old.geometry()
    }

    fn identity(&mut self) -> Result<BlockIdentity, BlockError> {
        self.old.identity()
    }

    fn read(&mut self, sector: u64, buffer: &mut [u8]) -> Result<(), BlockError> {
        self.old.read(sector, buffer)
    }

    fn write(&mut self, sector: u64, buffer: &[u8]) -> Result<(), BlockError> {
        let result = self.old.write(sector, buffer);
        self.mirror.wrote(sector, buffer, result, self.new);
        result
    }

    /// The old disk's flush is the user's; the new one's matters from the switch on, and before it in what is there after a power cut.
    fn flush(&mut self) -> Result<(), BlockError> {
        self.old.flush()?;
        self.mirror.flush(self.new);
        Ok(())
    }
}
