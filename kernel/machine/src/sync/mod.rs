//! Locks: [`SpinLock`] where interrupt handlers take part, [`Mutex`], [`Condvar`] and [`Semaphore`] for threads.

mod blocking;
mod spin_lock;

pub use blocking::{Condvar, Mutex, MutexGuard, Semaphore};
pub use spin_lock::{SpinLock, SpinLockGuard};
