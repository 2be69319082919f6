//! The tree that the running system is put on: everything where it is, but for the VMM's reserve and the kernel's text.

use core::ops::Range;
use core::sync::atomic::Ordering;

use super::edit::check;
use super::{ENTRIES, Format, MapError, MemoryType, ROOT_LEVEL, Rights, Size, Tables, Tree, shift};

/// What an identity tree looks like. Ranges are of whole pages and may be empty; where they overlap, the first counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The largest leaves that the CPU has.
    pub largest: Size,
    /// All below this is mapped, memory, devices and what lies between alike, the first MiB among it. In bytes, a multiple
    /// of 1 GiB.
    pub top: u64,
    /// Not mapped: the VMM's reserve. Empty for the VMM's own tables.
    pub absent: Range<u64>,
    /// The kernel's text: read and execute.
    pub text: Range<u64>,
    /// The kernel's constants: read.
    pub constants: Range<u64>,
}

/// The memory types of AMD's nested tables: write back everywhere, because the guest's PAT and the MTRRs combine with it (APM
/// vol. 2, 15.25.8). Devices stay uncached by the MTRRs, as they were without nesting.
#[must_use]
pub const fn always_write_back(_: Range<u64>) -> Option<MemoryType> {
    Some(MemoryType::WriteBack)
}

/// What a stretch of a level's leaf size becomes.
enum Cover {
    Absent,
    Leaf(Size, Rights, MemoryType),
    Mixed,
}

impl Layout {
    fn check(&self) -> Result<(), MapError> {
        for range in [&(0..self.top), &self.absent, &self.text, &self.constants] {
            check(range)?;
        }
        if self.top.is_multiple_of(Size::Huge.bytes()) { Ok(()) } else { Err(MapError::Range) }
    }

    /// Rights in `stretch`: `None` where absent, an error where they are not the same everywhere.
    fn rights(&self, stretch: &Range<u64>) -> Result<Option<Rights>, ()> {
        let special = [
            (&self.absent, None),
            (&self.text, Some(Rights::READ_EXECUTE)),
            (&self.constants, Some(Rights::READ)),
            (&(self.top..u64::MAX), None),
        ];
        for (range, rights) in special {
            if range.start <= stretch.start && stretch.end <= range.end {
                return Ok(rights);
            }
            if range.start < stretch.end && stretch.start < range.end && !range.is_empty() {
                return Err(());
            }
        }
        Ok(Some(Rights::ALL))
    }

    fn cover(
        &self,
        level: u32,
        start: u64,
        memory_type: &impl Fn(Range<u64>) -> Option<MemoryType>,
    ) -> Cover {
        let stretch = start..start + (1 << shift(level));
        let rights = match self.rights(&stretch) {
            Ok(None) => return Cover::Absent,
            Ok(Some(rights)) => rights,
            Err(()) => return Cover::Mixed,
        };
        let Some(size) = Size::at(level).filter(|size| *size <= self.largest) else { return Cover::Mixed };
        match memory_type(stretch) {
            Some(kind) => Cover::Leaf(size, rights, kind),
            // Types that change within a page: the strictest is the safe one.
            None if size == Size::Page => Cover::Leaf(size, rights, MemoryType::Uncached),
            None => Cover::Mixed,
        }
    }

    fn build<F: Format, T: Tables>(
        &self,
        tables: &mut T,
        level: u32,
        base: u64,
        memory_type: &impl Fn(Range<u64>) -> Option<MemoryType>,
    ) -> Result<u64, MapError> {
        let (table, entries) = tables.take().ok_or(MapError::Dry)?;
        entries.fill(0);
        for index in 0..ENTRIES {
            let start = base + ((index as u64) << shift(level));
            let entry = match self.cover(level, start, memory_type) {
                Cover::Absent => continue,
                Cover::Leaf(size, rights, kind) => F::leaf(start, size, rights, kind),
                Cover::Mixed => match self.build::<F, T>(tables, level - 1, start, memory_type) {
                    Ok(lower) => F::table(lower),
                    Err(error) => {
                        Tree::<F>::dismantle_below(tables, table, level);
                        return Err(error);
                    }
                },
            };
            tables.entry(table, index).store(entry, Ordering::Relaxed);
        }
        Ok(table)
    }

    fn count(&self, level: u32, base: u64, memory_type: &impl Fn(Range<u64>) -> Option<MemoryType>) -> u64 {
        let mut tables = 1;
        for index in 0..ENTRIES as u64 {
            let start = base + (index << shift(level));
            if let Cover::Mixed = self.cover(level, start, memory_type) {
                tables += self.count(level - 1, start, memory_type);
            }
        }
        tables
    }
}

/// Builds the identity tree of `layout`, of the largest leaves possible. `memory_type` says which type a stretch (4 KiB, 2 MiB
/// or 1 GiB, aligned) has: [`always_write_back`] on AMD, on Intel what the MTRRs say (SDM vol. 3, 29.3.7). `None`: not the same
/// everywhere, so that smaller stretches are asked; a page without one type becomes uncached.
///
/// # Errors
/// [`MapError::Range`]: the layout breaks its rules. [`MapError::Dry`]: the reserve has fewer tables than [`tables_needed`]
/// says. Either way all tables are back in the reserve.
pub fn build_identity<F: Format, T: Tables>(
    tables: &mut T,
    layout: &Layout,
    memory_type: impl Fn(Range<u64>) -> Option<MemoryType>,
) -> Result<Tree<F>, MapError> {
    layout.check()?;
    let root = layout.build::<F, T>(tables, ROOT_LEVEL, 0, &memory_type)?;
    Ok(Tree::from_root(root, layout.largest))
}

/// How many tables [`build_identity`] takes, exactly.
///
/// # Errors
/// [`MapError::Range`]: the layout breaks its rules.
pub fn tables_needed(
    layout: &Layout,
    memory_type: impl Fn(Range<u64>) -> Option<MemoryType>,
) -> Result<u64, MapError> {
    layout.check()?;
    Ok(layout.count(ROOT_LEVEL, 0, &memory_type))
}

/// How many tables a tree has at most that maps nothing but [0, `top`), however it is split. `top` in bytes.
#[must_use]
pub const fn tables_at_most(top: u64) -> u64 {
    1 + top.div_ceil(1 << shift(3)) + top.div_ceil(1 << shift(2)) + top.div_ceil(1 << shift(1))
}
