//! Threads that keep values in registers while they take the CPU from one another, or while the machine switches.

use crate::state;
use alloc::sync::Arc;
use alloc::vec::Vec;
use app::Env;
use app::thread::{self, Builder, CpuSet, Priority};
use app::time::Duration;
use core::arch::x86_64::__cpuid;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Runs `meanwhile` while each CPU checks its registers; `threads` on each CPU, so that they take turns. Returns the rounds
/// that were checked.
pub fn check_while(
    env: &'static Env,
    threads: u64,
    meanwhile: impl FnOnce() -> Result<(), &'static str>,
) -> Result<u64, &'static str> {
    let features = __cpuid(1).ecx;
    let has_avx = features & 1 << 28 != 0 && features & 1 << 27 != 0;
    let over = Arc::new(AtomicBool::new(false));
    let rounds = Arc::new(AtomicU64::new(0));
    let mut running = Vec::new();
    for number in 0..threads * env.cpus() as u64 {
        let (over, rounds) = (over.clone(), rounds.clone());
        let worker = move || {
            let mut wrong = 0;
            let mut seed = number << 20;
            while !over.load(Ordering::Relaxed) {
                seed += 1;
                wrong += state::round(seed, has_avx && seed % 3 == 0);
                rounds.fetch_add(1, Ordering::Relaxed);
            }
            wrong
        };
        let cpu = CpuSet(1 << (number / threads));
        running.push(Builder::new("registers").affinity(cpu).spawn(worker).map_err(|_| "no thread")?);
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
    let computing = move || state::compute_until(&busy, &working);
    let computing = Builder::new("x87").affinity(FIRST).spawn(computing).map_err(|_| "no thread")?;
    let sleeper = move || {
        state::x87_rounds_down();
        (0..20).all(|_| {
            thread::sleep(Duration::from_micros(300));
            state::x87_rooms() == 8 && state::x87_rounds_down_still()
        })
    };
    let builder = || Builder::new("x87").affinity(FIRST).priority(Priority::High);
    let sleeper = builder().spawn(sleeper).map_err(|_| "no thread")?;
    while at_work.load(Ordering::Relaxed) == 0 {
        thread::sleep(Duration::from_micros(100));
    }
    let mut empty = true;
    for _ in 0..20 {
        empty &= builder().spawn(|| state::x87_rooms() == 8).map_err(|_| "no thread")?.join();
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
