//! Run queues, the choice of the next thread, and the switch to it.
//!
//! Each CPU has a queue per priority and takes the first thread of the highest. A thread that becomes ready goes to the
//! CPU it ran on, or to an idle one; a CPU with nothing to do steals. A thread is only ever queued on a CPU that can
//! switch to it at once: one whose registers are not yet saved (`on_cpu`) stays with the CPU that is saving them. So no
//! CPU waits for another.
//!
//! Threads below the normal priority run in what the others leave. Where these leave nothing, one of them is lifted among the normal
//! ones every so often, for a while: see [`SHARES`].
//!
//! Everything here runs with interrupts off.

use super::list::List;
use super::timers::{Placed, TimerHeap};
use super::{CpuSet, Inner, Priority};
use crate::cpu::{self, MAX_CPUS};
use crate::stopwatch::Stopwatch;
use crate::sync::SpinLock;
use crate::{apic, smp, time};
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU64, AtomicUsize, Ordering};

/// How long a thread runs while another of the same priority waits, in nanoseconds.
pub(crate) const TIME_SLICE: u64 = 2_000_000;
const PRIORITIES: usize = 5;
const NORMAL: usize = Priority::Normal as usize;

/// What a priority below the normal one has of a CPU that is never idle. In nanoseconds.
struct Share {
    /// How long its first thread waits before it is lifted.
    patience: u64,
    /// How long it runs then.
    glimpse: u64,
}

/// By [`Priority`]: a two-hundredth for the low, in pieces too short to be felt, and an eighth for the background.
const SHARES: [Share; NORMAL] =
    [Share { patience: 20_000_000, glimpse: 100_000 }, Share { patience: 3_500_000, glimpse: 500_000 }];
/// A bit for each priority whose threads are lifted.
const LIFTED: u8 = (1 << NORMAL) - 1;

/// Thread states.
pub(super) const RUNNING: u8 = 0;
pub(super) const READY: u8 = 1;
pub(super) const BLOCKED: u8 = 2;
pub(super) const DEAD: u8 = 3;

struct RunQueue {
    lists: [List; PRIORITIES],
}

/// What the scheduler keeps for each CPU.
struct CpuState {
    queue: SpinLock<RunQueue>,
    /// Threads in the queue, and a bit for each priority that has any; read without the lock as a hint.
    length: AtomicUsize,
    ready: AtomicU8,
    /// Priority of the running thread (of the normal ones if it was lifted) plus one; 0 when idle.
    running: AtomicU8,
    timers: SpinLock<TimerHeap<Arc<Inner>>>,
    /// When the running thread's slice ends; `u64::MAX` while nobody waits for it.
    slice_end: AtomicU64,
    /// When a thread of each priority below the normal one is lifted; `u64::MAX` while none waits.
    lifts: [AtomicU64; NORMAL],
    /// A bit for each of them that has a time.
    lifting: AtomicU8,
    /// What the APIC timer is set to; `u64::MAX` if off.
    armed: AtomicU64,
    idle: AtomicPtr<Inner>,
    idle_clock: Stopwatch,
    previous: AtomicPtr<Inner>,
}

impl CpuState {
    const fn new() -> Self {
        Self {
            queue: SpinLock::new(RunQueue { lists: [const { List::new() }; PRIORITIES] }),
            length: AtomicUsize::new(0),
            ready: AtomicU8::new(0),
            running: AtomicU8::new(0),
            timers: SpinLock::new(TimerHeap::new()),
            slice_end: AtomicU64::new(u64::MAX),
            lifts: [const { AtomicU64::new(u64::MAX) }; NORMAL],
            lifting: AtomicU8::new(0),
            armed: AtomicU64::new(u64::MAX),
            idle: AtomicPtr::new(core::ptr::null_mut()),
            idle_clock: Stopwatch::new(),
            previous: AtomicPtr::new(core::ptr::null_mut()),
        }
    }

    #[inline(always)]
    fn push(&self, thread: Arc<Inner>) {
        let priority = usize::from(thread.priority());
        let mut queue = self.queue.lock();
        queue.lists[priority].push(thread);
        self.ready.fetch_or(1 << priority, Ordering::Relaxed);
        self.length.fetch_add(1, Ordering::SeqCst);
    }

