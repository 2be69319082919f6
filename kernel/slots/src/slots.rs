//! Which checkpoints are on a partition, and where the next one goes.

use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use gpt::SECTOR;

use crate::{BLOCK, Blocks, Fault, PLACE, PLACES, RECORD, Reader, Record, Which, Writer};

/// Checkpoints that can be kept at most: there is one slot more.
pub const MAX_KEEP: usize = PLACES - 1;

/// Why a checkpoint can't be had, or not be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error<E> {
    /// The partition has only so many sectors.
    TooSmall(u64),
    /// Something on it was written in this version of the format.
    Newer(u32),
    /// There is no such one.
    Missing(Which),
    /// Numbers can't grow.
    Number,
    /// It has more than so many bytes, those of a slot.
    Full(u64),
    /// It is empty, or a write has failed: nothing to keep.
    Incomplete,
    /// There is no memory to read or write it.
    Memory,
    /// The disk's.
    Disk(E),
}

impl<E: fmt::Display> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooSmall(sectors) => {
                write!(f, "a partition of {} KiB has no room for so many checkpoints", sectors / 2)
            }
            Self::Newer(version) => {
                write!(f, "the partition is left alone: something is in version {version} of its format")
            }
            Self::Missing(Which::Latest) => f.write_str("there is no checkpoint"),
            Self::Missing(which) => write!(f, "there is no checkpoint {which}"),
            Self::Number => f.write_str("the partition has had its last checkpoint"),
            Self::Full(bytes) => write!(f, "a checkpoint has more bytes than the {bytes} of a slot"),
            Self::Incomplete => f.write_str("a checkpoint that was not written whole is not kept"),
            Self::Memory => f.write_str("there is not enough memory"),
            Self::Disk(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for Error<E> {}

/// The checkpoints on a partition.
#[derive(Debug)]
pub struct Slots<D> {
    pub(crate) disk: D,
    /// Those that are whole, and the places of their records; the newest first.
    whole: Vec<(usize, Record)>,
    /// Records that do not count, and are not blank.
    faults: Vec<(usize, Fault)>,
}

fn overlap(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}

impl<D: Blocks> Slots<D> {
    /// Reads the records. Nothing is written.
    ///
    /// # Errors
    /// [`Error::TooSmall`]: there is not even room for two slots. [`Error::Disk`]: nothing can be read, so nothing must be overwritten.
    pub fn open(mut disk: D) -> Result<Self, Error<D::Error>> {
        slot(disk.sectors(), 1)?;
        let (mut whole, mut faults) = (Vec::with_capacity(PLACES), Vec::new());
        for place in 0..PLACES {
            match read(&mut disk, place)? {
                Ok(record) => whole.push((place, record)),
                Err(Fault::Blank) => {}
                Err(fault) => faults.push((place, fault)),
            }
        }
        whole.sort_by_key(|(_, record)| core::cmp::Reverse(record.number));
        // What lies, or stems from another history, is in doubt; nothing of ours overlaps.
        let fault = |at: usize| {
            let (_, this) = whole.get(at)?;
            let is_newer = |other: &Record| other.number > this.number;
            let others = whole.iter().enumerate().filter(|(other, _)| *other != at);
            others.map(|(_, (_, other))| other).find_map(|other| match other {
                other if other.number == this.number => Some(Fault::Field("number")),
                other if is_newer(other) && overlap(&other.sectors(), &this.sectors()) => {
                    Some(Fault::Overwritten)
                }
                _ => None,
            })
        };
        let doubts: Vec<Option<Fault>> = (0..whole.len()).map(fault).collect();
        let mut doubts = doubts.into_iter();
        whole.retain(|(place, _)| match doubts.next().flatten() {
            Some(fault) => {
                faults.push((*place, fault));
                false
            }
            None => true,
        });
        Ok(Self { disk, whole, faults })
    }

    /// Those that are whole, the newest first.
    pub fn whole(&self) -> impl ExactSizeIterator<Item = &Record> {
        self.whole.iter().map(|(_, record)| record)
    }

    /// Records that do not count, by their places from 0, and why: what is left of a write that was cut off, or damage.
    pub fn faults(&self) -> &[(usize, Fault)] {
        &self.faults
    }

    /// The newest that is whole.
    pub fn latest(&self) -> Option<&Record> {
        self.whole().next()
    }

    /// How many bytes a checkpoint may have where so many are kept, 1 to [`MAX_KEEP`].
    pub fn capacity(&self, keep: usize) -> Result<u64, Error<D::Error>> {
        Ok(slot(self.disk.sectors(), keep)? * SECTOR as u64)
    }

    /// Which one that is, if it is whole.
    pub fn find(&self, which: Which) -> Option<&Record> {
        self.whole().find(|record| match which {
            Which::Latest => true,
            Which::Number(number) => record.number == number,
            Which::Id(id) => record.id == id,
        })
    }

    /// Reads one.
    pub fn read(self, which: Which) -> Result<Reader<D>, Error<D::Error>> {
        let record = *self.find(which).ok_or(Error::Missing(which))?;
        Reader::new(self.disk, &record)
    }

    /// Begins to write one, so that the newest `keep`, 1 to [`MAX_KEEP`], stay whole until it is, and whatever becomes of it. Only where
    /// another number was kept before, and those are where the slots are now, fewer stay, but always the newest; nothing else is written
    /// unless a record is broken.
    ///
    /// # Errors
    /// As [`Error`] says. What could not be struck from the records is whole.
    pub fn begin(mut self, keep: usize) -> Result<Writer<D>, Error<D::Error>> {
        if let Some(version) = self.faults.iter().find_map(|(_, fault)| match fault {
            Fault::Newer(version) => Some(*version),
            _ => None,
        }) {
            return Err(Error::Newer(version));
        }
        let number = self.latest().map_or(0, |latest| latest.number).checked_add(1);
        let number = number.ok_or(Error::Number)?;
        let (slot, kept) = self.free(keep)?;
        // What is broken may be whole again once the disk gives it.
        let broken = self.faults.iter().map(|(place, _)| *place);
        let struck: Vec<usize> = self.whole[kept..].iter().map(|(place, _)| *place).chain(broken).collect();
        self.strike(&struck)?;
        let record = (0..PLACES).find(|place| self.whole.iter().all(|(taken, _)| taken != place));
        Writer::new(self, record.expect("fewer stay than there are places"), slot, number)
    }

    /// Strikes all but the newest `keep` from the records.
    pub fn drop_beyond(&mut self, keep: usize) -> Result<(), Error<D::Error>> {
        let struck: Vec<usize> = self.whole.iter().skip(keep).map(|(place, _)| *place).collect();
        self.strike(&struck)
    }

    /// Sectors that hold none of the newest, and of how many.
    fn free(&self, keep: usize) -> Result<(Range<u64>, usize), Error<D::Error>> {
        let sectors = self.disk.sectors();
        let slot = slot(sectors, keep)?;
        let Some((_, newest)) = self.whole.first() else { return Ok((BLOCK..BLOCK + slot, 0)) };
        for kept in (1..=self.whole.len().min(MAX_KEEP)).rev() {
            let is_free = |slot: &Range<u64>| {
                self.whole[..kept].iter().all(|(_, record)| !overlap(&record.sectors(), slot))
            };
            let mut slots = (BLOCK..).step_by(slot as usize).map(|at| at..at + slot);
            let free = slots.by_ref().take_while(|slot| slot.end <= sectors).find(is_free);
            if let Some(free) = free {
                return Ok((free, kept));
            }
        }
        // The newest lies across all slots: another number was kept. Beside it there is room.
        let behind = newest.sectors().end.next_multiple_of(BLOCK);
        let (before, behind) = (BLOCK..newest.start / BLOCK * BLOCK, behind..sectors / BLOCK * BLOCK);
        let length = |gap: &Range<u64>| gap.end.saturating_sub(gap.start).min(slot);
        let gap = if length(&before) > length(&behind) { before } else { behind };
        match length(&gap) {
            0 => Err(Error::TooSmall(sectors)),
            length => Ok((gap.start..gap.start + length, 1)),
        }
    }

    /// Makes records blank, and returns when that is durable.
    fn strike(&mut self, places: &[usize]) -> Result<(), Error<D::Error>> {
        if places.is_empty() {
            return Ok(());
        }
        for place in places {
            write(&mut self.disk, *place, &[0; RECORD]).map_err(Error::Disk)?;
        }
        self.disk.flush().map_err(Error::Disk)?;
        self.whole.retain(|(place, _)| !places.contains(place));
        self.faults.retain(|(place, _)| !places.contains(place));
        Ok(())
    }

    /// Makes a checkpoint count whose bytes are durable.
    pub(crate) fn keep(&mut self, place: usize, record: Record) -> Result<(), Error<D::Error>> {
        write(&mut self.disk, place, &record.encode())
            .and_then(|()| self.disk.flush())
            .map_err(Error::Disk)?;
        self.whole.insert(0, (place, record));
        Ok(())
    }
}

/// Sectors of a slot where so many are kept: of all slots the same, whole blocks.
fn slot<E>(sectors: u64, keep: usize) -> Result<u64, Error<E>> {
    let slots = keep.clamp(1, MAX_KEEP) as u64 + 1;
    let slot = sectors.saturating_sub(BLOCK) / slots / BLOCK * BLOCK;
    if slot == 0 { Err(Error::TooSmall(sectors)) } else { Ok(slot) }
}

fn read<D: Blocks>(disk: &mut D, place: usize) -> Result<Result<Record, Fault>, Error<D::Error>> {
    let mut sector = [0; SECTOR];
    match disk.read(place as u64 * PLACE, &mut sector) {
        Err(error) if D::is_out(&error) => return Err(Error::Disk(error)),
        Err(_) => return Ok(Err(Fault::Unreadable)),
        Ok(()) => {}
    }
    Ok(Record::decode(sector.first_chunk().expect("a record is shorter"), disk.sectors()))
}

/// Writes all of a place.
fn write<D: Blocks>(disk: &mut D, place: usize, record: &[u8; RECORD]) -> Result<(), D::Error> {
    let mut bytes = [0; PLACE as usize * SECTOR];
    bytes[..RECORD].copy_from_slice(record);
    disk.write(place as u64 * PLACE, &bytes)
}
