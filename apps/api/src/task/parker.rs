//! How an executor or the timer service waits: on a thread of the machine, or of `std` in host tests.
use machine::thread::{self, Priority, Thread};
use machine::time::Instant;

/// A handle to the thread that waits.
pub trait Parker: Send + Sync + 'static {
    /// The calling thread.
    fn current() -> Self;
    /// Makes the thread's next (or current) `park` return. Called from any thread and from interrupt handlers.
    fn unpark(&self);
    /// Blocks the calling thread until it is unparked.
    fn park();
    /// Blocks the calling thread until it is unparked, at most until `deadline`.
    fn park_until(deadline: Instant);
    /// The time on a clock that never goes back.
    fn now() -> Instant;
    /// Called on the executor's thread after each batch of tasks: sends what they have written.
    fn flush();
    /// Starts a thread that runs `service` for ever. False if there is none to be had.
    fn start(service: impl FnOnce() + Send + 'static) -> bool;
}

/// Waits on a thread of the machine.
pub struct ThreadParker(Thread);

impl Parker for ThreadParker {
    fn current() -> Self {
        Self(thread::current())
    }

    fn unpark(&self) {
        self.0.unpark();
    }

    fn park() {
        thread::park();
    }

    fn park_until(deadline: Instant) {
        thread::park_until(deadline);
    }

    fn now() -> Instant {
        Instant::now()
    }

    fn flush() {
        net::flush();
    }

    fn start(service: impl FnOnce() + Send + 'static) -> bool {
        thread::Builder::new("timers").priority(Priority::High).spawn(service).is_ok()
    }
}
