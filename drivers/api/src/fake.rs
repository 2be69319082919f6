//! A disk in memory for tests: it remembers what was written and flushed, fails on request, and tells what may be left of it
//! when the power goes.

use alloc::vec::Vec;

use crate::{
    BlockDevice, BlockError, BlockGeometry, Device, DeviceState, ExportedState, LifecycleError, StateKind,
};

const SECTOR: usize = 512;

/// Places in a sector where a write is torn, in bytes: within a header of 64 bytes, at its end, in what follows.
const TEARS: [usize; 9] = [1, 8, 16, 32, 63, 64, 80, 256, 511];

/// What was asked of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Bytes from a sector on.
    Write(u64, Vec<u8>),
    /// All that was written before became durable.
    Flush,
}

/// The disk.
#[derive(Clone, Debug, Default)]
pub struct FakeDisk {
    /// Content; whole sectors.
    pub bytes: Vec<u8>,
    /// Refuses writes.
    pub read_only: bool,
    /// Sectors that can't be read, from the first to before the second.
    pub unreadable: core::ops::Range<u64>,
    /// How many writes and flushes succeed before all fail; `None` is all.
    pub patience: Option<usize>,
    /// What was done, in order.
    pub operations: Vec<Operation>,
}

impl FakeDisk {
    /// A disk with this content, cut to whole sectors.
    pub fn new(mut bytes: Vec<u8>) -> Self {
        bytes.truncate(bytes.len() / SECTOR * SECTOR);
        Self { bytes, ..Self::default() }
    }

    /// A disk of zeros.
    pub fn blank(sectors: usize) -> Self {
        Self::new(alloc::vec![0; sectors * SECTOR])
    }

    fn range(&self, sector: u64, length: usize) -> Result<core::ops::Range<usize>, BlockError> {
        let start = usize::try_from(sector).ok().and_then(|sector| sector.checked_mul(SECTOR));
        let end = start.and_then(|start| start.checked_add(length));
        match (start, end) {
            (Some(start), Some(end)) if end <= self.bytes.len() && length.is_multiple_of(SECTOR) => {
                Ok(start..end)
            }
            _ => Err(BlockError::OutOfRange),
        }
    }

    fn work(&mut self) -> Result<(), BlockError> {
        match &mut self.patience {
            Some(0) => Err(BlockError::Io),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

/// Shows `look` what a disk may hold whose power went at some moment of `operations`: what was flushed, and of the sectors
/// written since, none, some or all, in any order, one of them perhaps torn.
pub fn power_cuts(before: &[u8], operations: &[Operation], mut look: impl FnMut(&[u8])) {
    let mut durable = before.to_vec();
    look(&durable);
    for epoch in operations.split(|operation| *operation == Operation::Flush) {
        let sectors: Vec<(usize, &[u8])> = epoch
            .iter()
            .flat_map(|operation| match operation {
                Operation::Write(sector, bytes) => {
                    bytes.chunks(SECTOR).enumerate().map(|(n, part)| (*sector as usize + n, part)).collect()
                }
                Operation::Flush => Vec::new(),
            })
            .collect();
        let mut cut = |is_written: &dyn Fn(usize) -> bool, torn: Option<(usize, usize, bool)>| {
            let mut disk = durable.clone();
            for (number, (sector, bytes)) in sectors.iter().enumerate() {
                let place = &mut disk[sector * SECTOR..][..SECTOR];
                match torn {
                    Some((which, tear, true)) if which == number => {
                        place[..tear].copy_from_slice(&bytes[..tear])
                    }
                    Some((which, tear, false)) if which == number => {
                        place[tear..].copy_from_slice(&bytes[tear..])
                    }
                    _ if is_written(number) => place.copy_from_slice(bytes),
                    _ => {}
                }
            }
            look(&disk);
        };
        for at in 0..sectors.len() {
            let orders: [&dyn Fn(usize) -> bool; 4] =
                [&|number| number < at, &|number| number > at, &|number| number == at, &|number| {
                    number != at
                }];
            for is_written in orders {
                cut(is_written, None);
                for tear in TEARS {
                    cut(is_written, Some((at, tear, true)));
                    cut(is_written, Some((at, tear, false)));
                }
            }
        }
        for (sector, bytes) in sectors {
            durable[sector * SECTOR..][..SECTOR].copy_from_slice(bytes);
        }
        look(&durable);
    }
}

impl Device for FakeDisk {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn state(&self) -> DeviceState {
        DeviceState::Running
    }

    fn quiesce(&mut self) -> Result<(), LifecycleError> {
        Err(LifecycleError::WrongState(DeviceState::Running))
    }

    fn export(&self) -> Result<ExportedState, LifecycleError> {
        Err(LifecycleError::WrongState(DeviceState::Running))
    }

    fn import(&mut self, _: &ExportedState) -> Result<(), LifecycleError> {
        Err(LifecycleError::ForeignState(StateKind { kind: *b"fake", version: 0 }))
    }

    fn resume(&mut self) -> Result<(), LifecycleError> {
        Err(LifecycleError::WrongState(DeviceState::Running))
    }

    fn halt(&mut self) {}
    fn abandon(&mut self) {}
}

impl BlockDevice for FakeDisk {
    fn geometry(&self) -> BlockGeometry {
        BlockGeometry { sectors: (self.bytes.len() / SECTOR) as u64, read_only: self.read_only }
    }

    fn read(&mut self, sector: u64, buffer: &mut [u8]) -> Result<(), BlockError> {
        let range = self.range(sector, buffer.len())?;
        let end = sector + (buffer.len() / SECTOR) as u64;
        if sector < self.unreadable.end && self.unreadable.start < end {
            return Err(BlockError::Io);
        }
        buffer.copy_from_slice(&self.bytes[range]);
        Ok(())
    }

    fn write(&mut self, sector: u64, buffer: &[u8]) -> Result<(), BlockError> {
        let range = self.range(sector, buffer.len())?;
        if self.read_only {
            return Err(BlockError::ReadOnly);
        }
        self.work()?;
        self.bytes[range].copy_from_slice(buffer);
        self.operations.push(Operation::Write(sector, buffer.to_vec()));
        Ok(())
    }

    fn flush(&mut self) -> Result<(), BlockError> {
        self.work()?;
        self.operations.push(Operation::Flush);
        Ok(())
    }
}
