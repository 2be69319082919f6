//! The system's one stack: its lock, and the thread that feeds it.
//!
//! The thread polls with the device's interrupts off until no frame is left, then allows them and sleeps until the next
//! interrupt or timer. What applications write is sent on their own threads, by [`flush`].

use crate::config::Config;
use crate::error::StartError;
use crate::stack::Stack;
use crate::statistics::Statistics;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::task::{Poll, Waker};
use drivers_api::NetDevice;
use machine::sync::Mutex;
use machine::thread::{self, Builder, Priority, Thread};
use machine::time::{Duration, Instant};
use spin::Once;

/// Frames taken in before the applications they are for are woken.
const BUDGET: usize = 64;
/// Full rounds in a row after which applications get the processor, if they wait for it.
const FULL_ROUNDS: u32 = 4;
/// For how long they get it.
const BREATHER: Duration = Duration::from_micros(200);

#[cfg(test)]
mod tests;

struct Running {
    stack: Stack,
    device: Box<dyn NetDevice>,
}

static RUNNING: Mutex<Option<Running>> = Mutex::new(None);
static THREAD: Once<Thread> = Once::new();
/// Something waits for [`flush`].
static PENDING: AtomicBool = AtomicBool::new(false);
/// Until when the network thread sleeps, in nanoseconds since boot; 0 while it is awake.
static ASLEEP_UNTIL: AtomicU64 = AtomicU64::new(0);

/// The running network, for whoever owns the device's interrupt.
#[derive(Clone, Copy, Debug)]
pub struct Handle(());

/// Starts the network on a device. `random` gives unpredictable bytes; sequence numbers and ports depend on it.
///
/// Addresses come later where they are asked for; sockets can be bound at once.
pub fn start(
    mut device: Box<dyn NetDevice>,
    config: Config,
    random: fn(&mut [u8]),
) -> Result<Handle, StartError> {
    let mut running = RUNNING.lock();
    if running.is_some() {
        return Err(StartError::AlreadyStarted);
    }
    let stack = Stack::new(&mut *device, &config, random, Instant::now().as_nanos())?;
    *running = Some(Running { stack, device });
    drop(running);
    match Builder::new("net").priority(Priority::High).spawn(run) {
        Ok(handle) => THREAD.call_once(|| handle.thread().clone()),
        Err(_) => {
            *RUNNING.lock() = None;
            return Err(StartError::OutOfMemory);
        }
    };
    Ok(Handle(()))
}

impl Handle {
    /// Wakes the network thread. For the device's interrupt handler.
    pub fn interrupt(&self) {
        unpark();
    }

    /// Tells the neighbors where our IPv4 address is now, by gratuitous ARP.
    pub fn announce(&self) {
        with_stack(|stack, _| stack.announce());
        flush();
    }

    /// Lets `f` at the device between two packets, to exchange it for one of equal [`drivers_api::LinkInfo`].
    pub fn with_device<R>(&self, f: impl FnOnce(&mut Box<dyn NetDevice>) -> R) -> R {
        let mut running = RUNNING.lock();
        let result = f(&mut running.as_mut().expect("there is a handle").device);
        drop(running);
        // The new one may have frames already, and its interrupts may be off.
        unpark();
        result
    }
}

/// What was counted since the start; zeros before it.
pub fn statistics() -> Statistics {
    with_stack(|stack, _| stack.statistics()).unwrap_or_default()
}

/// The interface's addresses, with the lengths of their prefixes.
pub fn addresses() -> Vec<(IpAddr, u8)> {
    with_stack(|stack, _| stack.addresses()).unwrap_or_default()
}

/// Sends what sockets have queued, on this thread.
pub fn flush() {
    if !PENDING.swap(false, Ordering::Acquire) {
        return;
    }
    with_running(&mut Vec::new(), |running, now| {
        running.stack.egress(now, &mut *running.device);
        running.device.flush();
    });
}

/// Runs `f` with the stack and the time, and afterwards whatever it woke. `None` before the start.
pub(crate) fn with_stack<R>(f: impl FnOnce(&mut Stack, u64) -> R) -> Option<R> {
    with_running(&mut Vec::new(), |running, now| f(&mut running.stack, now))
}

/// `list` is empty before and after; a caller that keeps it keeps its memory.
fn with_running<R>(list: &mut Vec<Waker>, f: impl FnOnce(&mut Running, u64) -> R) -> Option<R> {
    let mut guard = RUNNING.lock();
    let running = guard.as_mut()?;
    let result = f(running, Instant::now().as_nanos());
    if running.stack.has_pending() {
        PENDING.store(true, Ordering::Release);
    }
    let late = running.stack.next_deadline().is_some_and(|at| at < ASLEEP_UNTIL.load(Ordering::Relaxed));
    running.stack.swap_wakers(list);
    drop(guard);
    if late {
        unpark();
    }
    // Without the lock: whoever is woken will want it.
    for waker in list.drain(..) {
        waker.wake();
    }
    Some(result)
}

fn unpark() {
    if let Some(thread) = THREAD.get() {
        thread.unpark();
    }
}

/// What the network thread does for ever.
fn run() {
    let mut full_rounds = 0;
    let mut wakers = Vec::new();
    loop {
        ASLEEP_UNTIL.store(0, Ordering::Relaxed);
        let (more, deadline) = with_running(&mut wakers, round).expect("started before its thread");
        if more {
            full_rounds += 1;
            if full_rounds >= FULL_ROUNDS && !thread::is_uncontended() {
                full_rounds = 0;
                thread::park_until(Instant::now().saturating_add(BREATHER));
            } else {
                thread::yield_now();
            }
            continue;
        }
        full_rounds = 0;
        match deadline {
            Some(at) => thread::park_until(Instant::from_nanos(at)),
            None => thread::park(),
        }
    }
}

/// One round. Returns whether there is more to do at once, and else until when to sleep.
fn round(running: &mut Running, now: u64) -> (bool, Option<u64>) {
    let Running { stack, device, .. } = running;
    device.set_interrupts(false);
    let count = stack.poll(now, &mut **device, BUDGET);
    device.flush();
    let more = count == BUDGET || device.set_interrupts(true);
    let deadline = stack.next_deadline();
    if !more {
        ASLEEP_UNTIL.store(deadline.unwrap_or(u64::MAX), Ordering::Relaxed);
    }
    (more, deadline)
}

/// Like [`block`], but gives up at a deadline.
pub(crate) fn block_until<R>(deadline: Instant, mut poll: impl FnMut(&Waker) -> Poll<R>) -> Option<R> {
    let waker = Waker::from(Arc::new(thread::current()));
    loop {
        if let Poll::Ready(result) = poll(&waker) {
            return Some(result);
        }
        if Instant::now() >= deadline {
            return None;
        }
        flush();
        thread::park_until(deadline);
    }
}

/// Polls with this thread's waker until ready, sleeping in between. Sends what is queued before it sleeps.
pub(crate) fn block<R>(mut poll: impl FnMut(&Waker) -> Poll<R>) -> R {
    // A waker of our own costs an allocation; often there is nothing to wait for.
    if let Poll::Ready(result) = poll(Waker::noop()) {
        return result;
    }
    let waker = Waker::from(Arc::new(thread::current()));
    loop {
        if let Poll::Ready(result) = poll(&waker) {
            return result;
        }
        flush();
        thread::park();
    }
}
