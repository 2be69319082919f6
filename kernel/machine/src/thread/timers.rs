//! Deadlines of sleeping threads: a binary heap whose entries know their place, so that one can be taken out early.

use alloc::collections::TryReserveError;
use alloc::vec::Vec;

/// An entry that remembers where in the heap it is.
pub(crate) trait Placed {
    /// The entry moved to `place` (`None`: it left the heap).
    fn set_place(&self, place: Option<usize>);
}

/// A binary min-heap by deadline.
pub(crate) struct TimerHeap<T> {
    entries: Vec<(u64, T)>,
}

impl<T: Placed> TimerHeap<T> {
    pub(crate) const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    /// Makes sure that `count` entries fit without allocating.
    pub(crate) fn reserve(&mut self, count: usize) -> Result<(), TryReserveError> {
        self.entries.try_reserve(count.saturating_sub(self.entries.len()))
    }

    /// The earliest deadline.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        self.entries.first().map(|entry| entry.0)
    }

    pub(crate) fn insert(&mut self, deadline: u64, entry: T) {
        self.entries.push((deadline, entry));
        self.sift_up(self.entries.len() - 1);
    }

    /// Takes out the earliest entry if its deadline is `now` or before.
    pub(crate) fn pop_due(&mut self, now: u64) -> Option<T> {
        (self.next_deadline()? <= now).then(|| self.remove(0))
    }

    /// Takes out the entry at `place`.
    pub(crate) fn remove(&mut self, place: usize) -> T {
        let (_, entry) = self.entries.swap_remove(place);
        entry.set_place(None);
        if place < self.entries.len() {
            self.sift_down(place);
            self.sift_up(place);
        }
        entry
    }

    fn sift_up(&mut self, mut place: usize) {
        while place > 0 && self.entries[place].0 < self.entries[(place - 1) / 2].0 {
            self.entries.swap(place, (place - 1) / 2);
            self.entries[place].1.set_place(Some(place));
            place = (place - 1) / 2;
        }
        self.entries[place].1.set_place(Some(place));
    }

    fn sift_down(&mut self, mut place: usize) {
        loop {
            let mut smallest = place;
            for child in [2 * place + 1, 2 * place + 2] {
                if child < self.entries.len() && self.entries[child].0 < self.entries[smallest].0 {
                    smallest = child;
                }
            }
            if smallest == place {
                break;
            }
            self.entries.swap(place, smallest);
            self.entries[place].1.set_place(Some(place));
            place = smallest;
        }
        self.entries[place].1.set_place(Some(place));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::rc::Rc;
    use core::cell::Cell;
    use proptest::prelude::*;

    struct Entry(u64, Cell<Option<usize>>);
    impl Placed for Rc<Entry> {
        fn set_place(&self, place: Option<usize>) {
            self.1.set(place);
        }
    }

    proptest! {
        #[test]
        fn comes_out_in_order_whatever_is_taken_out_early(
            deadlines in proptest::collection::vec(0u64..50, 0..60),
            early in proptest::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let mut heap = TimerHeap::new();
            prop_assert!(heap.reserve(60).is_ok());
            let mut live: Vec<Rc<Entry>> = Vec::new();
            for deadline in deadlines {
                let entry = Rc::new(Entry(deadline, Cell::new(None)));
                live.push(entry.clone());
                heap.insert(deadline, entry);
            }
            for index in early {
                if !live.is_empty() {
                    let entry = live.swap_remove(index.index(live.len()));
                    let taken = heap.remove(entry.1.get().unwrap());
                    prop_assert!(Rc::ptr_eq(&taken, &entry) && entry.1.get().is_none());
                }
            }
            live.sort_by_key(|entry| entry.0);
            for expected in live {
                prop_assert_eq!(heap.next_deadline(), Some(expected.0));
                prop_assert!(expected.0 == 0 || heap.pop_due(expected.0 - 1).is_none());
                prop_assert_eq!(heap.pop_due(expected.0).unwrap().0, expected.0);
            }
            prop_assert!(heap.next_deadline().is_none());
        }
    }
}
