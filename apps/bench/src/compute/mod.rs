//! Computing: whole numbers as CoreMark uses them, and a product of matrices.

mod integer;

use crate::context::{Context, Failure};
use crate::sampler::Sampler;
use alloc::vec::Vec;
use core::hint::black_box;

/// Iterations of the integer work in a sample.
const ITERATIONS: u64 = 4;
/// Rows and columns of a matrix.
const ORDER: usize = 48;

/// Iterations of list, matrix, state machine and CRC. The checksum of each is known.
pub fn integer(_: &Context, sampler: &mut Sampler) -> Result<(), Failure> {
    let mut work = integer::Work::new()?;
    sampler.rates(ITERATIONS, || {
        for _ in 0..ITERATIONS {
            if black_box(&mut work).iterate() != integer::CHECKSUM {
                return Err(Failure::Wrong);
            }
        }
        Ok(())
    })
}

/// The element of the left factor.
fn left(row: usize, column: usize) -> i64 {
    (row * 3 + column) as i64 - 70
}

/// The element of the right factor.
fn right(row: usize, column: usize) -> i64 {
    row as i64 - (column * 2) as i64
}

fn matrix(element: fn(usize, usize) -> i64) -> Result<Vec<f64>, Failure> {
    let mut matrix = Vec::new();
    matrix.try_reserve_exact(ORDER * ORDER)?;
    matrix.extend((0..ORDER * ORDER).map(|at| element(at / ORDER, at % ORDER) as f64));
    Ok(matrix)
}

/// Leaves a rounded result behind, as nearly all floating point does (MXCSR.PE). QEMU computes with the host's unit only where one is
/// recorded; the exact numbers of these benchmarks would be computed bit by bit.
pub(crate) fn round() {
    black_box(black_box(1.0_f64) / black_box(3.0));
}

/// `c = a b`, row by row.
#[inline(never)]
fn multiply(a: &[f64], b: &[f64], c: &mut [f64]) {
    c.fill(0.0);
    for (a, c) in a.chunks_exact(ORDER).zip(c.chunks_exact_mut(ORDER)) {
        for (factor, b) in a.iter().zip(b.chunks_exact(ORDER)) {
            for (c, b) in c.iter_mut().zip(b) {
                *c += factor * b;
            }
        }
    }
}

/// Additions and multiplications of a product of two matrices. All are of small whole numbers, so that it can be checked exactly.
pub fn float(_: &Context, sampler: &mut Sampler) -> Result<(), Failure> {
    let (a, b, mut c) = (matrix(left)?, matrix(right)?, matrix(|_, _| 0)?);
    let operations = 2 * ORDER.pow(3) as u64;
    round();
    sampler.rates(operations, || {
        multiply(black_box(&a), &b, black_box(&mut c));
        Ok::<(), Failure>(())
    })?;
    let expected = |at: usize| -> i64 {
        let (row, column) = (at / ORDER, at % ORDER);
        (0..ORDER).map(|between| left(row, between) * right(between, column)).sum()
    };
    // The diagonal and one beside it are enough to notice a wrong row or column.
    let mut places = (0..ORDER).flat_map(|row| [row, (row + 1) % ORDER].map(|column| row * ORDER + column));
    if places.all(|at| c[at] as i64 == expected(at)) { Ok(()) } else { Err(Failure::Wrong) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_right() {
        let (a, b, mut c) = (matrix(left).unwrap(), matrix(right).unwrap(), matrix(|_, _| 7).unwrap());
        multiply(&a, &b, &mut c);
        for (at, found) in c.iter().enumerate() {
            let (row, column) = (at / ORDER, at % ORDER);
            let sum: i64 = (0..ORDER).map(|between| left(row, between) * right(between, column)).sum();
            assert_eq!(*found, sum as f64);
        }
    }
}
