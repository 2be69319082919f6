//! How long things take: counts of durations by logarithmic buckets, at a few instructions each.
//!
//! There are four buckets to each power of two, from 16 ns to 2^34 ns (17 s), so a quantile is off by a quarter at most. Each
//! bucket takes its upper bound in, as Prometheus's do. A bucket is found with a shift and the place of the highest bit.

use alloc::sync::Arc;
use core::cell::Cell;
use core::fmt;
use core::marker::PhantomData;
use core::ops::RangeInclusive;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Nanoseconds of the first buckets, as a power of two.
const UNIT: u32 = 4;
/// The last bound, as a power of two of nanoseconds.
const LAST: u32 = 34;
/// Buckets; the last one takes everything longer.
const BUCKETS: usize = 4 * (LAST - UNIT - 1) as usize + 1;

/// The bucket of a duration.
#[inline]
fn place(nanos: u64) -> usize {
    let units = nanos.saturating_sub(1) >> UNIT;
    if units < 4 {
        return units as usize;
    }
    let octave = units.ilog2();
    let quarter = units >> (octave - 2) & 3;
    (4 * (octave as usize - 1) + quarter as usize).min(BUCKETS - 1)
}

/// The longest duration in a bucket, in nanoseconds. (The last has none.)
const fn bound(place: usize) -> u64 {
    let units = if place < 4 { place as u64 + 1 } else { (5 + place as u64 % 4) << (place / 4 - 1) };
    units << UNIT
}

/// Counts of durations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    buckets: [u64; BUCKETS],
    sum: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

impl Histogram {
    /// Nothing was counted.
    pub const fn new() -> Self {
        Self { buckets: [0; BUCKETS], sum: 0 }
    }

    /// Counts a duration in nanoseconds, `times` over.
    pub fn add(&mut self, nanos: u64, times: u64) {
        self.buckets[place(nanos)] += times;
        self.sum = self.sum.wrapping_add(nanos.wrapping_mul(times));
    }

    /// Adds what another has counted.
    pub fn merge(&mut self, other: &Self) {
        self.buckets.iter_mut().zip(other.buckets).for_each(|(mine, others)| *mine += others);
        self.sum = self.sum.wrapping_add(other.sum);
    }

    /// What was counted after an earlier reading of the same.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let buckets =
            core::array::from_fn(|place| self.buckets[place].saturating_sub(earlier.buckets[place]));
        Self { buckets, sum: self.sum.wrapping_sub(earlier.sum) }
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Their sum, in nanoseconds.
    pub const fn sum(&self) -> u64 {
        self.sum
    }

    /// The duration in nanoseconds that so many of a thousand don't exceed; `None` where nothing was counted.
    pub fn quantile(&self, of_thousand: u64) -> Option<u64> {
        let rank = (u128::from(self.count()) * u128::from(of_thousand)).div_ceil(1000).max(1) as u64;
        let mut before = 0;
        for (place, &count) in self.buckets.iter().enumerate() {
            if count > 0 && before + count >= rank {
                let from = if place == 0 { 0 } else { bound(place - 1) };
                let width = if place == BUCKETS - 1 { 0 } else { bound(place) - from };
                // Those of a bucket are taken as evenly spread.
                return Some(
                    from + (u128::from(width) * u128::from(rank - before) / u128::from(count)) as u64,
                );
            }
            before += count;
        }
        None
    }

    /// For each power of two of nanoseconds (by exponent, 6 to 34): the bound, and how many durations don't exceed it.
    pub fn cumulative(&self, exponents: RangeInclusive<u32>) -> impl Iterator<Item = (u64, u64)> {
        exponents.map(|exponent| {
            let places = 4 * (exponent.clamp(UNIT + 2, LAST) - UNIT - 1) as usize;
            (1 << exponent, self.buckets[..places].iter().sum())
        })
    }
}

/// Counts that one thread makes, for whoever wants to read them.
pub struct Tally {
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tally").field(&self.read()).finish()
    }
}

