//! The system's networks: for each its stack, the lock of that, and the thread that feeds it.
//!
//! A thread polls with its device's interrupts off until no frame is left, then allows them and sleeps until the next
//! interrupt or timer. What applications write is sent on their own threads, by [`flush`].
//!
//! There are two at most, both known when the image is built, so that a socket finds its own by one reference (see
//! kernel/doc/adr/0006).

use crate::config::Config;
use crate::error::StartError;
use crate::port::bytes;
use crate::stack::Stack;
use crate::statistics::Statistics;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::task::{Poll, Waker};
use drivers_api::swap::Rejected;
use drivers_api::{AbsentNet, MacAddr, NetDevice};
use machine::sync::{Mutex, MutexGuard};
use machine::thread::{self, Builder, Priority, Thread};
use machine::time::{Duration, Instant};
use spin::Once;

/// Frames taken in before the applications they are for are woken.
const BUDGET: usize = 64;
/// Full rounds in a row after which applications get the processor, if they wait for it.
const FULL_ROUNDS: u32 = 4;
/// For how long they get it.
const BREATHER: Duration = Duration::from_micros(200);

mod exchange;
#[cfg(test)]
mod tests;

pub use exchange::Exchange;

struct Running {
    stack: Stack,
    device: Box<dyn NetDevice>,
}

/// One of the system's networks. They share nothing: each has its device, addresses, ports, lock and thread, and no packet
/// finds its way from one to the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// The applications', and the operators' where they have none of their own.
    #[default]
    Main,
    /// The operators' own. Not started where they have none.
    Control,
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Network {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Main, Self::Control];

    /// What operators call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Control => "control",
        }
    }

    /// Starts it on a device. `random` gives unpredictable bytes; sequence numbers and ports depend on it.
    ///
    /// Addresses come later where they are asked for; sockets can be bound at once.
    pub fn start(
        self,
        device: Box<dyn NetDevice>,
        config: &Config,
        random: fn(&mut [u8]),
    ) -> Result<(), StartError> {
        self.runtime().start(device, config, random)
    }

    /// Wakes its thread, if it runs. For its device's interrupt handler.
    pub fn interrupt(self) {
        self.runtime().unpark();
    }

    /// Tells the neighbors where its addresses are now.
    pub fn announce(self) {
        self.runtime().with_stack(|stack, _| stack.announce());
        self.runtime().flush();
    }

    /// Whether it was started.
    pub fn is_running(self) -> bool {
        self.runtime().with_stack(|_, _| ()).is_some()
    }

    /// What was counted since the start; zeros before it.
    pub fn statistics(self) -> Statistics {
        self.runtime().with_stack(|stack, _| stack.statistics()).unwrap_or_default()
    }

    /// The interface's addresses, with the lengths of their prefixes.
    pub fn addresses(self) -> Vec<(IpAddr, u8)> {
        self.runtime().with_stack(|stack, _| stack.addresses()).unwrap_or_default()
    }

    /// Keeps it at rest, if it runs.
    pub fn hold(self) -> Option<Held> {
        let running = self.runtime().running.lock();
        running.is_some().then_some(Held { network: self, running: Some(running) })
    }

    /// The same, but not later than a time. `None` as well if it does not run.
    pub fn hold_until(self, deadline: Instant) -> Option<Held> {
        loop {
            if let Some(running) = self.runtime().running.try_lock() {
                return running.is_some().then_some(Held { network: self, running: Some(running) });
            }
            if Instant::now() >= deadline {
                return None;
            }
            thread::yield_now();
        }
    }

    pub(crate) fn runtime(self) -> &'static Runtime {
        match self {
            Self::Main => &MAIN,
            Self::Control => &CONTROL,
        }
    }
}

/// A network at rest between two packets: nobody uses its device, or sends, or receives, until this is dropped.
pub struct Held {
    network: Network,
    /// `None` once it has been given back.
    running: Option<MutexGuard<'static, Option<Running>>>,
}

