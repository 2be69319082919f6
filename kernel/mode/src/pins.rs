//! Pins: code that must not straddle a switch holds one (Mercury's reference count on virtualization objects).

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use machine::sync::SpinLock;
use machine::thread::{self, Thread};
use machine::time::Instant;

/// Who waits for pins: the one switch that there can be.
static WAITER: SpinLock<Option<Thread>> = SpinLock::new(None);
static WAITING: AtomicBool = AtomicBool::new(false);

/// A named count of guards.
#[derive(Debug)]
pub struct Pin {
    name: &'static str,
    held: AtomicU32,
}

impl Pin {
    /// A pin nobody holds.
    pub const fn new(name: &'static str) -> Self {
        Self { name, held: AtomicU32::new(0) }
    }

    /// What a refusal says.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Holds the pin until the guard is dropped.
    pub fn hold(&self) -> Held<'_> {
        self.held.fetch_add(1, Ordering::SeqCst);
        Held(self)
    }
}

/// Holds a [`Pin`].
#[derive(Debug)]
#[must_use = "the pin is held as long as this lives"]
pub struct Held<'a>(&'a Pin);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if self.0.held.fetch_sub(1, Ordering::SeqCst) == 1 && WAITING.load(Ordering::SeqCst) {
            let waiter = WAITER.lock().clone();
            if let Some(thread) = waiter {
                thread.unpark();
            }
        }
    }
}

/// All pins of the system.
#[derive(Clone, Copy, Debug)]
pub struct Pins<'a>(pub &'a [&'a Pin]);

impl<'a> Pins<'a> {
    /// The first pin that somebody holds.
    pub fn holder(&self) -> Option<&'a Pin> {
        self.0.iter().copied().find(|pin| pin.held.load(Ordering::SeqCst) > 0)
    }

    /// Sleeps until nobody holds a pin, or the deadline has passed: then it names one that is held. One waiter at a time.
    pub fn wait(&self, deadline: Instant) -> Result<(), &'static str> {
        if self.holder().is_none() {
            return Ok(());
        }
        *WAITER.lock() = Some(thread::current());
        WAITING.store(true, Ordering::SeqCst);
        let result = loop {
            match self.holder() {
                None => break Ok(()),
                Some(pin) if Instant::now() >= deadline => break Err(pin.name()),
                Some(_) => thread::park_until(deadline),
            }
        };
        WAITING.store(false, Ordering::SeqCst);
        *WAITER.lock() = None;
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    #[test]
    fn the_holder_is_named_until_the_last_guard_is_gone() {
        let (dma, file) = (Pin::new("DMA set-up"), Pin::new("file"));
        let all = [&dma, &file];
        let pins = Pins(&all);
        assert!(pins.holder().is_none());
        let first = file.hold();
        std::thread::scope(|scope| scope.spawn(|| drop(file.hold())).join().unwrap());
        assert_eq!(pins.holder().map(Pin::name), Some("file"));
        assert_eq!(pins.wait(Instant::now()), Err("file"));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| pins.wait(Instant::now().saturating_add(Duration::from_secs(60))));
            drop(first);
            assert_eq!(waiting.join().unwrap(), Ok(()));
        });
    }
}
