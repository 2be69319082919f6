//! Page frames: a buddy allocator over the memory map, in three zones.
//!
//! Each frame has a byte that says whether a block begins there and what state it is in; free blocks are linked through
//! their own first words. Ordinary requests prefer memory above 4 GiB, which some devices and the 32-bit parts of booting
//! cannot reach, and come to the first GiB last: what lies there together is found through few page tables, nested ones too. In
//! a zone they begin at the lower end, so that what is used can be restored where there is less memory.

use super::map::{MemoryMap, PAGE};
use core::ops::Range;

/// Largest block: 2^18 pages, 1 GiB.
pub const MAX_ORDER: u32 = 18;
const ORDERS: usize = MAX_ORDER as usize + 1;

/// Below this lies the near zone, with the image; an address.
pub const NEAR_END: u64 = 1 << 30;
/// Below this, and not in the near zone, lies the low zone; an address.
pub const LOW_END: u64 = 1 << 32;

const ZONES: usize = 3;

/// Where a block may lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Anywhere, and as high as possible.
    Any,
    /// Below 4 GiB.
    Low,
    /// Near the image if possible, else anywhere.
    Near,
}

impl Place {
    /// The zones in which a block may lie, the best first.
    const fn zones(self) -> &'static [usize] {
        match self {
            Self::Any => &[2, 1, 0],
            Self::Low => &[1, 0],
            Self::Near => &[0, 1, 2],
        }
    }
}

const NONE: u8 = 0;
const FREE: u8 = 0x80;
const TAKEN: u8 = 0x40;

/// End of a list. Frame 0 is never handed out.
const NIL: u64 = 0;

/// Reads and writes words of physical memory that the allocator owns.
pub trait PhysicalWords {
    /// Reads the word at a multiple of 8.
    fn read(&self, address: u64) -> u64;
    /// Writes it.
    fn write(&mut self, address: u64, value: u64);
}

/// Why frames could not be taken back. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FreeError {
    /// Not handed out by this allocator, or not in this size, or given back already.
    NotTaken,
}

/// How much there is, in pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameStatistics {
    /// All that the allocator manages.
    pub total: u64,
    /// What is free.
    pub free: u64,
}

/// The allocator. `state` has a byte for each frame from 0 on.
pub struct Frames<'a, P> {
    memory: P,
    state: &'a mut [u8],
    lists: [[u64; ORDERS]; ZONES],
    /// A bit for each order whose list has a block.
    filled: [u32; ZONES],
    statistics: FrameStatistics,
}

/// Bytes of state that a map needs.
pub fn state_bytes(map: &MemoryMap) -> usize {
    (map.usable_end() / PAGE) as usize
}

fn zone(address: u64) -> usize {
    usize::from(address >= NEAR_END) + usize::from(address >= LOW_END)
}

/// Cuts `pages` pages from `start` into the fewest aligned blocks, the last first: of blocks that are linked so, the lowest is found first.
fn blocks(start: u64, pages: u64) -> impl Iterator<Item = (u64, u32)> {
    let (start, mut end) = (start / PAGE, start / PAGE + pages);
    core::iter::from_fn(move || {
        let left = end.checked_sub(start).filter(|&left| left > 0)?;
        let order = end.trailing_zeros().min(left.ilog2()).min(MAX_ORDER);
        end -= 1 << order;
        Some((end * PAGE, order))
    })
}

impl<'a, P: PhysicalWords> Frames<'a, P> {
    /// An allocator that manages nothing yet. `state` has [`state_bytes`] bytes and lies outside usable memory.
    pub fn new(memory: P, state: &'a mut [u8]) -> Self {
        state.fill(NONE);
        Self {
            memory,
            state,
            lists: [[NIL; ORDERS]; ZONES],
            filled: [0; ZONES],
            statistics: FrameStatistics { total: 0, free: 0 },
        }
    }

    /// Takes over the map's usable memory within a range. Each frame once, and it must be mapped by now.
    pub fn add(&mut self, map: &MemoryMap, range: core::ops::Range<u64>) {
        for region in map.usable().rev() {
            let start = region.start.max(range.start).max(PAGE);
            let end = region.end.min(range.end).min(self.state.len() as u64 * PAGE);
            let pages = end.saturating_sub(start) / PAGE;
            self.statistics.total += pages;
            for (block, order) in blocks(start, pages) {
                self.insert(block, order);
            }
        }
    }

    /// How much there is.
    pub fn statistics(&self) -> FrameStatistics {
        self.statistics
    }

    /// Addresses of the state.
    pub fn table(&self) -> Range<u64> {
        let Range { start, end } = self.state.as_ptr_range();
        start as u64..end as u64
    }

