//! A partition as a small disk of its own.

use drivers_api::{BlockDevice, BlockError};

use crate::{Partition, SECTOR};

/// A partition of a disk: sectors count from its first, and none beyond its last is ever touched.
pub struct View<'d> {
    disk: &'d mut dyn BlockDevice,
    partition: Partition,
}

impl Partition {
    /// Opens the partition on its disk: the one whose table named it.
    pub fn view<'d>(&self, disk: &'d mut dyn BlockDevice) -> View<'d> {
        View { disk, partition: *self }
    }
}

impl View<'_> {
    /// Size in sectors.
    pub fn sectors(&self) -> u64 {
        self.partition.sectors
    }

    /// Reads whole sectors from `sector` on.
    pub fn read(&mut self, sector: u64, buffer: &mut [u8]) -> Result<(), BlockError> {
        let place = self.place(sector, buffer.len())?;
        self.disk.read(place, buffer)
    }

    /// Writes whole sectors from `sector` on; not where the table is in doubt.
    pub fn write(&mut self, sector: u64, buffer: &[u8]) -> Result<(), BlockError> {
        let place = self.place(sector, buffer.len())?;
        if !self.partition.writable {
            return Err(BlockError::ReadOnly);
        }
        self.disk.write(place, buffer)
    }

    /// Returns when everything written before is durable.
    pub fn flush(&mut self) -> Result<(), BlockError> {
        self.disk.flush()
    }

    fn place(&self, sector: u64, length: usize) -> Result<u64, BlockError> {
        let end = sector.checked_add((length / SECTOR) as u64).ok_or(BlockError::OutOfRange)?;
        if !length.is_multiple_of(SECTOR) || end > self.partition.sectors {
            return Err(BlockError::OutOfRange);
        }
        Ok(self.partition.first + sector)
    }
}
