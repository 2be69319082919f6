//! The tree: finding leaves, splitting them, and answering write faults.

use core::marker::PhantomData;
use core::sync::atomic::Ordering;

use super::{ADDRESS_END, ENTRIES, Format, MapError, MemoryType, ROOT_LEVEL, Rights, Size, Tables, index};

/// A tree of four levels in format `F`. It owns its tables; they are in the [`Tables`] that every operation is given, always
/// the same one.
#[derive(Debug)]
pub struct Tree<F: Format> {
    pub(super) root: u64,
    pub(super) largest: Size,
    /// What an entry gets with its write permission, and loses with it: the bit that allows writing, and a mark where writes are
    /// recorded.
    pub(super) grant: u64,
    /// The mark of what was written between the last two turns; 0: that is not known.
    pub(super) last: u64,
    format: PhantomData<fn() -> F>,
}

/// A leaf as it lies in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The first host physical address that it maps to.
    pub address: u64,
    /// How much it maps.
    pub size: Size,
    /// What it allows now; a watched leaf does not allow writing.
    pub rights: Rights,
    /// Its memory type.
    pub kind: MemoryType,
    /// Whether write permission was taken from it, to be given back at a write fault.
    pub watched: bool,
}

/// What became of a write fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// The page of 4 KiB was watched and is writable now; `split` says whether a larger leaf was split for it.
    Granted {
        /// A larger leaf was split.
        split: bool,
    },
    /// It is writable: another CPU was faster, or the fault came from an old translation. Just retry.
    Writable,
    /// The page was watched, but the reserve is dry. The whole leaf that holds it, of `size` at guest physical `start`, is
    /// writable now.
    Dry {
        /// The guest physical address of the leaf.
        start: u64,
        /// How much became writable.
        size: Size,
    },
    /// Mapped without write permission for another reason.
    NotWatched(Leaf),
    /// Not mapped.
    Absent,
}

/// Where a leaf lies.
pub(super) struct Place {
    table: u64,
    index: usize,
    size: Size,
    entry: u64,
}

impl<F: Format> Tree<F> {
    /// An empty tree with leaves no larger than `largest`: [`Size::Huge`] wants a CPU that has them.
    ///
    /// # Errors
    /// [`MapError::Dry`]: no table for the root.
    pub fn new<T: Tables>(tables: &mut T, largest: Size) -> Result<Self, MapError> {
        let (root, entries) = tables.take().ok_or(MapError::Dry)?;
        entries.fill(0);
        Ok(Self::from_root(root, largest))
    }

    pub(super) const fn from_root(root: u64, largest: Size) -> Self {
        Self { root, largest, grant: F::WRITE, last: 0, format: PhantomData }
    }

    /// The physical address of the root table, for `nCR3`, `CR3` or the EPT pointer.
    #[must_use]
    pub const fn root(&self) -> u64 {
        self.root
    }

    /// The leaf that maps guest physical `address`; `None` if nothing does.
    #[must_use]
    pub fn translate<T: Tables>(&self, tables: &T, address: u64) -> Option<Leaf> {
        let mut open = true;
        let place = self.seek(tables, address, |_, _, _, link| open &= F::may_write(link)).ok()?;
        Some(Self::describe(if open { place.entry } else { F::without_write(place.entry) }, place.size))
    }

    /// The largest block around guest physical `address` of which nothing is mapped; `None` if `address` is.
    #[must_use]
    pub fn hole<T: Tables>(&self, tables: &T, address: u64) -> Option<Size> {
        self.seek(tables, address, |_, _, _, _| {}).err()
    }

    #[inline]
    pub(super) fn describe(entry: u64, size: Size) -> Leaf {
        Leaf {
            address: F::address(entry, size),
            size,
            rights: F::rights(entry),
            kind: F::memory_type(entry, size),
            watched: F::is_watched(entry),
        }
    }

    /// Whether a present entry of a table of `level` is a leaf.
    #[inline]
    pub(super) fn is_leaf(entry: u64, level: u32) -> bool {
        Size::at(level).is_some_and(|size| F::is_leaf(entry, size))
    }

    /// The leaf that maps `address`, each link on the way to it opened for writing.
    #[inline]
    fn reach<T: Tables>(&self, tables: &mut T, address: u64) -> Option<Place> {
        let open = |tables: &T, table, index, link| {
            self.open(tables, table, index, link);
        };
        self.seek(tables, address, open).ok()
    }

    /// The leaf that maps `address`; if there is none, how large a block around it is not mapped. Calls `visitor` with each link
    /// on the way: table, index, entry.
    #[inline]
    fn seek<T: Tables>(
        &self,
        tables: &T,
        address: u64,
        mut visitor: impl FnMut(&T, u64, usize, u64),
    ) -> Result<Place, Size> {
        if address >= ADDRESS_END {
            return Err(Size::Huge);
        }
        let link = tables.entry(self.root, index(address, ROOT_LEVEL)).load(Ordering::Acquire);
        if !F::is_present(link) {
            return Err(Size::Huge);
        }
        visitor(tables, self.root, index(address, ROOT_LEVEL), link);
        let mut table = F::table_address(link);
        for (level, size) in [(2, Size::Huge), (1, Size::Large)] {
            let index = index(address, level);
            let entry = tables.entry(table, index).load(Ordering::Acquire);
            if !F::is_present(entry) {
                return Err(size);
            }
            if F::is_leaf(entry, size) {
                return Ok(Place { table, index, size, entry });
            }
            visitor(tables, table, index, entry);
            table = F::table_address(entry);
        }
        let (index, size) = (index(address, 0), Size::Page);
        let entry = tables.entry(table, index).load(Ordering::Acquire);
        if F::is_present(entry) { Ok(Place { table, index, size, entry }) } else { Err(size) }
    }