    fn link(&mut self, block: u64, order: u32) {
        let head = &mut self.lists[zone(block)][order as usize];
        let next = core::mem::replace(head, block);
        self.filled[zone(block)] |= 1 << order;
        self.memory.write(block, next);
        self.memory.write(block + 8, NIL);
        if next != NIL {
            self.memory.write(next + 8, block);
        }
        self.state[(block / PAGE) as usize] = FREE | order as u8;
    }

    fn unlink(&mut self, block: u64, order: u32) {
        let (next, previous) = (self.memory.read(block), self.memory.read(block + 8));
        if previous == NIL {
            self.lists[zone(block)][order as usize] = next;
            self.filled[zone(block)] &= !(u32::from(next == NIL) << order);
        } else {
            self.memory.write(previous, next);
        }
        if next != NIL {
            self.memory.write(next + 8, previous);
        }
        self.state[(block / PAGE) as usize] = NONE;
    }

    /// Frees a block and joins it with its buddies.
    fn insert(&mut self, mut block: u64, mut order: u32) {
        self.statistics.free += 1 << order;
        while order < MAX_ORDER {
            let buddy = block ^ PAGE << order;
            if self.state.get((buddy / PAGE) as usize) != Some(&(FREE | order as u8)) {
                break;
            }
            self.unlink(buddy, order);
            block = block.min(buddy);
            order += 1;
        }
        self.link(block, order);
    }

    fn take(&mut self, zone: usize, order: u32) -> Option<u64> {
        let (mut filled, mut lowest) = (self.filled[zone] >> order << order, None);
        while filled != 0 {
            let found = filled.trailing_zeros();
            filled &= filled - 1;
            let block = self.lists[zone][found as usize];
            if lowest.is_none_or(|(lowest, _)| block < lowest) {
                lowest = Some((block, found));
            }
        }
        let (block, found) = lowest?;
        self.unlink(block, found);
        for half in (order..found).rev() {
            self.link(block + (PAGE << half), half);
        }
        self.statistics.free -= 1 << order;
        Some(block)
    }

    /// A block of 2^`order` pages, aligned to its size. Not zeroed.
    pub fn allocate(&mut self, order: u32, place: Place) -> Option<u64> {
        if order > MAX_ORDER {
            return None;
        }
        let block = place.zones().iter().find_map(|zone| self.take(*zone, order))?;
        self.state[(block / PAGE) as usize] = TAKEN | order as u8;
        Some(block)
    }

    /// Takes back a block of this order.
    pub fn free(&mut self, block: u64, order: u32) -> Result<(), FreeError> {
        self.check_taken(block, order)?;
        self.state[(block / PAGE) as usize] = NONE;
        self.insert(block, order);
        Ok(())
    }

    fn check_taken(&self, block: u64, order: u32) -> Result<(), FreeError> {
        let is_taken = self.state.get((block / PAGE) as usize) == Some(&(TAKEN | order as u8));
        let is_block = order <= MAX_ORDER && block.is_multiple_of(PAGE);
        if is_taken && is_block { Ok(()) } else { Err(FreeError::NotTaken) }
    }

    /// Exactly `pages` contiguous pages, aligned to the next power of two.
    pub fn allocate_pages(&mut self, pages: u64) -> Option<u64> {
        let order = pages.checked_next_power_of_two()?.trailing_zeros();
        let start = self.allocate(order, Place::Any)?;
        for (block, order) in blocks(start, pages) {
            self.state[(block / PAGE) as usize] = TAKEN | order as u8;
        }
        for (block, order) in blocks(start + pages * PAGE, (1 << order) - pages) {
            self.insert(block, order);
        }
        Some(start)
    }

    /// Takes back what [`Frames::allocate_pages`] gave, with the same count.
    pub fn free_pages(&mut self, start: u64, pages: u64) -> Result<(), FreeError> {
        let taken = |(block, order): (u64, u32)| {
            self.state.get((block / PAGE) as usize) == Some(&(TAKEN | order as u8))
        };
        if !start.is_multiple_of(PAGE) || pages == 0 || !blocks(start, pages).all(taken) {
            return Err(FreeError::NotTaken);
        }
        for (block, order) in blocks(start, pages) {
            self.state[(block / PAGE) as usize] = NONE;
            self.insert(block, order);
        }
        Ok(())
    }
}

