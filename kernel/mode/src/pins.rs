//! Pins: code that must not straddle a switch holds one (Mercury's reference count on virtualization objects).

use core::sync::atomic::{AtomicU32, Ordering};

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
        self.held.fetch_add(1, Ordering::Acquire);
        Held(self)
    }
}

/// Holds a [`Pin`].
#[derive(Debug)]
pub struct Held<'a>(&'a Pin);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::Release);
    }
}

/// All pins of the system.
#[derive(Clone, Copy, Debug)]
pub struct Pins<'a>(pub &'a [&'a Pin]);

impl<'a> Pins<'a> {
    /// The first pin that somebody holds.
    pub fn holder(&self) -> Option<&'a Pin> {
        self.0.iter().copied().find(|pin| pin.held.load(Ordering::Acquire) > 0)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    #[test]
    fn the_holder_is_named_until_the_last_guard_is_gone() {
        let (dma, file) = (Pin::new("DMA set-up"), Pin::new("file"));
        let all = [&dma, &file];
        let pins = Pins(&all);
        assert!(pins.holder().is_none());
        std::thread::scope(|scope| {
            let first = file.hold();
            scope.spawn(|| drop(file.hold())).join().unwrap();
            assert_eq!(pins.holder().map(Pin::name), Some("file"));
            drop(first);
        });
        assert!(pins.holder().is_none());
    }
}
