//! Locks that put a waiting thread to sleep. Not for interrupt handlers.

use super::SpinLock;
use crate::thread::{self, Thread};
use crate::time::Instant;
use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// One waiting thread; lives on its stack.
struct Waiter {
    thread: Thread,
    woken: AtomicBool,
    next: UnsafeCell<*const Waiter>,
}

/// Sleeping threads, first come first served.
struct WaitQueue(SpinLock<Ends>);

struct Ends {
    head: *const Waiter,
    tail: *const Waiter,
}

// SAFETY: the pointers lead to `Waiter`s on stacks of threads that can't leave `wait` before they are off the list; the
// list is only touched under the lock.
unsafe impl Send for Ends {}

impl WaitQueue {
    const fn new() -> Self {
        Self(SpinLock::new(Ends { head: ptr::null(), tail: ptr::null() }))
    }

    /// Sleeps until woken, if `still` holds once the thread is on the list; until `deadline` if there is one. Returns
    /// false when the deadline passed.
    fn wait(&self, deadline: Option<Instant>, still: impl FnOnce() -> bool) -> bool {
        let waiter = Waiter {
            thread: thread::current(),
            woken: AtomicBool::new(false),
            next: UnsafeCell::new(ptr::null()),
        };
        {
            let mut ends = self.0.lock();
            if !still() {
                return true;
            }
            if ends.head.is_null() {
                ends.head = &waiter;
            } else {
                // SAFETY: see `Ends`.
                unsafe { *(*ends.tail).next.get() = &waiter };
            }
            ends.tail = &waiter;
        }
        let mut has_slept = false;
        let in_time = loop {
            if waiter.woken.load(Ordering::Acquire) {
                break true;
            }
            has_slept = true;
            match deadline {
                None => thread::park(),
                Some(deadline) if Instant::now() < deadline => thread::park_until(deadline),
                Some(_) => {
                    self.remove(&waiter);
                    // Woken between the last look and the removal: the wake counts.
                    break waiter.woken.load(Ordering::Acquire);
                }
            }
        };
        if has_slept {
            // An unpark that was meant for the thread's own `park`, such as a device's, may have come meanwhile.
            waiter.thread.keep_unpark();
        }
        in_time
    }

    fn remove(&self, waiter: &Waiter) {
        let mut ends = self.0.lock();
        let (mut previous, mut at): (*const Waiter, _) = (ptr::null(), ends.head);
        while !at.is_null() {
            // SAFETY: see `Ends`.
            let next = unsafe { *(*at).next.get() };
            if ptr::eq(at, waiter) {
                if previous.is_null() {
                    ends.head = next;
                } else {
                    // SAFETY: see `Ends`.
                    unsafe { *(*previous).next.get() = next };
                }
                if ptr::eq(ends.tail, waiter) {
                    ends.tail = previous;
                }
                return;
            }
            (previous, at) = (at, next);
        }
    }

    /// Wakes the first; false if nobody waits.
    fn wake_one(&self) -> bool {
        let thread = {
            let mut ends = self.0.lock();
            if ends.head.is_null() {
                return false;
            }
            // SAFETY: see `Ends`. Once `woken` is set the waiter may vanish, so it is the last access.
            unsafe {
                let waiter = &*ends.head;
                ends.head = *waiter.next.get();
                let thread = waiter.thread.clone();
                waiter.woken.store(true, Ordering::Release);
                thread
            }
        };
        thread.unpark();
        true
    }
}

/// Mutual exclusion between threads.
pub struct Mutex<T> {
    /// 0 free, 1 held, 2 held and somebody may be waiting.
    state: AtomicU32,
    queue: WaitQueue,
    value: UnsafeCell<T>,
}

// SAFETY: the lock hands the value to one thread at a time.
unsafe impl<T: Send> Sync for Mutex<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Mutex<T> {}

