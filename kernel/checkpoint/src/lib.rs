//! The format of checkpoints: a header and a sequence of chunks, written and read as a stream. `kernel/doc/checkpoint-format.md` has
//! its tables of bytes.
//!
//! | module | what |
//! |---|---|
//! | `header`, `features`, `map`, `frames` | what a checkpoint says of itself before its pages: the [`Manifest`] |
//! | `chunk`, `pages`, `seal` | chunks, the run of pages within, the tags over all of it |
//! | `writer`, `reader`, `stream` | a stream of bytes from a machine, and back: [`Writer`], [`Reader`], [`Stream`] |
//! | `merge` | a checkpoint and those that build on it, made one |
//! | `check` | why a machine can't go on from a checkpoint |
//!
//! What is read is believed in nothing: each length is compared with its limit before memory is taken for it, and memory that is not
//! there is an error. Reading takes at most 2 MiB for chunks and 32 MiB for the manifest.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod check;
mod chunk;
mod error;
mod features;
mod fields;
mod frames;
mod header;
mod manifest;
mod map;
mod merge;
mod names;
mod pages;
mod reader;
mod seal;
mod stream;
mod writer;

pub use check::{Machine, Refusal, refusals};
pub use chunk::{CHUNK_HEADER, Kind, MAX_RAW};
pub use error::{Error, FrameFault};
pub use features::{Features, MAX_WORDS, Register, Word};
pub use frames::{FrameKind, Frames, MAX_RANGES, Range};
pub use header::{HEADER, Header, MAGIC, VERSION, Vendor};
pub use manifest::{MAX_CPU_STATE, MAX_CPUS, Manifest, Totals};
pub use map::{MAX_REGIONS, Map, Region, RegionKind};
pub use merge::{MAX_LAYERS, MergeError, merge};
pub use pages::{Content, Pages, Piece};
pub use reader::{Event, Reader};
pub use seal::{Key, identity};
pub use stream::{ReadError, Source, Stream};
pub use writer::{MIN_CHUNK, Sink, WriteError, Writer};

/// Bytes of a frame, and of the page in it.
pub const PAGE: usize = 4096;
/// Addresses of memory end at 64 TiB, where the machine's identity map does.
pub const MAX_ADDRESS: u64 = 1 << 46;
/// Frames are numbered below.
pub const MAX_FRAME: u64 = MAX_ADDRESS / PAGE as u64;

#[cfg(test)]
mod tests;
