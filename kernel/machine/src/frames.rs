//! The system's page frames: one allocator behind a lock, a cache for each CPU in front of it.

use crate::cpu::{self, MAX_CPUS};
pub use crate::memory::frames::Taken;
use crate::memory::frames::{
    FrameCache, FrameStatistics, Frames, LOW_END, PhysicalWords, Place, state_bytes,
};
use crate::memory::map::{MemoryMap, PAGE, Region, RegionKind};
use crate::sync::SpinLock;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};

struct Identity;

impl PhysicalWords for Identity {
    fn read(&self, address: u64) -> u64 {
        // SAFETY: the allocator asks only for frames it owns, and memory is identity-mapped.
        unsafe { (address as *const u64).read() }
    }

    fn write(&mut self, address: u64, value: u64) {
        // SAFETY: as above.
        unsafe { (address as *mut u64).write(value) }
    }
}

/// Spans of memory that are remembered; of a map with more the rest is not managed after a restore.
const SPANS: usize = 64;

crate::facts! {
    /// Where this machine has memory that may be used: starts and ends, ascending, then zeros.
    static MEMORY: [[AtomicU64; 2]; SPANS] = [const { [const { AtomicU64::new(0) }; 2] }; SPANS];
}

static FRAMES: SpinLock<Option<Frames<'static, Identity>>> = SpinLock::new(None);
static CACHES: [SpinLock<FrameCache>; MAX_CPUS] = [const { SpinLock::new(FrameCache::new()) }; MAX_CPUS];

/// Sets up the allocator with the usable memory below 4 GiB, which the boot page tables map. Returns false if no region
/// there can hold the allocator's own state.
pub(crate) fn init(map: &mut MemoryMap) -> bool {
    let bytes = (state_bytes(map) as u64).next_multiple_of(PAGE);
    let holds = |region: &&Region| region.start >= 1 << 20 && region.start + bytes <= region.end.min(LOW_END);
    let Some(&Region { start, .. }) = map.usable().find(holds) else { return false };
    map.insert(start, bytes, RegionKind::Kernel);
    // SAFETY: the region was usable and is now taken out of the map; it is mapped.
    let state = unsafe { core::slice::from_raw_parts_mut(start as *mut u8, state_bytes(map)) };
    let mut frames = Frames::new(Identity, state);
    frames.add(map, 0..LOW_END);
    for (place, region) in MEMORY.iter().zip(map.usable()) {
        place[0].store(region.start, Ordering::Relaxed);
        place[1].store(region.end, Ordering::Relaxed);
    }
    *FRAMES.lock() = Some(frames);
    true
}

/// Adds the memory above 4 GiB. Once, when the page tables reach it.
pub(crate) fn add_high(map: &MemoryMap) {
    if let Some(frames) = FRAMES.lock().as_mut() {
        frames.add(map, LOW_END..u64::MAX);
    }
}

/// What this machine has for frames.
fn memory() -> [Range<u64>; SPANS] {
    MEMORY.each_ref().map(|place| {
        let [start, end] = place.each_ref().map(|address| address.load(Ordering::Relaxed));
        start..end
    })
}

/// Makes the lists of free frames anew, in a system that was restored: before anybody asks for frames, or gives some back.
pub(crate) fn resume() {
    if let Some(frames) = FRAMES.lock().as_mut() {
        frames.relink(&memory());
    }
}

/// Gives a block back that was in use at a freeze, and is in no checkpoint: a restored system has as much of it as its machine.
pub fn free_here(block: u64, order: u32) {
    let result = FRAMES.lock().as_mut().map(|frames| frames.free_here(block, order, &memory()));
    debug_assert_eq!(result, Some(Ok(())), "frame {block:#x} of order {order}");
}

/// A block of 2^`order` pages, aligned to its size. Not zeroed.
pub fn allocate(order: u32) -> Option<u64> {
    let from_all = |order| FRAMES.lock().as_mut()?.allocate(order, Place::Any);
    if order == 0 { CACHES[cpu::id()].lock().take(|| from_all(0)) } else { from_all(order) }
}

/// The same, below 4 GiB.
pub fn allocate_low(order: u32) -> Option<u64> {
    FRAMES.lock().as_mut()?.allocate(order, Place::Low)
}

/// The same, near the image and each other if possible: for what is written first after a freeze. So few nested tables lie on the way
/// to it, however much memory there is.
pub(crate) fn allocate_near(order: u32) -> Option<u64> {
    FRAMES.lock().as_mut()?.allocate(order, Place::Near)
}

/// Gives a block back.
pub fn free(block: u64, order: u32) {
    let give = |block, order| {
        let result = FRAMES.lock().as_mut().map(|frames| frames.free(block, order));
        debug_assert_eq!(result, Some(Ok(())), "frame {block:#x} of order {order}");
    };
    if order == 0 { CACHES[cpu::id()].lock().give(block, |old| give(old, 0)) } else { give(block, order) }
}

/// Exactly `pages` contiguous pages.
pub fn allocate_pages(pages: u64) -> Option<u64> {
    FRAMES.lock().as_mut()?.allocate_pages(pages)
}

/// Gives them back.
pub fn free_pages(start: u64, pages: u64) {
    let result = FRAMES.lock().as_mut().map(|frames| frames.free_pages(start, pages));
    debug_assert_eq!(result, Some(Ok(())), "{pages} pages at {start:#x}");
}

/// Frames one after another that are somebody's alone; given back when dropped.
#[derive(Debug)]
pub struct Block {
    start: u64,
    pages: u64,
}

impl Block {
    /// As many as asked for, wherever they are.
    pub fn new(pages: u64) -> Option<Self> {
        Some(Self { start: allocate_pages(pages)?, pages })
    }

    /// The first that are free in a span of physical addresses, which begins at a page.
    pub fn claim(span: Range<u64>) -> Option<Self> {
        let (start, pages) = FRAMES.lock().as_mut()?.claim(span)?;
        Some(Self { start, pages })
    }

    /// Their physical addresses.
    pub fn span(&self) -> Range<u64> {
        self.start..self.start + self.pages * PAGE
    }

    /// What is in them: at first anything.
    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: frames of ours alone, identity-mapped, as long as this lives.
        unsafe { core::slice::from_raw_parts_mut(self.start as *mut u8, (self.pages * PAGE) as usize) }
    }

    /// The same as words.
    pub fn words(&mut self) -> &mut [u64] {
        // SAFETY: as above; frames are aligned.
        unsafe { core::slice::from_raw_parts_mut(self.start as *mut u64, (self.pages * PAGE / 8) as usize) }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        free_pages(self.start, self.pages);
    }
}

/// Where the allocator's table is: a byte for each frame from 0 on. [`Taken`] reads it.
pub fn table() -> Range<u64> {
    FRAMES.lock().as_ref().map_or(0..0, Frames::table)
}

/// How much there is. Frames in the CPUs' caches count as free.
pub fn statistics() -> FrameStatistics {
    let mut statistics = FRAMES.lock().as_ref().map(Frames::statistics).unwrap_or_default();
    statistics.free += CACHES.iter().take(cpu::count()).map(|cache| cache.lock().len() as u64).sum::<u64>();
    statistics
}