    /// Takes out the first thread of the highest priority, with the priority it has in the queue.
    fn take(&self) -> Option<(usize, Arc<Inner>)> {
        if self.length.load(Ordering::SeqCst) == 0 {
            return None;
        }
        let mut queue = self.queue.lock();
        let priority = self.ready.load(Ordering::Relaxed).checked_ilog2()? as usize;
        let list = queue.lists.get_mut(priority)?;
        let thread = list.pop()?;
        self.taken(priority, list);
        Some((priority, thread))
    }

    /// The same of those that may run on another CPU, and can at once.
    fn give(&self, cpu: usize) -> Option<(usize, Arc<Inner>)> {
        let mut queue = self.queue.lock();
        let is_free =
            |thread: &Inner| !thread.on_cpu.load(Ordering::Acquire) && thread.affinity.0 & 1 << cpu != 0;
        queue.lists.iter_mut().enumerate().rev().find_map(|(priority, list)| {
            let thread = list.take(is_free)?;
            self.taken(priority, list);
            Some((priority, thread))
        })
    }

    fn taken(&self, priority: usize, list: &List) {
        if list.is_empty() {
            self.ready.fetch_and(!(1 << priority), Ordering::Relaxed);
        }
        self.length.fetch_sub(1, Ordering::SeqCst);
    }

    /// Puts the first thread of a priority among the normal ones.
    fn lift(&self, priority: usize) {
        let mut queue = self.queue.lock();
        if let Some(thread) = queue.lists[priority].pop() {
            queue.lists[NORMAL].push(thread);
            self.ready.fetch_or(1 << NORMAL, Ordering::Relaxed);
        }
        if queue.lists[priority].is_empty() {
            self.ready.fetch_and(!(1 << priority), Ordering::Relaxed);
        }
    }

    /// When the next thread is lifted; `u64::MAX` while none waits.
    #[inline(always)]
    fn next_lift(&self) -> u64 {
        if self.lifting.load(Ordering::Relaxed) == 0 {
            return u64::MAX;
        }
        self.lifts.iter().fold(u64::MAX, |next, lift| next.min(lift.load(Ordering::Relaxed)))
    }

    /// Of some priorities, as bits, those whose threads are to be lifted and have no time for that yet.
    fn unlifted(&self, priorities: u8) -> u8 {
        priorities & LIFTED & !self.lifting.load(Ordering::Relaxed)
    }

    /// Whether a thread waits here that has the priority of the running one, or a higher one.
    fn is_contended(&self) -> bool {
        let running = self.running.load(Ordering::Relaxed);
        u32::from(self.ready.load(Ordering::Relaxed)) << 1 >> running != 0
    }
}

static CPUS: [CpuState; MAX_CPUS] = [const { CpuState::new() }; MAX_CPUS];
/// CPUs that run their idle thread.
static IDLE: AtomicU64 = AtomicU64::new(0);
static STARTED: AtomicBool = AtomicBool::new(false);

impl Placed for Arc<Inner> {
    fn set_place(&self, place: Option<usize>) {
        self.timer_place.store(place.unwrap_or(usize::MAX), Ordering::Relaxed);
    }
}

/// Makes sure that `threads` sleeping threads fit in every CPU's timer heap.
pub(super) fn reserve_timers(threads: usize) -> Result<(), ()> {
    CPUS.iter().take(cpu::count()).try_for_each(|cpu| cpu.timers.lock().reserve(threads).map_err(|_| ()))
}

/// Turns the code that runs on this CPU into its idle thread.
pub(super) fn adopt_idle(thread: Arc<Inner>) {
    let me = cpu::this();
    let pointer = Arc::into_raw(thread).cast_mut();
    CPUS[me.id].idle.store(pointer, Ordering::Relaxed);
    CPUS[me.id].idle_clock.begin(time::Instant::now().as_nanos());
    me.current.store(pointer as usize, Ordering::Relaxed);
    STARTED.store(true, Ordering::Release);
}

