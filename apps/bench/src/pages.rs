//! Page tables: one page of 4 KiB at an address that nothing else uses.

use crate::context::{Context, Failure};
use crate::sampler::Sampler;
use core::hint::black_box;
use machine::cpu::tsc;
use machine::paging::{MapError, Rights, Scratch};

fn page() -> Result<Scratch, Failure> {
    Scratch::take().ok_or(Failure::Memory)
}

impl From<MapError> for Failure {
    fn from(_: MapError) -> Self {
        Self::Memory
    }
}

/// Mapping it: the walk and the entry.
pub fn map(_: &Context, sampler: &mut Sampler) -> Result<(), Failure> {
    let page = page()?;
    while sampler.wants() {
        let start = tsc();
        page.map(Rights::READ_WRITE)?;
        sampler.push(tsc() - start);
        page.unmap();
    }
    Ok(())
}

/// Making it read-only and writable in turns, with the flush on all CPUs.
pub fn protect(_: &Context, sampler: &mut Sampler) -> Result<(), Failure> {
    let page = page()?;
    page.map(Rights::READ_WRITE)?;
    for rights in [Rights::READ, Rights::READ_WRITE].into_iter().cycle() {
        if !sampler.wants() {
            break;
        }
        black_box(page.read());
        let start = tsc();
        page.protect(rights)?;
        sampler.push(tsc() - start);
    }
    Ok(())
}

/// Unmapping it, with the flush on all CPUs.
pub fn unmap(_: &Context, sampler: &mut Sampler) -> Result<(), Failure> {
    let page = page()?;
    while sampler.wants() {
        page.map(Rights::READ_WRITE)?;
        black_box(page.read());
        let start = tsc();
        page.unmap();
        sampler.push(tsc() - start);
    }
    Ok(())
}

/// Reading it where it is not mapped: the fault, a frame that lies ready mapped by its handler, the reading again.
pub fn fault(_: &Context, sampler: &mut Sampler) -> Result<(), Failure> {
    let page = page()?;
    while sampler.wants() {
        let start = tsc();
        black_box(page.read());
        sampler.push(tsc() - start);
        page.unmap();
    }
    Ok(())
}
