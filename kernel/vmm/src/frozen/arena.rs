//! Where copies go: what the reserve has left, then what the system has donated.

use super::spans::{Span, Spans};
use super::{PAGE, Pages};

/// Pages to be taken and given back. Pages that were given back are linked through their first words.
#[derive(Debug)]
pub struct Arena {
    own: Span,
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
        Self { own: nothing, donated, rest: nothing, next: 0, free: 0 }
    }

    /// The VMM's own part.
    pub fn set_own(&mut self, own: Span) {
        self.own = own;
    }

    /// All pages are there to be taken.
    pub fn start(&mut self) {
        (self.rest, self.next, self.free) = (self.own, 0, 0);
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
