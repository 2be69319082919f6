//! A checkpoint on its way to a slot.

use alloc::vec::Vec;
use core::ops::Range;

use checkpoint::Sink;
use gpt::SECTOR;

use crate::{Blocks, Error, PIECE, Record, Slots};

/// Writes one checkpoint, in large pieces. Dropped before it is kept, it leaves nothing that counts.
#[derive(Debug)]
pub struct Writer<D> {
    slots: Slots<D>,
    /// Where its record goes.
    record: usize,
    number: u64,
    /// The sectors of its slot.
    slot: Range<u64>,
    gathered: Vec<u8>,
    /// Bytes that the disk has.
    written: u64,
    failed: bool,
}

impl<D: Blocks> Writer<D> {
    pub(crate) fn new(
        slots: Slots<D>,
        record: usize,
        slot: Range<u64>,
        number: u64,
    ) -> Result<Self, Error<D::Error>> {
        let mut gathered = Vec::new();
        gathered.try_reserve_exact(PIECE).map_err(|_| Error::Memory)?;
        Ok(Self { slots, record, number, slot, gathered, written: 0, failed: false })
    }

    /// Bytes that it may have.
    pub fn capacity(&self) -> u64 {
        (self.slot.end - self.slot.start) * SECTOR as u64
    }

    /// Makes it count: it has this ID, and was frozen at this time, in nanoseconds since 1970. Where this fails, it is whole or absent when
    /// the partition is next read.
    pub fn keep(mut self, id: [u8; 16], wall: u64) -> Result<(Slots<D>, Record), Error<D::Error>> {
        let bytes = self.written + self.gathered.len() as u64;
        if self.failed || bytes == 0 {
            return Err(Error::Incomplete);
        }
        self.put()?;
        self.slots.disk.flush().map_err(Error::Disk)?;
        let record = Record { number: self.number, start: self.slot.start, bytes, wall, id };
        self.slots.keep(self.record, record)?;
        Ok((self.slots, record))
    }

    /// Writes what has been gathered, with zeros up to the end of its last sector.
    fn put(&mut self) -> Result<(), Error<D::Error>> {
        let bytes = self.gathered.len();
        self.gathered.resize(bytes.next_multiple_of(SECTOR), 0);
        let sector = self.slot.start + self.written / SECTOR as u64;
        if let Err(error) = self.slots.disk.write(sector, &self.gathered) {
            self.failed = true;
            return Err(Error::Disk(error));
        }
        self.written += bytes as u64;
        self.gathered.clear();
        Ok(())
    }
}

impl<D: Blocks> Sink for Writer<D> {
    type Error = Error<D::Error>;

    fn write(&mut self, mut bytes: &[u8]) -> Result<(), Self::Error> {
        if bytes.len() as u64 > self.capacity() - self.written - self.gathered.len() as u64 {
            self.failed = true;
            return Err(Error::Full(self.capacity()));
        }
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(PIECE - self.gathered.len()));
            self.gathered.extend_from_slice(now);
            if self.gathered.len() == PIECE {
                self.put()?;
            }
            bytes = later;
        }
        Ok(())
    }
}
