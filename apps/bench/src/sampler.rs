//! Taking samples: a warm-up that is thrown away, then as many as are wanted.

use crate::Context;
use alloc::vec::Vec;
use machine::cpu::tsc;

/// Takes the samples of one run of one benchmark.
#[derive(Debug)]
pub struct Sampler {
    samples: Vec<u64>,
    wanted: usize,
    warm_up: usize,
    /// Ticks a second.
    hertz: u64,
}

impl Sampler {
    /// For so many samples, of which a quick run takes a tenth; one more in ten first, as a warm-up.
    pub fn new(context: &Context, full: usize) -> Self {
        let wanted = if context.quick { full.div_ceil(10) } else { full };
        let hertz = if context.instructions { 1_000_000_000 } else { context.hertz };
        // All of the room now: nothing is to grow between two samples.
        Self { samples: Vec::with_capacity(wanted), wanted, warm_up: wanted.div_ceil(10), hertz }
    }

    /// Whether there are still some to be taken.
    pub fn wants(&self) -> bool {
        self.samples.len() < self.wanted
    }

    /// Takes one; the first few warm up.
    pub fn push(&mut self, sample: u64) {
        if self.warm_up > 0 {
            self.warm_up -= 1;
        } else if self.wants() {
            self.samples.push(sample);
        }
    }

    /// Takes a rate: so many things were done in so many ticks.
    pub fn push_rate(&mut self, things: u64, ticks: u64) {
        let rate = u128::from(things) * u128::from(self.hertz) / u128::from(ticks.max(1));
        self.push(u64::try_from(rate).unwrap_or(u64::MAX));
    }

    /// Samples of an operation's time.
    pub fn time<E>(&mut self, operation: impl FnMut() -> Result<(), E>) -> Result<(), E> {
        self.batches(1, operation)
    }

    /// Samples of the mean of `count` operations in a row: for what is hardly longer than reading the clock.
    pub fn batches<E>(&mut self, count: u64, mut operation: impl FnMut() -> Result<(), E>) -> Result<(), E> {
        while self.wants() {
            let start = tsc();
            for _ in 0..count {
                operation()?;
            }
            self.push((tsc() - start) / count);
        }
        Ok(())
    }

    /// Samples of a rate: an operation does so many things.
    pub fn rates<E>(&mut self, things: u64, mut operation: impl FnMut() -> Result<(), E>) -> Result<(), E> {
        while self.wants() {
            let start = tsc();
            operation()?;
            self.push_rate(things, tsc() - start);
        }
        Ok(())
    }

    /// What was taken.
    pub fn finish(self) -> Vec<u64> {
        self.samples
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::convert::Infallible;

    #[test]
    fn the_first_samples_are_thrown_away() {
        let mut sampler = Sampler::new(&Context::for_tests(), 20);
        let mut calls = 0;
        while sampler.wants() {
            sampler.push(calls);
            calls += 1;
        }
        sampler.push(99);
        assert_eq!(sampler.finish(), (2..22).collect::<Vec<u64>>());
        let quick = Context { quick: true, ..Context::for_tests() };
        let mut sampler = Sampler::new(&quick, 25);
        sampler.time(|| Ok::<(), Infallible>(())).unwrap();
        assert_eq!(sampler.finish().len(), 3);
    }

    #[test]
    fn a_rate_is_of_a_second() {
        let context = Context { hertz: 1000, ..Context::for_tests() };
        let mut sampler = Sampler::new(&context, 1);
        sampler.push_rate(1, 1);
        sampler.push_rate(30, 500);
        assert_eq!(sampler.finish(), [60]);
    }
}
