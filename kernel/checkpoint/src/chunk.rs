//! A chunk: a header of 52 bytes, little-endian, and the stored bytes.
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 | 8 | number: its place in the sequence, from 0 |
//! | 8 | 4 | kind |
//! | 12 | 4 | raw length, at most 1 MiB |
//! | 16 | 4 | stored length, at most the raw length |
//! | 20 | 32 | tag |
//! | 52 | | stored bytes: an LZ4 block if they are fewer than the raw ones, else those |

use core::fmt;

use crate::Error;
use crate::fields::Fields;
use crate::seal::TAG;

/// Raw bytes of a chunk at most.
pub const MAX_RAW: usize = 1 << 20;
/// Bytes of a chunk's header.
pub const CHUNK_HEADER: usize = FIELDS + TAG;

/// Bytes of it that its tag covers.
pub const FIELDS: usize = 20;

/// What a chunk carries. Chunks come in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// What the CPUs have to be able to do: one chunk.
    Features = 1,
    /// The map of memory: one chunk.
    Map = 2,
    /// The states of the CPUs: one chunk or more.
    Cpus = 3,
    /// The list of frames in use: one chunk or more.
    Frames = 4,
    /// What is in them: any number of chunks.
    Pages = 5,
    /// Counts what came before: one chunk, the last.
    End = 6,
}

impl Kind {
    fn new(number: u32) -> Option<Self> {
        let all = [Self::Features, Self::Map, Self::Cpus, Self::Frames, Self::Pages, Self::End];
        all.into_iter().find(|kind| *kind as u32 == number)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Features => "features",
            Self::Map => "map",
            Self::Cpus => "CPUs",
            Self::Frames => "frames",
            Self::Pages => "pages",
            Self::End => "end",
        })
    }
}

/// The fields of a chunk's header but its tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub number: u64,
    pub kind: Kind,
    /// At most [`MAX_RAW`].
    pub raw: usize,
    /// At most `raw`.
    pub stored: usize,
}

impl Head {
    pub fn encode(&self) -> [u8; FIELDS] {
        let mut bytes = [0; FIELDS];
        bytes[..8].copy_from_slice(&self.number.to_le_bytes());
        bytes[8..12].copy_from_slice(&(self.kind as u32).to_le_bytes());
        bytes[12..16].copy_from_slice(&(self.raw as u32).to_le_bytes());
        bytes[16..].copy_from_slice(&(self.stored as u32).to_le_bytes());
        bytes
    }

    /// Reads the header of chunk `number`, which may be of one of these kinds.
    pub fn decode(bytes: &[u8], number: u64, kinds: &[Kind]) -> Result<Self, Error> {
        let mut fields = Fields(bytes);
        let wrong = |kind, field| Error::Chunk { number, kind, field };
        if fields.u64("number")? != number {
            return Err(wrong(None, "number"));
        }
        let kind = Kind::new(fields.u32("kind")?).ok_or(wrong(None, "kind"))?;
        if !kinds.contains(&kind) {
            return Err(wrong(Some(kind), "kind"));
        }
        let (raw, stored) = (fields.u32("raw length")? as usize, fields.u32("stored length")? as usize);
        if raw > MAX_RAW {
            return Err(wrong(Some(kind), "raw length"));
        }
        if stored > raw {
            return Err(wrong(Some(kind), "stored length"));
        }
        Ok(Self { number, kind, raw, stored })
    }
}
