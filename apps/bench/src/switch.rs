//! What a switch costs, and what exits cost once the VMM is beneath.

use crate::print;
use alloc::vec::Vec;
use app::thread;
use core::time::Duration;
use machine::cpu::{self, tsc};
use machine::paging::{self, PAGE};
use mode::bare::{look, request};
use mode::{Direction, Phase};
use vmm::call::Call;

/// Switches in each direction.
const SWITCHES: usize = 500;
/// Samples of each exit.
const EXITS: usize = 1000;
/// Samples of the nested fault; each takes one large leaf.
const SPLITS: usize = 12;
/// Bytes of a large leaf.
const LARGE: u64 = 2 << 20;
const DEADLINE: Duration = Duration::from_secs(20);

/// Prints all figures; says why if the machine can't switch.
pub fn run(cpus: usize) {
    let mut samples: [Vec<u64>; 4] = Default::default();
    for round in 0..2 * SWITCHES {
        if let Err(error) = request(None, DEADLINE) {
            log::error!("the machine does not switch: {error}");
            return;
        }
        let direction = round % 2;
        let _ = look(|figures, _| {
            if let Some(last) = figures.last() {
                debug_assert_eq!(last.direction == Direction::Leave, direction == 1);
                samples[direction].extend(last.cpus.iter().map(|cpu| cpu.window()));
                samples[2 + direction].extend(last.cpus.iter().map(|cpu| cpu.rendezvous()));
            }
        });
        // Whoever was held up goes on first.
        thread::yield_now();
    }
    let [enter, leave, enter_wait, leave_wait] = samples;
    let wait = [enter_wait, leave_wait].concat();
    print("switch.enter", "native", cpus, enter);
    print("switch.leave", "guest", cpus, leave);
    print("switch.rendezvous", "native", cpus, wait);
    if request(Some(Phase::Guest), DEADLINE).is_ok() {
        let calls = look(|_, monitor| exits(|| monitor.call(Call::Version, 0, 0).unwrap_or(0)));
        print("exit.hypercall", "guest", cpus, calls.unwrap_or_default());
        print("exit.cpuid", "guest", cpus, exits(|| u64::from(core::arch::x86_64::__cpuid(0x4000_0000).eax)));
        match nested_splits() {
            Some(samples) => print("exit.nested_split", "guest", cpus, samples),
            None => log::error!("no memory to watch"),
        }
        let _ = request(Some(Phase::Native), DEADLINE);
    }
}

fn exits(operation: impl Fn() -> u64) -> Vec<u64> {
    let sample = |_| {
        cpu::without_interrupts(|| {
            let start = tsc();
            core::hint::black_box(operation());
            tsc() - start
        })
    };
    (0..EXITS).map(sample).collect()
}

/// The first write to a watched large leaf: a nested fault that splits it and resumes.
fn nested_splits() -> Option<Vec<u64>> {
    let mut memory: Vec<u8> = Vec::new();
    memory.try_reserve_exact((SPLITS + 1) * LARGE as usize).ok()?;
    memory.resize((SPLITS + 1) * LARGE as usize, 0);
    let first = (memory.as_ptr() as u64).next_multiple_of(LARGE);
    let offset = (first - memory.as_ptr() as u64) as usize;
    // Large blocks of the heap lie at their physical address.
    let mut samples = Vec::new();
    for split in 0..SPLITS {
        let start = first + split as u64 * LARGE;
        if paging::translate(start) != Some(start) {
            return None;
        }
        look(|_, monitor| monitor.call(Call::Watch, start, LARGE)).ok()?.ok()?;
        let place = &mut memory[offset + split * LARGE as usize + 5 * PAGE as usize];
        samples.push(cpu::without_interrupts(|| {
            let begin = tsc();
            *core::hint::black_box(place) = 1;
            tsc() - begin
        }));
        look(|_, monitor| monitor.call(Call::Unwatch, start, LARGE)).ok()?.ok()?;
    }
    Some(samples)
}
