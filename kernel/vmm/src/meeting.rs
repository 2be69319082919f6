//! All CPUs stand still in the VMM: none of them runs the system while one thing is done.

use core::hint::spin_loop;
use core::sync::atomic::{AtomicU64, Ordering};

/// The lower half counts who waits, the upper one meetings.
const HALF: u32 = 32;
const WAITING: u64 = (1 << HALF) - 1;

/// Where they meet.
#[derive(Debug)]
pub struct Meeting(AtomicU64);

impl Default for Meeting {
    fn default() -> Self {
        Self::new()
    }
}

impl Meeting {
    /// Nobody is there.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Waits for all of `cpus`. Who comes last does `work`, with all others waiting, and all go on. Who loses patience before that
    /// goes on alone: false.
    pub fn meet(&self, cpus: usize, work: impl FnOnce(), patient: impl Fn() -> bool) -> bool {
        let before = self.0.fetch_add(1, Ordering::AcqRel);
        let number = before >> HALF;
        let all = cpus as u64;
        if (before & WAITING) + 1 == all {
            work();
            self.0.store((number + 1) << HALF, Ordering::Release);
            return true;
        }
        loop {
            let now = self.0.load(Ordering::Acquire);
            if now >> HALF != number {
                return true;
            }
            // Once all are there, the meeting takes place.
            let alone = now & WAITING < all && !patient();
            if alone && self.0.compare_exchange(now, now - 1, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return false;
            }
            spin_loop();
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use core::sync::atomic::AtomicUsize;

    #[test]
    fn all_stand_still_while_one_works() {
        let (meeting, inside, done) = (Meeting::new(), AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for round in 1..=200 {
                        inside.fetch_add(1, Ordering::SeqCst);
                        let work = || {
                            assert_eq!(inside.load(Ordering::SeqCst), 4 * round);
                            done.fetch_add(1, Ordering::SeqCst);
                        };
                        let met = meeting.meet(4, work, || {
                            std::thread::yield_now();
                            true
                        });
                        assert!(met && done.load(Ordering::SeqCst) >= round);
                    }
                });
            }
        });
        assert_eq!(done.load(Ordering::SeqCst), 200);
    }

    #[test]
    fn who_waits_in_vain_goes_on_and_the_next_meeting_is_whole() {
        let meeting = Meeting::new();
        assert!(!meeting.meet(2, || unreachable!(), || false));
        assert!(meeting.meet(1, || (), || false));
        std::thread::scope(|scope| {
            let other = scope.spawn(|| meeting.meet(2, || (), || true));
            assert!(meeting.meet(2, || (), || true) && other.join().unwrap());
        });
    }
}
