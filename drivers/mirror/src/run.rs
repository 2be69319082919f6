//! The copy, the comparison, and the switch.

use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use drivers_api::{BlockDevice, BlockError};
use gpt::SECTOR;

use crate::Plan;
use crate::plan::Table;

/// How many sectors a step takes: 128 KiB, so that users wait shortly.
const STEP: u64 = 256;

/// How far a mirror is, in sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// So many are on both disks.
    Copied(u64),
    /// So many were compared.
    Compared(u64),
    /// Both disks are the same, and stay so: [`Mirror::switch`] is next.
    Equal,
}

/// Why a mirror ended. The old disk is complete, and in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The new disk failed.
    New(BlockError),
    /// The new disk failed when it was complete, and can't be told that it is not: another boot might take it.
    NewInDoubt(BlockError),
    /// A part of the old disk, from this sector on, can't be read.
    Old(u64, BlockError),
    /// The new disk holds something other than was written, in this sector or soon after it.
    Differs(u64),
    /// Somebody wrote where no partition is.
    Outside(u64),
    /// Not everything has been compared, or it is over.
    NotEqual,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New(error) => write!(f, "the new disk: {error}"),
            Self::NewInDoubt(error) => {
                write!(f, "the new disk: {error}; it may pass for the old one at the next boot: take it out")
            }
            Self::Old(sector, error) => write!(f, "sector {sector} of the old disk: {error}"),
            Self::Differs(sector) => {
                write!(f, "the new disk does not hold what was written from sector {sector} on")
            }
            Self::Outside(sector) => write!(f, "sector {sector} was written, which is in no partition"),
            Self::NotEqual => f.write_str("the disks have not been compared"),
        }
    }
}

impl core::error::Error for End {}

/// The new disk is complete and durable; it has taken the old one's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switched {
    /// Why the old disk may have no mark that it was replaced: then it must not be there at the next boot.
    pub unmarked: Option<BlockError>,
}

/// Makes a disk the same as another. Both are given to each call: those of the plan. Dropped before the switch, it leaves the new disk without a
/// table.
#[derive(Debug)]
pub struct Mirror {
    body: Range<u64>,
    table: Option<Table>,
    /// Sectors of the body before it are on both disks, apart from `doubtful` ones.
    copied: u64,
    /// Sectors of the body before it were compared.
    compared: u64,
    /// Where a write failed on the old disk: nobody knows what is there until it is read.
    doubtful: Vec<Range<u64>>,
    ended: Option<End>,
    buffers: [Vec<u8>; 2],
}

impl Mirror {
    /// Begins: the new disk loses what could pass for a table of partitions.
    pub fn begin(plan: Plan, new: &mut dyn BlockDevice) -> Result<Self, End> {
        let Plan { body, table, sectors, .. } = plan;
        // Without these three there is no table, and none comes about by what is copied.
        for sector in [0, 1, sectors - 1] {
            new.write(sector, &[0; SECTOR]).map_err(End::New)?;
        }
        new.flush().map_err(End::New)?;
        let buffer = vec![0; STEP as usize * SECTOR];
        let (copied, compared) = (body.start, body.start);
        let buffers = [buffer.clone(), buffer];
        Ok(Self { body, table, copied, compared, doubtful: Vec::new(), ended: None, buffers })
    }

    /// Why it ended, if it did.
    pub fn ended(&self) -> Option<End> {
        self.ended
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        if self.copied < self.body.end || !self.doubtful.is_empty() {
            Progress::Copied(self.copied - self.body.start)
        } else if self.compared < self.body.end {
            Progress::Compared(self.compared - self.body.start)
        } else {
            Progress::Equal
        }
    }

    /// Goes on by a little: copies, then compares. Nobody uses the old disk meanwhile.
    pub fn step(&mut self, old: &mut dyn BlockDevice, new: &mut dyn BlockDevice) -> Result<Progress, End> {
        if let Some(end) = self.ended {
            return Err(end);
        }
        let done = if let Some(range) = self.doubtful.pop() {
            let rest = range.start.saturating_add(STEP);
            if rest < range.end {
                self.doubtful.push(rest..range.end);
            }
            self.compared = self.compared.min(range.start);
            self.copy(range.start..rest.min(range.end), old, new)
        } else if self.copied < self.body.end {
            let part = self.copied..(self.copied + STEP).min(self.body.end);
            self.copied = part.end;
            self.copy(part, old, new)
        } else if self.compared < self.body.end {
            let part = self.compared..(self.compared + STEP).min(self.body.end);
            self.compared = part.end;
            self.compare(part, old, new)
        } else {
            Ok(())
        };
        match done {
            Ok(()) => Ok(self.progress()),
            Err(end) => Err(self.end(end)),
        }
    }

