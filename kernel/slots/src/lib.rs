//! Checkpoints on a partition of a disk that has our type ([`PARTITION`]): the last few of them, each in a slot of its own.
//!
//! What is written goes to a slot that holds none of those that are kept, and counts when its record is durable; that is written last, to
//! a place that no kept record has. So what is cut off at any moment leaves what was there before, and what is overwritten was
//! struck from the records first. `kernel/doc/checkpoint-disk.md` has the tables of bytes.
//!
//! | module | what |
//! |---|---|
//! | `record` | what makes a checkpoint count |
//! | `slots` | which there are, and where the next one goes: [`Slots`] |
//! | `which` | how one of them is named |
//! | `writer`, `reader` | one of them: a `checkpoint::Sink`, a `checkpoint::Source` |
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod reader;
mod record;
mod slots;
mod which;
mod writer;

pub use reader::Reader;
pub use record::{Fault, MAGIC, RECORD, Record, VERSION};
pub use slots::{Error, MAX_KEEP, Slots};
pub use which::{Which, WhichError};
pub use writer::Writer;

use drivers_api::BlockError;
use gpt::{Guid, SECTOR, View, guid};

/// The type of our partitions. On one with another type nothing is read or written.
pub const PARTITION: Guid = guid!("502046b4-738b-4b39-9dbf-e413ccd14c1c");

/// Records on a partition.
pub const PLACES: usize = 8;
/// Sectors from one record to the next: none shares a physical sector of 4 KiB with another.
pub const PLACE: u64 = 8;
/// Sectors that slots begin at multiples of, and the first behind the records: 64 KiB.
pub const BLOCK: u64 = 128;
/// Bytes that are read and written at a time.
const PIECE: usize = BLOCK as usize * SECTOR;

const _: () = assert!(PLACES as u64 * PLACE <= BLOCK);

/// A partition, in sectors of 512 bytes that count from its first.
pub trait Blocks {
    /// Why it can't be read or written.
    type Error;
    /// Whether this says that nothing at all can be read any more, and not this sector alone: then nothing is known of what is on it.
    fn is_out(_: &Self::Error) -> bool {
        false
    }
    /// Its size in sectors.
    fn sectors(&self) -> u64;
    /// Reads whole sectors from `sector` on.
    fn read(&mut self, sector: u64, bytes: &mut [u8]) -> Result<(), Self::Error>;
    /// Writes whole sectors from `sector` on.
    fn write(&mut self, sector: u64, bytes: &[u8]) -> Result<(), Self::Error>;
    /// Returns when everything written before is durable.
    fn flush(&mut self) -> Result<(), Self::Error>;
}

/// Whether a disk can't be asked any more.
pub fn is_out(error: &BlockError) -> bool {
    matches!(error, BlockError::Gone | BlockError::NotRunning)
}

impl Blocks for View<'_> {
    type Error = BlockError;

    fn is_out(error: &BlockError) -> bool {
        is_out(error)
    }

    fn sectors(&self) -> u64 {
        self.sectors()
    }

    fn read(&mut self, sector: u64, bytes: &mut [u8]) -> Result<(), BlockError> {
        self.read(sector, bytes)
    }

    fn write(&mut self, sector: u64, bytes: &[u8]) -> Result<(), BlockError> {
        self.write(sector, bytes)
    }

    fn flush(&mut self) -> Result<(), BlockError> {
        self.flush()
    }
}

#[cfg(test)]
mod tests;
