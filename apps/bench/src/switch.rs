//! What a switch costs, and what exits cost once the VMM is beneath.

use crate::context::{Context, Failure};
use crate::sampler::Sampler;
use alloc::string::ToString;
use alloc::vec::Vec;
use app::thread;
use core::hint::black_box;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use machine::cpu::{self, tsc};
use machine::paging::{self, PAGE};
use mode::bare::{look, request};
use mode::trace::Record;
use vmm::call::Call;

/// Bytes of a large leaf.
const LARGE: u64 = 2 << 20;
const DEADLINE: Duration = Duration::from_secs(20);

fn refused(error: impl ToString) -> Failure {
    Failure::Monitor(error.to_string())
}

/// Switches there and back, and takes samples of the first of each two.
fn switches(sampler: &mut Sampler, take: fn(&mut Sampler, &Record)) -> Result<(), Failure> {
    while sampler.wants() {
        for there in [true, false] {
            request(None, DEADLINE).map_err(refused)?;
            let taken = look(|figures, _| {
                if let Some(last) = figures.last().filter(|_| there) {
                    take(sampler, &last);
                }
            });
            taken.map_err(refused)?;
            // Whoever was held up goes on first.
            thread::yield_now();
        }
    }
    Ok(())
}

/// The time that interrupts are off for the switch itself, on each CPU: into the other mode than that which the machine is in.
pub fn windows(_: &Context, sampler: &mut Sampler) -> Result<(), Failure> {
    switches(sampler, |sampler, record| record.cpus.iter().for_each(|cpu| sampler.push(cpu.window())))
}

/// How long each CPU waited for the others.
pub fn rendezvous(_: &Context, sampler: &mut Sampler) -> Result<(), Failure> {
    switches(sampler, |sampler, record| record.cpus.iter().for_each(|cpu| sampler.push(cpu.rendezvous())))
}

fn undisturbed(sampler: &mut Sampler, operation: impl Fn() -> u64) {
    while sampler.wants() {
        let ticks = cpu::without_interrupts(|| {
            let start = tsc();
            black_box(operation());
            tsc() - start
        });
        sampler.push(ticks);
    }
}

/// CPUID; in guest mode it exits.
pub fn cpuid(_: &Context, sampler: &mut Sampler) -> Result<(), Failure> {
    undisturbed(sampler, || u64::from(core::arch::x86_64::__cpuid(0x4000_0000).eax));
    Ok(())
}

/// The hypercall that does nothing.
pub fn hypercall(_: &Context, sampler: &mut Sampler) -> Result<(), Failure> {
    look(|_, monitor| undisturbed(sampler, || monitor.call(Call::Version, 0, 0).unwrap_or(0)))
        .map_err(refused)
}

/// The first write to a watched large leaf: a nested fault that splits it and resumes.
pub fn nested_split(_: &Context, sampler: &mut Sampler) -> Result<(), Failure> {
    /// In a run: as many as are wanted, and those of the warm-up.
    const LEAVES: u64 = 6;
    /// Since boot: what was split once stays so, and a large block of the heap begins where it began the last time.
    const MOST: u64 = 5 * LEAVES;
    static SPLIT: AtomicU64 = AtomicU64::new(0);
    let split = SPLIT.fetch_add(LEAVES, Ordering::Relaxed);
    if split >= MOST {
        return Err(refused("it has split as many pages as it may since boot"));
    }
    let size = ((split + LEAVES + 1) * LARGE) as usize;
    let mut memory: Vec<u8> = Vec::new();
    memory.try_reserve_exact(size)?;
    memory.resize(size, 0);
    let first = (memory.as_ptr() as u64).next_multiple_of(LARGE);
    let offset = (first - memory.as_ptr() as u64) as usize;
    for leaf in split..split + LEAVES {
        if !sampler.wants() {
            break;
        }
        let start = first + leaf * LARGE;
        // Large blocks of the heap lie at their physical address.
        if paging::translate(start) != Some(start) {
            return Err(Failure::Memory);
        }
        let call = |call| {
            look(|_, monitor| monitor.call(call, start, LARGE)).map_err(refused)?.map_err(|_| Failure::Memory)
        };
        call(Call::Watch)?;
        let place = &mut memory[offset + (leaf * LARGE) as usize + 5 * PAGE as usize];
        let ticks = cpu::without_interrupts(|| {
            let begin = tsc();
            *black_box(place) = 1;
            tsc() - begin
        });
        sampler.push(ticks);
        call(Call::Unwatch)?;
    }
    Ok(())
}
