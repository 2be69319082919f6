//! The system's memory as the VMM gives it: nested tables, the sink, device memory that is taken away, and the snapshot over it all.

mod absorbed;

use crate::frozen::{Frozen, FrozenError, Pages, Span, SpanError, Stage};
use crate::nested::{
    ENTRIES, Format, Leaf, LongMode, MapError, MemoryType, Resolution, Rights, Size, Tables, Tree,
};
use crate::takeover::Plan;
use absorbed::Absorbed;
use core::ops::Range;

pub use absorbed::{AbsorbError, MOST_ABSORBED};

/// Bytes of a page.
pub const PAGE: u64 = 4096;
/// How many tables a call looks at while write permission is given back.
const THAW_STEPS: u32 = 8;
/// Frames that [`Memory::written`] tells of at a time: what as many tables map as are looked at for a thaw.
pub const TOLD: u64 = THAW_STEPS as u64 * ENTRIES as u64;
/// How many donated spans a call gives back.
const RETURN_STEPS: usize = 8;

/// Why the memory is not changed as asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryError {
    /// A snapshot is held, or being undone.
    Busy,
    /// There is no snapshot.
    None,
    /// The snapshot has lost a page.
    Spoilt,
    /// A range is not what it should be. Nothing was done.
    Range,
    /// Tables, or places in a list, are used up. Nothing was done.
    Dry,
}

impl From<FrozenError> for MemoryError {
    fn from(error: FrozenError) -> Self {
        match error {
            FrozenError::Stage => Self::None,
            FrozenError::Spoilt => Self::Spoilt,
            FrozenError::Absent => Self::Range,
        }
    }
}

impl From<SpanError> for MemoryError {
    fn from(error: SpanError) -> Self {
        match error {
            SpanError::Full => Self::Dry,
            SpanError::Overlap => Self::Range,
        }
    }
}

impl From<MapError> for MemoryError {
    fn from(error: MapError) -> Self {
        match error {
            MapError::Dry => Self::Dry,
            MapError::Range => Self::Range,
        }
    }
}

/// Whether what the VMM's own tables map is RAM that it may write.
#[inline]
fn is_ram(leaf: Leaf) -> bool {
    leaf.rights.write && leaf.kind == MemoryType::WriteBack
}

/// What a leaf maps that maps `address`.
#[inline]
fn around(address: u64, leaf: Leaf) -> Span {
    let start = address & !(leaf.size.bytes() - 1);
    Span { start, end: start + leaf.size.bytes() }
}

/// Nested tables and where they come from.
#[derive(Debug)]
pub struct Memory<F: Format, T> {
    /// The tree.
    pub tree: Tree<F>,
    /// The VMM's own tables: what they map for writing, write back, is RAM.
    pub(crate) host: Tree<LongMode>,
    /// A part of it that is known to be RAM: where the last first write was.
    ram: Span,
    /// Tables of both.
    pub tables: T,
    /// The page that takes the place of a forbidden one while an access to it is let pass.
    pub sink: u64,
    /// The forbidden page that leads to the sink.
    sunk: Option<u64>,
    /// The first page of ones for device memory that is away; those for further ranges follow.
    ones: u64,
    /// Device memory that is away.
    absorbed: [Option<Absorbed>; MOST_ABSORBED],
    /// The snapshot.
    pub frozen: Frozen,
    /// Where giving write permission back goes on.
    cursor: Option<u64>,
    /// What is written from the next freeze on is to be recorded.
    record: bool,
    /// There may be something to settle: split leaves, named memory.
    unsettled: bool,
}

impl<F: Format, T: Tables + Pages> Memory<F, T> {
    /// Tables with a sink page, and [`MOST_ABSORBED`] pages from `ones` on.
    pub fn new(tree: Tree<F>, host: Tree<LongMode>, tables: T, sink: u64, ones: u64, frozen: Frozen) -> Self {
        let ram = Span::default();
        Self {
            tree,
            host,
            ram,
            tables,
            sink,
            sunk: None,
            ones,
            absorbed: [None; MOST_ABSORBED],
            frozen,
            cursor: None,
            record: false,
            unsettled: false,
        }
    }

    /// Lets one page of the reserve lead to the sink, and no other any more. False if the tables are used up.
    pub fn let_sink(&mut self, address: u64) -> bool {
        self.unsettled = true;
        self.guard_sunk();
        let page = address & !(PAGE - 1);
        let rights = Rights::READ_WRITE;
        let mapped = self.tree.map_to(&mut self.tables, page, self.sink, rights, MemoryType::WriteBack);
        self.sunk = mapped.is_ok().then_some(page);
        mapped.is_ok()
    }

    /// No page leads to the sink any more.
    fn guard_sunk(&mut self) {
        if let Some(old) = self.sunk.take() {
            // A page that was mapped alone needs no table to be unmapped.
            let _ = self.tree.unmap(&mut self.tables, old..old + PAGE);
        }
    }

    /// Maps device memory that nobody knew of, as it is.
    ///
    /// # Errors
    /// See [`Tree::map`].
    pub fn map_device(&mut self, range: Range<u64>) -> Result<(), MapError> {
        self.unsettled = true;
        self.tree.map(&mut self.tables, range, Rights::ALL, F::UNKNOWN)
    }

