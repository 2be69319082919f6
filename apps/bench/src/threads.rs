//! Threads, and what they wait with: all on one CPU.

use crate::FIRST_CPU;
use crate::context::{Context, Failure};
use crate::sampler::Sampler;
use alloc::sync::Arc;
use app::sync::{Mutex, Semaphore};
use app::thread::{self, Builder, CpuSet, JoinHandle, Priority, Thread};
use core::convert::Infallible;
use core::hint::black_box;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use machine::cpu::tsc;

/// What the threads of a benchmark share.
#[derive(Debug)]
pub(crate) struct Shared {
    stop: AtomicBool,
    /// The other one's reading of the clock, or a word to say that it had its turn; 0: not yet.
    stamp: AtomicU64,
}

impl Shared {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { stop: AtomicBool::new(false), stamp: AtomicU64::new(0) })
    }

    /// Says that the moment is now.
    pub(crate) fn stamp(&self) {
        self.stamp.store(tsc(), Ordering::Release);
    }

    /// The other one's moment, waited for with `wait` as long as it takes.
    pub(crate) fn take(&self, wait: impl Fn()) -> u64 {
        loop {
            match self.stamp.swap(0, Ordering::AcqRel) {
                0 => wait(),
                ticks => return ticks,
            }
        }
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Acquire)
    }
}

/// A second thread, which does `turn` until this is dropped.
pub(crate) struct Partner {
    shared: Arc<Shared>,
    handle: Option<JoinHandle<()>>,
    /// Gets the partner out of where it waits.
    release: Option<Arc<Semaphore>>,
}

impl Partner {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        cpus: CpuSet,
        priority: Priority,
        turn: impl Fn(&Shared) + Send + 'static,
    ) -> Result<Self, Failure> {
        let theirs = shared.clone();
        let work = move || {
            while theirs.goes_on() {
                turn(&theirs);
            }
        };
        let handle = Builder::new("bench-1").affinity(cpus).priority(priority).spawn(work)?;
        Ok(Self { shared: shared.clone(), handle: Some(handle), release: None })
    }

    fn waits_for(mut self, semaphore: &Arc<Semaphore>) -> Self {
        self.release = Some(semaphore.clone());
        self
    }

    pub(crate) fn thread(&self) -> Option<&Thread> {
        self.handle.as_ref().map(JoinHandle::thread)
    }

    pub(crate) fn unpark(&self) {
        if let Some(thread) = self.thread() {
            thread.unpark();
        }
    }
}

impl Drop for Partner {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.unpark();
        if let Some(semaphore) = &self.release {
            semaphore.release();
        }
        if let Some(handle) = self.handle.take() {
            handle.join();
        }
    }
}

fn never<T>(result: Result<T, Infallible>) -> Result<T, Failure> {
    result.map_err(|never| match never {})
}

/// Two readings of the clock, one after the other: what every other time contains once.
pub fn clock(_: &Context, sampler: &mut Sampler) -> Result<(), Failure> {
    never(sampler.time(|| Ok(())))
}

/// A thread that ends at once, from `spawn` until it is joined.
pub fn create(_: &Context, sampler: &mut Sampler) -> Result<(), Failure> {
    sampler.time(|| {
        Builder::new("bench-1").affinity(FIRST_CPU).spawn(|| ())?.join();
        Ok(())
    })
}

/// `yield_now` with one other thread of the same priority that does the same: two switches a round trip, halved.
pub fn yields(_: &Context, sampler: &mut Sampler) -> Result<(), Failure> {
    let _partner = Partner::new(&Shared::new(), FIRST_CPU, Priority::Normal, |_| thread::yield_now())?;
    while sampler.wants() {
        let start = tsc();
        thread::yield_now();
        sampler.push((tsc() - start) / 2);
    }
    Ok(())
}

/// `unpark` of a sleeping thread of higher priority until it runs.
pub fn wakes(_: &Context, sampler: &mut Sampler) -> Result<(), Failure> {
    let shared = Shared::new();
    let sleeper = Partner::new(&shared, FIRST_CPU, Priority::High, |shared| {
        thread::park();
        shared.stamp();
    })?;
    while sampler.wants() {
        let start = tsc();
        sleeper.unpark();
        sampler.push(shared.take(thread::yield_now).saturating_sub(start));
    }
    Ok(())
}

/// Two threads that `unpark` each other and `park`: half a round trip.
pub fn parks(_: &Context, sampler: &mut Sampler) -> Result<(), Failure> {
    park_on(FIRST_CPU, sampler)
}

/// The same with the second thread on some CPUs.
pub(crate) fn park_on(cpus: CpuSet, sampler: &mut Sampler) -> Result<(), Failure> {
    let me = thread::current();
    let shared = Shared::new();
    let partner = Partner::new(&shared, cpus, Priority::Normal, move |shared| {
        thread::park();
        shared.stamp();
        me.unpark();
    })?;
    while sampler.wants() {
        let start = tsc();
        partner.unpark();
        shared.take(thread::park);
        sampler.push((tsc() - start) / 2);
    }
    Ok(())
}

/// Two threads that give each other a semaphore's permit: half a round trip.
pub fn semaphores(_: &Context, sampler: &mut Sampler) -> Result<(), Failure> {
    let (ping, pong) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (theirs, mine) = (ping.clone(), pong.clone());
    let partner = Partner::new(&Shared::new(), FIRST_CPU, Priority::Normal, move |_| {
        theirs.acquire();
        mine.release();
    })?;
    let _partner = partner.waits_for(&ping);
    while sampler.wants() {
        let start = tsc();
        ping.release();
        pong.acquire();
        sampler.push((tsc() - start) / 2);
    }
    Ok(())
}

/// A mutex that nobody else wants, taken and given back.
pub fn mutex(_: &Context, sampler: &mut Sampler) -> Result<(), Failure> {
    const BATCH: u64 = 64;
    let mutex = Mutex::new(0u64);
    never(sampler.batches(BATCH, || {
        *black_box(&mutex).lock() += 1;
        Ok(())
    }))
}

/// A mutex that is given back while a thread of higher priority sleeps for it, until that one has it.
pub fn contended(_: &Context, sampler: &mut Sampler) -> Result<(), Failure> {
    let (mutex, go) = (Arc::new(Mutex::new(())), Arc::new(Semaphore::new(0)));
    let shared = Shared::new();
    let (theirs, wait) = (mutex.clone(), go.clone());
    let partner = Partner::new(&shared, FIRST_CPU, Priority::High, move |shared| {
        wait.acquire();
        let held = theirs.lock();
        shared.stamp();
        drop(held);
    })?;
    let _partner = partner.waits_for(&go);
    while sampler.wants() {
        let held = mutex.lock();
        // It runs at once, as far as the lock.
        go.release();
        let start = tsc();
        drop(held);
        sampler.push(shared.take(thread::yield_now).saturating_sub(start));
    }
    Ok(())
}
