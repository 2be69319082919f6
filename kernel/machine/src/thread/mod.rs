//! Threads: preemptive, prioritised, on all CPUs.
//!
//! The highest ready priority runs; threads of equal priority take turns of two milliseconds. Extended state (SSE, AVX)
//! is saved on the thread's own stack by whatever interrupts it, so a switch between threads need not touch it.

mod join;
mod list;
mod scheduler;
pub(crate) mod stack;
mod timers;

pub use join::JoinHandle;
pub(crate) use scheduler::{preempt, timer_interrupt};

use crate::cpu;
use crate::sync::SpinLock;
use crate::time::{Duration, Instant};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::task::Wake;
use core::cell::UnsafeCell;
use core::future::Future;
use core::pin::pin;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use core::task::{Context, Poll, Waker};

/// How urgent a thread is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// What is done for strangers. Where the others leave nothing, half a per cent of a CPU.
    Low,
    /// Work that has to come to an end. Where the others leave nothing, an eighth of a CPU.
    Background,
    /// Applications.
    Normal,
    /// The network and what operators wait for.
    High,
    /// Runs before everything; for short work only.
    Realtime,
}

impl Priority {
    /// All of them, the lowest first.
    const ALL: [Self; 5] = [Self::Low, Self::Background, Self::Normal, Self::High, Self::Realtime];
}

/// A set of CPUs, one bit each (CPU 0 is bit 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuSet(pub u64);

impl CpuSet {
    /// Every CPU that runs.
    pub fn all() -> Self {
        Self(((1u128 << cpu::count()) - 1) as u64)
    }
}

/// Why a thread was not started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpawnError {
    /// No memory for the stack or the thread's record.
    OutOfMemory,
    /// The set names no CPU that runs.
    NoSuchCpu,
}

/// Longest name kept, in bytes.
const NAME: usize = 24;

/// Stack of a thread that asks for no other size, in bytes.
pub const DEFAULT_STACK: usize = 128 * 1024;

pub(crate) struct Inner {
    name: [u8; NAME],
    /// A [`Priority`]; the thread itself may change it.
    priority: AtomicU8,
    affinity: CpuSet,
    stack_pointer: UnsafeCell<u64>,
    /// Only kept: the stack goes back when the last handle does. The idle thread has none of its own.
    _stack: Option<stack::Stack>,
    state: AtomicU8,
    /// An `unpark` that no `park` has consumed yet.
    token: AtomicBool,
    /// The registers are (still) on a CPU, not in `stack_pointer`.
    on_cpu: AtomicBool,
    last_cpu: AtomicUsize,
    /// Link of the run queue; belongs to the holder of the queue's lock.
    next: UnsafeCell<Option<Arc<Inner>>>,
    timer_place: AtomicUsize,
    timer_cpu: AtomicUsize,
    start: SpinLock<Option<Box<dyn FnOnce() + Send>>>,
}

// SAFETY: `stack_pointer` is touched only by the CPU that switches the thread, `next` only under a run queue's lock; the
// rest is atomic, locked or constant.
unsafe impl Sync for Inner {}
// SAFETY: as above.
unsafe impl Send for Inner {}

impl Inner {
    fn new(name: &str, priority: Priority, affinity: CpuSet, stack: Option<stack::Stack>) -> Self {
        let mut bytes = [0; NAME];
        let length = (0..=name.len().min(NAME)).rev().find(|&at| name.is_char_boundary(at)).unwrap_or(0);
        bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
        Self {
            name: bytes,
            priority: AtomicU8::new(priority as u8),
            affinity,
            stack_pointer: UnsafeCell::new(0),
            _stack: stack,
            state: AtomicU8::new(scheduler::BLOCKED),
            token: AtomicBool::new(false),
            on_cpu: AtomicBool::new(false),
            last_cpu: AtomicUsize::new(0),
            next: UnsafeCell::new(None),
            timer_place: AtomicUsize::new(usize::MAX),
            timer_cpu: AtomicUsize::new(0),
            start: SpinLock::new(None),
        }
    }

    fn priority(&self) -> u8 {
        self.priority.load(Ordering::Relaxed)
    }

