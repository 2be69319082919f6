//! A snapshot held in memory: what pages held at the freeze, as the system writes on.
//!
//! - [`Pages`]: physical memory, as far as a snapshot touches it. The tests have a fake.
//! - [`Frozen`]: the snapshot: which pages are copied at their first write, where the copies are, what was sent already.
//! - [`Arena`], [`Index`]: the copies, and how they are found.
//! - [`Spans`]: what the system has donated, and what is exempt.
//!
//! Everything is under the lock of [`Memory`](crate::memory::Memory), which also has the tree that takes the writes' permission.

mod arena;
mod index;
mod spans;
#[cfg(test)]
pub(crate) mod tests;

use crate::nested::Size;
use x86defs::state::CpuState;

pub use arena::Arena;
pub use index::Index;
pub use spans::{Span, SpanError, Spans};

/// Bytes of a page.
const PAGE: u64 = 4096;
/// Words of a page.
const ENTRIES: u64 = 512;
/// Bytes that a table of the lowest level maps.
const BLOCK: u64 = PAGE * ENTRIES;

/// The most spans that the system may donate.
pub const MOST_DONATED: usize = 128;
/// The most spans that may be exempt: chunks of the DMA pool.
pub const MOST_EXEMPT: usize = 256;
/// How many tables of the index a call looks at, while copies are given back.
const RELEASE_STEPS: u32 = 16;

/// Physical memory. Addresses are of RAM that the VMM has mapped; callers have made sure of that.
pub trait Pages {
    /// Copies the page at `from` to `to`; they are two.
    fn copy_page(&mut self, from: u64, to: u64);
    /// Fills a page with zeros.
    fn clear(&mut self, page: u64);
    /// Fills a page with a word, for a reader who goes past the caches: it is in memory.
    fn fill(&mut self, page: u64, word: u64);
    /// The word at a multiple of 8.
    fn word(&self, address: u64) -> u64;
    /// Writes it.
    fn set_word(&mut self, address: u64, value: u64);
    /// Writes a CPU's state to a page.
    fn put_state(&mut self, page: u64, state: &CpuState);
    /// Reads one, of a CPU that stands between two instructions with nothing under way: interruptibility and what is pending are not
    /// read, so any content of the page is a state.
    fn state(&self, page: u64) -> CpuState;
}

/// What a snapshot is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// There is none; memory is donated and exempted.
    Idle,
    /// It is held.
    Frozen,
    /// It is over; what it took is being given back.
    Thawing,
}

/// Why something is not to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrozenError {
    /// The stage is another.
    Stage,
    /// A page was lost for want of memory: the snapshot is of no use any more.
    Spoilt,
    /// What was asked for is not part of the snapshot, or was sent already.
    Absent,
}

/// The snapshot.
#[derive(Debug)]
pub struct Frozen {
    stage: Stage,
    spoilt: bool,
    /// All below was sent.
    mark: u64,
    pub(crate) arena: Arena,
    index: Index,
    pub(crate) exempt: Spans,
}

impl Frozen {
    /// None, of a machine whose memory ends at `memory_end`. The lists give the room for spans.
    pub const fn new(donated: &'static mut [Span], exempt: &'static mut [Span], memory_end: u64) -> Self {
        Self {
            stage: Stage::Idle,
            spoilt: false,
            mark: 0,
            arena: Arena::new(Spans::new(donated)),
            index: Index::new(memory_end),
            exempt: Spans::new(exempt),
        }
    }

    /// What it is at.
    #[inline]
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Begins: from here on pages have to be kept. Nothing is touched that was donated.
    pub fn begin(&mut self) {
        (self.stage, self.spoilt, self.mark) = (Stage::Frozen, false, 0);
        self.index.clear();
        self.arena.start();
    }

    /// Ends: nothing is kept any more.
    pub fn end(&mut self) {
        self.stage = Stage::Thawing;
    }

    /// All that it took is given back.
    pub fn over(&mut self) {
        self.stage = Stage::Idle;
        while self.exempt.pop().is_some() {}
    }

    /// A page was lost: from here on nothing is kept.
    pub fn spoil(&mut self) {
        self.spoilt = true;
    }

    /// Keeps what the page at `address` holds, before its first write since the freeze: RAM, not written since. Returns how
    /// much around it may be written from now on; `recorded`: what may be written counts as written, so not more than has to be.
    #[inline]
    pub fn keep(&mut self, pages: &mut impl Pages, address: u64, recorded: bool) -> Size {
        let unkept = if recorded { Size::Page } else { Size::Huge };
        if self.stage != Stage::Frozen || self.spoilt {
            return unkept;
        }
        let page = address & !(PAGE - 1);
        let start = address & !(BLOCK - 1);
        if page < self.mark {
            return if start + BLOCK <= self.mark && !recorded { Size::Large } else { Size::Page };
        }
        if self.exempt.contains(Span { start: page, end: page + PAGE }) {
            let block = Span { start, end: start + BLOCK };
            return if self.exempt.contains(block) { Size::Large } else { Size::Page };
        }
        if self.copy(pages, page).is_none() {
            self.spoil();
            return unkept;
        }
        Size::Page
    }

    #[inline]
    fn copy(&mut self, pages: &mut impl Pages, page: u64) -> Option<()> {
        let copy = self.arena.take(pages)?;
        self.index.insert(pages, &mut self.arena, page, copy)?;
        pages.copy_page(page, copy);
        Some(())
    }

    /// Whether it is held and whole.
    ///
    /// # Errors
    /// [`FrozenError::Stage`], [`FrozenError::Spoilt`].
    pub fn check(&self) -> Result<(), FrozenError> {
        match self.stage {
            Stage::Frozen if self.spoilt => Err(FrozenError::Spoilt),
            Stage::Frozen => Ok(()),
            Stage::Idle | Stage::Thawing => Err(FrozenError::Stage),
        }
    }

    /// Copies what the frames of `span`, RAM, held at the freeze, to as many from `to` on, which are exempt.
    ///
    /// # Errors
    /// Those of [`Frozen::check`]. [`FrozenError::Absent`]: a frame was sent, donated or exempt, or `to` is not exempt.
    pub fn fetch(&self, pages: &mut impl Pages, span: Span, to: u64) -> Result<(), FrozenError> {
        self.check()?;
        let buffer = Span { start: to, end: to.saturating_add(span.end - span.start) };
        let foreign = self.exempt.overlaps(span) || self.arena.donated.overlaps(span);
        if span.start < self.mark || foreign || !self.exempt.contains(buffer) {
            return Err(FrozenError::Absent);
        }
        for (frame, to) in (span.start..span.end).step_by(PAGE as usize).zip((to..).step_by(PAGE as usize)) {
            let from = self.index.find(pages, frame).unwrap_or(frame);
            pages.copy_page(from, to);
        }
        Ok(())
    }

    /// Says that everything below `to` was sent: its writers need no copies any more, and those that there are make room. Returns
    /// how far that was done; the rest wants another call.
    ///
    /// # Errors
    /// Those of [`Frozen::check`]. [`FrozenError::Absent`]: `to` lies below what was said before.
    pub fn pass(&mut self, pages: &mut impl Pages, to: u64) -> Result<u64, FrozenError> {
        self.check()?;
        if to < self.mark {
            return Err(FrozenError::Absent);
        }
        self.mark = self.index.release(pages, &mut self.arena, self.mark, to, RELEASE_STEPS);
        Ok(self.mark)
    }
}
