//! The heap: size classes in front of linked_list_allocator, whole pages behind it.
//!
//! - up to 2 KiB: a free list per size class, O(1) both ways; empty lists are filled from the middle heap;
//! - up to 32 KiB: first fit in one growing arena (`linked_list_allocator::Heap`);
//! - beyond: whole pages from the frame allocator. The block given back last is kept for who needs as many pages again.

use core::alloc::Layout;
use core::ptr::{self, NonNull};
use linked_list_allocator::Heap;

/// Sizes of the classes, in bytes. Each is a multiple of 16.
const CLASSES: [usize; 14] = [16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048];
/// From this size on, whole pages.
const PAGES_FROM: usize = 32 * 1024;
/// What a class gets at a time.
const SLAB: usize = 16 * 1024;
/// Pages of the largest block that is kept: 1 MiB.
const SPARE: usize = 256;

/// Where memory comes from.
pub trait Backing {
    /// Makes the arena longer, contiguously, by at least `bytes`. Returns where the new part begins and how long it is.
    fn grow(&mut self, bytes: usize) -> Option<(NonNull<u8>, usize)>;
    /// Whole pages of 4 KiB, aligned to the next power of two of their size.
    fn allocate_pages(&mut self, pages: usize) -> Option<NonNull<u8>>;
    /// Takes them back.
    ///
    /// # Safety
    /// They came from `allocate_pages` with the same count and are not used any more.
    unsafe fn free_pages(&mut self, pages: NonNull<u8>, count: usize);
}

/// How much is in use, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeapStatistics {
    /// Handed out, rounded up to classes and pages.
    pub used: usize,
    /// Length of the arena.
    pub arena: usize,
}

/// The allocator, without a lock.
pub struct HeapFront<B> {
    backing: B,
    middle: Heap,
    free: [*mut u8; CLASSES.len()],
    /// The block of whole pages that was given back last, and how many these are.
    spare: Option<(NonNull<u8>, usize)>,
    statistics: HeapStatistics,
}

// SAFETY: the lists and the arena are the front's own memory.
unsafe impl<B: Send> Send for HeapFront<B> {}

/// Class of a size: found by a table over sixteenths of 2 KiB.
fn class_of(layout: &Layout) -> Option<usize> {
    const TABLE: [u8; 129] = {
        let mut table = [0u8; 129];
        let mut index = 0;
        while index <= 128 {
            let mut class = 0;
            while CLASSES[class] < index * 16 {
                class += 1;
            }
            table[index] = class as u8;
            index += 1;
        }
        table
    };
    let size = layout.size().max(layout.align());
    if size > 2048 {
        return None;
    }
    // Only power-of-two classes keep alignments above 16: their slabs are aligned, and so is every element.
    let size = if layout.align() > 16 { size.next_power_of_two() } else { size };
    Some(TABLE[size.div_ceil(16)] as usize)
}

/// Where a request goes.
enum Route {
    Class(usize),
    Middle(Layout),
    Pages(usize),
}

fn route(layout: Layout) -> Option<Route> {
    if let Some(class) = class_of(&layout) {
        return Some(Route::Class(class));
    }
    if layout.size() < PAGES_FROM && layout.align() <= 4096 {
        return Some(Route::Middle(layout));
    }
    let bytes = layout.size().checked_next_multiple_of(4096)?.max(layout.align());
    Some(Route::Pages(bytes / 4096))
}

impl<B: Backing> HeapFront<B> {
    /// An empty heap.
    pub const fn new(backing: B) -> Self {
        Self {
            backing,
            middle: Heap::empty(),
            free: [ptr::null_mut(); CLASSES.len()],
            spare: None,
            statistics: HeapStatistics { used: 0, arena: 0 },
        }
    }

    /// How much is in use.
    pub fn statistics(&self) -> HeapStatistics {
        self.statistics
    }

