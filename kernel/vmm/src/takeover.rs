//! How a received system takes the place of the running one: by a plan that lies in the system's memory, and is checked to its end
//! before anything is changed.
//!
//! The plan's head is a page of words: the first page of entries (0: none), the number of CPUs, and for each CPU the page that holds
//! its state, as [`Pages::put_state`] writes it. A page of entries begins with the next one (0: it is the last) and the number of its
//! entries, 1 to [`MOST_ENTRIES`]; then come the entries, of three words: where pages go, where they are now ([`ZEROS`]: nowhere,
//! they are filled with zeros), and how many there are.
//!
//! Rules, so that a plan can be checked in one pass over each of its lists, without memory, and carried out in any order:
//!
//! - destinations ascend, and so do sources and pages of entries; spans of a list do not overlap;
//! - everything is RAM that the VMM may write: neither the reserve nor the image's text and constants; and no destination is among
//!   the facts of the machine;
//! - no source and no page of the plan is a destination.

#[cfg(test)]
mod tests;

use crate::frozen::{Pages, Span};
use crate::memory::PAGE;
use core::ops::Range;

/// The most entries of a page.
pub const MOST_ENTRIES: u64 = (PAGE / 8 - 2) / 3;
/// The most CPUs.
pub const MOST_CPUS: u64 = PAGE / 8 - 2;
/// In the place of a source: zeros.
pub const ZEROS: u64 = u64::MAX;

/// Pages that go somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    to: Span,
    /// `None`: they become zero.
    from: Option<Span>,
}

/// Whole pages, at least one, that end before the end of addresses.
fn whole(start: u64, pages: u64) -> Option<Span> {
    let end = start.checked_add(pages.checked_mul(PAGE)?)?;
    (pages > 0 && start.is_multiple_of(PAGE)).then_some(Span { start, end })
}

/// The words of a page of the plan.
fn word(pages: &impl Pages, page: u64, index: u64) -> u64 {
    pages.word(page + 8 * index)
}

fn entry(pages: &impl Pages, page: u64, index: u64) -> Option<Entry> {
    let [to, from, count] = [0, 1, 2].map(|at| word(pages, page, 2 + 3 * index + at));
    let from = if from == ZEROS { None } else { Some(whole(from, count)?) };
    Some(Entry { to: whole(to, count)?, from })
}

/// Spans that ascend and do not overlap.
#[derive(Default)]
struct Ascent(u64);

impl Ascent {
    fn take(&mut self, span: Span) -> bool {
        let above = span.start >= self.0;
        self.0 = span.end;
        above
    }
}

/// A plan that keeps the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    head: u64,
}

impl Plan {
    /// The plan with its head at an address, for a machine with so many CPUs. `None`: it breaks a rule. `is_memory` says whether a
    /// span is RAM that may be changed.
    pub fn check(
        pages: &impl Pages,
        head: u64,
        cpus: usize,
        facts: &Range<u64>,
        is_memory: impl Fn(Span) -> bool,
    ) -> Option<Self> {
        let good = |span: Option<Span>| span.filter(|span| is_memory(*span));
        good(whole(head, 1))?;
        if cpus as u64 > MOST_CPUS || word(pages, head, 1) != cpus as u64 {
            return None;
        }
        for cpu in 0..cpus as u64 {
            good(whole(word(pages, head, 2 + cpu), 1))?;
        }
        let (mut lists, mut to, mut from) = (Ascent::default(), Ascent::default(), Ascent::default());
        let mut list = word(pages, head, 0);
        while list != 0 {
            let page = good(whole(list, 1))?;
            let count = word(pages, list, 1);
            if !lists.take(page) || !(1..=MOST_ENTRIES).contains(&count) {
                return None;
            }
            for index in 0..count {
                let entry = entry(pages, list, index)?;
                let destination = good(Some(entry.to))?;
                if !to.take(destination) || destination.start < facts.end && facts.start < destination.end {
                    return None;
                }
                if let Some(source) = entry.from {
                    good(Some(source))?;
                    from.take(source).then_some(())?;
                }
            }
            list = word(pages, list, 0);
        }
        let plan = Self { head };
        let page = |start| Span { start, end: start + PAGE };
        let states = (0..cpus).map(|cpu| plan.state(pages, cpu));
        let apart = states.chain([head]).all(|start| plan.spares(pages, core::iter::once(page(start))))
            && plan.spares(pages, plan.lists(pages).map(page))
            && plan.spares(pages, plan.entries(pages).filter_map(|entry| entry.from));
        apart.then_some(plan)
    }

