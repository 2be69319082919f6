//! Why a checkpoint is refused.

use core::fmt;

use crate::Kind;

/// What is wrong with a checkpoint, or with what is to become one. Nothing was touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// It ends after so many bytes, before its last chunk does.
    Truncated(u64),
    /// Bytes follow its last chunk.
    Trailing,
    /// Written in another version.
    Version(u16),
    /// It was made with a key, and there is none here.
    KeyMissing,
    /// It was made without a key, where one is asked for: whoever made it need not have that key.
    KeyUnwanted,
    /// It was made with another key.
    KeyOther,
    /// The named field of the header.
    Header(&'static str),
    /// The named field of a chunk.
    Chunk {
        /// Its place in the sequence, from 0.
        number: u64,
        /// What it carries, if that is known.
        kind: Option<Kind>,
        /// What is wrong.
        field: &'static str,
    },
    /// The named field of what is to be written.
    Field(&'static str),
    /// A frame, by its number.
    Frame(u64, FrameFault),
    /// No memory to read or write it.
    Memory,
}

/// What is wrong with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameFault {
    /// Listed twice, or in no order.
    Order,
    /// Not in memory that the map has.
    Outside,
    /// Said to be as in the base, of a checkpoint that has none.
    NoBase,
    /// Said to be as in the base, which does not have it.
    NotInBase,
    /// Its contents come, but the list of frames has none for it.
    NotListed,
    /// Its contents come a second time.
    Twice,
    /// Its contents do not come.
    Missing,
}

impl Error {
    /// The field, now that it is known in which chunk it is.
    pub(crate) fn in_chunk(self, number: u64, kind: Kind) -> Self {
        match self {
            Self::Field(field) => Self::Chunk { number, kind: Some(kind), field },
            other => other,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated(bytes) => write!(f, "it ends after {bytes} bytes, before its last chunk does"),
            Self::Trailing => f.write_str("something follows its last chunk"),
            Self::Version(version) => write!(f, "header: version {version}, which is not known here"),
            Self::KeyMissing => f.write_str("header: flags: made with a key, and there is none here"),
            Self::KeyUnwanted => f.write_str("header: flags: made without a key, where one is asked for"),
            Self::KeyOther => f.write_str("header: key ID: made with another key"),
            Self::Header(field) => write!(f, "header: {field}"),
            Self::Chunk { number, kind: Some(kind), field } => write!(f, "chunk {number} ({kind}): {field}"),
            Self::Chunk { number, kind: None, field } => write!(f, "chunk {number}: {field}"),
            Self::Field(field) => f.write_str(field),
            Self::Frame(frame, fault) => write!(f, "frame {frame:#x}: {fault}"),
            Self::Memory => f.write_str("there is not enough memory"),
        }
    }
}

impl fmt::Display for FrameFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Order => "listed twice or out of order",
            Self::Outside => "outside the memory of the map",
            Self::NoBase => "left to a base where there is none",
            Self::NotInBase => "left to the base, which does not have it",
            Self::NotListed => "its contents come, but are not in the list of frames",
            Self::Twice => "its contents come twice",
            Self::Missing => "its contents are missing",
        })
    }
}

impl core::error::Error for Error {}
