//! What is said about samples.

use alloc::vec::Vec;

/// A fraction in thousandths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Thousandths(pub u64);

impl Thousandths {
    /// `part` of `whole`, rounded down; `None` of nothing.
    pub fn of(part: u64, whole: u64) -> Option<Self> {
        let thousandths = (u128::from(part) * 1000).checked_div(u128::from(whole))?;
        Some(Self(u64::try_from(thousandths).unwrap_or(u64::MAX)))
    }
}

impl core::fmt::Display for Thousandths {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        // Padded as one word: tables have columns.
        f.pad(&alloc::format!("{}.{:03}", self.0 / 1000, self.0 % 1000))
    }
}

/// All samples of all runs in a few numbers. No sample is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Samples.
    pub n: usize,
    /// The least of them.
    pub min: u64,
    /// The median.
    pub p50: u64,
    /// What 99 in 100 do not exceed.
    pub p99: u64,
    /// The greatest.
    pub max: u64,
    /// Runs.
    pub runs: usize,
    /// From the least to the greatest median of a run, as a part of the median of those medians.
    pub spread: Thousandths,
    /// Samples further from the quartiles than three times the distance between these (Tukey's "far out").
    pub outliers: usize,
}

fn at(sorted: &[u64], per_cent: usize) -> u64 {
    sorted[(sorted.len() - 1) * per_cent / 100]
}

/// How many are far out.
fn outliers(sorted: &[u64]) -> usize {
    let (first, third) = (at(sorted, 25), at(sorted, 75));
    let fence = (third - first).saturating_mul(3);
    sorted
        .iter()
        .filter(|sample| **sample < first.saturating_sub(fence) || **sample > third.saturating_add(fence))
        .count()
}

impl Summary {
    /// Of the samples of each run; `None` without any.
    pub fn of(runs: &[Vec<u64>]) -> Option<Self> {
        let mut medians = Vec::new();
        for run in runs.iter().filter(|run| !run.is_empty()) {
            let mut sorted = run.clone();
            sorted.sort_unstable();
            medians.push(at(&sorted, 50));
        }
        medians.sort_unstable();
        let mut sorted = runs.concat();
        sorted.sort_unstable();
        let (least, greatest) = (medians.first()?, medians.last()?);
        Some(Self {
            n: sorted.len(),
            min: at(&sorted, 0),
            p50: at(&sorted, 50),
            p99: at(&sorted, 99),
            max: at(&sorted, 100),
            runs: medians.len(),
            spread: Thousandths::of(greatest - least, at(&medians, 50)).unwrap_or_default(),
            outliers: outliers(&sorted),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use alloc::vec;
    use proptest::prelude::*;

    #[test]
    fn a_few_numbers_say_it() {
        let runs = [vec![3, 1, 2], vec![4, 4, 4], vec![]];
        let summary = Summary::of(&runs).unwrap();
        assert_eq!((summary.n, summary.runs), (6, 2));
        assert_eq!((summary.min, summary.p50, summary.p99, summary.max), (1, 3, 4, 4));
        // Medians 2 and 4, the lower of which counts as their median.
        assert_eq!(summary.spread, Thousandths(1000));
        assert_eq!(summary.spread.to_string(), "1.000");
        assert_eq!(summary.outliers, 0);
        assert_eq!(Summary::of(&[]), None);
        assert_eq!(Summary::of(&[vec![]]), None);
    }

    #[test]
    fn outliers_are_counted_and_kept() {
        let mut run: Vec<u64> = (100..200).collect();
        run.extend([10_000, 20_000]);
        let summary = Summary::of(&[run]).unwrap();
        assert_eq!((summary.outliers, summary.max), (2, 20_000));
        // Where nearly all are equal, everything else is far out.
        let mut same = vec![7; 98];
        same.extend([6, 8]);
        assert_eq!(Summary::of(&[same]).unwrap().outliers, 2);
    }

    #[test]
    fn a_part_of_nothing_is_none() {
        assert_eq!(Thousandths::of(1, 0), None);
        assert_eq!(Thousandths::of(2, 3), Some(Thousandths(666)));
        assert_eq!(Thousandths::of(u64::MAX, 1), Some(Thousandths(u64::MAX)));
        assert_eq!(alloc::format!("{:>7}", Thousandths(1_050)), "  1.050");
    }

    proptest! {
        #[test]
        fn it_is_in_order(runs in proptest::collection::vec(proptest::collection::vec(0u64..1 << 40, 1..50), 1..6)) {
            let summary = Summary::of(&runs).unwrap();
            prop_assert!(summary.min <= summary.p50 && summary.p50 <= summary.p99 && summary.p99 <= summary.max);
            prop_assert_eq!(summary.n, runs.concat().len());
            prop_assert!(summary.outliers <= summary.n / 2);
        }
    }
}
