//! What a switch costs, and what exits cost once the VMM is beneath.

use crate::context::{Context, Failure};
use crate::sampler::Sampler;
use alloc::string::ToString;
use alloc::vec::Vec;
use app::thread;
use core::hint::black_box;
use core::time::Duration;
use machine::cpu::{self, tsc};
use machine::paging::{self, PAGE};
use mode::Phase;
use mode::bare::{look, request};
use mode::trace::Record;
use vmm::call::Call;

/// Bytes of a large leaf.
pub(crate) const LARGE: u64 = 2 << 20;
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) fn refused(error: impl ToString) -> Failure {
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

/// Large leaves of the nested tables that are whole.
pub(crate) struct Leaves {
    memory: Vec<u8>,
    /// Where the first begins in it.
    offset: usize,
}

impl Leaves {
    /// In a run: as many as are wanted, and those of the warm-up.
    pub(crate) const COUNT: u64 = 6;

    /// On the machine's way through native mode all that was split before is joined.
    pub(crate) fn new() -> Result<Self, Failure> {
        let size = ((Self::COUNT + 1) * LARGE) as usize;
        let mut memory: Vec<u8> = Vec::new();
        memory.try_reserve_exact(size)?;
        memory.resize(size, 0);
        let first = (memory.as_ptr() as u64).next_multiple_of(LARGE);
        let offset = (first - memory.as_ptr() as u64) as usize;
        // Large blocks of the heap lie at their physical address.
        if (0..Self::COUNT).any(|leaf| paging::translate(first + leaf * LARGE) != Some(first + leaf * LARGE))
        {
            return Err(Failure::Memory);
        }
        for phase in [Phase::Native, Phase::Guest] {
            request(Some(phase), DEADLINE).map_err(refused)?;
        }
        Ok(Self { memory, offset })
    }

    /// Where a leaf begins.
    fn start(&self, leaf: u64) -> u64 {
        self.memory.as_ptr() as u64 + self.offset as u64 + leaf * LARGE
    }

    /// A byte of a leaf.
    pub(crate) fn byte(&mut self, leaf: u64, offset: u64) -> &mut u8 {
        &mut self.memory[self.offset + (leaf * LARGE + offset) as usize]
    }
}

/// The first write to a watched large leaf: a nested fault that splits it and resumes.
pub fn nested_split(_: &Context, sampler: &mut Sampler) -> Result<(), Failure> {
    let mut leaves = Leaves::new()?;
    for leaf in 0..Leaves::COUNT {
        if !sampler.wants() {
            break;
        }
        let start = leaves.start(leaf);
        let call = |call| {
            look(|_, monitor| monitor.call(call, start, LARGE)).map_err(refused)?.map_err(|_| Failure::Memory)
        };
        call(Call::Watch)?;
        let place = leaves.byte(leaf, 5 * PAGE);
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
