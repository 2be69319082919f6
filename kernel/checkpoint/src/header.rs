//! The header: 160 bytes, little-endian.
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 | 8 | magic, `QSCHKPT\0` |
//! | 8 | 2 | format version |
//! | 10 | 2 | header length, 160 |
//! | 12 | 4 | flags: 1 made with a key, 2 incremental |
//! | 16 | 16 | ID of the checkpoint, random |
//! | 32 | 16 | ID of its base; zero unless incremental |
//! | 48 | 8 | generation of the machine |
//! | 56 | 32 | identity of the image that was running |
//! | 88 | 4 | vendor of the CPUs: 1 AMD, 2 Intel |
//! | 92 | 4 | CPUs, 1 to 256 |
//! | 96 | 8 | monotonic time at the freeze, in nanoseconds |
//! | 104 | 8 | wall-clock time at the freeze, in nanoseconds since 1970; 0 where it was not known |
//! | 112 | 8 | end of memory: the address behind its last byte, in whole pages, at most 2^46 |
//! | 120 | 8 | key ID; zero without a key |
//! | 128 | 32 | tag of the bytes before |

use core::fmt;

use crate::fields::Fields;
use crate::seal::{self, Seal, TAG};
use crate::{Error, Key, MAX_ADDRESS, MAX_CPUS, PAGE};

/// First bytes of a checkpoint.
pub const MAGIC: [u8; 8] = *b"QSCHKPT\0";
/// The version written, and the only one read.
pub const VERSION: u16 = 1;
/// Bytes of the header.
pub const HEADER: usize = 160;
/// Bytes that are laid out like this in every version: magic, version, header length.
pub const PREFIX: usize = 12;

const TAGGED: usize = HEADER - TAG;
const KEYED: u32 = 1;
const INCREMENTAL: u32 = 2;

/// Whose CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[expect(missing_docs, reason = "names")]
pub enum Vendor {
    Amd = 1,
    Intel = 2,
}

impl fmt::Display for Vendor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Amd => "AMD",
            Self::Intel => "Intel",
        })
    }
}

/// What a checkpoint says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Random, different in each, never zero. A merged checkpoint has the ID of the last one that went into it.
    pub id: [u8; 16],
    /// The checkpoint on which this one builds: an incremental one.
    pub base: Option<[u8; 16]>,
    /// Grows with every restore.
    pub generation: u64,
    /// Identity of the image that was running.
    pub image: [u8; 32],
    /// Whose CPUs.
    pub vendor: Vendor,
    /// How many: 1 to [`MAX_CPUS`].
    pub cpus: u32,
    /// Monotonic time at the freeze, in nanoseconds.
    pub monotonic: u64,
    /// Wall-clock time at the freeze, in nanoseconds since 1970; 0 where it was not known.
    pub wall: u64,
    /// The address behind the last byte of memory: whole pages, at most [`MAX_ADDRESS`].
    pub memory_end: u64,
}

impl Header {
    /// The named field that is out of its range.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let fields = [
            ("id", self.id != [0; 16]),
            ("base", self.base != Some([0; 16]) && self.base != Some(self.id)),
            ("CPUs", (1..=MAX_CPUS as u32).contains(&self.cpus)),
            (
                "memory end",
                self.memory_end.is_multiple_of(PAGE as u64) && (1..=MAX_ADDRESS).contains(&self.memory_end),
            ),
        ];
        fields.iter().try_for_each(|(name, fits)| if *fits { Ok(()) } else { Err(Error::Header(name)) })
    }

    /// As bytes, and what seals the chunks that follow.
    pub(crate) fn encode(&self, key: Option<&Key>) -> ([u8; HEADER], Seal) {
        let mut bytes = [0; HEADER];
        let mut at = 0;
        let mut put = |field: &[u8]| {
            bytes[at..at + field.len()].copy_from_slice(field);
            at += field.len();
        };
        let flags = key.map_or(0, |_| KEYED) | self.base.map_or(0, |_| INCREMENTAL);
        put(&MAGIC);
        put(&VERSION.to_le_bytes());
        put(&(HEADER as u16).to_le_bytes());
        put(&flags.to_le_bytes());
        put(&self.id);
        put(&self.base.unwrap_or_default());
        put(&self.generation.to_le_bytes());
        put(&self.image);
        put(&(self.vendor as u32).to_le_bytes());
        put(&self.cpus.to_le_bytes());
        for word in [self.monotonic, self.wall, self.memory_end] {
            put(&word.to_le_bytes());
        }
        put(&key.map_or([0; 8], Key::id));
        let tag = *seal::of_header(key, &bytes[..TAGGED]).as_bytes();
        bytes[TAGGED..].copy_from_slice(&tag);
        (bytes, Seal::new(key, tag))
    }

    /// Looks at the first bytes: another version may lay out the rest otherwise.
    pub(crate) fn check_prefix(bytes: &[u8; PREFIX]) -> Result<(), Error> {
        let mut fields = Fields(bytes);
        if fields.array("magic")? != MAGIC {
            return Err(Error::Header("magic"));
        }
        let version = fields.u16("version")?;
        if version != VERSION {
            return Err(Error::Version(version));
        }
        if usize::from(fields.u16("length")?) != HEADER {
            return Err(Error::Header("length"));
        }
        Ok(())
    }

    /// Reads a header whose first bytes are good: the header, whether it was made with a key, and what seals its chunks. `trust` is
    /// the key that it has to have been made with, or none to look at no tag.
    pub(crate) fn decode(
        bytes: &[u8; HEADER],
        trust: Option<Option<&Key>>,
    ) -> Result<(Self, bool, Option<Seal>), Error> {
        let (tagged, tag) = bytes.split_at(TAGGED);
        let mut fields = Fields(&tagged[PREFIX..]);
        let flags = fields.u32("flags")?;
        if flags & !(KEYED | INCREMENTAL) != 0 {
            return Err(Error::Header("flags"));
        }
        let keyed = flags & KEYED != 0;
        let (id, base) = (fields.array("id")?, fields.array("base")?);
        let (generation, image) = (fields.u64("generation")?, fields.array("image")?);
        let (vendor, cpus) = (fields.u32("vendor")?, fields.u32("CPUs")?);
        let (monotonic, wall) = (fields.u64("monotonic time")?, fields.u64("wall-clock time")?);
        let (memory_end, key_id) = (fields.u64("memory end")?, fields.array("key ID")?);
        let seal = match trust {
            None => None,
            Some(key) => {
                match (keyed, key) {
                    (true, None) => return Err(Error::KeyMissing),
                    (false, Some(_)) => return Err(Error::KeyUnwanted),
                    _ if key_id != key.map_or([0; 8], Key::id) => return Err(Error::KeyOther),
                    _ => {}
                }
                let expected = seal::of_header(key, tagged);
                // Compared in constant time.
                if expected != *tag {
                    return Err(Error::Header("tag"));
                }
                Some(Seal::new(key, *expected.as_bytes()))
            }
        };
        let vendor = match vendor {
            1 => Vendor::Amd,
            2 => Vendor::Intel,
            _ => return Err(Error::Header("vendor")),
        };
        let base = match (flags & INCREMENTAL != 0, base) {
            (true, base) => Some(base),
            (false, base) if base == [0; 16] => None,
            (false, _) => return Err(Error::Header("base")),
        };
        let header = Self { id, base, generation, image, vendor, cpus, monotonic, wall, memory_end };
        header.check()?;
        Ok((header, keyed, seal))
    }
}
