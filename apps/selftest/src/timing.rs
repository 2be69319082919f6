//! Clocks, deadlines, priorities, shootdowns. Nothing here depends on how fast the machine is.

use crate::check;
use alloc::sync::Arc;
use alloc::vec::Vec;
use app::Env;
use app::sync::Mutex;
use app::thread::{self, Builder, CpuSet, Priority};
use app::time::{Duration, Instant};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

pub fn never_backwards(env: &'static Env) -> Result<(), &'static str> {
    let latest = Arc::new(AtomicU64::new(0));
    let mut threads = Vec::new();
    for cpu in 0..env.cpus() {
        let latest = latest.clone();
        let worker = move || {
            (0..20_000).all(|_| {
                let before = latest.load(Ordering::SeqCst);
                let now = Instant::now().as_nanos();
                latest.fetch_max(now, Ordering::SeqCst);
                now >= before
            })
        };
        threads
            .push(Builder::new("clock").affinity(CpuSet(1 << cpu)).spawn(worker).map_err(|_| "no thread")?);
    }
    check(threads.into_iter().all(|thread| thread.join()), "a CPU's clock is behind another's")
}

pub fn sleepers_wake_in_order(_: &'static Env) -> Result<(), &'static str> {
    // On a busy host some may go to bed only when the first has to rise: that night does not count.
    for _ in 0..50 {
        if night()? {
            return Ok(());
        }
    }
    Err("in no night all were asleep in time")
}

/// Five sleepers, and whether all of them were asleep before the first woke.
fn night() -> Result<bool, &'static str> {
    let order = Arc::new(Mutex::new(Vec::new()));
    let start = Instant::now();
    let at = move |number: u64| start.saturating_add(Duration::from_millis(30 + 10 * number));
    let mut threads = Vec::new();
    for number in [4u64, 1, 3, 0, 2] {
        let order = order.clone();
        let sleeper = move || {
            let begun = Instant::now();
            thread::sleep(at(number).saturating_since(begun));
            let late = Instant::now() >= at(number);
            order.lock().push(number);
            (late, begun < at(0))
        };
        let builder = Builder::new("sleeper").affinity(CpuSet(1)).priority(Priority::High);
        threads.push(builder.spawn(sleeper).map_err(|_| "no thread")?);
    }
    let nights: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
    check(nights.iter().all(|(late, _)| *late), "a sleeper woke early")?;
    if !nights.iter().all(|(_, in_time)| *in_time) {
        return Ok(false);
    }
    let order = order.lock();
    check(order.is_sorted(), "the order is another")?;
    Ok(true)
}

pub fn park_has_a_deadline(_: &'static Env) -> Result<(), &'static str> {
    let deadline = Instant::now().saturating_add(Duration::from_millis(5));
    thread::park_until(deadline);
    // A stray unpark may end it early; then the second one lasts.
    thread::park_until(deadline);
    check(Instant::now() >= deadline, "it returned early")?;
    let me = thread::current();
    me.unpark();
    thread::park();
    Ok(())
}

/// A thread is unparked when its sleep is over but it has had no CPU yet: its `park` after that returns at once.
pub fn unpark_survives_a_sleep(_: &'static Env) -> Result<(), &'static str> {
    const LONG: Duration = Duration::from_millis(500);
    let watcher = Builder::new("watcher").affinity(CpuSet(1)).spawn(|| {
        let due = Instant::now().saturating_add(Duration::from_millis(15));
        let sleeper = Builder::new("sleeper").affinity(CpuSet(1)).priority(Priority::Low);
        let sleeper = sleeper.spawn(move || {
            thread::sleep(due.saturating_since(Instant::now()));
            let start = Instant::now();
            thread::park_until(start.saturating_add(LONG));
            start.elapsed()
        })?;
        // It falls asleep meanwhile, and is kept from its CPU when it wakes.
        thread::sleep(Duration::from_millis(5));
        while Instant::now() < due.saturating_add(Duration::from_millis(1)) {
            core::hint::spin_loop();
        }
        sleeper.thread().unpark();
        Ok::<_, thread::SpawnError>(sleeper.join())
    });
    let parked = watcher.map_err(|_| "no thread")?.join().map_err(|_| "no thread")?;
    check(parked < LONG / 2, "it slept on")
}

/// A thread that waits for a lock is unparked for another reason, then gets the lock: its own `park` returns at once.
pub fn unpark_survives_a_lock(_: &'static Env) -> Result<(), &'static str> {
    const LONG: Duration = Duration::from_millis(500);
    let lock = Arc::new(Mutex::new(()));
    let held = lock.lock();
    let wanted = lock.clone();
    let waiter = Builder::new("waiter").priority(Priority::High).spawn(move || {
        drop(wanted.lock());
        let start = Instant::now();
        thread::park_until(start.saturating_add(LONG));
        start.elapsed()
    });
    let waiter = waiter.map_err(|_| "no thread")?;
    // It is asleep by then; and if it were not, the unpark would not be lost either.
    thread::sleep(Duration::from_millis(5));
    waiter.thread().unpark();
    thread::sleep(Duration::from_millis(1));
    drop(held);
    check(waiter.join() < LONG / 2, "it slept on")
}

pub fn priority_preempts(_: &'static Env) -> Result<(), &'static str> {
    let ran = Arc::new(AtomicBool::new(false));
    let seen = ran.clone();
    let low = Builder::new("low").affinity(CpuSet(1)).priority(Priority::Low).spawn(move || {
        let high = Builder::new("high").affinity(CpuSet(1)).priority(Priority::High);
        let high = high.spawn(move || ran.store(true, Ordering::SeqCst));
        // Without a single instruction between: the new thread ran before `spawn` returned.
        (seen.load(Ordering::SeqCst), high.map(|thread| thread.join()).is_ok())
    });
    let (before, joined) = low.map_err(|_| "no thread")?.join();
    check(before && joined, "the lower priority went on")
}

#[cfg(bare_metal)]
pub fn shootdowns_return(env: &'static Env) -> Result<(), &'static str> {
    let mut threads = Vec::new();
    for _ in 0..2 * env.cpus() {
        let worker = || (0..10).for_each(|_| machine::paging::shootdown());
        threads.push(Builder::new("shootdown").spawn(worker).map_err(|_| "no thread")?);
    }
    threads.into_iter().for_each(|thread| thread.join());
    Ok(())
}

#[cfg(not(bare_metal))]
pub fn shootdowns_return(_: &'static Env) -> Result<(), &'static str> {
    Ok(())
}

/// A thread of low priority on a CPU that a normal one never leaves: it gets on, and takes little.
pub fn strangers_get_on(_: &'static Env) -> Result<(), &'static str> {
    let (done, greedy) = beside_a_greedy_one(Priority::Low)?;
    check(done && greedy > 10 * ROUNDS, "low priority took more than a tenth")
}

/// One of the background gets on, too, and takes its part and no more.
pub fn background_gets_on(_: &'static Env) -> Result<(), &'static str> {
    let (done, greedy) = beside_a_greedy_one(Priority::Background)?;
    check(done && greedy > 2 * ROUNDS, "background work took more than a third")
}

/// Rounds of work of a thread beside a greedy one.
const ROUNDS: u64 = 20_000;

/// Whether a thread of a priority has done all its rounds, on a CPU that a normal one never leaves, and how many that one has done meanwhile.
fn beside_a_greedy_one(priority: Priority) -> Result<(bool, u64), &'static str> {
    let over = Arc::new(AtomicBool::new(false));
    let end = over.clone();
    let greedy = Builder::new("greedy")
        .affinity(CpuSet(1))
        .spawn(move || (0..u64::MAX).find(|_| over.load(Ordering::SeqCst)).unwrap_or(u64::MAX));
    let greedy = greedy.map_err(|_| "no thread")?;
    let other = Builder::new("other").affinity(CpuSet(1)).priority(priority).spawn(move || {
        let done = (0..ROUNDS).filter(|_| !end.load(Ordering::SeqCst)).count() as u64;
        // As a stranger who turns out to be an operator: nothing comes before it from here on.
        thread::set_priority(Priority::High);
        end.store(true, Ordering::SeqCst);
        done
    });
    let done = other.map_err(|_| "no thread")?.join();
    Ok((done == ROUNDS, greedy.join()))
}

/// A CPU that computes is not idle, one whose only thread sleeps is, no longer than that takes.
#[cfg(bare_metal)]
pub fn idleness_is_known(_: &'static Env) -> Result<(), &'static str> {
    let on_first = || {
        let before = thread::idle_time(0);
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(5) {
            core::hint::spin_loop();
        }
        let computed = thread::idle_time(0) - before;
        let (before, start) = (thread::idle_time(0), Instant::now());
        thread::sleep(Duration::from_millis(20));
        (computed, thread::idle_time(0) - before, start.elapsed())
    };
    let thread = Builder::new("idle").affinity(CpuSet(1)).spawn(on_first).map_err(|_| "no thread")?;
    let (computed, slept, elapsed) = thread.join();
    check(computed.is_zero(), "a CPU that computes counts as idle")?;
    check(!slept.is_zero() && slept <= elapsed, "a CPU that sleeps does not count as idle")
}

#[cfg(not(bare_metal))]
pub fn idleness_is_known(_: &'static Env) -> Result<(), &'static str> {
    Ok(())
}
