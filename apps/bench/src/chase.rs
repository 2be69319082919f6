//! A chase through memory: each line of it names the next, all of them in one cycle without a pattern.

use alloc::vec::Vec;

/// A cache line.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
pub struct Line {
    next: u32,
}

/// Bytes of a line.
pub const LINE: usize = size_of::<Line>();
const _: () = assert!(LINE == 64);

/// Numbers that look random, the same each time (Marsaglia's xorshift64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// From a seed that is not 0.
    pub fn new(seed: u64) -> Self {
        debug_assert!(seed != 0);
        Self(seed)
    }

    /// Less than `limit`, which is not 0. The bias of the remainder does not matter here.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// A cycle through `count` lines (Sattolo's algorithm); `None` without memory for it. The same each time.
pub fn cycle(count: u32) -> Option<Vec<Line>> {
    let mut lines = Vec::new();
    lines.try_reserve_exact(count as usize).ok()?;
    lines.extend((0..count).map(|next| Line { next }));
    let mut random = Random::new(0x9e37_79b9_7f4a_7c15);
    for last in (1..lines.len()).rev() {
        let other = random.below(last as u64) as usize;
        let next = lines[last].next;
        lines[last].next = lines[other].next;
        lines[other].next = next;
    }
    Some(lines)
}

/// Goes on by so many lines, each load waiting for the one before.
#[inline(never)]
pub fn walk(lines: &[Line], from: u32, steps: u32) -> u32 {
    (0..steps).fold(from, |at, _| lines[at as usize].next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_is_the_same_each_time() {
        let first: Vec<u32> = cycle(64).unwrap().iter().map(|line| line.next).collect();
        assert!(first.iter().zip(cycle(64).unwrap()).all(|(next, line)| *next == line.next));
        // Hardly any line names its neighbour.
        let near = first.iter().enumerate().filter(|(at, next)| (*at as i64 - i64::from(**next)).abs() == 1);
        assert!(near.count() < 10);
    }

    proptest! {
        #[test]
        fn it_is_one_cycle(count in 1u32..3000) {
            let lines = cycle(count).unwrap();
            let mut seen = alloc::vec![false; count as usize];
            let mut at = 0;
            for _ in 0..count {
                prop_assert!(!core::mem::replace(&mut seen[at as usize], true));
                at = walk(&lines, at, 1);
            }
            prop_assert_eq!(at, 0);
            prop_assert_eq!(walk(&lines, 0, count), 0);
        }

        #[test]
        fn numbers_stay_below(limit in 1u64..1 << 40) {
            let mut random = Random::new(limit);
            prop_assert!((0..100).all(|_| random.below(limit) < limit));
        }
    }
}