    /// Answers a write fault at guest physical `address`. A watched leaf is split down to 4 KiB, all parts watched, and only
    /// the page of `address` becomes writable. No flush is needed.
    ///
    /// With a dry reserve the leaf becomes writable as a whole ([`Resolution::Dry`]; of a 1 GiB leaf, if one table was left,
    /// the 2 MiB around `address`). Other CPUs may write there from that moment: whoever keeps what pages held before copies
    /// the page *before* this call and counts the rest of such a leaf as lost.
    #[inline]
    pub fn resolve_write<T: Tables>(&self, tables: &mut T, address: u64) -> Resolution {
        self.resolve_block(tables, address, |_| Size::Page)
    }

    /// The same, but if the page is watched, `keep` is called before anything can be written. All of the block around `address`
    /// that it returns may become writable: larger leaves are split only down to it, others become writable as they are.
    #[inline]
    pub fn resolve_block<T: Tables>(
        &self,
        tables: &mut T,
        address: u64,
        keep: impl FnOnce(&mut T) -> Size,
    ) -> Resolution {
        let Some(place) = self.reach(tables, address) else { return Resolution::Absent };
        if F::may_write(place.entry) {
            return Resolution::Writable;
        }
        if !F::is_watched(place.entry) {
            return Resolution::NotWatched(Self::describe(place.entry, place.size));
        }
        let most = keep(tables);
        let granted = self.granted(place.entry);
        let (new, answer) = match place.size {
            Size::Page => (granted, Resolution::Granted { split: false }),
            size if size <= most => (granted, Resolution::Granted { split: false }),
            Size::Large => match self.split_for_write(tables, place.entry, address) {
                Some(table) => (self.link(table, place.entry), Resolution::Granted { split: true }),
                None => (granted, dry(address, Size::Large)),
            },
            Size::Huge => match Self::parts(tables, place.entry, Size::Huge) {
                Some(outer) => {
                    let inner = tables.entry(outer, index(address, 1)).load(Ordering::Relaxed);
                    let whole = (self.granted(inner), Resolution::Granted { split: true });
                    let (new, answer) = if most == Size::Large {
                        whole
                    } else {
                        match self.split_for_write(tables, inner, address) {
                            Some(table) => (self.link(table, inner), Resolution::Granted { split: true }),
                            None => (whole.0, dry(address, Size::Large)),
                        }
                    };
                    tables.entry(outer, index(address, 1)).store(new, Ordering::Relaxed);
                    (self.link(outer, place.entry), answer)
                }
                None => (granted, dry(address, Size::Huge)),
            },
        };
        // The only store that walkers can see; with release order what it links is complete for them.
        tables.entry(place.table, place.index).store(new, Ordering::Release);
        answer
    }

    /// A table, not linked, with the parts of the 2 MiB leaf `entry`, the one of `address` writable. `None`: dry.
    #[inline]
    fn split_for_write<T: Tables>(&self, tables: &mut T, entry: u64, address: u64) -> Option<u64> {
        let (table, entries) = tables.take()?;
        fill::<F>(entries, entry, Size::Large);
        let page = &mut entries[index(address, 0)];
        *page = self.granted(*page);
        Some(table)
    }

    /// A table, not linked, with the parts of the leaf `entry`. `None`: dry.
    fn parts<T: Tables>(tables: &mut T, entry: u64, size: Size) -> Option<u64> {
        let (table, entries) = tables.take()?;
        fill::<F>(entries, entry, size);
        Some(table)
    }

    /// Splits the leaf at an entry, which has to be one of `size`, and returns the new table. What is mapped stays the same.
    pub(super) fn split<T: Tables>(
        &self,
        tables: &mut T,
        table: u64,
        index: usize,
        size: Size,
    ) -> Result<u64, MapError> {
        let entry = tables.entry(table, index).load(Ordering::Relaxed);
        let parts = Self::parts(tables, entry, size).ok_or(MapError::Dry)?;
        tables.entry(table, index).store(self.link(parts, entry), Ordering::Release);
        Ok(parts)
    }

    /// Makes `boundary` a boundary between leaves, unless the leaf across it is one that `change` leaves as it is.
    pub(super) fn split_at<T: Tables>(
        &self,
        tables: &mut T,
        boundary: u64,
        change: &impl Fn(u64) -> u64,
    ) -> Result<(), MapError> {
        while let Some(place) = self.reach(tables, boundary) {
            if boundary.is_multiple_of(place.size.bytes()) || change(place.entry) == place.entry {
                break;
            }
            self.split(tables, place.table, place.index, place.size)?;
        }
        Ok(())
    }
}

/// Writes the parts of the leaf `entry` of `size` into a table that is not linked yet.
#[inline]
fn fill<F: Format>(entries: &mut [u64; ENTRIES], entry: u64, size: Size) {
    // Most of what answering a fault costs. Sixteen sums side by side stay in registers, so that two entries want about one
    // addition and one store; with a single sum each store would want a copy of it, too.
    const LANES: usize = 16;
    let (first, step) = F::parts(entry, size);
    let mut lanes = [first; LANES];
    for (lane, part) in lanes.iter_mut().enumerate() {
        *part = part.wrapping_add(step * lane as u64);
    }
    for chunk in entries.as_chunks_mut::<LANES>().0 {
        *chunk = lanes;
        for part in &mut lanes {
            *part = part.wrapping_add(step * LANES as u64);
        }
    }
}

#[inline]
const fn dry(address: u64, size: Size) -> Resolution {
    Resolution::Dry { start: address & !(size.bytes() - 1), size }
}
