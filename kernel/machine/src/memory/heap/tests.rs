use super::*;
use proptest::prelude::*;
use std::vec::Vec;

/// An arena of fixed length, and pages from the host.
struct Arena {
    memory: NonNull<u8>,
    length: usize,
    used: usize,
    pages: usize,
    page_limit: usize,
}

impl Arena {
    fn new(length: usize, page_limit: usize) -> Self {
        let layout = Layout::from_size_align(length, 4096).unwrap();
        // SAFETY: not empty.
        let memory = NonNull::new(unsafe { std::alloc::alloc(layout) }).unwrap();
        Self { memory, length, used: 0, pages: 0, page_limit }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: allocated in `new`.
        unsafe {
            std::alloc::dealloc(self.memory.as_ptr(), Layout::from_size_align(self.length, 4096).unwrap())
        };
    }
}

fn page_layout(pages: usize) -> Layout {
    Layout::from_size_align(pages * 4096, (pages * 4096).next_power_of_two()).unwrap()
}

impl Backing for Arena {
    fn grow(&mut self, bytes: usize) -> Option<(NonNull<u8>, usize)> {
        let bytes = bytes.next_multiple_of(65536);
        if self.used + bytes > self.length {
            return None;
        }
        // SAFETY: within the arena.
        let start = unsafe { self.memory.add(self.used) };
        self.used += bytes;
        Some((start, bytes))
    }
    fn allocate_pages(&mut self, pages: usize) -> Option<NonNull<u8>> {
        if self.pages + pages > self.page_limit {
            return None;
        }
        self.pages += pages;
        // SAFETY: not empty.
        NonNull::new(unsafe { std::alloc::alloc(page_layout(pages)) })
    }
    unsafe fn free_pages(&mut self, pages: NonNull<u8>, count: usize) {
        self.pages -= count;
        // SAFETY: the caller's contract.
        unsafe { std::alloc::dealloc(pages.as_ptr(), page_layout(count)) };
    }
}

#[test]
fn classes_fit_and_align() {
    for size in 1..=2048 {
        for align in [1, 8, 16, 32, 64, 256, 2048] {
            let layout = Layout::from_size_align(size, align).unwrap();
            let class = CLASSES[class_of(&layout).unwrap()];
            assert!(class >= size && (align <= 16 || class.is_multiple_of(align)), "{layout:?} in {class}");
        }
    }
}

#[test]
fn exhaustion_is_none_and_memory_comes_back() {
    let mut heap = HeapFront::new(Arena::new(1 << 20, 16));
    let layout = Layout::from_size_align(1000, 8).unwrap();
    let mut blocks = Vec::new();
    while let Some(block) = heap.allocate(layout) {
        blocks.push(block);
    }
    assert!(blocks.len() > 700);
    let count = blocks.len();
    for block in blocks {
        // SAFETY: allocated above.
        unsafe { heap.deallocate(block, layout) };
    }
    assert_eq!(heap.statistics().used, 0);
    let again = (0..count).filter_map(|_| heap.allocate(layout)).count();
    assert_eq!(again, count);
    assert!(heap.allocate(Layout::from_size_align(100_000, 8).unwrap()).is_none());
    assert!(heap.allocate(Layout::from_size_align(usize::MAX / 4, 8).unwrap()).is_none());
}

#[test]
fn the_spare_block_is_the_last_and_goes_back_when_memory_is_out() {
    let mut heap = HeapFront::new(Arena::new(1 << 20, 20));
    let layout = |pages: usize| Layout::from_size_align(pages * 4096, 8).unwrap();
    let block = heap.allocate(layout(10)).unwrap();
    // SAFETY: allocated above.
    unsafe { heap.deallocate(block, layout(10)) };
    assert_eq!((heap.statistics().used, heap.backing.pages), (0, 10));
    assert_eq!(heap.allocate(layout(10)), Some(block));
    // SAFETY: as above.
    unsafe { heap.deallocate(block, layout(10)) };
    let large = heap.allocate(layout(12)).unwrap();
    assert_eq!(heap.backing.pages, 12);
    assert!(heap.allocate(layout(10)).is_none());
    // SAFETY: as above.
    unsafe { heap.deallocate(large, layout(12)) };
}

proptest! {
    #[test]
    fn blocks_are_aligned_disjoint_and_keep_their_content(
        operations in proptest::collection::vec(
            (1usize..70_000, 0u32..13, any::<bool>(), any::<prop::sample::Index>()), 1..200),
    ) {
        let mut heap = HeapFront::new(Arena::new(8 << 20, 2000));
        let mut live: Vec<(NonNull<u8>, Layout, u8)> = Vec::new();
        for (number, (size, align, take, index)) in operations.into_iter().enumerate() {
            if take {
                let size = if number % 3 == 0 { size } else { size % 3000 + 1 };
                let layout = Layout::from_size_align(size, 1 << align).unwrap();
                if let Some(block) = heap.allocate(layout) {
                    prop_assert_eq!(block.as_ptr() as usize % layout.align(), 0);
                    prop_assert!(HeapFront::<Arena>::capacity(layout) >= size);
                    // SAFETY: the block has `size` bytes.
                    unsafe { block.as_ptr().write_bytes(number as u8, size) };
                    live.push((block, layout, number as u8));
                }
            } else if !live.is_empty() {
                let (block, layout, mark) = live.swap_remove(index.index(live.len()));
                // SAFETY: the block is live.
                let content = unsafe { core::slice::from_raw_parts(block.as_ptr(), layout.size()) };
                prop_assert!(content.iter().all(|&byte| byte == mark));
                // SAFETY: allocated with this layout.
                unsafe { heap.deallocate(block, layout) };
            }
        }
        for (block, layout, mark) in live {
            // SAFETY: as above.
            unsafe {
                let content = core::slice::from_raw_parts(block.as_ptr(), layout.size());
                prop_assert!(content.iter().all(|&byte| byte == mark));
                heap.deallocate(block, layout);
            }
        }
        prop_assert_eq!(heap.statistics().used, 0);
    }
}
