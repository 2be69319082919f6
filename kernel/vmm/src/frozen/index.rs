//! From a frame to its copy: a tree of pages with 512 words each, as page tables are.
//!
//! A hash table would have to be cleared before each freeze, to be sized before it is known how much is donated, and its entries
//! taken out one by one. Here a lookup is a load for each level, all of it is empty when the root is, and what the drain has
//! passed is given back 2 MiB at a time. The price is a page for each 2 MiB that was written to.

use super::arena::Arena;
use super::{ENTRIES, PAGE, Pages};

/// The lowest address bit that a level looks at.
const fn shift(level: u32) -> u32 {
    12 + 9 * level
}

/// Where a table's word for `address` is.
#[inline]
const fn slot(table: u64, address: u64, level: u32) -> u64 {
    table + 8 * (address >> shift(level) & (ENTRIES - 1))
}

/// The start of the next block of a level.
const fn beyond(address: u64, level: u32) -> u64 {
    ((address >> shift(level)) + 1) << shift(level)
}

/// The index.
#[derive(Clone, Copy, Debug)]
pub struct Index {
    /// 0: empty.
    root: u64,
    /// The root's level.
    top: u32,
}

impl Index {
    /// An empty index of frames below `end`.
    pub const fn new(end: u64) -> Self {
        Self { root: 0, top: if end <= 1 << shift(3) { 2 } else { 3 } }
    }

    /// Forgets everything, its pages too.
    pub fn clear(&mut self) {
        self.root = 0;
    }

    /// The copy of the frame at `address`.
    #[inline]
    pub fn find(&self, pages: &impl Pages, address: u64) -> Option<u64> {
        let mut table = self.root;
        for level in (0..=self.top).rev() {
            if table == 0 {
                return None;
            }
            table = pages.word(slot(table, address, level));
        }
        (table != 0).then_some(table)
    }

    /// Says where the copy of the frame at `address` is. `None`: no page for that is left.
    #[inline]
    pub fn insert(
        &mut self,
        pages: &mut impl Pages,
        arena: &mut Arena,
        address: u64,
        copy: u64,
    ) -> Option<()> {
        if self.root == 0 {
            self.root = arena.take_clear(pages)?;
        }
        let mut above = self.root;
        for level in (1..=self.top).rev() {
            let place = slot(above, address, level);
            above = match pages.word(place) {
                0 => {
                    let new = arena.take_clear(pages)?;
                    pages.set_word(place, new);
                    new
                }
                there => there,
            };
        }
        pages.set_word(slot(above, address, 0), copy);
        Some(())
    }

    /// Gives the copies of frames from `from` up to `to` back to the arena, and what the index itself has for them. Returns how
    /// far it has come in `steps`, each at most a table.
    pub fn release(
        &mut self,
        pages: &mut impl Pages,
        arena: &mut Arena,
        from: u64,
        to: u64,
        steps: u32,
    ) -> u64 {
        let mut at = from;
        for _ in 0..steps {
            if at >= to {
                break;
            }
            at = self.release_block(pages, arena, at, to);
        }
        at.min(to)
    }

    fn release_block(&mut self, pages: &mut impl Pages, arena: &mut Arena, from: u64, to: u64) -> u64 {
        let (mut table, mut place) = (self.root, 0);
        for level in (1..=self.top).rev() {
            if table == 0 {
                return beyond(from, level + 1);
            }
            place = slot(table, from, level);
            table = pages.word(place);
        }
        let end = beyond(from, 1);
        if table == 0 {
            return end;
        }
        for address in (from..end.min(to)).step_by(PAGE as usize) {
            let place = slot(table, address, 0);
            let copy = pages.word(place);
            if copy != 0 {
                pages.set_word(place, 0);
                arena.give(pages, copy);
            }
        }
        if to >= end {
            pages.set_word(place, 0);
            arena.give(pages, table);
        }
        end.min(to)
    }
}
