//! Threads that keep values in registers while they take the CPU from one another, or while the machine switches.

use crate::state::{self, Middle, Page, Setup};
use crate::x87;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use app::Env;
use app::thread::{self, Builder, CpuSet, Priority};
use app::time::Duration;
use core::arch::x86_64::__cpuid;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What can be looked at on a CPU, with memory of its own. `x87=all` on the command line: the emulator bears values on the x87
/// stack on each CPU.
pub fn setup(env: &'static Env, cpu: usize) -> Setup {
    let features = __cpuid(1).ecx;
    let avx = features & 1 << 28 != 0 && features & 1 << 27 != 0;
    let x87 = cpu == 0 || env.setting("x87") == Some("all");
    Setup { avx, x87, page: Box::new(Page([const { AtomicU64::new(0) }; 512])) }
}

/// Runs `meanwhile` while each CPU checks its registers, CPUID between filling and comparing on every other round; `threads` on
/// each CPU, so that they take turns. Returns the rounds that were checked.
pub fn check_while(
    env: &'static Env,
    threads: u64,
    meanwhile: impl FnOnce() -> Result<(), &'static str>,
) -> Result<u64, &'static str> {
    let over = Arc::new(AtomicBool::new(false));
    let rounds = Arc::new(AtomicU64::new(0));
    let mut running = Vec::new();
    for number in 0..threads * env.cpus() as u64 {
        let (over, rounds) = (over.clone(), rounds.clone());
        let cpu = (number / threads) as usize;
        let worker = move || {
            let setup = setup(env, cpu);
            let mut wrong = 0;
            let mut seed = number << 20;
            while !over.load(Ordering::Relaxed) {
                seed += 1;
                let middle = if seed.is_multiple_of(2) { Middle::Cpuid } else { Middle::Nothing };
                wrong += state::round(seed, middle, &setup);
                rounds.fetch_add(1, Ordering::Relaxed);
            }
            wrong
        };
        let builder = Builder::new("registers").affinity(CpuSet(1 << cpu));
        running.push(builder.spawn(worker).map_err(|_| "no thread")?);
    }
    let result = meanwhile();
    over.store(true, Ordering::Relaxed);
    let wrong: u64 = running.into_iter().map(|thread| thread.join()).sum();
    result?;
    crate::check(wrong == 0, "a register changed")?;
    let rounds = rounds.load(Ordering::Relaxed);
    crate::check(rounds > 0, "nothing was checked")?;
    Ok(rounds)
}

/// Threads with full x87 stacks are interrupted by one that begins and one that comes back: both find theirs empty, and the
/// rounding that they have set.
pub fn x87_is_empty(_: &'static Env) -> Result<(), &'static str> {
    const FIRST: CpuSet = CpuSet(1);
    let over = Arc::new(AtomicBool::new(false));
    let at_work = Arc::new(AtomicU64::new(0));
    let (busy, working) = (over.clone(), at_work.clone());
    let computing = move || x87::compute_until(&busy, &working);
    let computing = Builder::new("x87").affinity(FIRST).spawn(computing).map_err(|_| "no thread")?;
    let sleeper = move || {
        x87::rounds_down();
        (0..20).all(|_| {
            thread::sleep(Duration::from_micros(300));
            x87::rooms() == 8 && x87::rounds_down_still()
        })
    };
    let builder = || Builder::new("x87").affinity(FIRST).priority(Priority::High);
    let sleeper = builder().spawn(sleeper).map_err(|_| "no thread")?;
    while at_work.load(Ordering::Relaxed) == 0 {
        thread::sleep(Duration::from_micros(100));
    }
    let mut empty = true;
    for _ in 0..20 {
        empty &= builder().spawn(|| x87::rooms() == 8).map_err(|_| "no thread")?.join();
        thread::sleep(Duration::from_micros(100));
    }
    let kept = sleeper.join();
    over.store(true, Ordering::Relaxed);
    let right = computing.join();
    crate::check(empty, "a new thread found values of another's on the x87 stack")?;
    crate::check(kept, "a thread came back to values of another's on the x87 stack")?;
    crate::check(right, "an interrupted computation was disturbed")
}

pub fn survive_preemption(env: &'static Env) -> Result<(), &'static str> {
    check_while(env, 3, || {
        thread::sleep(Duration::from_millis(60));
        Ok(())
    })
    .map(drop)
}
