//! A spin lock that keeps interrupts off while it is held.

use crate::{cpu, thread};
use core::mem::ManuallyDrop;
use core::ops::{Deref, DerefMut};

/// Protects data that interrupt handlers share. Held for short, bounded work only; never across a block.
#[derive(Debug)]
pub struct SpinLock<T>(spin::Mutex<T>);

impl<T> SpinLock<T> {
    /// A free lock.
    pub const fn new(value: T) -> Self {
        Self(spin::Mutex::new(value))
    }

    /// Switches interrupts off and takes the lock.
    #[inline]
    pub fn lock(&self) -> SpinLockGuard<'_, T> {
        let interrupts = cpu::disable_interrupts();
        SpinLockGuard { guard: ManuallyDrop::new(self.0.lock()), interrupts }
    }

    /// Takes the lock if it is free.
    #[inline]
    pub fn try_lock(&self) -> Option<SpinLockGuard<'_, T>> {
        let interrupts = cpu::disable_interrupts();
        match self.0.try_lock() {
            Some(guard) => Some(SpinLockGuard { guard: ManuallyDrop::new(guard), interrupts }),
            None => {
                if interrupts {
                    // SAFETY: they were on before.
                    unsafe { cpu::enable_interrupts() };
                }
                None
            }
        }
    }
}

/// Holds a [`SpinLock`]. Dropping it restores interrupts and gives way to what became ready meanwhile.
#[derive(Debug)]
pub struct SpinLockGuard<'a, T> {
    guard: ManuallyDrop<spin::MutexGuard<'a, T>>,
    interrupts: bool,
}

impl<T> Deref for SpinLockGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for SpinLockGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

impl<T> Drop for SpinLockGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: dropped once, here; the lock must be free before interrupts come on.
        unsafe { ManuallyDrop::drop(&mut self.guard) };
        if self.interrupts {
            // SAFETY: they were on when the lock was taken.
            unsafe { cpu::enable_interrupts() };
            thread::give_way();
        }
    }
}
