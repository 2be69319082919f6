//! Tasks: many connections on one thread.
//!
//! An [`Executor`] runs futures on the thread that calls [`Executor::run`]. They need not be `Send`: a [`Spawner`] stays
//! on its thread, so tasks share state through `Rc` and `Cell`, without locks. Wakers may go anywhere, into interrupt
//! handlers too. [`sleep`], [`sleep_until`] and [`timeout`] work on any thread, also under `thread::block_on`.
mod executor;
mod timer;

pub use executor::{Executor, OutOfMemory, Spawner, Task};
pub use timer::{Sleep, TimedOut, sleep, sleep_until, timeout};

use core::future::poll_fn;
use core::task::Poll;

/// Lets the other tasks that are ready have their turn.
pub async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests;
