//! Threads that wait in a row.

use super::Inner;
use alloc::sync::Arc;

/// A first-in-first-out list through the threads' own links.
pub(super) struct List {
    head: Option<Arc<Inner>>,
    tail: *const Inner,
}

// SAFETY: the tail points into the list that `head` owns; both are used under the queue's lock only.
unsafe impl Send for List {}

impl List {
    pub(super) const fn new() -> Self {
        Self { head: None, tail: core::ptr::null() }
    }

    pub(super) fn push(&mut self, thread: Arc<Inner>) {
        let pointer = Arc::as_ptr(&thread);
        if self.head.is_none() {
            self.head = Some(thread);
        } else {
            // SAFETY: the tail is an element of this list, whose links belong to the queue's lock holder.
            unsafe { *(*self.tail).next.get() = Some(thread) };
        }
        self.tail = pointer;
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.head.is_none()
    }

    /// Takes out the first thread.
    pub(super) fn pop(&mut self) -> Option<Arc<Inner>> {
        let thread = self.head.take()?;
        // SAFETY: the link of an element of this list, under the queue's lock.
        self.head = unsafe { (*thread.next.get()).take() };
        Some(thread)
    }

    /// Takes out the first thread that `wanted` accepts.
    pub(super) fn take(&mut self, wanted: impl Fn(&Inner) -> bool) -> Option<Arc<Inner>> {
        let mut previous: *const Inner = core::ptr::null();
        let mut place: *mut Option<Arc<Inner>> = &mut self.head;
        loop {
            // SAFETY: `place` is the head or the link of an element, all under the queue's lock.
            let thread = unsafe { (*place).as_ref()? };
            if wanted(thread) {
                break;
            }
            previous = Arc::as_ptr(thread);
            place = thread.next.get();
        }
        // SAFETY: as above; `place` holds the wanted element.
        unsafe {
            let thread = (*place).take()?;
            *place = (*thread.next.get()).take();
            if (*place).is_none() {
                self.tail = previous;
            }
            Some(thread)
        }
    }
}
