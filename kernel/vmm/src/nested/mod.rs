//! Nested page tables as pure logic: from guest physical to host physical addresses, for AMD ([`Npt`]), Intel ([`Ept`])
//! and, because the format is the same, for the VMM's own host page tables ([`LongMode`]).
//!
//! - [`Format`]: how a vendor writes an entry (`format.rs`). Functions without state, so that all inlines.
//! - [`Tables`]: where tables come from and how they are read and written. The real one lives over the VMM's reserve.
//! - [`Tree`]: the tree itself; mapping, protecting, watching for writes (`tree.rs` finds and splits, `edit.rs` changes ranges,
//!   `protect.rs` takes write permission from everything at once, `walk.rs` visits).
//! - [`build_identity`]: the tree that the running system is put on when the VMM slips beneath it (`build.rs`).
//!
//! # Walkers run at the same time
//! Other CPUs' page walkers read a tree while it is changed. Every change of what they can reach is therefore one atomic store
//! to one entry, and a new table is linked (release order) only when all its 512 entries stand. Changes come from one CPU at a
//! time: every operation that changes a tree wants [`Tables`] exclusively. Hardware changes nothing: the accessed and dirty
//! bits of all entries are set from the beginning.
//!
//! # Flushing
//! Whoever takes something away or exchanges it (`unmap`, `protect`, `watch`, `protect_all`, `map` and `map_to` over another mapping) flushes
//! the translations of all CPUs afterwards. Whoever gives something (`unwatch`, `thaw`, `resolve_write`, `map` where nothing was) or
//! only splits does not have to: an older translation is the same but narrower in its rights, and the fault that it causes
//! drops it and walks anew.
//!
//! # Tables never go back while walkers live
//! A walker may keep the address of a table in its caches, so no operation on a living tree gives a table back, not even one
//! that `unmap` emptied. [`Tree::merge`] and [`Tree::dismantle`] do; their callers have stopped all CPUs.
//!
//! # A guest's page tables
//! On AMD the walk of a guest's page tables counts as a write to them (APM vol. 2, 15.25.5). So a watched page that holds
//! guest page tables faults at its first use, not only when it changes; [`Tree::resolve_write`] serves both.

#![forbid(unsafe_code)]

mod build;
mod edit;
pub mod format;
mod protect;
#[cfg(test)]
mod tests;
mod tree;
mod walk;

use core::sync::atomic::AtomicU64;

pub use build::{Layout, always_write_back, build_identity, tables_at_most, tables_needed};
pub use format::{Ept, Format, LongMode, Npt};
pub use protect::LEAST_THAWED;
pub use tree::{Leaf, Resolution, Tree};
pub use walk::Census;

/// Entries of a table.
pub const ENTRIES: usize = 512;

/// Addresses of a tree of four levels are below this, in bytes.
pub const ADDRESS_END: u64 = 1 << 48;

/// Tables of 4 KiB in physical memory.
pub trait Tables {
    /// An entry of a table that is in use; other CPUs' page walkers may read it at the same time. `table` came from
    /// [`take`](Self::take), `index` is below [`ENTRIES`].
    fn entry(&self, table: u64, index: usize) -> &AtomicU64;

    /// All entries of a table that is in use.
    fn entries(&self, table: u64) -> &[AtomicU64; ENTRIES];

    /// Takes a table out of the reserve: its physical address, a multiple of 4 KiB, and its entries. Their content is
    /// arbitrary; the table is linked nowhere yet, so plain stores do. `None`: the reserve is dry.
    fn take(&mut self) -> Option<(u64, &mut [u64; ENTRIES])>;

    /// Gives back a table that no walker can reach any more.
    fn give_back(&mut self, table: u64);
}

/// How much a leaf maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Size {
    /// 4 KiB.
    Page,
    /// 2 MiB.
    Large,
    /// 1 GiB.
    Huge,
}

impl Size {
    /// The length in bytes.
    #[inline]
    #[must_use]
    pub const fn bytes(self) -> u64 {
        1 << shift(self as u32)
    }

    /// The size of leaves at a level, 0 the lowest; the highest level has none.
    #[inline]
    const fn at(level: u32) -> Option<Self> {
        match level {
            0 => Some(Self::Page),
            1 => Some(Self::Large),
            2 => Some(Self::Huge),
            _ => None,
        }
    }
}

/// The highest level, that of the root.
const ROOT_LEVEL: u32 = 3;

/// The lowest address bit that a level (0 to [`ROOT_LEVEL`]) looks at.
#[inline]
const fn shift(level: u32) -> u32 {
    12 + 9 * level
}

/// The index of `address` in a table of `level`, below [`ENTRIES`].
#[inline]
const fn index(address: u64, level: u32) -> usize {
    (address >> shift(level)) as usize & (ENTRIES - 1)
}

/// What a mapping allows besides reading, which its presence implies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    /// Writing.
    pub write: bool,
    /// Fetching instructions.
    pub execute: bool,
}

impl Rights {
    /// Read, write, execute.
    pub const ALL: Self = Self { write: true, execute: true };
    /// Read only.
    pub const READ: Self = Self { write: false, execute: false };
    /// Read and execute.
    pub const READ_EXECUTE: Self = Self { write: false, execute: true };
    /// Read and write.
    pub const READ_WRITE: Self = Self { write: true, execute: false };
}

/// How memory is cached (APM vol. 2, 7.4; SDM vol. 3, "Memory types").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryType {
    /// Cached, written back later: ordinary memory, and where other rules (guest PAT, MTRRs) shall decide.
    WriteBack,
    /// Not cached, not reordered.
    Uncached,
    /// Not cached, writes gathered.
    WriteCombining,
    /// Cached, written at once.
    WriteThrough,
    /// Reads cached, writes not.
    WriteProtected,
}

/// Why a change failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapError {
    /// The reserve has no table left. The tree is whole; each operation says what it has done by then.
    Dry,
    /// The range is not of whole pages, runs backwards or ends above [`ADDRESS_END`]. Nothing was done.
    Range,
}