    /// Begins or ends watching a range for writes.
    ///
    /// # Errors
    /// [`MemoryError::Busy`], [`MemoryError::Dry`], [`MemoryError::Range`].
    pub fn watch(&mut self, on: bool, range: Range<u64>) -> Result<(), MemoryError> {
        // A snapshot watches everything, and its end unwatches everything.
        if self.frozen.stage() != Stage::Idle {
            return Err(MemoryError::Busy);
        }
        self.unsettled = true;
        let tables = &mut self.tables;
        let done = if on { self.tree.watch(tables, range) } else { self.tree.unwatch(tables, range) };
        Ok(done?)
    }

    /// Answers a write fault at a guest-physical address, after the page was kept for the snapshot, if there is one.
    #[inline]
    pub fn resolve_write(&mut self, address: u64) -> Resolution {
        if self.frozen.stage() == Stage::Idle && !self.tree.is_recording() {
            return self.tree.resolve_write(&mut self.tables, address);
        }
        self.resolve_frozen(address)
    }

    fn resolve_frozen(&mut self, address: u64) -> Resolution {
        let Self { tree, host, tables, frozen, ram, .. } = self;
        let recorded = tree.is_recording();
        // A page that another CPU has written meanwhile is not kept a second time, with another content.
        let answer = tree.resolve_block(tables, address, |tables| {
            if !(ram.start..ram.end).contains(&address) {
                match host.translate(tables, address) {
                    Some(leaf) if is_ram(leaf) => *ram = around(address, leaf),
                    // A device that the VMM uses itself.
                    Some(_) => return Size::Page,
                    None => return host.hole(tables, address).unwrap_or(Size::Page),
                }
            }
            frozen.keep(tables, address, recorded)
        });
        if let Resolution::Dry { .. } = answer {
            frozen.spoil();
        }
        answer
    }

    /// Whether all of `span` is RAM that the VMM can write.
    pub(crate) fn is_ram(&self, span: Span) -> bool {
        let mut at = span.start;
        while at < span.end {
            match self.host.translate(&self.tables, at) {
                Some(leaf) if is_ram(leaf) => {
                    at = around(at, leaf).end;
                }
                _ => return false,
            }
        }
        true
    }

    /// Whether memory may be named for a snapshot to come.
    fn is_free(&self, span: Span) -> Result<(), MemoryError> {
        if self.frozen.stage() != Stage::Idle {
            return Err(MemoryError::Busy);
        }
        let named = self.frozen.exempt.overlaps(span) || self.frozen.arena.donated.overlaps(span);
        if named || !self.is_ram(span) { Err(MemoryError::Range) } else { Ok(()) }
    }

    /// Takes memory of the system's for copies, until [`Memory::thaw`]. The system can't write it any more, so that no mistake of its
    /// own becomes one of the VMM's. Wants a flush.
    ///
    /// # Errors
    /// [`MemoryError::Busy`], [`MemoryError::Range`], [`MemoryError::Dry`].
    pub fn donate(&mut self, span: Span) -> Result<(), MemoryError> {
        self.is_free(span)?;
        self.frozen.arena.donated.insert(span)?;
        self.unsettled = true;
        self.frozen.arena.stock_up(&mut self.tables);
        let taken = self.tree.protect(&mut self.tables, span.start..span.end, Rights::READ);
        Ok(taken.inspect_err(|_| self.frozen.arena.donated.remove(span))?)
    }

    /// Names memory that is no part of the snapshot to come.
    ///
    /// # Errors
    /// [`MemoryError::Busy`], [`MemoryError::Range`], [`MemoryError::Dry`].
    pub fn exempt(&mut self, span: Span) -> Result<(), MemoryError> {
        self.is_free(span)?;
        self.unsettled = true;
        self.frozen.arena.stock_up(&mut self.tables);
        Ok(self.frozen.exempt.insert(span)?)
    }

    /// Has what is written from the next freeze on recorded, for the freeze after it. The record ends with [`Memory::thaw`] unless that
    /// keeps it, on the bare machine, and when another system takes over.
    ///
    /// # Errors
    /// [`MemoryError::Busy`].
    pub fn record(&mut self) -> Result<(), MemoryError> {
        if self.frozen.stage() != Stage::Idle {
            return Err(MemoryError::Busy);
        }
        self.record = true;
        Ok(())
    }

    /// Whether it can be frozen: no snapshot is held, nor is device memory away, which no system that is restored would give back.
    pub fn can_freeze(&self) -> bool {
        self.frozen.stage() == Stage::Idle && !self.is_absorbing()
    }

    /// Freezes: all CPUs stand still in the VMM, and flush before they go on.
    ///
    /// # Errors
    /// [`MemoryError::Busy`].
    pub fn freeze(&mut self) -> Result<(), MemoryError> {
        if !self.can_freeze() {
            return Err(MemoryError::Busy);
        }
        self.unsettled = true;
        self.frozen.begin();
        self.tree.turn(core::mem::take(&mut self.record));
        self.tree.protect_all(&mut self.tables);
        Ok(())
    }

