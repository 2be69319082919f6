//! The one pool of memory that devices may read and write (see kernel/doc/adr/0004).
//!
//! Chunks of 2 MiB below 4 GiB, taken from the frame allocator when the pool is full and never given back. Identity-mapped:
//! the address a device uses is the address the CPU uses.
//!
//! Drivers give devices nothing but a [`DmaSpan`], which only a [`DmaRegion`] makes. So no device is ever told of other memory; with
//! debug assertions each address that one is given is looked up in the pool, too. On the host it is the same pool, of memory of the
//! process; "physical" is virtual there.

use crate::frames;
use crate::memory::map::PAGE;
use crate::sync::SpinLock;
use core::ops::Range;
use core::ptr::NonNull;

const CHUNK_PAGES: usize = 512;
const CHUNK_ORDER: u32 = 9;
const MAX_CHUNKS: usize = 256;

#[derive(Clone, Copy)]
struct Chunk {
    start: u64,
    /// A bit for each page in use.
    used: [u64; CHUNK_PAGES / 64],
}

impl Chunk {
    fn is_used(&self, page: usize) -> bool {
        self.used[page / 64] & 1 << (page % 64) != 0
    }

    fn mark(&mut self, pages: Range<usize>, used: bool) {
        for page in pages {
            let bit = 1 << (page % 64);
            if used { self.used[page / 64] |= bit } else { self.used[page / 64] &= !bit }
        }
    }

    fn find(&self, pages: usize) -> Option<usize> {
        let mut run = 0;
        for page in 0..CHUNK_PAGES {
            run = if self.is_used(page) { 0 } else { run + 1 };
            if run == pages {
                return Some(page + 1 - pages);
            }
        }
        None
    }

    fn span(&self) -> Range<u64> {
        self.start..self.start + CHUNK_PAGES as u64 * PAGE
    }

    /// Whether all of this lies in it, in pages that are in use.
    fn holds(&self, memory: &Range<u64>) -> bool {
        let Range { start, end } = self.span();
        let page = |address: u64| ((address - start) / PAGE) as usize;
        start <= memory.start
            && memory.start < memory.end
            && memory.end <= end
            && (page(memory.start)..=page(memory.end - 1)).all(|page| self.is_used(page))
    }
}

struct Pool {
    chunks: [Chunk; MAX_CHUNKS],
    count: usize,
}

static POOL: SpinLock<Pool> =
    SpinLock::new(Pool { chunks: [Chunk { start: 0, used: [0; CHUNK_PAGES / 64] }; MAX_CHUNKS], count: 0 });

/// Pages of 4 KiB, physically contiguous, zeroed; freed when dropped.
#[derive(Debug)]
pub struct DmaRegion {
    start: u64,
    pages: usize,
}

impl DmaRegion {
    /// Takes 1 to 512 pages from the pool; `None` for any other number, or when there is no memory below 4 GiB.
    pub fn new(pages: usize) -> Option<Self> {
        if pages == 0 || pages > CHUNK_PAGES {
            return None;
        }
        let mut pool = POOL.lock();
        let count = pool.count;
        let found = pool.chunks[..count]
            .iter()
            .enumerate()
            .find_map(|(index, chunk)| Some((index, chunk.find(pages)?)));
        let (index, page) = match found {
            Some(place) => place,
            None if count < MAX_CHUNKS => {
                pool.chunks[count].start = frames::allocate_low(CHUNK_ORDER)?;
                pool.count += 1;
                (count, 0)
            }
            None => return None,
        };
        pool.chunks[index].mark(page..page + pages, true);
        let start = pool.chunks[index].start + page as u64 * PAGE;
        drop(pool);
        // SAFETY: the pages are ours alone and identity-mapped.
        unsafe { core::ptr::write_bytes(start as *mut u8, 0, pages * PAGE as usize) };
        Some(Self { start, pages })
    }

    /// Physical address; what a device may be given is a [`DmaRegion::span`].
    pub fn physical(&self) -> u64 {
        self.start
    }

    /// A part that a device may be given: `length` bytes from `offset`, within the region.
    #[inline]
    pub fn span(&self, offset: usize, length: usize) -> DmaSpan {
        debug_assert!(
            offset.checked_add(length).is_some_and(|end| end <= self.len()),
            "{length} bytes at {offset} of a region of {}",
            self.len()
        );
        DmaSpan { start: self.start + offset as u64, length: length as u32 }
    }

    /// Address the CPU uses.
    pub fn pointer(&self) -> NonNull<u8> {
        NonNull::new(self.start as *mut u8).expect("frame 0 is never handed out")
    }

    /// Length in bytes.
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.pages * PAGE as usize
    }
}

