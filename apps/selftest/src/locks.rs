//! Locks under contention, and threads as such.

use crate::check;
use alloc::sync::Arc;
use alloc::vec::Vec;
use app::Env;
use app::sync::Mutex;
use app::thread::{self, Builder, CpuSet};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use machine::sync::{Condvar, Semaphore};

const THREADS: usize = 6;

pub fn mutex_excludes(_: &'static Env) -> Result<(), &'static str> {
    let count = Arc::new(Mutex::new(0u64));
    let mut threads = Vec::new();
    for _ in 0..THREADS {
        let count = count.clone();
        let worker = move || {
            for round in 0..2000 {
                let mut guard = count.lock();
                let seen = *guard;
                // A switch in the middle would lose an increment if the lock did not hold.
                if round % 100 == 0 {
                    thread::yield_now();
                }
                *guard = seen + 1;
            }
        };
        threads.push(Builder::new("mutex").spawn(worker).map_err(|_| "no thread")?);
    }
    threads.into_iter().for_each(|thread| thread.join());
    let total = *count.lock();
    check(total == 2000 * THREADS as u64, "increments were lost")
}

pub fn a_failed_try_releases_nothing(_: &'static Env) -> Result<(), &'static str> {
    let mutex = Mutex::new(0);
    let held = mutex.lock();
    check(mutex.try_lock().is_none(), "a held lock was taken")?;
    check(mutex.try_lock().is_none(), "a try released what another holds")?;
    drop(held);
    check(mutex.try_lock().is_some(), "a free lock was not taken")
}

pub fn condvar_wakes_everybody(_: &'static Env) -> Result<(), &'static str> {
    let shared = Arc::new((Mutex::new((0u64, 0u64)), Condvar::new()));
    let mut threads = Vec::new();
    for _ in 0..THREADS {
        let shared = shared.clone();
        let worker = move || {
            for turn in 1..=50 {
                let mut state = shared.0.lock();
                state.1 += 1;
                if state.1 == THREADS as u64 {
                    *state = (turn, 0);
                    shared.1.notify_all();
                }
                while state.0 < turn {
                    state = shared.1.wait(state);
                }
            }
        };
        threads.push(Builder::new("condvar").spawn(worker).map_err(|_| "no thread")?);
    }
    threads.into_iter().for_each(|thread| thread.join());
    let turns = shared.0.lock().0;
    check(turns == 50, "a turn was lost")
}

pub fn semaphore_counts(_: &'static Env) -> Result<(), &'static str> {
    let shared = Arc::new((Semaphore::new(2), AtomicU64::new(0), AtomicBool::new(false)));
    let mut threads = Vec::new();
    for _ in 0..THREADS {
        let shared = shared.clone();
        let worker = move || {
            for _ in 0..200 {
                shared.0.acquire();
                if shared.1.fetch_add(1, Ordering::SeqCst) >= 2 {
                    shared.2.store(true, Ordering::SeqCst);
                }
                thread::yield_now();
                shared.1.fetch_sub(1, Ordering::SeqCst);
                shared.0.release();
            }
        };
        threads.push(Builder::new("semaphore").spawn(worker).map_err(|_| "no thread")?);
    }
    threads.into_iter().for_each(|thread| thread.join());
    check(!shared.2.load(Ordering::SeqCst), "more than two held a permit")
}

pub fn threads_come_and_go(env: &'static Env) -> Result<(), &'static str> {
    let mut free = 0;
    for round in 0..30u64 {
        let mut threads = Vec::new();
        for number in 0..10u64 {
            threads.push(Builder::new("short").spawn(move || number * round).map_err(|_| "no thread")?);
        }
        let sum: u64 = threads.into_iter().map(|thread| thread.join()).sum();
        check(sum == 45 * round, "a thread returned something else")?;
        // The first rounds fill the pools of stacks and of the heap.
        match round {
            9 => free = env.free_memory_bytes(),
            29 => check(env.free_memory_bytes() + (1 << 20) > free, "memory was lost")?,
            _ => {}
        }
    }
    Ok(())
}

pub fn affinity_is_kept(env: &'static Env) -> Result<(), &'static str> {
    let mut threads = Vec::new();
    for cpu in 0..env.cpus() {
        let worker = move || {
            (0..200).all(|_| {
                thread::yield_now();
                machine::cpu::id() == cpu
            })
        };
        threads
            .push(Builder::new("pinned").affinity(CpuSet(1 << cpu)).spawn(worker).map_err(|_| "no thread")?);
    }
    check(threads.into_iter().all(|thread| thread.join()), "a thread ran elsewhere")?;
    let nowhere = Builder::new("nowhere").affinity(CpuSet(0)).spawn(|| ());
    check(nowhere.is_err(), "a thread without a CPU was started")
}
