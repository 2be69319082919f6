//! Two slots on a partition: of what is read the newer counts, what is written takes the older's place.

use alloc::vec;
use core::fmt;
use drivers_api::BlockError;
use gpt::{SECTOR, View};

use crate::slot::{self, Slot};
use crate::{Entries, Entry, EntryError, Fault, MAX_PAYLOAD, SLOT};

/// Sectors of a slot.
const SLOT_SECTORS: u64 = (SLOT / SECTOR) as u64;
/// Sectors that a partition needs at least.
pub const SECTORS: u64 = 2 * SLOT_SECTORS;

/// Why the kept state can't be had, or not be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// The partition has only so many sectors.
    TooSmall(u64),
    /// Something was kept, and neither slot counts.
    Damaged([Fault; 2]),
    /// It was written in this version of the format.
    Newer(u32),
    /// One of its entries.
    Entry(EntryError),
    /// More than a slot holds.
    Full,
    /// The sequence number can't grow.
    Sequence,
    /// It can't be written.
    Disk(BlockError),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooSmall(sectors) => {
                write!(f, "a partition of {sectors} sectors, not the {SECTORS} it needs")
            }
            Self::Damaged([a, b]) => write!(f, "damaged (slot A {a}; slot B {b})"),
            Self::Newer(version) => write!(f, "written in version {version} of its format"),
            Self::Entry(error) => write!(f, "the {error}"),
            Self::Full => write!(f, "more than {MAX_PAYLOAD} bytes"),
            Self::Sequence => f.write_str("at its last sequence number"),
            Self::Disk(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for StoreError {}

impl From<EntryError> for StoreError {
    fn from(error: EntryError) -> Self {
        Self::Entry(error)
    }
}

/// What a machine keeps.
pub struct Store<'d> {
    view: View<'d>,
    /// The slot that counts, and its sequence number; none if nothing was ever kept.
    newest: Option<(usize, u64)>,
    /// Why the other slot does not count.
    fault: Option<Fault>,
    entries: Entries,
}

impl<'d> Store<'d> {
    /// Reads what is kept on a partition. Nothing is written.
    pub fn open(mut view: View<'d>) -> Result<Self, StoreError> {
        if view.sectors() < SECTORS {
            return Err(StoreError::TooSmall(view.sectors()));
        }
        let damaged = |a, b| Err(StoreError::Damaged([a, b]));
        let (newest, entries, fault) = match (read(&mut view, 0)?, read(&mut view, 1)?) {
            (Ok((a, entries)), Ok((b, _))) if a.checked_sub(b) == Some(1) => (Some((0, a)), entries, None),
            (Ok((a, _)), Ok((b, entries))) if b.checked_sub(a) == Some(1) => (Some((1, b)), entries, None),
            (Ok(_), Ok(_)) => return damaged(Fault::Field("sequence"), Fault::Field("sequence")),
            (Ok((a, entries)), Err(fault)) => (Some((0, a)), entries, Some(fault)),
            (Err(fault), Ok((b, entries))) => (Some((1, b)), entries, Some(fault)),
            // B is first written when A is durable: while it is blank, nothing was ever kept.
            (Err(Fault::Blank | Fault::Field(_)), Err(Fault::Blank)) => (None, Entries::default(), None),
            (Err(a), Err(b)) => return damaged(a, b),
        };
        Ok(Self { view, newest, fault, entries })
    }

    /// The entry of a type, if one is kept.
    pub fn get<E: Entry>(&self) -> Result<Option<E>, StoreError> {
        Ok(self.entries.get()?)
    }

    /// Keeps an entry, in place of the one of its type. When this returns it is durable; where it fails, the next boot finds
    /// either what was kept before or this.
    pub fn put<E: Entry>(&mut self, entry: &E) -> Result<(), StoreError> {
        let mut entries = self.entries.clone();
        entries.set(entry);
        self.keep(entries)
    }

    /// Why one slot does not count: a write was cut off, or it was damaged.
    pub fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// Writes a slot that does not count again, so that there are two.
    pub fn mend(&mut self) -> Result<(), StoreError> {
        match self.fault {
            Some(_) => self.keep(self.entries.clone()),
            None => Ok(()),
        }
    }

    fn keep(&mut self, entries: Entries) -> Result<(), StoreError> {
        let payload = entries.encode();
        if payload.len() > MAX_PAYLOAD {
            return Err(StoreError::Full);
        }
        let (slot, sequence) = match self.newest {
            Some((slot, sequence)) => (1 - slot, sequence.checked_add(1).ok_or(StoreError::Sequence)?),
            // The first is written twice, so that a broken slot with a blank one beside it is known to be unfinished.
            None => {
                self.write(0, 1, &payload)?;
                (1, 2)
            }
        };
        self.write(slot, sequence, &payload)?;
        (self.fault, self.entries) = (None, entries);
        Ok(())
    }

    fn write(&mut self, slot: usize, sequence: u64, payload: &[u8]) -> Result<(), StoreError> {
        let bytes = slot::encode(sequence, payload);
        let written = self.view.write(slot as u64 * SLOT_SECTORS, &bytes).and_then(|()| self.view.flush());
        written.map_err(StoreError::Disk)?;
        self.newest = Some((slot, sequence));
        Ok(())
    }
}

/// A slot's sequence number and entries, or why it does not count.
type Contents = Result<(u64, Entries), Fault>;

/// Fails where a newer system has written: that is not for us to overwrite, whatever the other slot says.
fn read(view: &mut View<'_>, slot: u64) -> Result<Contents, StoreError> {
    let mut bytes = vec![0; SLOT];
    if let Err(error) = view.read(slot * SLOT_SECTORS, &mut bytes) {
        return Ok(Err(Fault::Unreadable(error)));
    }
    match slot::decode(&bytes) {
        Slot::Whole { sequence, payload } => {
            let entries = Entries::decode(payload).map_err(Fault::Field);
            Ok(entries.map(|entries| (sequence, entries)))
        }
        Slot::Newer(version) => Err(StoreError::Newer(version)),
        Slot::Void(fault) => Ok(Err(fault)),
    }
}
