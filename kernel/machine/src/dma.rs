//! The one pool of memory that devices may read and write (see kernel/doc/adr/0004).
//!
//! Chunks of 2 MiB below 4 GiB, taken from the frame allocator when the pool is full and never given back. Identity-mapped:
//! the address a device uses is the address the CPU uses.

use crate::frames;
use crate::paging::PAGE;
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

    fn mark(&mut self, pages: core::ops::Range<usize>, used: bool) {
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

    /// Address devices use.
    pub fn physical(&self) -> u64 {
        self.start
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
        if let Some(chunk) = pool.chunks[..count]
            .iter_mut()
            .find(|chunk| (chunk.start..chunk.start + (2 << 20)).contains(&self.start))
        {
            let page = ((self.start - chunk.start) / PAGE) as usize;
            chunk.mark(page..page + self.pages, false);
        }
    }
}

/// Where a chunk of the pool is, by its number: from 0 on, as long as there are any.
pub fn chunk(number: usize) -> Option<Range<u64>> {
    let pool = POOL.lock();
    let Chunk { start, .. } = *pool.chunks[..pool.count].get(number)?;
    Some(start..start + CHUNK_PAGES as u64 * PAGE)
}

/// Bytes the pool has taken from the system.
pub fn pool_bytes() -> u64 {
    POOL.lock().count as u64 * CHUNK_PAGES as u64 * PAGE
}
