//! The executor and the timers on threads of `std`.
use super::timer::{Sleep, Timers};
use super::{Executor, Parker, yield_now};
use alloc::rc::Rc;
use core::cell::{Cell, RefCell};
use core::future::poll_fn;
use core::task::{Poll, Waker};
use machine::time::Instant;
use std::sync::{LazyLock, mpsc};
use std::thread::{self, Thread};
use std::time::{Duration, Instant as HostInstant};
use std::vec::Vec;

static START: LazyLock<HostInstant> = LazyLock::new(HostInstant::now);
static TIMERS: Timers<HostThread> = Timers::new();

std::thread_local! {
    static FLUSHES: Cell<usize> = const { Cell::new(0) };
}

struct HostThread(Thread);

impl Parker for HostThread {
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
        thread::park_timeout(Duration::from_nanos(
            deadline.as_nanos().saturating_sub(Self::now().as_nanos()),
        ));
    }

    fn now() -> Instant {
        Instant::from_nanos(u64::try_from(START.elapsed().as_nanos()).unwrap())
    }

    fn flush() {
        FLUSHES.set(FLUSHES.get() + 1);
    }

    fn start(service: impl FnOnce() + Send + 'static) -> bool {
        thread::spawn(service);
        true
    }
}

fn executor() -> Executor<HostThread> {
    Executor::with_parker()
}

fn sleep(milliseconds: u64) -> Sleep<HostThread> {
    let deadline = HostThread::now().as_nanos() + milliseconds * 1_000_000;
    TIMERS.sleep_until(Instant::from_nanos(deadline))
}

/// Tells when it is dropped.
struct Dropped(Rc<Cell<usize>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

/// A future that stays pending, and sends its waker out once.
async fn pending(wakers: mpsc::Sender<Waker>) {
    let mut wakers = Some(wakers);
    poll_fn::<(), _>(|cx| {
        if let Some(wakers) = wakers.take() {
            wakers.send(cx.waker().clone()).unwrap();
        }
        Poll::Pending
    })
    .await;
}

#[test]
fn a_task_gives_its_output() {
    let executor = executor();
    let task = executor.spawner().spawn(async { 6 * 7 }).unwrap();
    assert!(!task.is_finished());
    assert_eq!(executor.run(task), 42);
}

#[test]
fn tasks_take_turns_and_spawn_others() {
    let executor = executor();
    let order = Rc::new(RefCell::new(Vec::new()));
    for name in ["a", "b"] {
        let (order, spawner) = (order.clone(), executor.spawner());
        let count = async move {
            for round in 0..2 {
                order.borrow_mut().push((name, round));
                yield_now().await;
            }
            let order = order.clone();
            spawner.spawn(async move { order.borrow_mut().push((name, 9)) }).unwrap().await;
        };
        executor.spawner().spawn(count).unwrap();
    }
    executor.run(async {
        while order.borrow().len() < 6 {
            yield_now().await;
        }
    });
    let expected = [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 9), ("b", 9)];
    assert_eq!(*order.borrow(), expected);
}

#[test]
fn another_thread_wakes_a_parked_executor() {
    let executor = executor();
    for _ in 0..1000 {
        let (sender, receiver) = mpsc::channel::<Waker>();
        let waking = thread::spawn(move || receiver.recv().unwrap().wake());
        let mut polls = 0;
        let task = executor
            .spawner()
            .spawn(poll_fn(move |cx| {
                polls += 1;
                if polls == 2 {
                    return Poll::Ready(());
                }
                sender.send(cx.waker().clone()).unwrap();
                Poll::Pending
            }))
            .unwrap();
        executor.run(task);
        waking.join().unwrap();
    }
}

#[test]
fn the_network_is_flushed_after_each_batch() {
    let executor = executor();
    FLUSHES.set(0);
    executor.run(async {
        for _ in 0..10 {
            yield_now().await;
        }
    });
    assert_eq!(FLUSHES.get(), 11);
}

#[test]
fn cancelling_drops_the_future_and_letting_go_does_not() {
    let executor = executor();
    let drops = Rc::new(Cell::new(0));
    let (sender, _receiver) = mpsc::channel();
    let spawn = || {
        let (guard, sender) = (Dropped(drops.clone()), sender.clone());
        let future = async move {
            let _guard = guard;
            pending(sender).await;
        };
        executor.spawner().spawn(future).unwrap()
    };
    let cancelled = spawn();
    drop(spawn());
    executor.run(yield_now());
    assert_eq!(drops.get(), 0);
    cancelled.cancel();
    executor.run(yield_now());
    assert_eq!(drops.get(), 1);
}

#[test]
fn a_dropped_executor_drops_what_is_ready_and_ignores_late_wakers() {
    let executor = executor();
    let drops = Rc::new(Cell::new(0));
    let (sender, receiver) = mpsc::channel();
    let guard = Dropped(drops.clone());
    let waiting = async move {
        let _guard = guard;
        pending(sender).await;
    };
    executor.spawner().spawn(waiting).unwrap();
    executor.run(yield_now());
    let guard = Dropped(drops.clone());
    let never_polled = async move { drop(guard) };
    executor.spawner().spawn(never_polled).unwrap();
    drop(executor);
    assert_eq!(drops.get(), 1);
    let waker = receiver.recv().unwrap();
    thread::spawn(move || waker.wake()).join().unwrap();
    assert_eq!(drops.get(), 1);
}

#[test]
fn many_tasks_come_and_go() {
    let executor = executor();
    let done = Rc::new(Cell::new(0));
    for _ in 0..10 {
        let tasks: Vec<_> = (0..1000)
            .map(|number| {
                let done = done.clone();
                let future = async move {
                    for _ in 0..number % 5 {
                        yield_now().await;
                    }
                    done.set(done.get() + 1);
                };
                executor.spawner().spawn(future).unwrap()
            })
            .collect();
        executor.run(async {
            for task in tasks {
                task.await;
            }
        });
    }
    assert_eq!(done.get(), 10_000);
}

#[test]
fn timers_are_served_in_order() {
    let executor = executor();
    let order = Rc::new(RefCell::new(Vec::new()));
    let tasks: Vec<_> = [30, 10, 20]
        .into_iter()
        .map(|milliseconds| {
            let order = order.clone();
            let timer = sleep(milliseconds);
            let future = async move {
                timer.await;
                order.borrow_mut().push(milliseconds);
            };
            executor.spawner().spawn(future).unwrap()
        })
        .collect();
    let before = HostInstant::now();
    executor.run(async {
        for task in tasks {
            task.await;
        }
    });
    assert_eq!(*order.borrow(), [10, 20, 30]);
    assert!(before.elapsed() >= Duration::from_millis(29));
}

#[test]
fn a_dropped_timer_leaves_the_table() {
    static OWN: Timers<HostThread> = Timers::new();
    let executor = executor();
    let far = Instant::from_nanos(u64::MAX);
    executor.run(async {
        for _ in 0..100 {
            let mut timer = OWN.sleep_until(far);
            poll_fn(|cx| {
                assert!(core::pin::Pin::new(&mut timer).poll(cx).is_pending());
                assert_eq!(OWN.len(), 1);
                Poll::Ready(())
            })
            .await;
        }
    });
    assert_eq!(OWN.len(), 0);
}
