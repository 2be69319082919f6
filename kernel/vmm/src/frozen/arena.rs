//! Where copies go: what the reserve has left, then what the system has donated.

use super::spans::{Span, Spans};
use super::{PAGE, Pages};

/// Cleared pages that are there at a freeze: the first faults come while the machine stands still, and want tables of the index.
const STOCK: u64 = 8;
/// Pages that the VMM's own part has to have for that.
const LEAST_OWN: u64 = 4 * STOCK;

/// Pages to be taken and given back. Pages that were given back are linked through their first words.
#[derive(Debug)]
pub struct Arena {
    own: Span,
    /// The first pages of the VMM's own part are cleared.
    is_stocked: bool,
    /// What is left of them.
    stock: Span,
    pub(crate) donated: Spans,
    /// What is left of the span in use.
    rest: Span,
    /// The donated span that comes next.
    next: usize,
    /// First of the pages given back; 0: none.
    free: u64,
}

impl Arena {
    /// Nothing to be taken before [`Arena::start`].
    pub const fn new(donated: Spans) -> Self {
        let nothing = Span { start: 0, end: 0 };
        Self { own: nothing, is_stocked: false, stock: nothing, donated, rest: nothing, next: 0, free: 0 }
    }

    /// The VMM's own part.
    pub fn set_own(&mut self, own: Span) {
        self.own = own;
    }

    /// Clears pages for the freeze to come, unless that is done. Nothing is taken yet.
    pub fn stock_up(&mut self, pages: &mut impl Pages) {
        if self.is_stocked || self.own.end - self.own.start < LEAST_OWN * PAGE {
            return;
        }
        (0..STOCK).for_each(|page| pages.clear(self.own.start + page * PAGE));
        self.is_stocked = true;
    }

    /// All pages are there to be taken.
    pub fn start(&mut self) {
        let stocked = if core::mem::take(&mut self.is_stocked) { STOCK * PAGE } else { 0 };
        let first = self.own.start + stocked;
        self.stock = Span { start: self.own.start, end: first };
        (self.rest, self.next, self.free) = (Span { start: first, ..self.own }, 0, 0);
    }

    /// A page of zeros.
    pub fn take_clear(&mut self, pages: &mut impl Pages) -> Option<u64> {
        if self.stock.start < self.stock.end {
            let page = self.stock.start;
            self.stock.start += PAGE;
            return Some(page);
        }
        let page = self.take(pages)?;
        pages.clear(page);
        Some(page)
    }

    /// A page of arbitrary content.
    #[inline]
    pub fn take(&mut self, pages: &impl Pages) -> Option<u64> {
        if self.free != 0 {
            let page = self.free;
            self.free = pages.word(page);
            return Some(page);
        }
        while self.rest.start == self.rest.end {
            self.rest = *self.donated.as_slice().get(self.next)?;
            self.next += 1;
        }
        let page = self.rest.start;
        self.rest.start += PAGE;
        Some(page)
    }

    /// Takes a page back.
    pub fn give(&mut self, pages: &mut impl Pages, page: u64) {
        pages.set_word(page, self.free);
        self.free = page;
    }
}
