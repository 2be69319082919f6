//! Threads that keep values in registers while they take the CPU from one another, or while the machine switches.

use crate::state;
use alloc::sync::Arc;
use alloc::vec::Vec;
use app::Env;
use app::thread::{self, Builder, CpuSet};
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

pub fn survive_preemption(env: &'static Env) -> Result<(), &'static str> {
    check_while(env, 3, || {
        thread::sleep(Duration::from_millis(60));
        Ok(())
    })
    .map(drop)
}