/// Makes a blocked or new thread ready on the CPU that suits it best.
pub(super) fn make_ready(thread: Arc<Inner>) {
    cpu::without_interrupts(|| {
        let target = choose_cpu(&thread);
        let wanted = thread.priority() + 1;
        let state = &CPUS[target];
        state.push(thread);
        let me = cpu::this();
        let running = state.running.load(Ordering::SeqCst);
        if target == me.id {
            if wanted > running {
                me.reschedule.store(true, Ordering::Relaxed);
            } else {
                limit_running(state);
            }
        } else if wanted >= running || state.unlifted(1 << (wanted - 1)) != 0 {
            apic::send(smp::apic_id(target), apic::RESCHEDULE_VECTOR);
        }
    });
}

fn choose_cpu(thread: &Inner) -> usize {
    let last = thread.last_cpu.load(Ordering::Relaxed);
    if thread.on_cpu.load(Ordering::Acquire) {
        return last;
    }
    let allowed = thread.affinity.0 & CpuSet::all().0;
    let idle = IDLE.load(Ordering::SeqCst) & allowed;
    if idle & 1 << last != 0 {
        last
    } else if idle != 0 {
        idle.trailing_zeros() as usize
    } else if allowed & 1 << last != 0 {
        last
    } else {
        allowed.trailing_zeros() as usize
    }
}

/// Starts a time slice for the running thread, if none is running.
fn start_slice(state: &CpuState) {
    if state.slice_end.load(Ordering::Relaxed) == u64::MAX {
        state.slice_end.store(time::Instant::now().as_nanos() + TIME_SLICE, Ordering::Relaxed);
        arm(state);
    }
}

/// Others wait for this CPU: the running thread has it for a time only.
fn limit_running(state: &CpuState) {
    if state.is_contended() {
        start_slice(state);
    }
    let waiting = state.ready.load(Ordering::Relaxed) & LIFTED;
    if waiting != 0 && state.unlifted(waiting) != 0 {
        lift_later(state, state.unlifted(waiting));
    }
}

#[cold]
fn lift_later(state: &CpuState, priorities: u8) {
    let now = time::Instant::now().as_nanos();
    for (priority, (lift, share)) in state.lifts.iter().zip(&SHARES).enumerate() {
        if priorities & 1 << priority != 0 {
            lift.store(now + share.patience, Ordering::Relaxed);
        }
    }
    state.lifting.fetch_or(priorities, Ordering::Relaxed);
    arm(state);
}

#[cold]
fn lift_now(state: &CpuState, now: u64) {
    for (priority, lift) in state.lifts.iter().enumerate() {
        if lift.load(Ordering::Relaxed) <= now {
            lift.store(u64::MAX, Ordering::Relaxed);
            state.lifting.fetch_and(!(1 << priority), Ordering::Relaxed);
            state.lift(priority);
        }
    }
}

/// Sets the APIC timer for the next event, if that is earlier than what it is set to. Being early is harmless.
fn arm(state: &CpuState) {
    let timer = state.timers.lock().next_deadline().unwrap_or(u64::MAX);
    let next = timer.min(state.slice_end.load(Ordering::Relaxed)).min(state.next_lift());
    if next < state.armed.load(Ordering::Relaxed) {
        state.armed.store(next, Ordering::Relaxed);
        apic::arm_timer(next);
    }
}

/// Wakes sleepers whose time has come and ends the slice.
pub(crate) fn timer_interrupt() {
    let me = cpu::this();
    let state = &CPUS[me.id];
    state.armed.store(u64::MAX, Ordering::Relaxed);
    let now = time::Instant::now().as_nanos();
    loop {
        let due = state.timers.lock().pop_due(now);
        let Some(thread) = due else { break };
        thread.unpark();
    }
    if state.next_lift() <= now {
        lift_now(state, now);
    }
    if state.slice_end.load(Ordering::Relaxed) <= now {
        state.slice_end.store(u64::MAX, Ordering::Relaxed);
        // Lifted or not: from here on it is what it is.
        // SAFETY: the running thread is alive.
        let priority = unsafe { (*(me.current.load(Ordering::Relaxed) as *const Inner)).priority() };
        state.running.store(priority + 1, Ordering::Relaxed);
        if state.is_contended() {
            me.reschedule.store(true, Ordering::Relaxed);
        }
    }
    arm(state);
}

