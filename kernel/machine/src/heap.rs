//! The global allocator: the heap of [`crate::memory::heap`] behind an interrupt-safe lock.
//!
//! The arena grows in a window of the address space, so that it stays contiguous whatever frames it is made of.

use crate::frames;
use crate::memory::heap::{Backing, HeapFront, HeapStatistics};
use crate::paging::{self, PAGE};
use crate::sync::SpinLock;
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull};

/// Where the arena is mapped.
const WINDOW: u64 = 0x5000_0000_0000;
/// By how much it grows at least, in bytes.
const STEP: u64 = 256 * 1024;

struct Machine {
    end: u64,
}

impl Backing for Machine {
    fn grow(&mut self, bytes: usize) -> Option<(NonNull<u8>, usize)> {
        let bytes = (bytes as u64).next_multiple_of(STEP);
        let start = WINDOW + self.end;
        let frame = frames::allocate_pages(bytes / PAGE)?;
        if paging::map_window(start, frame, bytes).is_err() {
            frames::free_pages(frame, bytes / PAGE);
            return None;
        }
        self.end += bytes;
        Some((NonNull::new(start as *mut u8)?, bytes as usize))
    }

    fn allocate_pages(&mut self, pages: usize) -> Option<NonNull<u8>> {
        NonNull::new(frames::allocate_pages(pages as u64)? as *mut u8)
    }

    unsafe fn free_pages(&mut self, pages: NonNull<u8>, count: usize) {
        frames::free_pages(pages.as_ptr() as u64, count as u64);
    }
}

struct Global(SpinLock<HeapFront<Machine>>);

#[global_allocator]
static HEAP: Global = Global(SpinLock::new(HeapFront::new(Machine { end: 0 })));

/// How much is handed out.
pub fn statistics() -> HeapStatistics {
    HEAP.0.lock().statistics()
}

// SAFETY: `HeapFront` hands out aligned, disjoint blocks that fit the layout, and null when there are none.
unsafe impl GlobalAlloc for Global {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.0.lock().allocate(layout).map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if let Some(block) = NonNull::new(block) {
            // SAFETY: the caller's contract.
            unsafe { self.0.lock().deallocate(block, layout) };
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let Ok(wanted) = Layout::from_size_align(size, layout.align()) else { return ptr::null_mut() };
        let capacity = HeapFront::<Machine>::capacity(layout);
        if capacity == HeapFront::<Machine>::capacity(wanted) {
            return block;
        }
        // SAFETY: the usual: new block, copy what fits, old block back.
        unsafe {
            let new = self.alloc(wanted);
            if !new.is_null() {
                ptr::copy_nonoverlapping(block, new, layout.size().min(size));
                self.dealloc(block, layout);
            }
            new
        }
    }
}
