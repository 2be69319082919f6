//! Taking write permission from everything at once, and giving it back.
//!
//! A walk may write only if every entry on its way allows it. So write permission is taken from the links in the root, and the
//! tables below learn of it as they are needed: a link that does not allow writing stands for a table whose leaves, and those of
//! all tables below, are watched. To **open** it is to say so in the table's own entries, links and leaves alike, and then
//! to let it allow writing. What is mapped stays the same, whenever a walker looks.
//!
//! # The record
//! Who gets write permission back gets a mark with it, if what is written from the last [`Tree::turn`] on is recorded: leaves, and links
//! that are opened. A table that is opened loses the older marks of its turn in the same store that takes write permission, so
//! a mark says something where all links above have it, too, and nothing else has to be cleared: [`Tree::written`] goes down by the marks.
//! The record needs no memory; where tables are used up, whole leaves count as written.

use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};

use super::format::{EITHER_MARK, next_mark};
use super::walk::indices;
use super::{ENTRIES, Format, ROOT_LEVEL, Size, Tables, Tree, shift};

/// The fewest tables that a step of [`Tree::thaw`] may look at: one of each level on the way, and one more.
pub const LEAST_THAWED: u32 = ROOT_LEVEL + 1;

impl<F: Format> Tree<F> {
    /// Watches everything that is mapped and writable, in as many stores as the root has entries: the time does not depend on how much
    /// that is, nor in which leaves. Wants a flush.
    pub fn protect_all<T: Tables>(&self, tables: &mut T) {
        close(tables.entries(self.root), self.grant);
    }

    /// Takes note that [`protect_all`](Self::protect_all) comes next: what was recorded until now can be told from here on
    /// ([`written`](Self::written)), and what is written from here on is recorded if `record` says so.
    pub fn turn(&mut self, record: bool) {
        self.last = self.grant & EITHER_MARK;
        self.grant = F::WRITE | if record { next_mark(self.last) } else { 0 };
    }

    /// Records nothing any more, and has nothing to tell. Marks stay until [`thaw`](Self::thaw), which has to come before the next
    /// [`turn`](Self::turn). Whether there were any.
    pub fn forget(&mut self) -> bool {
        let marked = self.last != 0 || self.is_recording();
        (self.grant, self.last) = (F::WRITE, 0);
        marked
    }

    /// Whether what is written is recorded.
    #[inline]
    pub fn is_recording(&self) -> bool {
        self.grant != F::WRITE
    }

    /// Whether it is known what was written between the last two turns.
    pub fn can_tell(&self) -> bool {
        self.last != 0
    }

    /// Calls `visitor` with each leaf that reaches into `range` and could be written between the last two turns: its guest physical
    /// address and size, ascending. Parts of one that is split since are leaves of their own.
    pub fn written<T: Tables>(&self, tables: &T, range: &Range<u64>, visitor: &mut impl FnMut(u64, Size)) {
        if self.can_tell() {
            self.written_below(tables, self.root, ROOT_LEVEL, 0, range, visitor);
        }
    }

    fn written_below<T: Tables>(
        &self,
        tables: &T,
        table: u64,
        level: u32,
        base: u64,
        range: &Range<u64>,
        visitor: &mut impl FnMut(u64, Size),
    ) {
        let entries = tables.entries(table);
        for index in indices(level, base, range) {
            let entry = entries[index].load(Ordering::Relaxed);
            if entry & self.last == 0 {
                continue;
            }
            let start = base + ((index as u64) << shift(level));
            match Size::at(level) {
                Some(size) if F::is_leaf(entry, size) => visitor(start, size),
                _ => self.written_below(tables, F::table_address(entry), level - 1, start, range, visitor),
            }
        }
    }

    /// Gives back all write permission that [`protect_all`](Self::protect_all) and [`watch`](Self::watch) have taken, and takes all marks,
    /// from guest physical `from` on, and returns where to go on; `None` when all is done, up to the end of the tree. Looks at `most`
    /// tables, not less than [`LEAST_THAWED`], the root aside. Where it has not been yet, pages may still be watched. No flush is needed.
    pub fn thaw<T: Tables>(&self, tables: &mut T, from: u64, mut most: u32) -> Option<u64> {
        Self::thaw_below(tables, self.root, ROOT_LEVEL, 0, from, &mut most)
    }

    fn thaw_below<T: Tables>(
        tables: &T,
        table: u64,
        level: u32,
        base: u64,
        from: u64,
        most: &mut u32,
    ) -> Option<u64> {
        let first = (from.saturating_sub(base) >> shift(level)).min(ENTRIES as u64);
        for (slot, index) in tables.entries(table)[first as usize..].iter().zip(first..) {
            let entry = slot.load(Ordering::Relaxed);
            if !F::is_present(entry) {
                continue;
            }
            if Self::is_leaf(entry, level) {
                let given = if F::is_watched(entry) { F::with_write(entry) } else { entry };
                let new = given & !EITHER_MARK;
                if new != entry {
                    slot.store(new, Ordering::Release);
                }
                continue;
            }
            let start = base + (index << shift(level));
            let Some(left) = most.checked_sub(1) else { return Some(start.max(from)) };
            *most = left;
            let new = F::with_write(entry) & !EITHER_MARK;
            if new != entry {
                slot.store(new, Ordering::Release);
            }
            let lower = F::table_address(entry);
            if let Some(next) = Self::thaw_below(tables, lower, level - 1, start, from, most) {
                return Some(next);
            }
        }
        None
    }

    /// A leaf with its write permission back, if it is watched.
    #[inline]
    pub(super) fn unwatched(&self, entry: u64) -> u64 {
        if F::is_watched(entry) { self.granted(entry) } else { entry }
    }

    /// The same link, or watched leaf, with write permission, and marked where writes are recorded.
    #[inline]
    pub(super) fn granted(&self, entry: u64) -> u64 {
        entry | self.grant
    }

    /// The link to a table that takes the place of `entry`, absent or a leaf: what was marked stays so.
    #[inline]
    pub(super) fn link(&self, table: u64, entry: u64) -> u64 {
        self.granted(F::table(table)) | entry & EITHER_MARK
    }

    /// Opens the link `link` at an entry, if it does not allow writing, and returns the table that it links.
    #[inline]
    pub(super) fn open<T: Tables>(&self, tables: &T, table: u64, index: usize, link: u64) -> u64 {
        let lower = F::table_address(link);
        if !F::may_write(link) {
            close(tables.entries(lower), self.grant);
            // Until now nothing below could be written. Who sees that it can sees what is watched, too.
            tables.entry(table, index).store(self.granted(link), Ordering::Release);
        }
        lower
    }
}

/// Takes write permission, and marks of this turn's, from all entries of a table, in little more than an instruction each. Nobody but
/// walkers looks at it meanwhile.
#[inline]
fn close(entries: &[AtomicU64; ENTRIES], grant: u64) {
    for chunk in entries.as_chunks::<32>().0 {
        for entry in chunk {
            entry.store(entry.load(Ordering::Relaxed) & !grant, Ordering::Relaxed);
        }
    }
}