    fn copy(
        &mut self,
        part: Range<u64>,
        old: &mut dyn BlockDevice,
        new: &mut dyn BlockDevice,
    ) -> Result<(), End> {
        let bytes = &mut self.buffers[0][..bytes(&part)];
        old.read(part.start, bytes).map_err(|error| End::Old(part.start, error))?;
        new.write(part.start, bytes).map_err(End::New)
    }

    fn compare(
        &mut self,
        part: Range<u64>,
        old: &mut dyn BlockDevice,
        new: &mut dyn BlockDevice,
    ) -> Result<(), End> {
        let [one, other] = &mut self.buffers;
        let (one, other) = (&mut one[..bytes(&part)], &mut other[..bytes(&part)]);
        old.read(part.start, one).map_err(|error| End::Old(part.start, error))?;
        new.read(part.start, other).map_err(End::New)?;
        if one == other { Ok(()) } else { Err(End::Differs(part.start)) }
    }

    /// A user wrote, which went so: what the new disk is to know of it.
    pub(crate) fn wrote(
        &mut self,
        sector: u64,
        bytes: &[u8],
        result: Result<(), BlockError>,
        new: &mut dyn BlockDevice,
    ) {
        let end = sector.saturating_add((bytes.len() / SECTOR) as u64);
        // What was refused has changed nothing.
        let is_refused =
            matches!(result, Err(BlockError::OutOfRange | BlockError::ReadOnly | BlockError::NotRunning));
        if self.ended.is_some() || is_refused || sector == end {
            return;
        }
        if sector < self.body.start || end > self.body.end {
            self.end(End::Outside(sector));
            return;
        }
        let known = end.min(self.copied);
        if sector >= known {
            return;
        }
        if result.is_err() {
            self.doubtful.push(sector..known);
        } else if let Err(error) = new.write(sector, &bytes[..(known - sector) as usize * SECTOR]) {
            self.end(End::New(error));
        }
    }

    /// All that was written before is to be durable.
    pub(crate) fn flush(&mut self, new: &mut dyn BlockDevice) {
        if self.ended.is_none()
            && let Err(error) = new.flush()
        {
            self.end(End::New(error));
        }
    }

    /// Ends it. The first reason counts.
    fn end(&mut self, end: End) -> End {
        *self.ended.get_or_insert(end)
    }

    /// Makes the new disk one that can be taken, and the old one one that is not. When this succeeds the new one is to be used; if it
    /// fails the old one is, as before. Nobody uses the old disk meanwhile.
    pub fn switch(mut self, old: &mut dyn BlockDevice, new: &mut dyn BlockDevice) -> Result<Switched, End> {
        if let Some(end) = self.ended {
            return Err(end);
        }
        if self.progress() != Progress::Equal {
            return Err(End::NotEqual);
        }
        let Some(Table { head, end: (tail, end) }) = self.table.take() else {
            new.flush().map_err(End::New)?;
            return Ok(Switched { unmarked: None });
        };
        // Neither copy of the table is found without what is in the first sector.
        let (first, rest) = head.split_at(SECTOR);
        new.flush().map_err(End::New)?;
        new.write(tail, &end).map_err(End::New)?;
        new.write(1, rest).map_err(End::New)?;
        new.flush().map_err(End::New)?;
        if let Err(error) = new.write(0, first).and_then(|()| new.flush()) {
            let undone = new.write(0, &[0; SECTOR]).and_then(|()| new.flush());
            return Err(if undone.is_ok() { End::New(error) } else { End::NewInDoubt(error) });
        }
        Ok(Switched { unmarked: gpt::mark_replaced(old).err() })
    }
}

fn bytes(part: &Range<u64>) -> usize {
    (part.end - part.start) as usize * SECTOR
}
