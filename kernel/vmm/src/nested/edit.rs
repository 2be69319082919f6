//! Changing ranges of a tree. Operations on what is mapped already first split the leaves that lie across the edges; only that
//! wants tables, so a dry reserve stops them before anything has changed.

use core::ops::Range;
use core::sync::atomic::Ordering;

use super::walk::{each, indices};
use super::{
    ADDRESS_END, ENTRIES, Format, MapError, MemoryType, ROOT_LEVEL, Rights, Size, Tables, Tree, shift,
};

impl<F: Format> Tree<F> {
    /// Maps guest physical `range` to the same host physical addresses, with the largest leaves that alignment allows. What
    /// lay there before is replaced, with its watches; tables that are linked already stay, and their leaves are of their level.
    ///
    /// # Errors
    /// [`MapError::Range`]. [`MapError::Dry`]: each page is as before or as asked.
    pub fn map<T: Tables>(
        &self,
        tables: &mut T,
        range: Range<u64>,
        rights: Rights,
        kind: MemoryType,
    ) -> Result<(), MapError> {
        check(&range)?;
        self.map_level(tables, self.root, ROOT_LEVEL, 0, &range, rights, kind)
    }

    /// Maps one page of 4 KiB at guest physical `page` to host physical `frame`, for example a sink. Both are multiples of
    /// 4 KiB. What lay there before is replaced.
    ///
    /// # Errors
    /// [`MapError::Range`]. [`MapError::Dry`]: nothing has changed.
    pub fn map_to<T: Tables>(
        &self,
        tables: &mut T,
        page: u64,
        frame: u64,
        rights: Rights,
        kind: MemoryType,
    ) -> Result<(), MapError> {
        let end = page.checked_add(Size::Page.bytes()).ok_or(MapError::Range)?;
        check(&(page..end))?;
        if !frame.is_multiple_of(Size::Page.bytes()) {
            return Err(MapError::Range);
        }
        let mut table = self.root;
        for level in (1..=ROOT_LEVEL).rev() {
            table = self.descend(tables, table, super::index(page, level), level)?;
        }
        let leaf = self.leaf(frame, Size::Page, rights, kind);
        tables.entry(table, super::index(page, 0)).store(leaf, Ordering::Release);
        Ok(())
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "a recursion: three say where it stands, four what is asked"
    )]
    fn map_level<T: Tables>(
        &self,
        tables: &mut T,
        table: u64,
        level: u32,
        base: u64,
        range: &Range<u64>,
        rights: Rights,
        kind: MemoryType,
    ) -> Result<(), MapError> {
        for index in indices(level, base, range) {
            let start = base + ((index as u64) << shift(level));
            let end = start + (1 << shift(level));
            let entry = tables.entry(table, index).load(Ordering::Relaxed);
            let links = F::is_present(entry) && !Self::is_leaf(entry, level);
            let whole = range.start <= start && end <= range.end;
            match Size::at(level).filter(|size| whole && !links && *size <= self.largest) {
                Some(size) => {
                    let leaf = self.leaf(start, size, rights, kind);
                    tables.entry(table, index).store(leaf, Ordering::Release);
                }
                None => {
                    let lower = self.descend(tables, table, index, level)?;
                    self.map_level(tables, lower, level - 1, start, range, rights, kind)?;
                }
            }
        }
        Ok(())
    }

    /// A new leaf: where it may be written without a fault, it counts as written.
    fn leaf(&self, address: u64, size: Size, rights: Rights, kind: MemoryType) -> u64 {
        let leaf = F::leaf(address, size, rights, kind);
        if rights.write { self.granted(leaf) } else { leaf }
    }

    /// The table below an entry of a table of `level`, which is above 0: the linked one, a split leaf's, or a new empty one.
    fn descend<T: Tables>(
        &self,
        tables: &mut T,
        table: u64,
        index: usize,
        level: u32,
    ) -> Result<u64, MapError> {
        let entry = tables.entry(table, index).load(Ordering::Relaxed);
        if !F::is_present(entry) {
            let (lower, entries) = tables.take().ok_or(MapError::Dry)?;
            entries.fill(0);
            tables.entry(table, index).store(self.link(lower, 0), Ordering::Release);
            return Ok(lower);
        }
        match Size::at(level) {
            Some(size) if F::is_leaf(entry, size) => self.split(tables, table, index, size),
            _ => Ok(self.open(tables, table, index, entry)),
        }
    }

    /// Makes `range` absent. Wants a flush. Emptied tables stay until [`merge`](Self::merge).
    ///
    /// # Errors
    /// [`MapError::Range`]. [`MapError::Dry`]: nothing has changed.
    pub fn unmap<T: Tables>(&self, tables: &mut T, range: Range<u64>) -> Result<(), MapError> {
        self.update(tables, range, |_| 0)
    }

    /// Changes the rights of what is mapped in `range`; absent pages stay absent. A watched leaf that may be written stays
    /// watched, so write permission follows with the write fault; without write permission it is watched no more. Wants a
    /// flush if it takes rights away.
    ///
    /// # Errors
    /// [`MapError::Range`]. [`MapError::Dry`]: nothing has changed.
    pub fn protect<T: Tables>(
        &self,
        tables: &mut T,
        range: Range<u64>,
        rights: Rights,
    ) -> Result<(), MapError> {
        self.update(tables, range, |entry| {
            let changed = F::with_rights(entry, rights);
            match F::is_watched(entry) {
                true => F::without_write(changed),
                false if rights.write => self.granted(changed),
                false => changed,
            }
        })
    }

    /// Takes write permission from what is writable in `range` and marks it, so that [`resolve_write`](Self::resolve_write)
    /// gives it back page by page. Wants a flush.
    ///
    /// Exactly `range` is watched: a leaf that lies across one of its ends is split, as far down as that end demands. All
    /// other leaves stay whole, so 2 MiB on a 2 MiB boundary stay one leaf and cost one store.
    ///
    /// # Errors
    /// [`MapError::Range`]. [`MapError::Dry`]: nothing is watched that was not before.
    pub fn watch<T: Tables>(&self, tables: &mut T, range: Range<u64>) -> Result<(), MapError> {
        self.update(tables, range, F::without_write)
    }

    /// Gives back the write permission that [`watch`](Self::watch) took in `range`. No flush is needed.
    ///
    /// # Errors
    /// [`MapError::Range`]. [`MapError::Dry`]: nothing has changed; for a range that was watched at once it cannot happen.
    pub fn unwatch<T: Tables>(&self, tables: &mut T, range: Range<u64>) -> Result<(), MapError> {
        self.update(tables, range, |entry| self.unwatched(entry))
    }

    /// Changes every leaf in `range`, after splitting those that lie across its ends and would change.
    fn update<T: Tables>(
        &self,
        tables: &mut T,
        range: Range<u64>,
        change: impl Fn(u64) -> u64,
    ) -> Result<(), MapError> {
        check(&range)?;
        if range.is_empty() {
            return Ok(());
        }
        self.split_at(tables, range.start, &change)?;
        self.split_at(tables, range.end, &change)?;
        let tables = &*tables;
        each::<F, T>(tables, self.root, ROOT_LEVEL, 0, &range, true, &mut |visit| {
            let slot = tables.entry(visit.table, visit.index);
            let entry = slot.load(Ordering::Relaxed);
            if Self::is_leaf(entry, visit.level) {
                let new = change(entry);
                if new != entry {
                    slot.store(new, Ordering::Release);
                }
            } else {
                self.open(tables, visit.table, visit.index, entry);
            }
        });
        Ok(())
    }

    /// Undoes splits that are needed no more: a table whose leaves together are one larger leaf is replaced by it, one without
    /// any entry by nothing, and given back. Returns how many. What is mapped stays the same.
    ///
    /// No CPU may be running on the tree, and all flush before they do again: walkers keep addresses of tables in caches.
    pub fn merge<T: Tables>(&self, tables: &mut T) -> u64 {
        self.merge_below(tables, self.root, ROOT_LEVEL)
    }

    fn merge_below<T: Tables>(&self, tables: &mut T, table: u64, level: u32) -> u64 {
        let mut merged = 0;
        for index in 0..ENTRIES {
            let entry = tables.entries(table)[index].load(Ordering::Relaxed);
            if !F::is_present(entry) || Self::is_leaf(entry, level) {
                continue;
            }
            let lower = self.open(tables, table, index, entry);
            merged += self.merge_below(tables, lower, level - 1);
            if let Some(whole) = self.whole(tables, lower, level) {
                tables.entry(table, index).store(whole, Ordering::Release);
                tables.give_back(lower);
                merged += 1;
            }
        }
        merged
    }

    /// The single entry of `level` that says the same as the table `lower`.
    fn whole<T: Tables>(&self, tables: &T, lower: u64, level: u32) -> Option<u64> {
        let entries = || tables.entries(lower).iter().map(|entry| entry.load(Ordering::Relaxed));
        if entries().all(|entry| !F::is_present(entry)) {
            return Some(0);
        }
        let size = Size::at(level).filter(|size| *size <= self.largest)?;
        let first = entries().next()?;
        if !F::is_present(first) || !Self::is_leaf(first, level - 1) {
            return None;
        }
        if !F::address(first, Size::at(level - 1)?).is_multiple_of(size.bytes()) {
            return None;
        }
        let whole = F::whole(first, size);
        let (mut part, step) = F::parts(whole, size);
        let same = entries().all(|entry| {
            let same = entry == part;
            part = part.wrapping_add(step);
            same
        });
        same.then_some(whole)
    }

    /// Gives all tables back.
    ///
    /// No CPU may be running on the tree, nor do so again.
    pub fn dismantle<T: Tables>(self, tables: &mut T) {
        Self::dismantle_below(tables, self.root, ROOT_LEVEL);
    }

    pub(super) fn dismantle_below<T: Tables>(tables: &mut T, table: u64, level: u32) {
        for index in 0..ENTRIES {
            let entry = tables.entry(table, index).load(Ordering::Relaxed);
            if F::is_present(entry) && !Self::is_leaf(entry, level) {
                Self::dismantle_below(tables, F::table_address(entry), level - 1);
            }
        }
        tables.give_back(table);
    }
}

/// Whether a range is one of whole pages below [`ADDRESS_END`].
pub(super) fn check(range: &Range<u64>) -> Result<(), MapError> {
    let whole = (range.start | range.end).is_multiple_of(Size::Page.bytes());
    if whole && range.start <= range.end && range.end <= ADDRESS_END { Ok(()) } else { Err(MapError::Range) }
}
