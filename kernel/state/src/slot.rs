//! A slot: a header of 64 bytes, little-endian, and the payload.
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 | 8 | magic, `QSSTATE\0` |
//! | 8 | 4 | format version |
//! | 12 | 4 | bytes of the payload |
//! | 16 | 8 | sequence number, from 1: of two slots the higher is the newer |
//! | 24 | 8 | reserved, zero |
//! | 32 | 32 | BLAKE3 of the 32 bytes before and the payload |
//! | 64 | | the payload; then zeros to the end of the sector, and what was there before |
//!
//! All but the payload is the same in every version, so that a newer slot is told from a broken one.

use alloc::vec::Vec;
use blake3::Hasher;
use core::fmt;
use drivers_api::BlockError;
use gpt::SECTOR;

/// First bytes of a slot.
pub const MAGIC: [u8; 8] = *b"QSSTATE\0";
/// The version written, and the only one read.
pub const VERSION: u32 = 1;
/// Bytes of a slot.
pub const SLOT: usize = 64 * 1024;
/// Bytes of its header.
pub const HEADER: usize = 64;
/// Bytes of the longest payload.
pub const MAX_PAYLOAD: usize = SLOT - HEADER;

/// Bytes before the hash.
const HASHED: usize = 32;

/// Why a slot does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It has no magic: never written.
    Blank,
    /// The named field is wrong.
    Field(&'static str),
    /// The disk does not give it.
    Unreadable(BlockError),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blank => f.write_str("blank"),
            Self::Field(field) => write!(f, "broken: {field}"),
            Self::Unreadable(error) => write!(f, "unreadable: {error}"),
        }
    }
}

/// What is in a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slot<'b> {
    /// Something whole.
    Whole {
        /// Higher than the other slot's if this one is the newer.
        sequence: u64,
        /// What it carries.
        payload: &'b [u8],
    },
    /// Something whole, written in another version.
    Newer(u32),
    /// Nothing that counts.
    Void(Fault),
}

fn hash(header: &[u8], payload: &[u8]) -> [u8; 32] {
    *Hasher::new().update(header).update(payload).finalize().as_bytes()
}

/// Reads a slot from its bytes.
pub fn decode(bytes: &[u8]) -> Slot<'_> {
    let void = |field| Slot::Void(Fault::Field(field));
    if !bytes.starts_with(&MAGIC) {
        return Slot::Void(Fault::Blank);
    }
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else { return void("length") };
    let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
    let Some(payload) = rest.get(..word(12) as usize).filter(|payload| payload.len() <= MAX_PAYLOAD) else {
        return void("payload length");
    };
    if hash(&header[..HASHED], payload) != header[HASHED..] {
        return void("hash");
    }
    // The rest means what it says.
    if word(8) != VERSION {
        return Slot::Newer(word(8));
    }
    if long(16) == 0 {
        return void("sequence");
    }
    if long(24) != 0 {
        return void("reserved");
    }
    Slot::Whole { sequence: long(16), payload }
}

/// A slot as bytes, in whole sectors. The payload has at most [`MAX_PAYLOAD`] bytes.
pub fn encode(sequence: u64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity((HEADER + payload.len()).next_multiple_of(SECTOR));
    bytes.extend(MAGIC);
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend((payload.len() as u32).to_le_bytes());
    bytes.extend(sequence.to_le_bytes());
    bytes.extend([0; 8]);
    bytes.extend(hash(&bytes, payload));
    bytes.extend(payload);
    bytes.resize(bytes.len().next_multiple_of(SECTOR), 0);
    bytes
}
