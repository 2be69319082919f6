//! GUID partition tables (UEFI 2.10, chapter 5): which partitions a disk has, one of them as a small disk of its own, and the
//! table of a new disk. Logical blocks are sectors of 512 bytes; on disks with others no table is found.
//!
//! A table is read with suspicion: both copies, their checksums, every bound, and no two partitions may overlap. Where one copy
//! is bad, or the two differ, what the other says can be read and not written. Nothing here writes a table to a disk,
//! apart from the mark that another disk has taken its place.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod lay_out;
mod moved;
mod read;
mod view;

pub use gpt_disk_types::{Guid, guid};
pub use lay_out::{ALIGNMENT, LayoutError, New, lay_out};
pub use moved::{MoveError, Moved, mark_replaced, moved};
pub use read::read;
pub use view::View;

use alloc::vec::Vec;
use core::fmt;
use drivers_api::BlockError;

/// Bytes of a sector.
pub const SECTOR: usize = 512;
/// Bytes of the longest array of entries that is read: eight times the usual one.
const MAX_ARRAY: u64 = 128 * 1024;

/// One of the two copies of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Behind the protective MBR.
    Primary,
    /// At the end of the disk.
    Backup,
}

/// Why there is no table, or what is wrong with it. Fields have the specification's names (tables 5-5 and 5-6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GptError {
    /// No protective MBR: the disk is empty, or divided in another way.
    NoTable,
    /// A field of the header.
    Header(Which, &'static str),
    /// A field of an entry, counted from 0.
    Entry(Which, u32, &'static str),
    /// Both copies are sound, and differ in this field.
    Differ(&'static str),
    /// A copy can't be read.
    Disk(BlockError),
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Primary => "primary",
            Self::Backup => "backup",
        })
    }
}

impl fmt::Display for GptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTable => f.write_str("no GPT"),
            Self::Header(which, field) => write!(f, "{field} in the {which} header of its GPT"),
            Self::Entry(which, number, field) => write!(f, "{field} in entry {number} of its {which} GPT"),
            Self::Differ(field) => write!(f, "{field} differs between the two copies of its GPT"),
            Self::Disk(error) => write!(f, "its GPT can't be read: {error}"),
        }
    }
}

impl core::error::Error for GptError {}

/// A partition, within the usable sectors of its disk and apart from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// What it is for.
    pub kind: Guid,
    /// Its own name.
    pub id: Guid,
    /// Its first sector.
    pub first: u64,
    /// Its size in sectors, at least 1.
    pub sectors: u64,
    /// Whether the table is beyond doubt.
    writable: bool,
}

/// The partitions of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// In the order of their entries.
    pub partitions: Vec<Partition>,
    /// What is wrong with one of the copies; then partitions are not written.
    pub fault: Option<GptError>,
    /// Whether another disk has taken its place: then it is not to be used, and still complete.
    pub is_replaced: bool,
}

#[cfg(test)]
mod tests;
