//! A checkpoint from its slot.

use alloc::vec::Vec;
use core::ops::Range;

use checkpoint::Source;
use gpt::SECTOR;

use crate::{Blocks, Error, PIECE, Record};

/// Reads one checkpoint, in large pieces.
#[derive(Debug)]
pub struct Reader<D> {
    disk: D,
    /// Where it goes on.
    sector: u64,
    /// Bytes that the disk has not given yet.
    left: u64,
    piece: Vec<u8>,
    /// What of the piece was not taken yet.
    ready: Range<usize>,
}

impl<D: Blocks> Reader<D> {
    pub(crate) fn new(disk: D, record: &Record) -> Result<Self, Error<D::Error>> {
        let mut piece = Vec::new();
        piece.try_reserve_exact(PIECE).map_err(|_| Error::Memory)?;
        Ok(Self { disk, sector: record.start, left: record.bytes, piece, ready: 0..0 })
    }

    fn refill(&mut self) -> Result<(), D::Error> {
        let bytes = self.left.min(PIECE as u64) as usize;
        self.piece.resize(bytes.next_multiple_of(SECTOR), 0);
        self.disk.read(self.sector, &mut self.piece)?;
        self.sector += (self.piece.len() / SECTOR) as u64;
        self.left -= bytes as u64;
        self.ready = 0..bytes;
        Ok(())
    }
}

impl<D: Blocks> Source for Reader<D> {
    type Error = D::Error;

    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, D::Error> {
        if self.ready.is_empty() && self.left > 0 {
            self.refill()?;
        }
        let count = self.ready.len().min(bytes.len());
        bytes[..count].copy_from_slice(&self.piece[self.ready.start..][..count]);
        self.ready.start += count;
        Ok(count)
    }
}
