//! What a snapshot costs: the stop, and the first writes afterwards.

use crate::context::{Context, Failure};
use crate::sampler::Sampler;
use crate::switch::{DEADLINE, LARGE, Leaves, refused};
use core::hint::black_box;
use machine::cpu::{self, tsc};
use machine::paging::PAGE;
use mode::bare::{Returned, Snapshot, freeze};

/// Bytes that are donated: what is written in a run.
const ROOM: u64 = LARGE;

fn frozen() -> Result<Snapshot, Failure> {
    match freeze(ROOM, DEADLINE, &()).map_err(refused)? {
        Returned::GoOn(snapshot) => Ok(snapshot),
        Returned::Restored => Err(refused("the machine was restored")),
    }
}

/// How long no CPU runs the system.
pub fn stop(_: &Context, sampler: &mut Sampler) -> Result<(), Failure> {
    while sampler.wants() {
        sampler.push(frozen()?.stop());
    }
    Ok(())
}

/// Ticks of a write.
fn write(place: &mut u8) -> u64 {
    // The system's own page tables, whose walk counts as a write on AMD, are copied now.
    black_box(*black_box(&*place));
    cpu::without_interrupts(|| {
        let begin = tsc();
        *black_box(place) = 1;
        tsc() - begin
    })
}

/// The first write to a large page since the freeze: the page of 4 KiB is copied, and the large one split.
pub fn first_write(_: &Context, sampler: &mut Sampler) -> Result<(), Failure> {
    let mut leaves = Leaves::new()?;
    for leaf in 0..Leaves::COUNT {
        if !sampler.wants() {
            break;
        }
        let snapshot = frozen()?;
        sampler.push(write(leaves.byte(leaf, 5 * PAGE)));
        drop(snapshot);
    }
    Ok(())
}

/// The first write to a page of 4 KiB next to others that were written.
pub fn next_write(_: &Context, sampler: &mut Sampler) -> Result<(), Failure> {
    let mut leaves = Leaves::new()?;
    let snapshot = frozen()?;
    for page in 0..LARGE / PAGE {
        if !sampler.wants() {
            break;
        }
        sampler.push(write(leaves.byte(0, page * PAGE)));
    }
    drop(snapshot);
    Ok(())
}
