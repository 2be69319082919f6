//! Taking write permission from everything at once, and giving it back.
//!
//! A walk may write only if every entry on its way allows it. So write permission is taken from the links in the root, and the
//! tables below learn of it as they are needed: a link that does not allow writing stands for a table whose leaves, and those of
//! all tables below, are watched. To **open** it is to say so in the table's own entries, links and leaves alike, and then
//! to let it allow writing. What is mapped stays the same, whenever a walker looks.

use core::sync::atomic::{AtomicU64, Ordering};

use super::{ENTRIES, Format, ROOT_LEVEL, Tables, Tree, shift};

/// The fewest tables that a step of [`Tree::thaw`] may look at: one of each level on the way, and one more.
pub const LEAST_THAWED: u32 = ROOT_LEVEL + 1;

impl<F: Format> Tree<F> {
    /// Watches everything that is mapped and writable, in as many stores as the root has entries: the time does not depend on how much
    /// that is, nor in which leaves. Wants a flush.
    pub fn protect_all<T: Tables>(&self, tables: &mut T) {
        close::<F>(tables.entries(self.root));
    }

    /// Gives back all write permission that [`protect_all`](Self::protect_all) and [`watch`](Self::watch) have taken, from guest
    /// physical `from` on, and returns where to go on; `None` when all is done, up to the end of the tree. Looks at `most`
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
                let new = Self::unwatched(entry);
                if new != entry {
                    slot.store(new, Ordering::Release);
                }
                continue;
            }
            let start = base + (index << shift(level));
            let Some(left) = most.checked_sub(1) else { return Some(start.max(from)) };
            *most = left;
            if !F::may_write(entry) {
                slot.store(F::with_write(entry), Ordering::Release);
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
    pub(super) fn unwatched(entry: u64) -> u64 {
        if F::is_watched(entry) { F::with_write(entry) } else { entry }
    }

    /// Opens the link `link` at an entry, if it does not allow writing, and returns the table that it links.
    #[inline]
    pub(super) fn open<T: Tables>(tables: &T, table: u64, index: usize, link: u64) -> u64 {
        let lower = F::table_address(link);
        if !F::may_write(link) {
            close::<F>(tables.entries(lower));
            // Until now nothing below could be written. Who sees that it can sees what is watched, too.
            tables.entry(table, index).store(F::with_write(link), Ordering::Release);
        }
        lower
    }
}

/// Takes write permission from all entries of a table, in little more than an instruction each. Nobody but walkers looks at it
/// meanwhile.
#[inline]
fn close<F: Format>(entries: &[AtomicU64; ENTRIES]) {
    for chunk in entries.as_chunks::<32>().0 {
        for entry in chunk {
            entry.store(F::without_write(entry.load(Ordering::Relaxed)), Ordering::Relaxed);
        }
    }
}