/// Puts a thread (the current one) into this CPU's timer heap.
pub(super) fn add_timer(thread: &Arc<Inner>, deadline: u64) {
    cpu::without_interrupts(|| {
        let state = &CPUS[cpu::id()];
        thread.timer_cpu.store(cpu::id(), Ordering::Relaxed);
        state.timers.lock().insert(deadline, thread.clone());
        arm(state);
    });
}

/// Takes a thread (the current one) out of the heap again, if it is still there.
pub(super) fn remove_timer(thread: &Inner) {
    cpu::without_interrupts(|| {
        let mut timers = CPUS[thread.timer_cpu.load(Ordering::Relaxed)].timers.lock();
        let place = thread.timer_place.load(Ordering::Relaxed);
        if place != usize::MAX {
            timers.remove(place);
        }
    });
}

/// At the end of an interrupt, and wherever interrupts come on again: gives way if something more urgent is ready.
/// Interrupts are off.
pub(crate) fn preempt() {
    let me = cpu::this();
    if !STARTED.load(Ordering::Relaxed) || me.current.load(Ordering::Relaxed) == 0 {
        return;
    }
    let state = &CPUS[me.id];
    if me.reschedule.load(Ordering::Relaxed) {
        yield_current();
    } else if state.ready.load(Ordering::Relaxed) != 0 {
        let running = state.running.load(Ordering::Relaxed);
        if u32::from(state.ready.load(Ordering::Relaxed)) << 1 >> (running + 1) != 0 {
            yield_current();
        } else {
            limit_running(state);
        }
    }
}

/// Puts the current thread at the end of its queue and switches to the next.
pub(super) fn yield_current() {
    let me = cpu::this();
    let current = me.current.load(Ordering::Relaxed) as *const Inner;
    let state = &CPUS[me.id];
    if current.cast_mut() != state.idle.load(Ordering::Relaxed) {
        // SAFETY: the current thread is alive, and the CPU holds a reference of its own.
        let thread = unsafe {
            Arc::increment_strong_count(current);
            Arc::from_raw(current)
        };
        thread.state.store(READY, Ordering::Release);
        state.push(thread);
    }
    switch();
}

/// Switches to the next thread; the current one has been queued, blocked or declared dead. Interrupts are off.
pub(super) fn switch() {
    let me = cpu::this();
    let state = &CPUS[me.id];
    let previous = me.current.load(Ordering::Relaxed) as *mut Inner;
    me.reschedule.store(false, Ordering::Relaxed);
    let (priority, next) = match state.take().or_else(|| steal(me.id)) {
        Some((priority, thread)) => (priority, Arc::into_raw(thread).cast_mut()),
        None => (0, state.idle.load(Ordering::Relaxed)),
    };
    let is_idle = next == state.idle.load(Ordering::Relaxed);
    // SAFETY: `next` is the idle thread, which lives for ever, or a reference just taken from a queue.
    let thread = unsafe { &*next };
    if next == previous {
        thread.state.store(RUNNING, Ordering::Release);
        if !is_idle {
            state.running.store(priority as u8 + 1, Ordering::SeqCst);
            // SAFETY: the CPU holds a reference already; this one came from the queue.
            unsafe { drop(Arc::from_raw(next)) };
        }
        state.slice_end.store(u64::MAX, Ordering::Relaxed);
        return;
    }
    if is_idle {
        state.idle_clock.begin(time::Instant::now().as_nanos());
        IDLE.fetch_or(1 << me.id, Ordering::SeqCst);
        state.running.store(0, Ordering::SeqCst);
    } else {
        if previous == state.idle.load(Ordering::Relaxed) {
            state.idle_clock.end(time::Instant::now().as_nanos());
        }
        IDLE.fetch_and(!(1 << me.id), Ordering::SeqCst);
        state.running.store(priority as u8 + 1, Ordering::SeqCst);
    }
    thread.last_cpu.store(me.id, Ordering::Relaxed);
    thread.on_cpu.store(true, Ordering::Relaxed);
    thread.state.store(RUNNING, Ordering::Release);
    me.current.store(next as usize, Ordering::Relaxed);
    state.previous.store(previous, Ordering::Relaxed);
    state.slice_end.store(u64::MAX, Ordering::Relaxed);
    if priority > usize::from(thread.priority())
        && let Some(share) = SHARES.get(usize::from(thread.priority()))
    {
        state.slice_end.store(time::Instant::now().as_nanos() + share.glimpse, Ordering::Relaxed);
        arm(state);
    } else if !is_idle && state.ready.load(Ordering::Relaxed) != 0 {
        limit_running(state);
    }
    me.switches.fetch_add(1, Ordering::Relaxed);
    unsafe extern "C" {
        fn switch_stacks(old: *mut u64, new: u64);
    }
    // SAFETY: `next` is not running anywhere (it came from a queue with its registers saved), `previous` is the current
    // thread; both stacks are mapped. Interrupts are off.
    unsafe { switch_stacks((*previous).stack_pointer.get(), *thread.stack_pointer.get()) };
    finish_switch();
}

