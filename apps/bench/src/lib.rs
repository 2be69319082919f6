//! What the machine's own operations cost: a thread switch, a wake-up, a timer interrupt; with `bench=switch` on the command
//! line, the switch between native and guest mode and the VMM's exits. With `bench=ticks` it is a clock instead, see
//! [`ticks`], and leaves the machine running.
//!
//! Prints one JSON object a line: `name`, `mode`, `cpus`, `unit`, `n`, `min`, `p50`, `p99`, `max`. The unit is ticks of the
//! time-stamp counter, `tsc`. Under QEMU's `-icount shift=0` at a nominal gigahertz one tick is one instruction and runs
//! repeat exactly; whoever starts the machine so says it with `bench.unit=instructions`. Then it ends the machine.
#![no_std]
extern crate alloc;

#[cfg(bare_metal)]
mod switch;
mod ticks;

use alloc::sync::Arc;
use alloc::vec::Vec;
use app::thread::{self, Builder, CpuSet, Priority};
use app::time::{Duration, Instant};
use app::{App, AppError, Env};
use core::sync::atomic::{AtomicBool, Ordering};
use machine::cpu::tsc;

/// Samples of each operation.
const SAMPLES: usize = 2000;
const FIRST_CPU: CpuSet = CpuSet(1);

/// The application.
#[derive(Debug)]
pub struct Bench;

impl App for Bench {
    fn name(&self) -> &'static str {
        "bench"
    }

    fn listeners(&self) -> usize {
        0
    }

    fn run(&self, env: &'static Env) -> Result<(), AppError> {
        if env.setting("bench.unit") == Some("instructions") {
            INSTRUCTIONS.store(true, Ordering::Relaxed);
        }
        let measured =
            Builder::new("bench-0").affinity(FIRST_CPU).spawn(move || match env.setting("bench") {
                #[cfg(bare_metal)]
                Some("switch") => switch::run(env.cpus()),
                None | Some("threads") => threads(env.cpus()),
                Some("ticks") => ticks::run(env.cpus()),
                Some(other) => log::error!("bench={other} is none of threads, switch, ticks"),
            });
        match measured {
            Ok(thread) => thread.join(),
            Err(error) => log::error!("no thread to measure on: {error:?}"),
        }
        end()
    }
}

#[cfg(bare_metal)]
fn end() -> Result<(), AppError> {
    machine::exit::exit(machine::exit::Reason::Shutdown)
}

#[cfg(not(bare_metal))]
fn end() -> Result<(), AppError> {
    Ok(())
}

/// One tick of the counter is one instruction.
static INSTRUCTIONS: AtomicBool = AtomicBool::new(false);

fn threads(cpus: usize) {
    print("clock.read", "native", cpus, clock());
    print("thread.yield", "native", cpus, yields());
    print("thread.wake", "native", cpus, wakes());
    print("timer.interrupt", "native", cpus, interrupts());
}

fn print(name: &str, mode: &str, cpus: usize, mut samples: Vec<u64>) {
    if samples.is_empty() {
        log::error!("{name} was not measured");
        return;
    }
    let unit = if INSTRUCTIONS.load(Ordering::Relaxed) { "instructions" } else { "tsc" };
    samples.sort_unstable();
    let at = |per_cent: usize| samples[(samples.len() - 1) * per_cent / 100];
    log::info!(
        r#"{{"name":"{name}","mode":"{mode}","cpus":{cpus},"unit":"{unit}","n":{},"min":{},"p50":{},"p99":{},"max":{}}}"#,
        samples.len(),
        at(0),
        at(50),
        at(99),
        at(100)
    );
}

/// Two readings of the counter, one after the other: what every other figure contains once.
fn clock() -> Vec<u64> {
    (0..SAMPLES)
        .map(|_| {
            let start = tsc();
            tsc() - start
        })
        .collect()
}

/// `yield_now` with one other thread of the same priority that does the same: two switches a round trip, halved.
fn yields() -> Vec<u64> {
    let stop = Arc::new(AtomicBool::new(false));
    let other = stop.clone();
    let partner = Builder::new("bench-1").affinity(FIRST_CPU).spawn(move || {
        while !other.load(Ordering::Relaxed) {
            thread::yield_now();
        }
    });
    let samples = (0..SAMPLES)
        .map(|_| {
            let start = tsc();
            thread::yield_now();
            (tsc() - start) / 2
        })
        .collect();
    stop.store(true, Ordering::Relaxed);
    if let Ok(partner) = partner {
        partner.join();
    }
    samples
}

/// `unpark` of a sleeping thread of higher priority until it runs, on the same CPU.
fn wakes() -> Vec<u64> {
    let stop = Arc::new(AtomicBool::new(false));
    let other = stop.clone();
    let sleeper = Builder::new("bench-2").affinity(FIRST_CPU).priority(Priority::High).spawn(move || {
        let mut woken = Vec::with_capacity(SAMPLES + 1);
        while !other.load(Ordering::Relaxed) {
            thread::park();
            if woken.len() < woken.capacity() {
                woken.push(tsc());
            }
        }
        woken
    });
    let Ok(sleeper) = sleeper else { return Vec::from([0]) };
    let started: Vec<u64> = (0..SAMPLES)
        .map(|_| {
            let start = tsc();
            sleeper.thread().unpark();
            start
        })
        .collect();
    stop.store(true, Ordering::Relaxed);
    sleeper.thread().unpark();
    started.iter().zip(sleeper.join()).map(|(start, woken)| woken.saturating_sub(*start)).collect()
}

/// A timer interrupt that makes a sleeper of lower priority ready, seen as a gap between two readings of the counter.
fn interrupts() -> Vec<u64> {
    let stop = Arc::new(AtomicBool::new(false));
    let other = stop.clone();
    let sleeper = Builder::new("bench-3").affinity(FIRST_CPU).priority(Priority::Low).spawn(move || {
        while !other.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_micros(170));
        }
    });
    let samples = (0..SAMPLES / 10)
        .map(|_| {
            // Lets the sleeper go to sleep again, then watches the counter for longer than it sleeps.
            thread::sleep(Duration::from_micros(300));
            let end = Instant::now().saturating_add(Duration::from_micros(300));
            let (mut last, mut gap) = (tsc(), 0);
            while Instant::now() < end {
                let now = tsc();
                gap = gap.max(now - last);
                last = now;
            }
            gap
        })
        .collect();
    stop.store(true, Ordering::Relaxed);
    if let Ok(sleeper) = sleeper {
        sleeper.join();
    }
    samples
}
