//! Whether a disk can take another's place.

use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use drivers_api::{BlockDevice, BlockError};
use gpt::{GptError, MoveError, Moved};

/// What goes from one disk to another.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What is copied as it is.
    pub(crate) body: Range<u64>,
    /// What is written when all else is there; `None` of a disk without partitions.
    pub(crate) table: Option<Table>,
    /// Size of the new disk in sectors.
    pub(crate) sectors: u64,
    adapted: Adapted,
}

/// The table of partitions of the new disk.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    /// From sector 0 on.
    pub head: Vec<u8>,
    /// The sector where its end begins, and what is there.
    pub end: (u64, Vec<u8>),
}

/// What is other than it was, to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adapted {
    /// Nothing.
    Nothing,
    /// The new disk has so many sectors more; its table says so.
    Larger(u64),
    /// It has so many sectors more, and as there is no table nobody knows of them.
    Unused(u64),
    /// It has so many sectors less; no partition had them.
    Smaller(u64),
}

impl fmt::Display for Adapted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("both disks have the same size"),
            Self::Larger(more) => {
                write!(f, "the new disk is larger by {more} sectors: the backup of its table goes to its end")
            }
            Self::Unused(more) => {
                write!(f, "the new disk is larger by {more} sectors, which stay unused")
            }
            Self::Smaller(less) => {
                write!(f, "the new disk is smaller by {less} sectors, which no partition has")
            }
        }
    }
}

/// Why a disk can't take another's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The new disk can't be written.
    ReadOnly,
    /// The new disk has partitions of its own.
    Used,
    /// The new disk has fewer sectors than are needed.
    TooSmall {
        /// What it has.
        has: u64,
        /// What the partitions need, or the whole disk where there are none.
        needed: u64,
    },
    /// The old disk's table is in doubt.
    Table(GptError),
    /// The new disk can't be read.
    New(BlockError),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReadOnly => f.write_str("the new disk is read-only"),
            Self::Used => {
                f.write_str("the new disk has a table of partitions, and would lose what is in them")
            }
            Self::TooSmall { has, needed } => {
                write!(f, "the new disk is too small: it has {has} sectors, and {needed} are needed")
            }
            Self::Table(error) => write!(f, "the old disk: {error}"),
            Self::New(error) => write!(f, "the new disk can't be read: {error}"),
        }
    }
}

impl core::error::Error for Refused {}

impl Plan {
    /// Compares two disks; writes nothing.
    pub fn new(old: &mut dyn BlockDevice, new: &mut dyn BlockDevice) -> Result<Self, Refused> {
        let (size, target) = (old.geometry().sectors, new.geometry());
        if target.read_only {
            return Err(Refused::ReadOnly);
        }
        // What could pass for a table is in the first two sectors and the last.
        if target.sectors < 3 {
            return Err(Refused::TooSmall { has: target.sectors, needed: size.max(3) });
        }
        match gpt::read(new) {
            Err(GptError::NoTable) => {}
            Err(GptError::Disk(error)) => return Err(Refused::New(error)),
            Ok(_) | Err(_) => return Err(Refused::Used),
        }
        let sectors = target.sectors;
        let (body, table) = match gpt::moved(old, sectors) {
            Ok(Moved { head, body, tail, end }) => (body, Some(Table { head, end: (tail, end) })),
            Err(MoveError::Table(GptError::NoTable)) if sectors >= size => (0..size, None),
            Err(MoveError::Table(GptError::NoTable)) => {
                return Err(Refused::TooSmall { has: sectors, needed: size });
            }
            Err(MoveError::TooSmall(needed)) => return Err(Refused::TooSmall { has: sectors, needed }),
            Err(MoveError::Table(error)) => return Err(Refused::Table(error)),
        };
        let adapted = match sectors {
            same if same == size => Adapted::Nothing,
            less if less < size => Adapted::Smaller(size - less),
            more if table.is_some() => Adapted::Larger(more - size),
            more => Adapted::Unused(more - size),
        };
        Ok(Self { body, table, sectors, adapted })
    }

    /// What is other on the new disk.
    pub fn adapted(&self) -> Adapted {
        self.adapted
    }

    /// How many sectors are copied.
    pub fn sectors(&self) -> u64 {
        self.body.end - self.body.start
    }
}
