//! The heap.

use crate::context::{Context, Failure};
use crate::sampler::Sampler;
use alloc::vec::Vec;
use core::hint::black_box;

/// Blocks taken and given back in a row.
const BATCH: u64 = 16;

/// A block of `SIZE` bytes, taken and given back: from the size's own list, from the arena, or whole pages.
pub fn block<const SIZE: usize>(_: &Context, sampler: &mut Sampler) -> Result<(), Failure> {
    sampler.batches(BATCH, || {
        let mut block = Vec::<u8>::new();
        block.try_reserve_exact(SIZE)?;
        black_box(block.as_mut_ptr());
        Ok(())
    })
}
