//! The payload of a slot: entries one after another, little-endian, their kinds ascending.
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 | 2 | kind |
//! | 2 | 2 | version of the value's layout |
//! | 4 | 4 | bytes of the value |
//! | 8 | | the value |

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;

const HEADER: usize = 8;

/// A value that is kept.
pub trait Entry: Sized {
    /// What it is; no two types share one.
    const KIND: u16;
    /// The layout that is written, and the only one that is read.
    const VERSION: u16;
    /// What people call it.
    const NAME: &'static str;
    /// As bytes.
    fn encode(&self) -> Vec<u8>;
    /// From bytes, if they make sense.
    fn decode(bytes: &[u8]) -> Option<Self>;
}

/// Why an entry that is there can't be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryError {
    /// It was written in another version.
    Version(&'static str, u16),
    /// Its value makes no sense.
    Malformed(&'static str),
}

impl fmt::Display for EntryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(name, version) => write!(f, "{name} in version {version}, which is not known here"),
            Self::Malformed(name) => write!(f, "{name} makes no sense"),
        }
    }
}

/// All entries. Those of kinds that are not known here are kept as they are.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Entries(BTreeMap<u16, (u16, Vec<u8>)>);

/// Values may be secret.
impl fmt::Debug for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.iter().map(|(kind, (version, value))| (kind, version, value.len()));
        f.debug_list().entries(shown).finish()
    }
}

impl Entries {
    /// Reads a payload, or names the field that is wrong.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, &'static str> {
        let mut entries = BTreeMap::new();
        while !bytes.is_empty() {
            let ([a, b, c, d, length @ ..], rest) =
                bytes.split_first_chunk::<HEADER>().ok_or("entry header")?;
            let (kind, version) = (u16::from_le_bytes([*a, *b]), u16::from_le_bytes([*c, *d]));
            let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| "entry length")?;
            let (value, rest) = rest.split_at_checked(length).ok_or("entry length")?;
            if entries.last_key_value().is_some_and(|(last, _)| *last >= kind) {
                return Err("entry kind");
            }
            entries.insert(kind, (version, value.to_vec()));
            bytes = rest;
        }
        Ok(Self(entries))
    }

    /// As a payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (kind, (version, value)) in &self.0 {
            bytes.extend(kind.to_le_bytes());
            bytes.extend(version.to_le_bytes());
            bytes.extend((value.len() as u32).to_le_bytes());
            bytes.extend(value);
        }
        bytes
    }

    /// The entry of a type, if there is one.
    pub fn get<E: Entry>(&self) -> Result<Option<E>, EntryError> {
        match self.0.get(&E::KIND) {
            None => Ok(None),
            Some((version, _)) if *version != E::VERSION => Err(EntryError::Version(E::NAME, *version)),
            Some((_, value)) => E::decode(value).map(Some).ok_or(EntryError::Malformed(E::NAME)),
        }
    }

    /// Adds an entry, in place of the one of its type.
    pub fn set<E: Entry>(&mut self, entry: &E) {
        self.0.insert(E::KIND, (E::VERSION, entry.encode()));
    }
}
