//! Memory: the kernels of STREAM, and the latency of loads that depend on each other.

use crate::chase::{self, LINE};
use crate::compute::round;
use crate::context::{Context, Failure};
use crate::sampler::Sampler;
use alloc::vec::Vec;
use core::hint::black_box;

/// Elements of each array, where there is the memory: 8 MiB.
const ELEMENTS: usize = 1 << 20;
/// The same in a quick run.
const QUICK: usize = 1 << 15;
/// What the kernels multiply by.
const SCALAR: f64 = 3.0;

/// The three arrays of STREAM.
struct Arrays {
    a: Vec<f64>,
    b: Vec<f64>,
    c: Vec<f64>,
}

impl Arrays {
    fn new(context: &Context) -> Result<Self, Failure> {
        let most = context.memory / 8 / (3 * size_of::<f64>() as u64);
        let wanted = if context.quick { QUICK } else { ELEMENTS };
        let elements = wanted.min(usize::try_from(most).unwrap_or(usize::MAX));
        if elements < QUICK {
            return Err(Failure::Memory);
        }
        let filled = |value| {
            let mut array = Vec::new();
            array.try_reserve_exact(elements)?;
            array.resize(elements, value);
            Ok::<_, Failure>(array)
        };
        Ok(Self { a: filled(1.0)?, b: filled(2.0)?, c: filled(0.0)? })
    }
}

/// Forgets what the CPU knows about addresses: QEMU's TLB only grows when it is flushed.
fn forget() {
    #[cfg(bare_metal)]
    machine::paging::shootdown();
}

/// Rates of a kernel that moves so many bytes an element, and leaves so much in each element of the array it writes.
fn stream(
    context: &Context,
    sampler: &mut Sampler,
    bytes: usize,
    expected: f64,
    kernel: fn(&mut Arrays),
    written: fn(&Arrays) -> &[f64],
) -> Result<(), Failure> {
    let mut arrays = Arrays::new(context)?;
    round();
    forget();
    kernel(&mut arrays);
    forget();
    let moved = (bytes * arrays.a.len()) as u64;
    sampler.rates(moved, || {
        kernel(black_box(&mut arrays));
        Ok::<(), Failure>(())
    })?;
    // All are small whole numbers: nothing is rounded.
    let right = written(&arrays).iter().all(|value| *value == expected);
    if right { Ok(()) } else { Err(Failure::Wrong) }
}

/// `c = a`.
pub fn copy(context: &Context, sampler: &mut Sampler) -> Result<(), Failure> {
    let kernel = |arrays: &mut Arrays| {
        for (c, a) in arrays.c.iter_mut().zip(&arrays.a) {
            *c = *a;
        }
    };
    stream(context, sampler, 16, 1.0, kernel, |arrays| &arrays.c)
}

/// `b = 3 a`.
pub fn scale(context: &Context, sampler: &mut Sampler) -> Result<(), Failure> {
    let kernel = |arrays: &mut Arrays| {
        for (b, a) in arrays.b.iter_mut().zip(&arrays.a) {
            *b = SCALAR * *a;
        }
    };
    stream(context, sampler, 16, 3.0, kernel, |arrays| &arrays.b)
}

/// `c = a + b`.
pub fn add(context: &Context, sampler: &mut Sampler) -> Result<(), Failure> {
    let kernel = |arrays: &mut Arrays| {
        for ((c, a), b) in arrays.c.iter_mut().zip(&arrays.a).zip(&arrays.b) {
            *c = *a + *b;
        }
    };
    stream(context, sampler, 24, 3.0, kernel, |arrays| &arrays.c)
}

/// `c = a + 3 b`.
pub fn triad(context: &Context, sampler: &mut Sampler) -> Result<(), Failure> {
    let kernel = |arrays: &mut Arrays| {
        for ((c, a), b) in arrays.c.iter_mut().zip(&arrays.a).zip(&arrays.b) {
            *c = *a + SCALAR * *b;
        }
    };
    stream(context, sampler, 24, 7.0, kernel, |arrays| &arrays.c)
}

/// A load that waits for the one before, somewhere in `SIZE` bytes.
pub fn latency<const SIZE: usize>(context: &Context, sampler: &mut Sampler) -> Result<(), Failure> {
    /// Loads of one sample.
    const STEPS: u32 = 1000;
    if SIZE as u64 > context.memory / 4 {
        return Err(Failure::Memory);
    }
    let lines = chase::cycle((SIZE / LINE) as u32).ok_or(Failure::Memory)?;
    // Each line once in between, so that the TLB knows how many pages there are.
    forget();
    let mut at = chase::walk(&lines, 0, lines.len() as u32);
    forget();
    if at != 0 {
        return Err(Failure::Wrong);
    }
    at = chase::walk(&lines, 0, (lines.len() as u32).min(64 * STEPS));
    while sampler.wants() {
        let start = machine::cpu::tsc();
        at = chase::walk(&lines, at, STEPS);
        sampler.push((machine::cpu::tsc() - start) / u64::from(STEPS));
    }
    black_box(at);
    Ok(())
}
