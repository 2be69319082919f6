//! The executor and the timers on the host's threads.
use super::timer::Timers;
use super::{Executor, TimedOut, sleep, timeout, yield_now};
use alloc::rc::Rc;
use core::cell::{Cell, RefCell};
use core::future::poll_fn;
use core::task::{Poll, Waker};
use machine::time::{Duration, Instant};
use std::sync::mpsc;
use std::thread;
use std::vec::Vec;

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
    let executor = Executor::new();
    let task = executor.spawner().spawn(async { 6 * 7 }).unwrap();
    assert!(!task.is_finished());
    assert_eq!(executor.run(task), 42);
}

#[test]
fn tasks_take_turns_and_spawn_others() {
    let executor = Executor::new();
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
    let executor = Executor::new();
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
fn cancelling_drops_the_future_and_letting_go_does_not() {
    let executor = Executor::new();
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
    let executor = Executor::new();
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
    let executor = Executor::new();
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
    let executor = Executor::new();
    let order = Rc::new(RefCell::new(Vec::new()));
    let tasks: Vec<_> = [30, 10, 20]
        .into_iter()
        .map(|milliseconds| {
            let order = order.clone();
            let timer = sleep(Duration::from_millis(milliseconds));
            let future = async move {
                timer.await;
                order.borrow_mut().push(milliseconds);
            };
            executor.spawner().spawn(future).unwrap()
        })
        .collect();
    let before = Instant::now();
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
    static OWN: Timers = Timers::new();
    let executor = Executor::new();
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

#[test]
fn a_timeout_ends_what_takes_too_long() {
    let executor = Executor::new();
    let (sender, _receiver) = mpsc::channel();
    let late = executor.run(timeout(Duration::from_millis(5), pending(sender)));
    assert_eq!(late, Err(TimedOut));
    let soon = executor.run(timeout(Duration::from_secs(3600), sleep(Duration::from_millis(5))));
    assert_eq!(soon, Ok(()));
    let at_once = machine::thread::block_on(timeout(Duration::ZERO, async { 1 }));
    assert_eq!(at_once, Ok(1));
}