    /// Puts the pages of another system in their places: all CPUs stand still in the VMM, and flush before they go on.
    pub fn take_over(&mut self, plan: Plan) {
        // What was written before is of a system that is gone.
        if self.tree.is_recording() {
            self.forget();
        }
        self.release_all();
        plan.carry_out(&mut self.tables);
    }

    /// Copies what frames held at the freeze to exempt memory. See [`Frozen::fetch`].
    ///
    /// # Errors
    /// [`MemoryError::None`], [`MemoryError::Spoilt`], [`MemoryError::Range`].
    pub fn fetch(&mut self, span: Span, to: u64) -> Result<(), MemoryError> {
        if !self.is_ram(span) {
            return Err(MemoryError::Range);
        }
        Ok(self.frozen.fetch(&mut self.tables, span, to)?)
    }

    /// Writes a frozen CPU's state to a page of exempt memory.
    ///
    /// # Errors
    /// [`MemoryError::None`], [`MemoryError::Spoilt`], [`MemoryError::Range`].
    pub fn fetch_state(&mut self, state: &x86defs::state::CpuState, to: Span) -> Result<(), MemoryError> {
        self.frozen.check()?;
        if !self.frozen.exempt.contains(to) {
            return Err(MemoryError::Range);
        }
        self.tables.put_state(to.start, state);
        Ok(())
    }

    /// Says that all below `to` was sent. See [`Frozen::pass`].
    ///
    /// # Errors
    /// [`MemoryError::None`], [`MemoryError::Spoilt`], [`MemoryError::Range`].
    pub fn pass(&mut self, to: u64) -> Result<u64, MemoryError> {
        Ok(self.frozen.pass(&mut self.tables, to)?)
    }

    /// Tells which of the [`TOLD`] frames from `start` on, a multiple of as many, were RAM that could be written between the freeze before
    /// this one and this one: a bit for each, ascending, at the beginning of a page of exempt memory. Returns how many.
    ///
    /// # Errors
    /// [`MemoryError::None`]: no snapshot, or it was not recorded. [`MemoryError::Spoilt`], [`MemoryError::Range`].
    pub fn written(&mut self, start: u64, to: Span) -> Result<u64, MemoryError> {
        self.frozen.check()?;
        if !self.tree.can_tell() {
            return Err(MemoryError::None);
        }
        if !start.is_multiple_of(TOLD * PAGE) || !self.frozen.exempt.contains(to) {
            return Err(MemoryError::Range);
        }
        let range = start..start.checked_add(TOLD * PAGE).ok_or(MemoryError::Range)?;
        let (mut bits, mut ram) = ([0u64; TOLD as usize / 64], Span::default());
        self.tree.written(&self.tables, &range, &mut |address, size| {
            let end = (address + size.bytes()).min(range.end);
            for page in (address.max(start)..end).step_by(PAGE as usize) {
                if !(ram.start..ram.end).contains(&page) {
                    match self.host.translate(&self.tables, page) {
                        Some(leaf) if is_ram(leaf) => ram = around(page, leaf),
                        _ => continue,
                    }
                }
                let bit = (page - start) / PAGE;
                bits[bit as usize / 64] |= 1 << (bit % 64);
            }
        });
        for (word, at) in bits.iter().zip((to.start..).step_by(8)) {
            self.tables.set_word(at, *word);
        }
        Ok(bits.iter().map(|word| u64::from(word.count_ones())).sum())
    }

    /// Ends the snapshot, or what was prepared for one: gives write permission and donated memory back, a part each call. Whether more
    /// is left. `keep`: what is written is still recorded, where it is, so write permission is not given back but at first writes.
    pub fn thaw(&mut self, keep: bool) -> bool {
        match self.frozen.stage() {
            Stage::Frozen => {
                self.frozen.end();
                if !(keep && self.tree.is_recording()) {
                    self.tree.forget();
                    self.cursor = Some(0);
                }
            }
            Stage::Idle => {
                self.record = false;
                self.frozen.end();
            }
            Stage::Thawing => {}
        }
        if let Some(from) = self.cursor {
            self.cursor = self.tree.thaw(&mut self.tables, from, THAW_STEPS);
            return true;
        }
        for _ in 0..RETURN_STEPS {
            let Some(span) = self.frozen.arena.donated.pop() else {
                self.frozen.over();
                return false;
            };
            // Its edges are edges of leaves since it was donated, so no table is needed.
            let _ = self.tree.protect(&mut self.tables, span.start..span.end, Rights::ALL);
        }
        true
    }

    /// Ends the snapshot, if there is one, and the record.
    fn forget(&mut self) {
        if self.tree.forget() {
            self.cursor = Some(0);
        }
        while self.thaw(false) {}
    }

    /// On the bare machine, where nobody walks the tree: ends what would only hold in guest mode, and joins what was split.
    /// Returns how many tables are free again.
    pub fn settle(&mut self) -> u64 {
        if !core::mem::take(&mut self.unsettled) {
            return 0;
        }
        self.forget();
        self.guard_sunk();
        self.release_all();
        self.tree.merge(&mut self.tables)
    }
}
