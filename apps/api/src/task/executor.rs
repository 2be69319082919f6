//! The executor: a queue of ready tasks, and one thread that polls them.
#![expect(unsafe_code, reason = "tasks that are not Send are spawned, and kept on the executor's thread")]
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::task::Wake;
use alloc::vec::Vec;
use async_task::Runnable;
use core::cell::Cell;
use core::future::Future;
use core::marker::PhantomData;
use core::mem;
use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};
use machine::sync::SpinLock;
use machine::thread::{self, Thread};

/// There is no memory for one more task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

/// Bytes that a task takes besides its future (async-task's header and our own share), rounded up.
const TASK_OVERHEAD: usize = 256;

/// What wakers share with the executor.
struct Shared {
    /// Interrupts are off while it is locked, so that their handlers may wake tasks.
    queue: SpinLock<Queue>,
    /// The executor's.
    thread: Thread,
}

struct Queue {
    ready: VecDeque<Runnable>,
    main_ready: bool,
    /// The thread is parked, or about to, and wants to be unparked.
    parked: bool,
    /// Tasks that exist; `ready` has room for all of them, so that waking never allocates.
    tasks: usize,
    /// The executor is gone; tasks woken from now on are never run.
    closed: bool,
}

impl Shared {
    fn schedule(&self, runnable: Runnable) {
        let mut queue = self.queue.lock();
        if queue.closed {
            drop(queue);
            // The future may only be dropped on the executor's thread, which has gone its way: it is left alone.
            mem::forget(runnable);
            return;
        }
        queue.ready.push_back(runnable);
        let unpark = mem::take(&mut queue.parked);
        drop(queue);
        if unpark {
            self.thread.unpark();
        }
    }
}

impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut queue = self.queue.lock();
        queue.main_ready = true;
        let unpark = mem::take(&mut queue.parked);
        drop(queue);
        if unpark {
            self.thread.unpark();
        }
    }
}

/// Runs tasks on the thread that made it.
pub struct Executor {
    shared: Arc<Shared>,
    running: Cell<bool>,
    /// Not `Send`: tasks must be run and dropped where they were spawned.
    here: PhantomData<*const ()>,
}

impl Executor {
    /// An executor for the calling thread.
    #[must_use]
    #[expect(
        clippy::new_without_default,
        reason = "it belongs to the calling thread, which a default would hide"
    )]
    pub fn new() -> Self {
        let queue =
            Queue { ready: VecDeque::new(), main_ready: false, parked: false, tasks: 0, closed: false };
        Self {
            shared: Arc::new(Shared { queue: SpinLock::new(queue), thread: thread::current() }),
            running: Cell::new(false),
            here: PhantomData,
        }
    }

    /// A handle that spawns tasks. It may be cloned and kept in tasks, but stays on this thread.
    pub fn spawner(&self) -> Spawner {
        Spawner { shared: self.shared.clone(), here: PhantomData }
    }

    /// Runs the tasks until `main` is done. Tasks that are not done by then stop where they are, until `run` is called
    /// again. Ready tasks are polled in batches; after each batch the network is flushed, and a thread without ready
    /// tasks is parked.
    ///
    /// # Panics
    /// When called from within itself.
    pub fn run<F: Future>(&self, main: F) -> F::Output {
        assert!(!self.running.replace(true), "an executor does not run inside itself");
        let mut main = pin!(main);
        let waker = Waker::from(self.shared.clone());
        let mut cx = Context::from_waker(&waker);
        let mut main_ready = true;
        loop {
            if main_ready && let Poll::Ready(output) = main.as_mut().poll(&mut cx) {
                net::flush();
                self.running.set(false);
                return output;
            }
            let idle = self.run_batch(&mut main_ready);
            net::flush();
            if idle && !main_ready && self.prepare_to_park() {
                thread::park();
            }
        }
    }

    /// Polls the tasks that are ready now; those that get ready meanwhile wait for the next batch. True if there were
    /// none.
    fn run_batch(&self, main_ready: &mut bool) -> bool {
        let mut queue = self.shared.queue.lock();
        *main_ready = mem::take(&mut queue.main_ready);
        let batch = queue.ready.len();
        drop(queue);
        for _ in 0..batch {
            let Some(runnable) = self.next_ready() else { break };
            runnable.run();
        }
        batch == 0
    }

    fn next_ready(&self) -> Option<Runnable> {
        self.shared.queue.lock().ready.pop_front()
    }

    /// Asks wakers to unpark the thread from now on. False if one came first.
    fn prepare_to_park(&self) -> bool {
        let mut queue = self.shared.queue.lock();
        queue.parked = queue.ready.is_empty() && !queue.main_ready;
        queue.parked
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        loop {
            let mut queue = self.shared.queue.lock();
            let runnable = queue.ready.pop_front();
            queue.closed = runnable.is_none();
            if queue.closed {
                return;
            }
            // Dropping a task takes the lock, and may wake others: look again.
            drop(queue);
            drop(runnable);
        }
    }
}

