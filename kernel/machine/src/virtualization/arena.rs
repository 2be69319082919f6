//! The VMM's reserve: handed out once, at boot, piece by piece.

use crate::memory::reserve::Reserve;
use crate::paging::PAGE;
use core::sync::atomic::AtomicU64;

/// What is left of the reserve.
#[derive(Debug)]
pub struct Arena {
    next: u64,
    end: u64,
}

impl Arena {
    /// The whole reserve.
    ///
    /// # Safety
    /// Once for each reserve; it is RAM that the frame allocator does not own, identity-mapped and writable.
    pub unsafe fn new(reserve: Reserve) -> Self {
        Self { next: reserve.start, end: reserve.start + reserve.length }
    }

    /// Bytes left.
    pub fn left(&self) -> u64 {
        self.end - self.next
    }

    /// Zeroed whole pages; `None` if the reserve is too small.
    fn pages(&mut self, bytes: u64) -> Option<u64> {
        let length = bytes.checked_next_multiple_of(PAGE)?;
        if length > self.left() {
            return None;
        }
        let start = self.next;
        self.next += length;
        // SAFETY: by the contract of `new` the range is RAM of ours, and it is handed out once.
        unsafe { core::ptr::write_bytes(start as *mut u8, 0, length as usize) };
        Some(start)
    }

    /// Moves a value into pages of its own.
    pub fn place<T>(&mut self, value: T) -> Option<&'static mut T> {
        const { assert!(align_of::<T>() <= PAGE as usize) };
        let pointer = self.pages(size_of::<T>() as u64)? as *mut T;
        // SAFETY: fresh pages, large enough and aligned, nobody else's.
        unsafe {
            pointer.write(value);
            Some(&mut *pointer)
        }
    }

    /// A value of which all bytes are zero, too large for a stack.
    ///
    /// # Safety
    /// All-zero bytes are a valid `T`.
    pub(crate) unsafe fn zeroed<T>(&mut self) -> Option<&'static mut T> {
        const { assert!(align_of::<T>() <= PAGE as usize) };
        let pointer = self.pages(size_of::<T>() as u64)? as *mut T;
        // SAFETY: fresh zeroed pages; by the caller's contract a valid `T`.
        Some(unsafe { &mut *pointer })
    }

    /// `count` values in pages of their own.
    pub fn array<T>(&mut self, count: usize, mut make: impl FnMut(usize) -> T) -> Option<&'static mut [T]> {
        const { assert!(align_of::<T>() <= PAGE as usize) };
        let first = self.pages((count * size_of::<T>()) as u64)? as *mut T;
        for index in 0..count {
            // SAFETY: fresh pages, large enough for `count` and aligned, nobody else's.
            unsafe { first.add(index).write(make(index)) };
        }
        // SAFETY: as above; all are written.
        Some(unsafe { core::slice::from_raw_parts_mut(first, count) })
    }

    /// All whole pages that are left, as they are. Nothing is left then.
    pub fn rest(&mut self) -> core::ops::Range<u64> {
        let start = core::mem::replace(&mut self.next, self.end);
        start..start.max(self.end & !(PAGE - 1))
    }

    /// Zeroed bytes, page-aligned.
    pub fn bytes<const N: usize>(&mut self) -> Option<&'static mut [u8; N]> {
        // SAFETY: zero is a valid byte.
        unsafe { self.zeroed() }
    }

    /// Page tables: `count` of them.
    pub fn tables(&mut self, count: u64) -> Option<TablePool> {
        let start = self.pages(count * PAGE)?;
        Some(TablePool { start, end: start + count * PAGE, next: start, free: 0 })
    }
}

/// Page tables in the reserve.
#[derive(Debug)]
pub struct TablePool {
    start: u64,
    end: u64,
    next: u64,
    /// First of the tables given back, each of which holds the address of the next; 0 = none.
    free: u64,
}

impl TablePool {
    /// Tables in use.
    pub fn used(&self) -> u64 {
        (self.end - self.start) / PAGE - self.left()
    }

    /// Tables not in use.
    pub fn left(&self) -> u64 {
        let mut count = (self.end - self.next) / PAGE;
        let mut table = self.free;
        while table != 0 {
            count += 1;
            // SAFETY: a table of the pool that is in nobody's use; its first word is the link.
            table = unsafe { *(table as *const u64) };
        }
        count
    }

    /// An entry of a table in use, which page walkers may read at the same time.
    ///
    /// # Panics
    /// If there is no such table in the pool, or no such entry: the tree that is walked is broken.
    #[inline]
    pub fn entry(&self, table: u64, index: usize) -> &AtomicU64 {
        &self.entries(table)[index]
    }

    /// All entries of a table in use.
    ///
    /// # Panics
    /// If there is no such table in the pool: the tree that is walked is broken.
    #[inline]
    pub fn entries(&self, table: u64) -> &[AtomicU64; 512] {
        assert!(table >= self.start && table < self.end && table.is_multiple_of(PAGE));
        // SAFETY: a page of the pool, aligned; all access to tables in use is atomic.
        unsafe { &*(table as *const [AtomicU64; 512]) }
    }

    /// Takes a table out of the pool.
    #[inline]
    pub fn take(&mut self) -> Option<(u64, &mut [u64; 512])> {
        let table = if self.free != 0 {
            let table = self.free;
            // SAFETY: as in `left`.
            self.free = unsafe { *(table as *const u64) };
            table
        } else if self.next < self.end {
            self.next += PAGE;
            self.next - PAGE
        } else {
            return None;
        };
        // SAFETY: a page of the pool that is linked nowhere; the borrow of the pool keeps it alone.
        Some((table, unsafe { &mut *(table as *mut [u64; 512]) }))
    }

    /// Puts a table back that no walker can reach.
    pub fn give_back(&mut self, table: u64) {
        self.entry(table, 0).store(self.free, core::sync::atomic::Ordering::Relaxed);
        self.free = table;
    }
}
