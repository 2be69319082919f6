//! The record of a checkpoint: 96 bytes, little-endian, at the beginning of its place.
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 | 8 | magic, `QSSLOT\0\0` |
//! | 8 | 4 | format version |
//! | 12 | 4 | reserved, zero |
//! | 16 | 8 | number, from 1: of two the higher is the newer |
//! | 24 | 8 | first sector of the checkpoint |
//! | 32 | 8 | its bytes, at least 1 |
//! | 40 | 8 | wall-clock time of its freeze in nanoseconds since 1970; 0 where it was not known |
//! | 48 | 16 | its ID |
//! | 64 | 32 | BLAKE3 of the 64 bytes before |
//!
//! Magic, version and hash are where they are in every version, so that a newer record is told from a broken one.

use core::fmt;
use core::ops::Range;

use gpt::SECTOR;

use crate::BLOCK;

/// First bytes of a record.
pub const MAGIC: [u8; 8] = *b"QSSLOT\0\0";
/// The version written, and the only one read.
pub const VERSION: u32 = 1;
/// Bytes of a record.
pub const RECORD: usize = 96;

/// Bytes before the hash.
const HASHED: usize = 64;

/// What makes a checkpoint count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Counts checkpoints on this partition from 1: of two the higher is the newer.
    pub number: u64,
    /// The first sector of its bytes, from the partition's.
    pub start: u64,
    /// Its bytes, at least 1.
    pub bytes: u64,
    /// When it was frozen, in nanoseconds since 1970; 0 where that was not known.
    pub wall: u64,
    /// The checkpoint's ID.
    pub id: [u8; 16],
}

/// Why a record does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It has no magic: there is none.
    Blank,
    /// The named field is wrong.
    Field(&'static str),
    /// It was written in this version of the format.
    Newer(u32),
    /// It says that its checkpoint is where a newer one is.
    Overwritten,
    /// The disk does not give it.
    Unreadable,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blank => f.write_str("blank"),
            Self::Field(field) => write!(f, "broken: {field}"),
            Self::Newer(version) => write!(f, "in version {version}, which is not known here"),
            Self::Overwritten => f.write_str("of one that a newer one has overwritten"),
            Self::Unreadable => f.write_str("unreadable"),
        }
    }
}

impl Record {
    /// The sectors that its checkpoint takes.
    pub fn sectors(&self) -> Range<u64> {
        self.start..self.start.saturating_add(self.bytes.div_ceil(SECTOR as u64))
    }

    /// As bytes.
    pub fn encode(&self) -> [u8; RECORD] {
        let mut bytes = [0; RECORD];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        for (place, field) in [(16, self.number), (24, self.start), (32, self.bytes), (40, self.wall)] {
            bytes[place..place + 8].copy_from_slice(&field.to_le_bytes());
        }
        bytes[48..HASHED].copy_from_slice(&self.id);
        let hash = blake3::hash(&bytes[..HASHED]);
        bytes[HASHED..].copy_from_slice(hash.as_bytes());
        bytes
    }

    /// Reads one on a partition of so many sectors.
    pub fn decode(bytes: &[u8; RECORD], sectors: u64) -> Result<Self, Fault> {
        if !bytes.starts_with(&MAGIC) {
            return Err(Fault::Blank);
        }
        let (fields, hash) = bytes.split_at(HASHED);
        if blake3::hash(fields) != *hash {
            return Err(Fault::Field("hash"));
        }
        // The rest means what it says.
        let long = |at: usize| {
            let field = fields[at..].first_chunk().expect("fields end before the hash");
            u64::from_le_bytes(*field)
        };
        let version = long(8) as u32;
        if version != VERSION {
            return Err(Fault::Newer(version));
        }
        if long(8) >> 32 != 0 {
            return Err(Fault::Field("reserved"));
        }
        let id = *fields[48..].first_chunk().expect("fields end with the ID");
        let record = Self { number: long(16), start: long(24), bytes: long(32), wall: long(40), id };
        if record.number == 0 {
            return Err(Fault::Field("number"));
        }
        if !(BLOCK..sectors).contains(&record.start) {
            return Err(Fault::Field("start"));
        }
        if record.bytes == 0 || record.sectors().end > sectors {
            return Err(Fault::Field("bytes"));
        }
        Ok(record)
    }
}
