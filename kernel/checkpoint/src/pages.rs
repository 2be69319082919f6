//! A chunk of pages: what is in frames.
//!
//! | bytes | |
//! |---|---|
//! | 4096 each | the pages of the runs that have some, in their order |
//! | 16 each | runs: first frame (8), number of frames (4), kind (4): 1 their pages are above, 2 they are zero |
//! | 8 | number of runs, at least 1 |
//!
//! Runs are in the order of the list of frames, of which they leave out nothing: also what turned out to be zero has a run.

use crate::fields::Fields;
use crate::frames::{RANGE, decode_run};
use crate::{Error, MAX_FRAME, PAGE};

/// The kind of a run that has pages.
pub const PAGES: u32 = 1;
/// The kind of a run that is zero.
pub const ZERO: u32 = 2;

/// What is in frames one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content<'r> {
    /// Whole pages, at least one.
    Pages(&'r [u8]),
    /// As many frames, zero, at least one.
    Zero(u32),
}

/// Frames one after another, and what is in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'r> {
    /// Number of the first frame.
    pub first: u64,
    /// What is in it and those behind it.
    pub content: Content<'r>,
}

impl Piece<'_> {
    /// How many frames.
    pub fn count(&self) -> u32 {
        match self.content {
            Content::Pages(bytes) => (bytes.len() / PAGE) as u32,
            Content::Zero(count) => count,
        }
    }
}

/// A chunk of pages, which is well-formed.
#[derive(Clone, Copy, Debug)]
pub struct Pages<'r> {
    pages: &'r [u8],
    runs: &'r [u8],
}

impl<'r> Pages<'r> {
    pub(crate) fn decode(raw: &'r [u8]) -> Result<Self, Error> {
        let pages = Self::split(raw).ok_or(Error::Field("number of runs"))?;
        let mut fields = Fields(pages.runs);
        let mut here = 0u64;
        while !fields.0.is_empty() {
            let (first, count, kind) = decode_run(&mut fields)?;
            if count == 0 {
                return Err(Error::Field("frame count"));
            }
            if first >= MAX_FRAME || first + u64::from(count) > MAX_FRAME {
                return Err(Error::Field("first frame"));
            }
            match kind {
                PAGES => here += u64::from(count),
                ZERO => {}
                _ => return Err(Error::Field("frame kind")),
            }
        }
        if here * PAGE as u64 != pages.pages.len() as u64 {
            return Err(Error::Field("pages"));
        }
        Ok(pages)
    }

    /// A chunk that [`Pages::decode`] takes.
    pub(crate) fn split(raw: &'r [u8]) -> Option<Self> {
        let (rest, count) = raw.split_last_chunk()?;
        let bytes = usize::try_from(u64::from_le_bytes(*count)).ok()?.checked_mul(RANGE)?;
        let pages = rest.len().checked_sub(bytes).filter(|_| bytes > 0)?;
        let (pages, runs) = rest.split_at(pages);
        Some(Self { pages, runs })
    }

    /// What it carries, frames ascending.
    pub fn pieces(&self) -> impl Iterator<Item = Piece<'r>> + use<'r> {
        let (pages, mut position) = (*self, Position::default());
        core::iter::from_fn(move || {
            let piece = pages.at(&position)?;
            position.pass(&piece, piece.count());
            Some(piece)
        })
    }

    /// What is at a position, to the end of its run.
    pub(crate) fn at(&self, position: &Position) -> Option<Piece<'r>> {
        let mut run = Fields(self.runs.get(position.run * RANGE..)?);
        let (first, count, kind) = decode_run(&mut run).ok()?;
        let count = count - position.done;
        let content = if kind == ZERO {
            Content::Zero(count)
        } else {
            Content::Pages(&self.pages[position.page * PAGE..][..count as usize * PAGE])
        };
        Some(Piece { first: first + u64::from(position.done), content })
    }
}

/// A place in a chunk of pages.
#[derive(Clone, Debug, Default)]
pub(crate) struct Position {
    run: usize,
    /// Frames of the run that are passed.
    done: u32,
    /// Pages that are passed.
    page: usize,
}

impl Position {
    /// Goes past so many frames of the piece that is there.
    pub fn pass(&mut self, piece: &Piece<'_>, count: u32) {
        if let Content::Pages(_) = piece.content {
            self.page += count as usize;
        }
        if count == piece.count() {
            (self.run, self.done) = (self.run + 1, 0);
        } else {
            self.done += count;
        }
    }
}