impl Tally {
    /// The counts so far.
    pub fn read(&self) -> Histogram {
        let buckets = core::array::from_fn(|place| self.buckets[place].load(Relaxed));
        Histogram { buckets, sum: self.sum.load(Relaxed) }
    }
}

/// The one who counts. Plain loads and stores: it is never waited for, and never waits.
#[derive(Debug)]
pub struct Counter {
    tally: Arc<Tally>,
    /// Not `Sync`: two would lose each other's counts.
    alone: PhantomData<Cell<()>>,
}

impl Default for Counter {
    fn default() -> Self {
        Self::new()
    }
}

impl Counter {
    /// Nothing was counted.
    pub fn new() -> Self {
        let zero = || AtomicU64::new(0);
        let tally = Tally { buckets: core::array::from_fn(|_| zero()), sum: zero() };
        Self { tally: Arc::new(tally), alone: PhantomData }
    }

    /// What is counted.
    pub fn tally(&self) -> Arc<Tally> {
        self.tally.clone()
    }

    /// Counts a duration in nanoseconds, `times` over.
    #[inline]
    pub fn add(&self, nanos: u64, times: u64) {
        let Tally { buckets, sum } = &*self.tally;
        let bucket = &buckets[place(nanos)];
        bucket.store(bucket.load(Relaxed) + times, Relaxed);
        sum.store(sum.load(Relaxed).wrapping_add(nanos.wrapping_mul(times)), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    #[test]
    fn bounds_are_in_their_buckets_and_a_nanosecond_more_is_not() {
        for place_ in 0..BUCKETS - 1 {
            assert_eq!((place(bound(place_)), place(bound(place_) + 1)), (place_, place_ + 1), "{place_}");
        }
        assert_eq!((place(0), place(u64::MAX)), (0, BUCKETS - 1));
        assert_eq!((bound(0), bound(BUCKETS - 2)), (16, 1 << LAST));
    }

    #[test]
    fn quantiles_of_nothing_and_of_what_is_too_long() {
        let mut histogram = Histogram::new();
        assert_eq!((histogram.quantile(500), histogram.count()), (None, 0));
        histogram.add(u64::MAX, 3);
        assert_eq!((histogram.quantile(0), histogram.quantile(1000)), (Some(1 << LAST), Some(1 << LAST)));
    }

    #[test]
    fn what_came_later_is_told_from_what_was_there() {
        let counter = Counter::new();
        let tally = counter.tally();
        counter.add(100, 5);
        let before = tally.read();
        counter.add(100, 1);
        counter.add(5_000, 2);
        let later = tally.read().since(&before);
        assert_eq!((later.count(), later.sum()), (3, 10_100));
        let mut sum = before;
        sum.merge(&later);
        assert_eq!(sum, tally.read());
    }

    proptest! {
        #[test]
        fn a_quantile_is_near_the_duration_of_its_rank(
            mut durations in proptest::collection::vec(0..1u64 << LAST, 1..200), of_thousand in 0..=1000u64
        ) {
            let mut histogram = Histogram::new();
            durations.iter().for_each(|nanos| histogram.add(*nanos, 1));
            durations.sort_unstable();
            let rank = (durations.len() * of_thousand as usize).div_ceil(1000).max(1);
            let (exact, told) = (durations[rank - 1], histogram.quantile(of_thousand).unwrap());
            prop_assert!(told.abs_diff(exact) <= exact / 4 + 16, "{told} for {exact}");
        }

        #[test]
        fn cumulative_counts_are_those_up_to_the_bound(
            durations in proptest::collection::vec(0..1u64 << 36, 0..50)
        ) {
            let mut histogram = Histogram::new();
            durations.iter().for_each(|nanos| histogram.add(*nanos, 1));
            for (bound, count) in histogram.cumulative(6..=LAST) {
                let exact: Vec<_> = durations.iter().filter(|nanos| **nanos <= bound).collect();
                prop_assert_eq!(count, exact.len() as u64, "up to {}", bound);
            }
        }
    }
}
