//! Which receive descriptors the driver has taken out of the ring and not yet given back.
//!
//! The card owns what lies before the tail, so a descriptor can only be given back after all that were taken before it. The
//! network stack returns frames in order, but the driver drops bad ones at once, while older ones may still be held.

use super::DESCRIPTORS;

/// The descriptors taken, as a window of the ring.
#[derive(Debug)]
pub(super) struct Held {
    oldest: usize,
    count: usize,
    returned: [bool; DESCRIPTORS],
    /// Counts the times the ring was set up, so that frames of an earlier life are told apart.
    life: u32,
}

impl Held {
    pub(super) const fn new() -> Self {
        Self { oldest: 0, count: 0, returned: [false; DESCRIPTORS], life: 0 }
    }

    /// The ring is set up anew; nothing is held, and what was is forgotten.
    pub(super) fn restart(&mut self) {
        *self = Self { life: self.life.wrapping_add(1), ..Self::new() };
    }

    /// The descriptor the card fills next.
    pub(super) fn next(&self) -> usize {
        (self.oldest + self.count) % DESCRIPTORS
    }

    /// Whether the card has no descriptor left. One always stays out of its hands: head = tail means empty (3.2.6).
    pub(super) fn is_all(&self) -> bool {
        self.count >= DESCRIPTORS - 1
    }

    /// Takes the next descriptor; the mark to return it with.
    pub(super) fn take(&mut self) -> u32 {
        let at = self.next();
        self.count += 1;
        self.life.wrapping_mul(DESCRIPTORS as u32) | at as u32
    }

    /// Returns a descriptor and calls `free` for each that can go back to the card now, in order. Marks of an earlier life and
    /// of descriptors not held are ignored.
    pub(super) fn give_back(&mut self, mark: u32, mut free: impl FnMut(usize)) {
        let at = mark as usize % DESCRIPTORS;
        let is_held = (at + DESCRIPTORS - self.oldest) % DESCRIPTORS < self.count;
        if mark != self.life.wrapping_mul(DESCRIPTORS as u32) | at as u32 || !is_held {
            return;
        }
        self.returned[at] = true;
        while self.count > 0 && self.returned[self.oldest] {
            self.returned[self.oldest] = false;
            free(self.oldest);
            self.oldest = (self.oldest + 1) % DESCRIPTORS;
            self.count -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    fn give_back(held: &mut Held, mark: u32) -> Vec<usize> {
        let mut freed = Vec::new();
        held.give_back(mark, |at| freed.push(at));
        freed
    }

    #[test]
    fn descriptors_go_back_in_order_whatever_the_order_of_returning() {
        let mut held = Held::new();
        let marks: Vec<u32> = (0..3).map(|_| held.take()).collect();
        assert_eq!(give_back(&mut held, marks[1]), []);
        assert_eq!(give_back(&mut held, marks[1]), [], "twice is once");
        assert_eq!(give_back(&mut held, marks[0]), [0, 1]);
        assert_eq!(give_back(&mut held, marks[0]), [], "no longer held");
        assert_eq!(give_back(&mut held, marks[2]), [2]);
    }

    #[test]
    fn one_descriptor_is_never_taken() {
        let mut held = Held::new();
        let marks: Vec<u32> = core::iter::from_fn(|| (!held.is_all()).then(|| held.take())).collect();
        assert_eq!(marks.len(), DESCRIPTORS - 1);
        assert_eq!(held.next(), DESCRIPTORS - 1);
        assert_eq!(give_back(&mut held, marks[0]), [0]);
        assert_eq!(held.take() as usize % DESCRIPTORS, DESCRIPTORS - 1);
        assert!(held.is_all());
    }

    #[test]
    fn marks_of_an_earlier_life_and_forged_ones_are_ignored() {
        let mut held = Held::new();
        let old = held.take();
        held.restart();
        let new = held.take();
        for mark in [old, new + 1, u32::MAX] {
            assert_eq!(give_back(&mut held, mark), []);
        }
        assert_eq!(give_back(&mut held, new), [0]);
    }
}