impl Drop for DmaRegion {
    fn drop(&mut self) {
        let mut pool = POOL.lock();
        let count = pool.count;
        if let Some(chunk) = pool.chunks[..count].iter_mut().find(|chunk| chunk.span().contains(&self.start))
        {
            let page = ((self.start - chunk.start) / PAGE) as usize;
            chunk.mark(page..page + self.pages, false);
        }
    }
}

/// Part of a [`DmaRegion`], in the pool: what a device may be told to read and write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DmaSpan {
    start: u64,
    length: u32,
}

impl DmaSpan {
    /// Length in bytes.
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "as long as what it is for")]
    pub fn len(self) -> u32 {
        self.length
    }

    /// Lends it to a device, which is given its address. The region has to outlive what the device does with it; with debug assertions it is an
    /// error if it is gone already.
    #[inline]
    pub fn lend(self) -> u64 {
        debug_assert!(holds(self.start..self.start + u64::from(self.length)), "not of the pool: {self:x?}");
        self.start
    }
}

/// Whether all of this memory is a region's or several regions', which somebody has now; physical addresses.
pub fn holds(memory: Range<u64>) -> bool {
    let pool = POOL.lock();
    pool.chunks[..pool.count].iter().any(|chunk| chunk.holds(&memory))
}

/// Where a chunk of the pool is, by its number: from 0 on, as long as there are any.
pub fn chunk(number: usize) -> Option<Range<u64>> {
    let pool = POOL.lock();
    pool.chunks[..pool.count].get(number).map(Chunk::span)
}

/// Bytes the pool has taken from the system.
pub fn pool_bytes() -> u64 {
    POOL.lock().count as u64 * CHUNK_PAGES as u64 * PAGE
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    fn bounds(span: DmaSpan) -> Range<u64> {
        span.start..span.start + u64::from(span.length)
    }

    #[test]
    fn parts_of_regions_are_of_the_pool_as_long_as_these_are_held() {
        // More than a chunk, so that no two of them lie side by side by chance.
        let regions: std::vec::Vec<_> = (0..3).map(|_| DmaRegion::new(CHUNK_PAGES).unwrap()).collect();
        for region in &regions {
            for (offset, length) in [(0, 1), (0, region.len()), (4095, 2), (region.len() - 1, 1)] {
                let span = region.span(offset, length);
                assert_eq!(span.lend(), region.physical() + offset as u64);
                assert_eq!(span.len() as usize, length);
                assert!(holds(bounds(span)), "{span:x?}");
            }
            let Range { start, end } = bounds(region.span(0, region.len()));
            for outside in [start - 1..start + 1, end - 1..end + 1, start..start] {
                assert!(!holds(outside.clone()), "{outside:x?} beside {start:x}..{end:x}");
            }
        }
        let here = &raw const regions as u64;
        assert!(!holds(here..here + 1));
    }

    #[test]
    #[should_panic(expected = "not of the pool")]
    fn other_memory_is_not_lent() {
        let here = &raw const POOL as u64;
        DmaSpan { start: here, length: 1 }.lend();
    }

    #[test]
    fn pages_are_held_from_mark_to_mark() {
        const START: u64 = 4 << 20;
        let mut chunk = Chunk { start: START, used: [0; CHUNK_PAGES / 64] };
        let pages = |first: u64, end: u64| START + first * PAGE..START + end * PAGE;
        chunk.mark(62..66, true);
        assert!(chunk.holds(&pages(62, 66)) && !chunk.holds(&pages(61, 63)) && !chunk.holds(&pages(65, 67)));
        chunk.mark(64..65, false);
        assert!(chunk.holds(&pages(62, 64)) && !chunk.holds(&pages(62, 66)) && !chunk.holds(&pages(64, 65)));
    }

    #[test]
    #[should_panic(expected = "2 bytes at 4095 of a region of 4096")]
    fn a_part_lies_within_its_region() {
        DmaRegion::new(1).unwrap().span(4095, 2);
    }

    #[test]
    fn pages_are_handed_out_once_and_zeroed() {
        let region = DmaRegion::new(3).unwrap();
        assert!((0..).map_while(chunk).any(|chunk| chunk.contains(&region.physical())));
        // SAFETY: the region is ours.
        let bytes = unsafe { core::slice::from_raw_parts_mut(region.pointer().as_ptr(), region.len()) };
        assert!(bytes.iter().all(|byte| *byte == 0));
        bytes.fill(7);
        let other = DmaRegion::new(3).unwrap();
        assert!(region.physical().abs_diff(other.physical()) >= 3 * PAGE);
        assert!(DmaRegion::new(0).is_none() && DmaRegion::new(CHUNK_PAGES + 1).is_none());
    }
}