impl Held {
    fn running(&mut self) -> &mut Running {
        let running = self.running.as_mut().expect("given back when dropped");
        running.as_mut().expect("held only if it runs")
    }

    /// Which network.
    pub fn network(&self) -> Network {
        self.network
    }

    /// The device.
    pub fn device(&mut self) -> &mut dyn NetDevice {
        &mut *self.running().device
    }

    /// Goes on without a device, and returns the one that there was: connections wait, nothing is sent.
    pub fn bereave(&mut self) -> Box<dyn NetDevice> {
        let absent = Box::new(AbsentNet(self.device().link()));
        self.replace(absent)
            .map_err(|(error, _)| error)
            .expect("it has the address of the one that there was")
    }

    /// Goes on with another device, of any link, and returns the one before. The neighbors are told where our addresses are now.
    ///
    /// # Errors
    /// The new device, and what is wrong with it; all is as before.
    pub fn replace(
        &mut self,
        mut device: Box<dyn NetDevice>,
    ) -> Result<Box<dyn NetDevice>, Rejected<StartError>> {
        let running = self.running();
        match running.stack.adopt(&mut *device, Instant::now().as_nanos()) {
            Ok(()) => Ok(core::mem::replace(&mut running.device, device)),
            Err(error) => Err((error, device)),
        }
    }
}

impl Held {
    /// Becomes another host: with the addresses of this configuration, and without the connections there were.
    pub fn start_over(&mut self, config: &Config) {
        let Running { stack, device } = self.running();
        stack.start_over(&mut **device, config, Instant::now().as_nanos());
    }

    /// Asks all on the network who else has its IPv4 address: the Ethernet address of one that has. What else comes meanwhile is lost, as on a
    /// wire. Takes 150 ms: RFC 5227 has probes seconds apart, which nobody waits for who was just restored.
    pub fn rival(&mut self) -> Option<MacAddr> {
        const PROBES: u32 = 3;
        const EACH: Duration = Duration::from_millis(50);
        let Running { stack, device } = self.running();
        for _ in 0..PROBES {
            stack.send_probe(&mut **device);
            device.flush();
            let until = Instant::now().saturating_add(EACH);
            while Instant::now() < until {
                while let Some(mut frame) = device.receive() {
                    let rival = stack.rival(bytes(&mut frame));
                    device.recycle(frame);
                    if rival.is_some() {
                        return rival;
                    }
                }
                core::hint::spin_loop();
            }
        }
        None
    }

    /// Its IPv4 address, if it has one.
    pub fn address(&mut self) -> Option<Ipv4Addr> {
        self.running().stack.ipv4()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.running = None;
        // A new device may have frames already, and its interrupts may be off.
        self.network.runtime().unpark();
    }
}

/// Sends what sockets have queued, on this thread.
pub fn flush() {
    for runtime in [&MAIN, &CONTROL] {
        runtime.flush();
    }
}

pub(crate) static MAIN: Runtime = Runtime::new("net");
static CONTROL: Runtime = Runtime::new("net-control");

