//! A disk that was pulled out and comes back: what it is known by, and what of it may be lost.

use core::fmt;
use drivers_api::{BlockDevice, BlockError, BlockGeometry};
use gpt::SECTOR;

/// What a disk is known by, wherever and under whatever driver it is plugged in: its size, and its first two sectors, where a table of
/// partitions has numbers that no other table has. Users write neither.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    geometry: BlockGeometry,
    first: [u8; 2 * SECTOR],
}

/// Why a disk is not the one that was pulled out. Its content would be another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stranger {
    /// It has so many sectors, in place of so many.
    Size(u64, u64),
    /// Only one of them can be written.
    Mode,
    /// It has another table of partitions, or none.
    Table,
    /// It can't be read.
    Unreadable(BlockError),
}

impl fmt::Display for Stranger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size(has, had) => write!(f, "it has {has} sectors, and the other one had {had}"),
            Self::Mode => f.write_str("only one of them can be written"),
            Self::Table => f.write_str("it has not the other one's table of partitions"),
            Self::Unreadable(error) => write!(f, "it can't be read: {error}"),
        }
    }
}

impl core::error::Error for Stranger {}

impl Identity {
    /// Of a disk that is there.
    pub fn of(disk: &mut dyn BlockDevice) -> Result<Self, BlockError> {
        let mut first = [0; 2 * SECTOR];
        disk.read(0, &mut first)?;
        Ok(Self { geometry: disk.geometry(), first })
    }

    /// Whether this is the disk, and if not, why.
    pub fn check(&self, disk: &mut dyn BlockDevice) -> Result<(), Stranger> {
        let (has, had) = (disk.geometry(), self.geometry);
        if has.sectors != had.sectors {
            return Err(Stranger::Size(has.sectors, had.sectors));
        }
        if has.read_only != had.read_only {
            return Err(Stranger::Mode);
        }
        let found = Self::of(disk).map_err(Stranger::Unreadable)?;
        if found == *self { Ok(()) } else { Err(Stranger::Table) }
    }
}

/// What was written to a disk and not flushed: with the disk it may be gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unflushed {
    /// Something was written since the last flush.
    is_dirty: bool,
    /// Something may be lost that was written, and nobody has been told.
    is_lossy: bool,
}

impl Unflushed {
    /// The disk was pulled out.
    pub fn lose(&mut self) {
        self.is_lossy |= core::mem::take(&mut self.is_dirty);
    }

    /// Something is written. Where that ends badly something may have changed, too.
    pub(crate) fn write(&mut self) {
        self.is_dirty = true;
    }

    /// A flush has succeeded; once after a loss that is told in its place.
    pub(crate) fn flush(&mut self) -> Result<(), BlockError> {
        self.is_dirty = false;
        if core::mem::take(&mut self.is_lossy) { Err(BlockError::Lost) } else { Ok(()) }
    }
}