/// Spawns tasks on an executor.
pub struct Spawner {
    shared: Arc<Shared>,
    here: PhantomData<*const ()>,
}

impl Clone for Spawner {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), here: PhantomData }
    }
}

impl Spawner {
    /// Adds a task. It runs whether or not the returned handle is kept.
    ///
    /// # Errors
    /// `OutOfMemory` when there is no room for the future; it is dropped then. (Another CPU can take the last memory
    /// between this check and the allocation; only then does the allocation itself fail.)
    pub fn spawn<F>(&self, future: F) -> Result<Task<F::Output>, OutOfMemory>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        Vec::<u8>::new().try_reserve_exact(size_of::<F>() + TASK_OVERHEAD).map_err(|_| OutOfMemory)?;
        let place = self.reserve_place()?;
        let future = async move {
            let _place = place;
            future.await
        };
        let shared = self.shared.clone();
        let schedule = move |runnable| shared.schedule(runnable);
        // SAFETY: `future` is 'static, `schedule` is Send, Sync and 'static. The future may not be Send, so its runnable
        // must be run and dropped on this thread only: `schedule` puts it into the queue, which only `Executor` empties,
        // and that is on this thread because neither `Executor` nor `Spawner` is Send. Once the executor is dropped,
        // `schedule` forgets the runnable and so never drops the future.
        let (runnable, task) = unsafe { async_task::spawn_unchecked(future, schedule) };
        runnable.schedule();
        Ok(Task(Some(task)))
    }

    /// Makes room in the ready queue for one task more.
    fn reserve_place(&self) -> Result<Place, OutOfMemory> {
        let mut spare = VecDeque::new();
        loop {
            let mut queue = self.shared.queue.lock();
            let wanted = queue.tasks + 1;
            if queue.ready.capacity() < wanted && spare.capacity() >= wanted {
                spare.extend(queue.ready.drain(..));
                mem::swap(&mut queue.ready, &mut spare);
            }
            if queue.ready.capacity() >= wanted {
                queue.tasks = wanted;
                drop(queue);
                return Ok(Place(self.shared.clone()));
            }
            drop(queue);
            // Allocated without the lock: interrupt handlers wait for it with a CPU each.
            spare.try_reserve(wanted.next_power_of_two().max(64)).map_err(|_| OutOfMemory)?;
        }
    }
}

/// The place of a task in the ready queue.
struct Place(Arc<Shared>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.queue.lock().tasks -= 1;
    }
}

/// A task that was spawned: a future of its output. Dropping it leaves the task running.
pub struct Task<T>(Option<async_task::Task<T>>);

impl<T> Task<T> {
    /// Stops the task: its future is dropped at the executor's next batch, unless it is done by then.
    pub fn cancel(mut self) {
        drop(self.0.take());
    }

    /// The task has come to its end.
    pub fn is_finished(&self) -> bool {
        self.0.as_ref().is_none_or(async_task::Task::is_finished)
    }
}

impl<T> Future for Task<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let task = self.0.as_mut().expect("only cancel and drop take the task");
        Pin::new(task).poll(cx)
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.detach();
        }
    }
}