/// What a network runs on. In cache lines of its own: what goes on in one is not felt in the other.
#[repr(align(64))]
pub(crate) struct Runtime {
    /// Its thread's name.
    name: &'static str,
    running: Mutex<Option<Running>>,
    thread: Once<Thread>,
    /// Something waits for [`flush`](Self::flush).
    pending: AtomicBool,
    /// Until when the thread sleeps, in nanoseconds since boot; 0 while it is awake.
    asleep_until: AtomicU64,
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Runtime {
    const fn new(name: &'static str) -> Self {
        Self {
            name,
            running: Mutex::new(None),
            thread: Once::new(),
            pending: AtomicBool::new(false),
            asleep_until: AtomicU64::new(0),
        }
    }

    fn start(
        &'static self,
        mut device: Box<dyn NetDevice>,
        config: &Config,
        random: fn(&mut [u8]),
    ) -> Result<(), StartError> {
        let mut running = self.running.lock();
        if running.is_some() {
            return Err(StartError::AlreadyStarted);
        }
        let stack = Stack::new(&mut *device, config, random, Instant::now().as_nanos())?;
        *running = Some(Running { stack, device });
        drop(running);
        match Builder::new(self.name).priority(Priority::High).spawn(|| self.run()) {
            Ok(handle) => self.thread.call_once(|| handle.thread().clone()),
            Err(_) => {
                *self.running.lock() = None;
                return Err(StartError::OutOfMemory);
            }
        };
        Ok(())
    }

    /// Sends what its sockets have queued, on this thread.
    pub(crate) fn flush(&self) {
        // Looked at first: most often nothing waits, and an exchange locks the bus to find that out.
        if !self.pending.load(Ordering::Relaxed) || !self.pending.swap(false, Ordering::Acquire) {
            return;
        }
        self.with_running(&mut Vec::new(), |running, now| {
            running.stack.egress(now, &mut *running.device);
            running.device.flush();
        });
    }

    /// Runs `f` with the stack and the time, and afterwards whatever it woke. `None` before the start.
    pub(crate) fn with_stack<R>(&self, f: impl FnOnce(&mut Stack, u64) -> R) -> Option<R> {
        self.with_running(&mut Vec::new(), |running, now| f(&mut running.stack, now))
    }

    /// `list` is empty before and after; a caller that keeps it keeps its memory.
    fn with_running<R>(&self, list: &mut Vec<Waker>, f: impl FnOnce(&mut Running, u64) -> R) -> Option<R> {
        let mut guard = self.running.lock();
        let running = guard.as_mut()?;
        let result = f(running, Instant::now().as_nanos());
        if running.stack.has_pending() {
            self.pending.store(true, Ordering::Release);
        }
        let late =
            running.stack.next_deadline().is_some_and(|at| at < self.asleep_until.load(Ordering::Relaxed));
        running.stack.swap_wakers(list);
        drop(guard);
        if late {
            self.unpark();
        }
        // Without the lock: whoever is woken will want it.
        for waker in list.drain(..) {
            waker.wake();
        }
        Some(result)
    }

    fn unpark(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// What the network's thread does for ever.
    fn run(&self) {
        let mut full_rounds = 0;
        let mut wakers = Vec::new();
        loop {
            self.asleep_until.store(0, Ordering::Relaxed);
            let round = |running: &mut Running, now| self.round(running, now);
            let (more, deadline) = self.with_running(&mut wakers, round).expect("started before its thread");
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
    fn round(&self, running: &mut Running, now: u64) -> (bool, Option<u64>) {
        let Running { stack, device } = running;
        device.set_interrupts(false);
        let count = stack.poll(now, &mut **device, BUDGET);
        device.flush();
        let more = count == BUDGET || device.set_interrupts(true);
        let deadline = stack.next_deadline();
        if !more {
            self.asleep_until.store(deadline.unwrap_or(u64::MAX), Ordering::Relaxed);
        }
        (more, deadline)
    }

    /// Like [`block`](Self::block), but gives up at a deadline.
    pub(crate) fn block_until<R>(
        &self,
        deadline: Instant,
        mut poll: impl FnMut(&Waker) -> Poll<R>,
    ) -> Option<R> {
        let waker = Waker::from(Arc::new(thread::current()));
        loop {
            if let Poll::Ready(result) = poll(&waker) {
                return Some(result);
            }
            if Instant::now() >= deadline {
                return None;
            }
            self.flush();
            thread::park_until(deadline);
        }
    }

    /// Polls with this thread's waker until ready, sleeping in between. Sends what is queued before it sleeps.
    pub(crate) fn block<R>(&self, mut poll: impl FnMut(&Waker) -> Poll<R>) -> R {
        // A waker of our own costs an allocation; often there is nothing to wait for.
        if let Poll::Ready(result) = poll(Waker::noop()) {
            return result;
        }
        let waker = Waker::from(Arc::new(thread::current()));
        loop {
            if let Poll::Ready(result) = poll(&waker) {
                return result;
            }
            self.flush();
            thread::park();
        }
    }
}
