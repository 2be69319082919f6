//! How many machines run at a time: the test threads of a binary share two, so that two cores are enough.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

const MACHINES: u32 = 2;

static FREE: Mutex<u32> = Mutex::new(MACHINES);
static RETURNED: Condvar = Condvar::new();

/// The right to run some machines, returned on drop.
#[derive(Debug)]
pub struct Slots(u32);

/// Waits until `count` machines may be run. More than there are slots means all of them. A test takes all it needs in
/// one call: two calls could wait for each other.
pub fn take(count: u32) -> Slots {
    let count = count.min(MACHINES);
    let free = RETURNED.wait_while(lock(), |free| *free < count);
    *free.unwrap_or_else(PoisonError::into_inner) -= count;
    Slots(count)
}

impl Drop for Slots {
    fn drop(&mut self) {
        *lock() += self.0;
        RETURNED.notify_all();
    }
}

/// A test that panics spoils no count.
fn lock() -> MutexGuard<'static, u32> {
    FREE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn no_more_than_the_slots_run() {
        static RUNNING: AtomicU32 = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for count in [1, 2, 1, 9, 1, 1] {
                scope.spawn(move || {
                    let slots = take(count);
                    assert!(RUNNING.fetch_add(slots.0, Ordering::SeqCst) + slots.0 <= MACHINES);
                    RUNNING.fetch_sub(slots.0, Ordering::SeqCst);
                });
            }
        });
        drop(take(MACHINES));
    }
}