    /// The page with a CPU's state.
    pub fn state(self, pages: &impl Pages, cpu: usize) -> u64 {
        word(pages, self.head, 2 + cpu as u64)
    }

    /// Puts all pages in their places.
    pub fn carry_out(self, pages: &mut impl Pages) {
        let mut list = word(pages, self.head, 0);
        while list != 0 {
            for index in 0..word(pages, list, 1) {
                let entry = entry(pages, list, index).expect("the plan was checked, and nobody writes");
                for at in (0..entry.to.end - entry.to.start).step_by(PAGE as usize) {
                    match entry.from {
                        Some(from) => pages.copy_page(from.start + at, entry.to.start + at),
                        None => pages.clear(entry.to.start + at),
                    }
                }
            }
            list = word(pages, list, 0);
        }
    }

    /// Whether none of these spans, which ascend, overlaps a destination.
    fn spares(self, pages: &impl Pages, mut spans: impl Iterator<Item = Span>) -> bool {
        let mut destinations = self.entries(pages).map(|entry| entry.to);
        let (mut span, mut destination) = (spans.next(), destinations.next());
        while let (Some(one), Some(other)) = (span, destination) {
            if one.end <= other.start {
                span = spans.next();
            } else if other.end <= one.start {
                destination = destinations.next();
            } else {
                return false;
            }
        }
        true
    }

    /// The pages of entries.
    fn lists(self, pages: &impl Pages) -> impl Iterator<Item = u64> {
        let there = |list: u64| (list != 0).then_some(list);
        core::iter::successors(there(word(pages, self.head, 0)), move |list| there(word(pages, *list, 0)))
    }

    fn entries(self, pages: &impl Pages) -> impl Iterator<Item = Entry> {
        self.lists(pages).flat_map(move |list| {
            (0..word(pages, list, 1)).filter_map(move |index| entry(pages, list, index))
        })
    }
}

/// Lays a plan out, in the system that carries it out.
#[derive(Debug)]
pub struct Writer<'a> {
    words: &'a mut [u64],
    address: u64,
    /// The last page of entries; 0: there is none.
    list: usize,
}

/// Words of a page.
const WORDS: usize = PAGE as usize / 8;

impl<'a> Writer<'a> {
    /// A plan without entries, in whole pages of zeros at an address. `states`: where each CPU's is. `None`: there is not room for that.
    pub fn new(words: &'a mut [u64], address: u64, states: &[u64]) -> Option<Self> {
        if words.len() < WORDS || states.len() as u64 > MOST_CPUS {
            return None;
        }
        words[1] = states.len() as u64;
        words[2..2 + states.len()].copy_from_slice(states);
        Some(Self { words, address, list: 0 })
    }

    /// Adds pages that come from somewhere, or become zero; behind all that were added. `None`: there is no room.
    pub fn push(&mut self, to: u64, from: Option<u64>, pages: u64) -> Option<()> {
        let count = |words: &[u64], list: usize| words[list * WORDS + 1];
        if self.list == 0 || count(self.words, self.list) == MOST_ENTRIES {
            let next = self.list + 1;
            if self.words.len() < (next + 1) * WORDS {
                return None;
            }
            self.words[self.list * WORDS] = self.address + next as u64 * PAGE;
            self.list = next;
        }
        let page = &mut self.words[self.list * WORDS..][..WORDS];
        let place = 2 + 3 * page[1] as usize;
        page[place..place + 3].copy_from_slice(&[to, from.unwrap_or(ZEROS), pages]);
        page[1] += 1;
        Some(())
    }
}