impl<T> Mutex<T> {
    /// A free lock.
    pub const fn new(value: T) -> Self {
        Self { state: AtomicU32::new(0), queue: WaitQueue::new(), value: UnsafeCell::new(value) }
    }

    /// Takes the lock, sleeping as long as another thread holds it.
    #[inline]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        if self.state.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_err() {
            self.lock_slowly();
        }
        MutexGuard(self)
    }

    #[cold]
    fn lock_slowly(&self) {
        while self.state.swap(2, Ordering::Acquire) != 0 {
            self.queue.wait(None, || self.state.load(Ordering::Relaxed) == 2);
        }
    }

    /// Takes the lock if it is free.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.state
            .compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
            // Not `then_some`: a guard made in vain would release the lock of another.
            .then(|| MutexGuard(self))
    }
}

/// Holds a [`Mutex`].
pub struct MutexGuard<'a, T>(&'a Mutex<T>);

impl<T> MutexGuard<'_, T> {
    /// Whether another thread may be waiting for the lock. Whoever takes it again and again lets the others go first by sleeping a little: a thread
    /// that was woken does not have it yet.
    pub fn is_awaited(&self) -> bool {
        self.0.state.load(Ordering::Relaxed) == 2
    }
}

// SAFETY: a shared guard gives no more than a shared reference to the value.
unsafe impl<T: Sync> Sync for MutexGuard<'_, T> {}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard's thread holds the lock.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if self.0.state.swap(0, Ordering::Release) == 2 {
            self.0.queue.wake_one();
        }
    }
}

/// Lets threads wait for a condition that a [`Mutex`] protects.
pub struct Condvar {
    queue: WaitQueue,
    sequence: AtomicU32,
}

impl Default for Condvar {
    fn default() -> Self {
        Self::new()
    }
}

impl Condvar {
    /// Nobody waits.
    pub const fn new() -> Self {
        Self { queue: WaitQueue::new(), sequence: AtomicU32::new(0) }
    }

    /// Releases the lock, waits for a notification, takes the lock again. May return without a notification.
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.wait_until_or_forever(guard, None).0
    }

    /// Like [`Condvar::wait`], at most until `deadline`; false if that passed.
    pub fn wait_until<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        deadline: Instant,
    ) -> (MutexGuard<'a, T>, bool) {
        self.wait_until_or_forever(guard, Some(deadline))
    }

    fn wait_until_or_forever<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        deadline: Option<Instant>,
    ) -> (MutexGuard<'a, T>, bool) {
        let mutex = guard.0;
        let sequence = self.sequence.load(Ordering::SeqCst);
        drop(guard);
        let notified = self.queue.wait(deadline, || self.sequence.load(Ordering::SeqCst) == sequence);
        (mutex.lock(), notified)
    }

    /// Wakes one waiting thread.
    pub fn notify_one(&self) {
        self.sequence.fetch_add(1, Ordering::SeqCst);
        self.queue.wake_one();
    }

    /// Wakes all waiting threads.
    pub fn notify_all(&self) {
        self.sequence.fetch_add(1, Ordering::SeqCst);
        while self.queue.wake_one() {}
    }
}

/// Counts permits.
pub struct Semaphore {
    permits: AtomicU32,
    queue: WaitQueue,
}

impl Semaphore {
    /// With this many permits.
    pub const fn new(permits: u32) -> Self {
        Self { permits: AtomicU32::new(permits), queue: WaitQueue::new() }
    }

    /// Takes a permit, sleeping as long as there is none.
    pub fn acquire(&self) {
        while !self.try_acquire() {
            self.queue.wait(None, || self.permits.load(Ordering::SeqCst) == 0);
        }
    }

    /// Takes a permit if there is one.
    pub fn try_acquire(&self) -> bool {
        self.permits.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| count.checked_sub(1)).is_ok()
    }

    /// Gives a permit.
    pub fn release(&self) {
        self.permits.fetch_add(1, Ordering::SeqCst);
        self.queue.wake_one();
    }
}