    fn name(&self) -> &str {
        let length = self.name.iter().position(|&byte| byte == 0).unwrap_or(NAME);
        core::str::from_utf8(&self.name[..length]).unwrap_or("?")
    }

    fn unpark(self: &Arc<Self>) {
        self.token.store(true, Ordering::SeqCst);
        if self
            .state
            .compare_exchange(scheduler::BLOCKED, scheduler::READY, Ordering::SeqCst, Ordering::Relaxed)
            .is_ok()
        {
            scheduler::make_ready(self.clone());
            give_way();
        }
    }
}

impl Wake for Inner {
    fn wake(self: Arc<Self>) {
        self.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.unpark();
    }
}

/// Switches at once if something more urgent became ready and interrupts are on; otherwise whoever switches them on does.
pub(crate) fn give_way() {
    if cpu::interrupts_enabled() && cpu::this().reschedule.load(Ordering::Relaxed) {
        cpu::without_interrupts(scheduler::preempt);
    }
}

/// A handle to a thread.
#[derive(Clone)]
pub struct Thread {
    inner: Arc<Inner>,
}

impl Thread {
    /// Makes the current or next [`park`] of the thread return. Callable from interrupt handlers.
    pub fn unpark(&self) {
        self.inner.unpark();
    }

    /// The running thread has slept for reasons of its own, which may have taken an unpark: the next [`park`] returns at once.
    pub(crate) fn keep_unpark(&self) {
        self.inner.token.store(true, Ordering::SeqCst);
    }

    /// The thread's name, cut to 24 bytes.
    pub fn name(&self) -> &str {
        self.inner.name()
    }
}

impl Wake for Thread {
    fn wake(self: Arc<Self>) {
        self.unpark();
    }
}

impl core::fmt::Debug for Thread {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("Thread").field(&self.name()).finish()
    }
}

/// The record of the running thread: one load, so it can't be another's even if the thread moves.
#[inline]
fn current_pointer() -> *const Inner {
    let pointer: *const Inner;
    // SAFETY: the third field of the CPU's block is the running thread.
    unsafe {
        core::arch::asm!("mov {}, gs:[16]", out(reg) pointer, options(nostack, preserves_flags, readonly))
    };
    pointer
}

/// The running thread. Threads begin with [`start`]; before that this panics.
pub fn current() -> Thread {
    let pointer = current_pointer();
    assert!(!pointer.is_null(), "no threads yet");
    // SAFETY: the CPU holds a reference to the running thread.
    let inner = unsafe {
        Arc::increment_strong_count(pointer);
        Arc::from_raw(pointer)
    };
    Thread { inner }
}

/// Name of the running thread, for last words.
pub(crate) fn current_name() -> &'static str {
    let pointer = current_pointer();
    // SAFETY: the running thread's record lives at least until the thread ends, and last words never return.
    if pointer.is_null() { "boot" } else { unsafe { (*pointer).name() } }
}

/// Sleeps until unparked; returns at once if the thread was unparked since its last `park`, or may have been while it slept in
/// a lock or in [`sleep`]. Whoever parks therefore looks again whether there is something to do.
pub fn park() {
    // SAFETY: the running thread is alive while this runs.
    let inner = unsafe { &*current_pointer() };
    if inner.token.swap(false, Ordering::SeqCst) {
        return;
    }
    cpu::without_interrupts(|| {
        inner.state.store(scheduler::BLOCKED, Ordering::SeqCst);
        if inner.token.load(Ordering::SeqCst)
            && inner
                .state
                .compare_exchange(scheduler::BLOCKED, scheduler::RUNNING, Ordering::SeqCst, Ordering::Relaxed)
                .is_ok()
        {
            inner.token.store(false, Ordering::SeqCst);
            return;
        }
        scheduler::switch();
        inner.token.store(false, Ordering::SeqCst);
    });
}

/// Like [`park`], at most until `deadline`.
pub fn park_until(deadline: Instant) {
    let thread = current();
    if thread.inner.token.swap(false, Ordering::SeqCst) || deadline <= Instant::now() {
        return;
    }
    scheduler::add_timer(&thread.inner, deadline.as_nanos());
    park();
    scheduler::remove_timer(&thread.inner);
}