    /// Memory for `layout`, or `None` when there is none.
    #[inline]
    pub fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        match route(layout)? {
            Route::Class(class) => {
                let head = self.free[class];
                let head = if head.is_null() { self.fill(class)?.as_ptr() } else { head };
                // SAFETY: elements of a free list are unused memory of the class, at least 16 bytes, whose first word
                // is the link.
                self.free[class] = unsafe { head.cast::<*mut u8>().read() };
                self.statistics.used += CLASSES[class];
                NonNull::new(head)
            }
            Route::Middle(layout) => {
                let block = self.allocate_middle(layout)?;
                self.statistics.used += layout.size();
                Some(block)
            }
            Route::Pages(pages) => {
                let block = match self.spare.take_if(|(_, count)| *count == pages) {
                    Some((block, _)) => block,
                    None => self.with_all(|backing| backing.allocate_pages(pages))?,
                };
                self.statistics.used += pages * 4096;
                Some(block)
            }
        }
    }

    /// Takes memory back.
    ///
    /// # Safety
    /// It came from [`HeapFront::allocate`] with the same layout and is not used any more.
    #[inline]
    pub unsafe fn deallocate(&mut self, block: NonNull<u8>, layout: Layout) {
        match route(layout) {
            Some(Route::Class(class)) => {
                // SAFETY: the block is ours again and has room for the link.
                unsafe { block.as_ptr().cast::<*mut u8>().write(self.free[class]) };
                self.free[class] = block.as_ptr();
                self.statistics.used -= CLASSES[class];
            }
            Some(Route::Middle(layout)) => {
                self.statistics.used -= layout.size();
                // SAFETY: the caller's contract.
                unsafe { self.middle.deallocate(block, layout) };
            }
            Some(Route::Pages(pages)) => {
                self.statistics.used -= pages * 4096;
                let old =
                    if pages <= SPARE { self.spare.replace((block, pages)) } else { Some((block, pages)) };
                if let Some((block, pages)) = old {
                    // SAFETY: the caller's contract, for this block or the one that was kept.
                    unsafe { self.backing.free_pages(block, pages) };
                }
            }
            None => {}
        }
    }

    /// Bytes that fit in the block a layout gets: a block need not move to grow up to this.
    pub fn capacity(layout: Layout) -> usize {
        match route(layout) {
            Some(Route::Class(class)) => CLASSES[class],
            Some(Route::Pages(pages)) => pages * 4096,
            _ => layout.size(),
        }
    }

    #[cold]
    fn fill(&mut self, class: usize) -> Option<NonNull<u8>> {
        let size = CLASSES[class];
        let slab = self.allocate_middle(Layout::from_size_align(SLAB, 4096).ok()?)?;
        for index in (0..SLAB / size).rev() {
            // SAFETY: within the slab just allocated, which is never given back.
            unsafe {
                let element = slab.as_ptr().add(index * size);
                element.cast::<*mut u8>().write(self.free[class]);
                self.free[class] = element;
            }
        }
        Some(slab)
    }

    /// Asks the backing; if it has too little, once more with the spare block.
    fn with_all<T>(&mut self, ask: impl Fn(&mut B) -> Option<T>) -> Option<T> {
        ask(&mut self.backing).or_else(|| {
            let (block, pages) = self.spare.take()?;
            // SAFETY: it was given back by who had it.
            unsafe { self.backing.free_pages(block, pages) };
            ask(&mut self.backing)
        })
    }

    fn allocate_middle(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        if let Ok(block) = self.middle.allocate_first_fit(layout) {
            return Some(block);
        }
        let (start, length) = self.with_all(|backing| backing.grow(layout.size() + layout.align() + 64))?;
        // SAFETY: the backing hands out memory that nothing else uses, and grows contiguously.
        unsafe {
            if self.statistics.arena == 0 {
                self.middle.init(start.as_ptr(), length);
            } else {
                self.middle.extend(length);
            }
        }
        self.statistics.arena += length;
        self.middle.allocate_first_fit(layout).ok()
    }
}

#[cfg(test)]
mod tests;