impl<P: PhysicalWords> Frames<'_, P> {
    /// Takes the first free frames of a span, which begins at a page, if there are any: from where on, and how many. They go back as
    /// [`Frames::allocate_pages`]' do.
    pub fn claim(&mut self, span: Range<u64>) -> Option<(u64, u64)> {
        let end = span.end.min(self.state.len() as u64 * PAGE);
        let (block, order, start) = (span.start..end).step_by(PAGE as usize).find_map(|at| {
            let (block, order) = self.free_block(at)?;
            Some((block, order, at))
        })?;
        let block_end = block + (PAGE << order);
        let stop = block_end.min(end);
        self.unlink(block, order);
        self.statistics.free -= 1 << order;
        let pages = (stop - start) / PAGE;
        for (block, order) in blocks(start, pages) {
            self.state[(block / PAGE) as usize] = TAKEN | order as u8;
        }
        for (start, end) in [(block, start), (stop, block_end)] {
            for (block, order) in blocks(start, (end - start) / PAGE) {
                self.insert(block, order);
            }
        }
        Some((start, pages))
    }

    /// The free block that a frame is in.
    fn free_block(&self, at: u64) -> Option<(u64, u32)> {
        (0..=MAX_ORDER).find_map(|order| {
            let block = at & !((PAGE << order) - 1);
            (self.state[(block / PAGE) as usize] == FREE | order as u8).then_some((block, order))
        })
    }

    /// Links the free blocks anew: a restored system has its table, but not what free frames held. What is not in `memory`, spans of whole
    /// pages that ascend, is not this machine's, and no longer managed.
    pub fn relink(&mut self, memory: &[Range<u64>]) {
        (self.lists, self.filled, self.statistics.free) = ([[NIL; ORDERS]; ZONES], [0; ZONES], 0);
        for frame in (0..self.state.len()).rev() {
            let state = self.state[frame];
            if state & FREE != 0 {
                let (block, pages) = (frame as u64 * PAGE, 1 << u32::from(state & !FREE).min(MAX_ORDER));
                // Not joined with their neighbors: those that could be had been when they were freed.
                self.keep(block, pages, memory, |frames, block, order| {
                    frames.link(block, order);
                    frames.statistics.free += 1 << order;
                });
            }
        }
    }

    /// Takes back a block of this order, of which a restored system has what is in `memory` alone, as it is for [`Frames::relink`].
    pub fn free_here(&mut self, block: u64, order: u32, memory: &[Range<u64>]) -> Result<(), FreeError> {
        self.check_taken(block, order)?;
        self.keep(block, 1 << order, memory, Self::insert);
        Ok(())
    }

    /// Manages no more of a block than is in `memory`: that goes to `f`, in blocks.
    fn keep(
        &mut self,
        block: u64,
        pages: u64,
        memory: &[Range<u64>],
        mut f: impl FnMut(&mut Self, u64, u32),
    ) {
        self.state[(block / PAGE) as usize] = NONE;
        self.statistics.total -= pages;
        for span in memory.iter().rev() {
            let (start, end) = (span.start.max(block), span.end.min(block + pages * PAGE));
            let kept = end.saturating_sub(start) / PAGE;
            self.statistics.total += kept;
            blocks(start, kept).for_each(|(block, order)| f(self, block, order));
        }
    }
}

/// Reads from a table of states, piece by piece, what was handed out: a table of another moment, which nobody changes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Taken {
    /// The frame whose byte is looked at next.
    next: u64,
}

impl Taken {
    /// Blocks that begin in a piece of the table: their addresses and orders, ascending. The piece's first byte is that of frame
    /// `first`; pieces come in order. What the CPUs' caches hold counts as handed out.
    pub fn read<'t>(&'t mut self, first: u64, states: &'t [u8]) -> impl Iterator<Item = (u64, u32)> + 't {
        core::iter::from_fn(move || {
            loop {
                let frame = self.next.max(first);
                let state = *states.get((frame - first) as usize)?;
                let order = u32::from(state & !(FREE | TAKEN)).min(MAX_ORDER);
                self.next = frame + if state == NONE { 1 } else { 1 << order };
                if state & TAKEN != 0 {
                    return Some((frame * PAGE, order));
                }
            }
        })
    }
}

/// Single frames kept by one CPU, so that most requests need no common lock.
pub struct FrameCache {
    frames: [u64; Self::CAPACITY],
    count: usize,
}

impl FrameCache {
    /// Most frames it holds; half of it is moved at a time.
    pub const CAPACITY: usize = 64;

    /// An empty cache.
    pub const fn new() -> Self {
        Self { frames: [0; Self::CAPACITY], count: 0 }
    }

    /// A frame, refilling from `source` when empty.
    pub fn take(&mut self, mut source: impl FnMut() -> Option<u64>) -> Option<u64> {
        if self.count == 0 {
            while self.count < Self::CAPACITY / 2 {
                let Some(frame) = source() else { break };
                self.frames[self.count] = frame;
                self.count += 1;
            }
        }
        self.count = self.count.checked_sub(1)?;
        Some(self.frames[self.count])
    }

    /// Keeps a frame, draining to `sink` when full.
    pub fn give(&mut self, frame: u64, mut sink: impl FnMut(u64)) {
        if self.count == Self::CAPACITY {
            for &old in &self.frames[..Self::CAPACITY / 2] {
                sink(old);
            }
            self.frames.copy_within(Self::CAPACITY / 2.., 0);
            self.count = Self::CAPACITY / 2;
        }
        self.frames[self.count] = frame;
        self.count += 1;
    }

    /// Frames held.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl Default for FrameCache {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