/// Sleeps for at least `duration`.
pub fn sleep(duration: Duration) {
    let deadline = Instant::now().saturating_add(duration);
    let thread = current();
    let mut has_slept = false;
    while Instant::now() < deadline {
        scheduler::add_timer(&thread.inner, deadline.as_nanos());
        park();
        scheduler::remove_timer(&thread.inner);
        has_slept = true;
    }
    // An unpark for a later `park` may have come: before, or between the timer's own and the moment this thread got a CPU.
    if has_slept {
        thread.keep_unpark();
    }
}

/// Lets other threads of the same priority run.
pub fn yield_now() {
    cpu::without_interrupts(scheduler::yield_current);
}

/// Gives the running thread another priority, and returns the one that it had.
pub fn set_priority(priority: Priority) -> Priority {
    // SAFETY: the running thread is alive while this runs.
    scheduler::set_priority(unsafe { &*current_pointer() }, priority)
}

/// How long a CPU has had no thread to run, since boot. Interrupt handlers that wake nobody count as idleness.
pub fn idle_time(cpu: usize) -> Duration {
    scheduler::idle_time(cpu)
}

/// Whether no other thread waits for this CPU.
pub fn is_uncontended() -> bool {
    scheduler::is_uncontended()
}

/// Runs a future on this thread; its waker unparks the thread.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(current().inner);
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        park();
    }
}

/// Describes a thread to be started.
#[derive(Debug)]
pub struct Builder<'a> {
    name: &'a str,
    priority: Priority,
    affinity: Option<CpuSet>,
    stack_size: usize,
}

impl<'a> Builder<'a> {
    /// A thread of normal priority on any CPU, with [`DEFAULT_STACK`].
    pub fn new(name: &'a str) -> Self {
        Self { name, priority: scheduler::DEFAULT_PRIORITY, affinity: None, stack_size: DEFAULT_STACK }
    }

    /// Sets the priority.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Restricts the thread to some CPUs.
    pub fn affinity(mut self, cpus: CpuSet) -> Self {
        self.affinity = Some(cpus);
        self
    }

    /// Sets the stack size in bytes, rounded up to a power of two; from 16 KiB to 2 MiB.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = bytes;
        self
    }

    /// Starts the thread.
    pub fn spawn<T: Send + 'static>(
        self,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> Result<JoinHandle<T>, SpawnError> {
        let affinity = self.affinity.unwrap_or(CpuSet(u64::MAX));
        if affinity.0 & CpuSet::all().0 == 0 {
            return Err(SpawnError::NoSuchCpu);
        }
        let count = THREADS.fetch_add(1, Ordering::Relaxed) + 1;
        let result = join::start(self, affinity, count, f);
        if result.is_err() {
            THREADS.fetch_sub(1, Ordering::Relaxed);
        }
        result
    }
}

/// Threads that exist, idle ones not counted.
static THREADS: AtomicUsize = AtomicUsize::new(0);

/// First code of every thread, called by `thread_entry` in traps.s with a reference of the CPU's.
#[unsafe(no_mangle)]
extern "C" fn thread_start(inner: *const Inner) -> ! {
    scheduler::finish_switch();
    // SAFETY: no lock is held; the switch that led here had interrupts off.
    unsafe { cpu::enable_interrupts() };
    // SAFETY: the CPU holds a reference to the running thread.
    let start = unsafe { (*inner).start.lock().take() };
    if let Some(start) = start {
        start();
    }
    THREADS.fetch_sub(1, Ordering::Relaxed);
    cpu::disable_interrupts();
    // SAFETY: as above.
    unsafe { (*inner).state.store(scheduler::DEAD, Ordering::Release) };
    scheduler::switch();
    unreachable!("a dead thread was switched to")
}

/// Turns what runs on this CPU into its idle thread. On the first CPU, threads may be spawned afterwards.
pub(crate) fn adopt_idle() {
    let inner = Inner::new("idle", Priority::Low, CpuSet(1 << cpu::id()), None);
    inner.on_cpu.store(true, Ordering::Relaxed);
    inner.last_cpu.store(cpu::id(), Ordering::Relaxed);
    scheduler::adopt_idle(Arc::new(inner));
}

/// Becomes the idle thread of this CPU for good.
pub fn run_idle() -> ! {
    scheduler::idle()
}
