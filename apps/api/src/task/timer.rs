//! Timers for futures: one table of deadlines, and one thread that wakes whoever is due.
//!
//! The table is the machine's, not an executor's, so that a timer works wherever a future runs. A timer that is dropped
//! leaves the table: a timeout around each request costs no memory once the request is done.
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};
use machine::sync::Mutex;
use machine::thread::{self, Priority, SpawnError, Thread};
use machine::time::{Duration, Instant};

static TIMERS: Timers = Timers::new();

/// Is ready after `duration`.
pub fn sleep(duration: Duration) -> Sleep {
    sleep_until(Instant::now().saturating_add(duration))
}

/// Is ready from `deadline` on.
pub fn sleep_until(deadline: Instant) -> Sleep {
    TIMERS.sleep_until(deadline)
}

/// The time was over before the future was ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOut;

/// Waits for `future`, at most for `duration`. No timer is set if the future is ready when it is first polled.
///
/// # Errors
/// `TimedOut` when the time is over first; the future is dropped then.
pub async fn timeout<F: Future>(duration: Duration, future: F) -> Result<F::Output, TimedOut> {
    let mut future = pin!(future);
    let mut timer = None;
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        let timer = timer.get_or_insert_with(|| sleep(duration));
        Pin::new(timer).poll(cx).map(|()| Err(TimedOut))
    })
    .await
}

/// Bytes that a new entry may need, at most: one node of the table, or two and their parent after a split.
const ENTRY_MEMORY: usize = 2048;

/// A deadline, and a number that tells equal deadlines apart.
type Key = (Instant, u64);

/// The table, and the thread that serves it.
pub(super) struct Timers {
    /// Not a spin lock: entries are allocated under it, and interrupt handlers have no business here.
    state: Mutex<State>,
}

struct State {
    entries: BTreeMap<Key, Waker>,
    next_number: u64,
    started: bool,
    /// The thread, once it serves.
    server: Option<Thread>,
}

impl Timers {
    pub(super) const fn new() -> Self {
        let state = State { entries: BTreeMap::new(), next_number: 0, started: false, server: None };
        Self { state: Mutex::new(state) }
    }

    pub(super) fn sleep_until(&'static self, deadline: Instant) -> Sleep {
        Sleep { timers: self, deadline, number: None }
    }

    /// Puts a timer into the table, and starts the thread if this is the first. None if there is no memory or no thread.
    fn insert(&'static self, deadline: Instant, waker: &Waker) -> Option<u64> {
        Vec::<u8>::new().try_reserve_exact(ENTRY_MEMORY).ok()?;
        let waker = waker.clone();
        let mut state = self.state.lock();
        let number = state.next_number;
        state.next_number += 1;
        state.entries.insert((deadline, number), waker);
        let first = state.entries.keys().next() == Some(&(deadline, number));
        let start = !core::mem::replace(&mut state.started, true);
        if first && let Some(server) = &state.server {
            server.unpark();
        }
        drop(state);
        if start && self.start().is_err() {
            let mut state = self.state.lock();
            state.started = false;
            let waker = state.entries.remove(&(deadline, number));
            drop(state);
            drop(waker);
            return None;
        }
        Some(number)
    }

    fn start(&'static self) -> Result<(), SpawnError> {
        thread::Builder::new("timers").priority(Priority::High).spawn(move || self.serve())?;
        Ok(())
    }

    /// Makes the timer wake `waker`. False if it is not in the table any more.
    fn rearm(&self, key: Key, waker: &Waker) -> bool {
        let mut state = self.state.lock();
        let Some(entry) = state.entries.get_mut(&key) else { return false };
        if entry.will_wake(waker) {
            return true;
        }
        drop(state);
        let waker = waker.clone();
        let mut state = self.state.lock();
        let Some(entry) = state.entries.get_mut(&key) else { return false };
        let old = core::mem::replace(entry, waker);
        // Dropping a waker can run the scheduler of its task: not under the lock.
        drop(state);
        drop(old);
        true
    }

    fn remove(&self, key: Key) {
        let waker = self.state.lock().entries.remove(&key);
        drop(waker);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.state.lock().entries.len()
    }

    /// Wakes due timers, for ever.
    fn serve(&self) {
        self.state.lock().server = Some(thread::current());
        loop {
            match self.next_due(Instant::now()) {
                Due::Now(waker) => waker.wake(),
                Due::At(deadline) => thread::park_until(deadline),
                Due::Never => thread::park(),
            }
        }
    }

    fn next_due(&self, now: Instant) -> Due {
        let mut state = self.state.lock();
        match state.entries.first_entry() {
            None => Due::Never,
            Some(first) if first.key().0 <= now => Due::Now(first.remove()),
            Some(first) => Due::At(first.key().0),
        }
    }
}

enum Due {
    Now(Waker),
    At(Instant),
    Never,
}

/// A timer: a future that is ready from a point in time on.
pub struct Sleep {
    timers: &'static Timers,
    deadline: Instant,
    /// Its number, while it is in the table.
    number: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.deadline {
            self.leave_table();
            return Poll::Ready(());
        }
        if let Some(number) = self.number
            && self.timers.rearm((self.deadline, number), cx.waker())
        {
            return Poll::Pending;
        }
        self.number = self.timers.insert(self.deadline, cx.waker());
        if self.number.is_none() {
            // No memory for the entry: look at the clock again in the next batch.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl Sleep {
    fn leave_table(&mut self) {
        if let Some(number) = self.number.take() {
            self.timers.remove((self.deadline, number));
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.leave_table();
    }
}