/// First thing after a switch, on the new thread's stack: lets go of the old one.
pub(super) fn finish_switch() {
    let state = &CPUS[cpu::id()];
    let previous = state.previous.load(Ordering::Relaxed);
    let is_idle = previous == state.idle.load(Ordering::Relaxed);
    // SAFETY: the CPU's reference keeps the previous thread alive until it is dropped here.
    unsafe {
        (*previous).on_cpu.store(false, Ordering::Release);
        if !is_idle {
            drop(Arc::from_raw(previous));
        }
    }
    if state.length.load(Ordering::Relaxed) > 0 {
        let others = IDLE.load(Ordering::Relaxed) & !(1 << cpu::id());
        if others != 0 {
            apic::send(smp::apic_id(others.trailing_zeros() as usize), apic::RESCHEDULE_VECTOR);
        }
    }
}

#[inline(never)]
fn steal(me: usize) -> Option<(usize, Arc<Inner>)> {
    let mut others = (me + 1..cpu::count()).chain(0..me).map(|other| &CPUS[other]);
    others.find_map(|other| if other.length.load(Ordering::SeqCst) > 0 { other.give(me) } else { None })
}

/// Gives the current thread another priority, and way to whoever is more urgent then. Returns the one that it had.
pub(super) fn set_priority(thread: &Inner, priority: Priority) -> Priority {
    cpu::without_interrupts(|| {
        let before = thread.priority.swap(priority as u8, Ordering::Relaxed);
        CPUS[cpu::id()].running.store(priority as u8 + 1, Ordering::SeqCst);
        preempt();
        Priority::ALL[usize::from(before)]
    })
}

/// Whether a thread is waiting in any queue that this CPU might take.
fn work_waits(me: usize) -> bool {
    CPUS[me].length.load(Ordering::SeqCst) > 0
}

/// The idle thread: looks for work, else halts until an interrupt.
pub(super) fn idle() -> ! {
    let me = cpu::this();
    IDLE.fetch_or(1 << me.id, Ordering::SeqCst);
    loop {
        cpu::disable_interrupts();
        switch();
        if !work_waits(me.id) {
            // SAFETY: STI takes effect after the next instruction, so an interrupt that is pending ends the HLT.
            unsafe { core::arch::asm!("sti", "hlt", "cli", options(nostack)) };
        }
    }
}

/// How long a CPU has had no thread to run.
pub(super) fn idle_time(cpu: usize) -> time::Duration {
    time::Duration::from_nanos(CPUS[cpu].idle_clock.read(time::Instant::now().as_nanos()))
}

/// Whether a thread of this priority on this CPU would be in the way of nobody: for spinning a little before sleeping.
pub(crate) fn is_uncontended() -> bool {
    CPUS[cpu::id()].length.load(Ordering::Relaxed) == 0
}

/// The priority a thread is given when it takes none.
pub(super) const DEFAULT_PRIORITY: Priority = Priority::Normal;
