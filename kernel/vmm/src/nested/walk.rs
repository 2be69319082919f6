//! Walking all of a tree, or a range: for changes, reports and tests.

use core::ops::Range;
use core::sync::atomic::Ordering;

use super::{ADDRESS_END, ENTRIES, Format, Leaf, ROOT_LEVEL, Size, Tables, Tree, shift};

/// What a tree consists of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Tables, the root among them.
    pub tables: u64,
    /// Leaves of 4 KiB.
    pub pages: u64,
    /// Leaves of 2 MiB.
    pub large: u64,
    /// Leaves of 1 GiB.
    pub huge: u64,
    /// Bytes mapped by leaves that are watched.
    pub watched: u64,
}

impl<F: Format> Tree<F> {
    /// Calls `visitor` with the guest physical address and each leaf, in ascending order.
    pub fn visit<T: Tables>(&self, tables: &T, mut visitor: impl FnMut(u64, Leaf)) {
        self.walk(tables, &mut |address, level, entry| {
            if let (true, Some(size)) = (Self::is_leaf(entry, level), Size::at(level)) {
                visitor(address, Self::describe(entry, size));
            }
        });
    }

    /// Counts tables and leaves.
    #[must_use]
    pub fn census<T: Tables>(&self, tables: &T) -> Census {
        let mut census = Census { tables: 1, ..Census::default() };
        self.walk(tables, &mut |_, level, entry| match Size::at(level) {
            Some(size) if F::is_leaf(entry, size) => {
                *match size {
                    Size::Page => &mut census.pages,
                    Size::Large => &mut census.large,
                    Size::Huge => &mut census.huge,
                } += 1;
                census.watched += if F::is_watched(entry) { size.bytes() } else { 0 };
            }
            _ => census.tables += 1,
        });
        census
    }

    /// Calls `visitor` with the guest physical address, the level and each entry, as if links allowed writing and leaves decided.
    fn walk<T: Tables>(&self, tables: &T, visitor: &mut impl FnMut(u64, u32, u64)) {
        let all = 0..ADDRESS_END;
        each::<F, T>(tables, self.root, ROOT_LEVEL, 0, &all, true, &mut |visit| {
            let entry = tables.entry(visit.table, visit.index).load(Ordering::Acquire);
            visitor(visit.address, visit.level, if visit.open { entry } else { F::without_write(entry) });
        });
    }
}

/// A present entry on the way of [`each`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Visit {
    /// The first guest physical address below it.
    pub address: u64,
    pub level: u32,
    pub table: u64,
    pub index: usize,
    /// All links above it allowed writing.
    pub open: bool,
}

/// Calls `visitor` with every present entry that reaches into `range`, links before what they link.
pub(super) fn each<F: Format, T: Tables>(
    tables: &T,
    table: u64,
    level: u32,
    base: u64,
    range: &Range<u64>,
    open: bool,
    visitor: &mut impl FnMut(Visit),
) {
    for index in indices(level, base, range) {
        let entry = tables.entry(table, index).load(Ordering::Acquire);
        if F::is_present(entry) {
            let address = base + ((index as u64) << shift(level));
            visitor(Visit { address, level, table, index, open });
            if !Tree::<F>::is_leaf(entry, level) {
                let (lower, open) = (F::table_address(entry), open && F::may_write(entry));
                each::<F, T>(tables, lower, level - 1, address, range, open, visitor);
            }
        }
    }
}

/// The entries of the table of `level` at guest physical `base` that reach into `range`.
pub(super) fn indices(level: u32, base: u64, range: &Range<u64>) -> Range<usize> {
    let start = range.start.saturating_sub(base) >> shift(level);
    let end = range.end.saturating_sub(base).div_ceil(1 << shift(level));
    start.min(ENTRIES as u64) as usize..end.min(ENTRIES as u64) as usize
}
