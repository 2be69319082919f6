//! The protocol with threads for CPUs, and faults at each step on each of them.

use super::*;
use crate::rendezvous::Rendezvous;
use crate::switch::{Outcome, Refused, Switch};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use proptest::prelude::*;
use std::cell::Cell;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// What goes wrong, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Absent,
    Prepare,
    Slow,
    Commit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    Prepare,
    Commit,
    Check,
}

impl Display for Broken {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        Debug::fmt(self, f)
    }
}

std::thread_local! {
    static CPU: Cell<usize> = const { Cell::new(0) };
}

/// Each CPU's mode, and whether it is prepared.
struct Fake {
    guest: Vec<AtomicBool>,
    prepared: Vec<AtomicBool>,
    fault: Mutex<Option<(usize, Fault)>>,
    calls: Vec<Mutex<Sender<()>>>,
    unsound: AtomicBool,
    readied: AtomicUsize,
    settled: AtomicUsize,
    /// How often each CPU has frozen.
    frozen: Vec<AtomicUsize>,
    start: Instant,
}

impl Fake {
    fn fault(&self, cpu: usize) -> Option<Fault> {
        let guard: MutexGuard<'_, _> = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        guard.filter(|(at, _)| *at == cpu).map(|(_, fault)| fault)
    }

    fn modes(&self) -> Vec<bool> {
        self.guest.iter().map(|mode| mode.load(Ordering::SeqCst)).collect()
    }
}

impl World for Fake {
    type Error = Broken;

    fn cpus(&self) -> usize {
        self.guest.len()
    }
    fn cpu(&self) -> usize {
        CPU.get()
    }
    fn call_others(&self) {
        for (cpu, call) in self.calls.iter().enumerate().filter(|(cpu, _)| *cpu != self.cpu()) {
            if self.fault(cpu) != Some(Fault::Absent) {
                call.lock().unwrap().send(()).unwrap();
            }
        }
    }
    fn ticks(&self) -> u64 {
        self.start.elapsed().as_micros() as u64 + 1
    }
    fn ticks_of(&self, duration: Duration) -> u64 {
        duration.as_micros() as u64
    }
    fn relax(&self) {
        std::thread::yield_now();
    }
    fn without_interrupts<R>(&self, f: impl FnOnce() -> R) -> R {
        f()
    }
    fn check(&self, _: Direction) -> Result<(), Broken> {
        if self.unsound.load(Ordering::SeqCst) { Err(Broken::Check) } else { Ok(()) }
    }
    fn ready(&self, _: Direction) -> Result<(), Broken> {
        assert!(!self.unsound.load(Ordering::SeqCst), "the check comes first");
        self.readied.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
    fn prepare(&self, cpu: usize, _: Direction) -> Result<(), Broken> {
        while self.fault(cpu) == Some(Fault::Slow) {
            std::thread::yield_now();
        }
        if self.fault(cpu) == Some(Fault::Prepare) {
            return Err(Broken::Prepare);
        }
        assert!(!self.prepared[cpu].swap(true, Ordering::SeqCst));
        Ok(())
    }
    fn undo(&self, cpu: usize, _: Direction) {
        assert!(self.prepared[cpu].swap(false, Ordering::SeqCst));
    }
    fn commit(&self, cpu: usize, direction: Direction) -> Result<(), Broken> {
        assert!(self.prepared[cpu].swap(false, Ordering::SeqCst));
        if self.fault(cpu) == Some(Fault::Commit) && direction == Direction::Enter {
            return Err(Broken::Commit);
        }
        let was = self.guest[cpu].swap(direction == Direction::Enter, Ordering::SeqCst);
        assert_eq!(was, direction == Direction::Leave);
        Ok(())
    }
    fn revert(&self, cpu: usize, direction: Direction) {
        assert_eq!(direction, Direction::Enter);
        assert!(self.guest[cpu].swap(false, Ordering::SeqCst));
    }
    fn freeze(&self, cpu: usize, restored: Option<&dyn Fn()>) -> Result<(), Broken> {
        assert!(self.guest[cpu].load(Ordering::SeqCst));
        if self.fault(cpu) == Some(Fault::Commit) {
            return Err(Broken::Commit);
        }
        self.frozen[cpu].fetch_add(1, Ordering::SeqCst);
        if let Some(restored) = restored {
            restored();
        }
        Ok(())
    }
    fn restore(&self, cpu: usize) -> Result<(), Broken> {
        self.freeze(cpu, None)
    }
    fn interpose(&self, cpu: usize) -> Result<(), Broken> {
        self.freeze(cpu, None)
    }
    fn settle(&self) {
        assert!(self.modes().into_iter().all(|guest| !guest));
        self.settled.fetch_add(1, Ordering::SeqCst);
    }
}

/// Runs `f` on CPU 0 with `cpus - 1` others that answer calls.
fn machine(cpus: usize, pins: Pins<'static>, f: impl FnOnce(&Arc<Switch<Fake>>)) {
    let (calls, receivers): (Vec<_>, Vec<Receiver<()>>) = (0..cpus).map(|_| channel()).unzip();
    let flags = || (0..cpus).map(|_| AtomicBool::new(false)).collect();
    let fake = Fake {
        guest: flags(),
        prepared: flags(),
        fault: Mutex::new(None),
        calls: calls.into_iter().map(Mutex::new).collect(),
        unsound: AtomicBool::new(false),
        readied: AtomicUsize::new(0),
        settled: AtomicUsize::new(0),
        frozen: (0..cpus).map(|_| AtomicUsize::new(0)).collect(),
        start: Instant::now(),
    };
    let switch = Arc::new(Switch::new(fake, pins));
    let over = Arc::new(AtomicBool::new(false));
    std::thread::scope(|scope| {
        for (cpu, receiver) in receivers.into_iter().enumerate().skip(1) {
            let (switch, over) = (switch.clone(), over.clone());
            scope.spawn(move || {
                CPU.set(cpu);
                while !over.load(Ordering::SeqCst) {
                    if receiver.recv_timeout(Duration::from_millis(2)).is_ok() {
                        switch.take_part();
                    }
                }
            });
        }
        CPU.set(0);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| f(&switch)));
        // A CPU that was held up comes free; also when the test has failed, which waits for all of them.
        *switch.world().fault.lock().unwrap_or_else(PoisonError::into_inner) = None;
        over.store(true, Ordering::SeqCst);
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    assert!(switch.world().prepared.iter().all(|prepared| !prepared.load(Ordering::SeqCst)));
}

const NO_PINS: Pins<'static> = Pins(&[]);
const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(20);

#[test]
fn all_go_there_and_back() {
    for cpus in [1, 2, 4, 8] {
        machine(cpus, NO_PINS, |switch| {
            for _ in 0..50 {
                assert_eq!(switch.request(Some(Phase::Guest), LONG), Ok(Outcome::Switched));
                assert!(switch.world().modes().into_iter().all(|guest| guest));
                assert_eq!(switch.request(Some(Phase::Guest), LONG), Ok(Outcome::Already));
                assert_eq!(switch.request(None, LONG), Ok(Outcome::Switched));
                assert!(switch.world().modes().into_iter().all(|guest| !guest));
            }
            switch.figures(|figures| {
                assert_eq!((figures.phase, figures.switches), (Phase::Native, 100));
                assert_eq!(switch.world().settled.load(Ordering::SeqCst), 50);
                let last = figures.last().unwrap();
                assert_eq!((last.direction, last.cpus.len()), (Direction::Leave, cpus));
            });
        });
    }
}

/// Whatever fails, wherever: afterwards no CPU is elsewhere than the others, and the next switch works.
fn fault_leaves_nothing_mixed(cpus: usize, at: usize, fault: Fault, direction: Direction) {
    machine(cpus, NO_PINS, |switch| {
        let world = switch.world();
        if direction == Direction::Leave {
            switch.request(Some(Phase::Guest), LONG).unwrap();
        }
        let before = world.modes();
        *world.fault.lock().unwrap() = Some((at, fault));
        // Only who is waited for in vain is given little time: a busy host may take it from the others.
        let deadline = if matches!(fault, Fault::Absent | Fault::Slow) { SHORT } else { LONG };
        let result = switch.request(None, deadline);
        let expected = match (fault, result) {
            // On a busy host another may be late as well.
            (Fault::Absent | Fault::Slow, Err(refused @ Refused::NoAnswer(_))) => refused,
            (Fault::Absent | Fault::Slow, _) => Refused::NoAnswer(at),
            (Fault::Prepare, _) => Refused::Failed(at, Broken::Prepare),
            (Fault::Commit, _) => Refused::Failed(at, Broken::Commit),
        };
        // Leaving has no step that fails at the commit.
        let goes_through = fault == Fault::Commit && direction == Direction::Leave;
        if goes_through {
            assert_eq!(result, Ok(Outcome::Switched));
        } else {
            assert_eq!(result, Err(expected));
            assert_eq!(world.modes(), before);
        }
        *world.fault.lock().unwrap() = None;
        assert_eq!(switch.request(None, LONG), Ok(Outcome::Switched));
        let now = world.modes();
        assert!(now.iter().all(|mode| *mode == now[0]));
        assert_eq!(now[0] != before[0], !goes_through);
    });
}

#[test]
fn a_fault_at_each_step_on_each_cpu_rolls_back() {
    for cpus in [1, 2, 4] {
        for at in 0..cpus {
            for direction in [Direction::Enter, Direction::Leave] {
                for fault in [Fault::Absent, Fault::Prepare, Fault::Slow, Fault::Commit] {
                    // The leader can't be absent or late for itself.
                    if at > 0 || matches!(fault, Fault::Prepare | Fault::Commit) {
                        fault_leaves_nothing_mixed(cpus, at, fault, direction);
                    }
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn requests_and_faults_in_any_order_leave_all_cpus_together(
        cpus in 1usize..5, steps in prop::collection::vec((0usize..4, 0usize..4, any::<bool>()), 1..12),
    ) {
        machine(cpus, NO_PINS, |switch| {
            for (at, fault, broken) in steps {
                let fault = [Fault::Absent, Fault::Prepare, Fault::Slow, Fault::Commit][fault];
                let leader = at % cpus == 0 && matches!(fault, Fault::Absent | Fault::Slow);
                *switch.world().fault.lock().unwrap() = (broken && !leader).then_some((at % cpus, fault));
                let patience = if broken { SHORT } else { LONG };
                let _ = switch.request(None, patience);
                *switch.world().fault.lock().unwrap() = None;
                let modes = switch.world().modes();
                let phase = switch.figures(|figures| figures.phase);
                assert!(modes.iter().all(|guest| *guest == (phase == Phase::Guest)), "{modes:?} in {phase:?}");
            }
        });
    }
}

#[test]
fn one_of_two_requests_wins() {
    machine(2, NO_PINS, |switch| {
        *switch.world().fault.lock().unwrap() = Some((1, Fault::Slow));
        std::thread::scope(|scope| {
            let first = switch.clone();
            let first = scope.spawn(move || first.request(Some(Phase::Guest), LONG));
            // The first is under way as soon as its CPU has prepared itself.
            while !switch.world().prepared[0].load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            let second = switch.clone();
            let second = scope.spawn(move || {
                let result = second.request(Some(Phase::Guest), LONG);
                // The answer comes with the state that holds afterwards.
                (result, second.figures(|figures| figures.phase))
            });
            std::thread::sleep(Duration::from_millis(10));
            *switch.world().fault.lock().unwrap() = None;
            assert_eq!(first.join().unwrap(), Ok(Outcome::Switched));
            let (result, phase) = second.join().unwrap();
            // It may have come so late that the first was done: then the machine was there already.
            assert!(matches!(result, Err(Refused::Busy) | Ok(Outcome::Already)), "{result:?}");
            assert_eq!(phase, Phase::Guest);
        });
    });
}

#[test]
fn who_only_looks_makes_nobody_busy() {
    machine(1, NO_PINS, |switch| {
        let (asking, asked) = channel();
        let other = switch.clone();
        let request = switch.figures(|_| {
            let request = std::thread::spawn(move || {
                asking.send(()).unwrap();
                other.request(Some(Phase::Guest), LONG)
            });
            asked.recv().unwrap();
            // Time enough for it to find the figures looked at.
            (0..1000).for_each(|_| std::thread::yield_now());
            request
        });
        assert_eq!(request.join().unwrap(), Ok(Outcome::Switched));
    });
}

#[test]
fn a_pin_holds_a_switch_back_until_it_is_dropped_or_time_is_up() {
    static PIN: Pin = Pin::new("a device being set up");
    static ALL: [&Pin; 1] = [&PIN];
    machine(2, Pins(&ALL), |switch| {
        let held = PIN.hold();
        assert_eq!(switch.request(None, SHORT), Err(Refused::Pinned("a device being set up")));
        assert_eq!(switch.world().modes(), [false, false]);
        std::thread::scope(|scope| {
            let waiting = switch.clone();
            let waiting = scope.spawn(move || waiting.request(None, LONG));
            drop(held);
            assert_eq!(waiting.join().unwrap(), Ok(Outcome::Switched));
        });
    });
}

#[test]
fn a_pin_taken_at_the_last_moment_is_seen() {
    machine(1, NO_PINS, |switch| {
        let asked = AtomicUsize::new(0);
        let rendezvous = Rendezvous::<Broken>::new();
        let pinned = || (asked.fetch_add(1, Ordering::SeqCst) == 0).then_some("late");
        let lead = || rendezvous.lead(switch.world(), Round::Switch(Direction::Enter), u64::MAX, pinned);
        assert_eq!(lead(), Err(rendezvous::Failure::Pinned("late")));
        assert_eq!(switch.world().modes(), [false]);
        assert_eq!(lead(), Ok(()));
        assert_eq!(switch.world().modes(), [true]);
    });
}

#[test]
fn a_dry_run_tells_and_changes_nothing() {
    static PIN: Pin = Pin::new("a test");
    static PINS: [&Pin; 1] = [&PIN];
    machine(2, Pins(&PINS), |switch| {
        assert_eq!(switch.dry_run(None), Ok(Outcome::Switched));
        assert_eq!(switch.dry_run(Some(Phase::Native)), Ok(Outcome::Already));
        let held = PIN.hold();
        assert_eq!(switch.dry_run(Some(Phase::Guest)), Err(Refused::Pinned("a test")));
        drop(held);
        switch.world().unsound.store(true, Ordering::SeqCst);
        assert_eq!(switch.dry_run(None), Err(Refused::Failed(0, Broken::Check)));
        assert_eq!(switch.world().modes(), [false, false]);
        // Nothing that could not be undone, either.
        assert_eq!(switch.world().readied.load(Ordering::SeqCst), 0);
        assert_eq!(switch.figures(|figures| figures.switches), 0);
    });
}

#[test]
fn what_the_checker_refuses_is_not_tried() {
    machine(2, NO_PINS, |switch| {
        switch.world().unsound.store(true, Ordering::SeqCst);
        assert_eq!(switch.request(None, LONG), Err(Refused::Failed(0, Broken::Check)));
        assert_eq!(switch.figures(|figures| figures.phase), Phase::Native);
    });
}

fn until(patience: Duration) -> machine::time::Instant {
    machine::time::Instant::now().saturating_add(patience)
}

#[test]
fn all_freeze_together_between_switches() {
    for cpus in [1, 2, 4] {
        machine(cpus, NO_PINS, |switch| {
            let frozen = || -> Vec<_> {
                switch.world().frozen.iter().map(|count| count.load(Ordering::SeqCst)).collect()
            };
            for round in 1..=20 {
                switch.request(Some(Phase::Guest), LONG).unwrap();
                let turn = switch.turn();
                assert_eq!(turn.phase(), Phase::Guest);
                let restored = AtomicU64::new(0);
                let count = || assert_eq!(restored.fetch_add(1, Ordering::SeqCst), 0);
                let traces = turn.freeze(until(LONG), &count).unwrap();
                assert_eq!(restored.into_inner(), 1);
                assert!(traces.len() == cpus && traces.iter().all(|trace| trace.marks[1..].is_sorted()));
                assert_eq!(frozen(), std::vec![round; cpus]);
                // The other request is told that it is busy, or comes afterwards.
                std::thread::scope(|scope| {
                    let other = scope.spawn(|| switch.request(Some(Phase::Native), LONG));
                    drop(turn);
                    assert!(matches!(other.join().unwrap(), Ok(_) | Err(Refused::Busy)));
                });
                let _ = switch.request(Some(Phase::Native), LONG);
            }
            switch.figures(|figures| assert_eq!((figures.phase, figures.switches), (Phase::Native, 40)));
        });
    }
}

/// A restore is a round as a freeze is, and so is what is done to devices, which does not mind pins.
#[test]
fn all_restore_or_interpose_together_or_none_does() {
    static PIN: Pin = Pin::new("a test");
    static PINS: [&Pin; 1] = [&PIN];
    for interpose in [false, true] {
        machine(3, Pins(&PINS), |switch| {
            switch.request(Some(Phase::Guest), LONG).unwrap();
            let world = switch.world();
            let ask = |patience| match interpose {
                true => switch.turn().interpose(until(patience)).map(|cpus| assert_eq!(cpus.len(), 3)),
                false => switch.turn().restore(until(patience)),
            };
            for (at, fault) in [(2, Fault::Absent), (0, Fault::Commit), (1, Fault::Commit)] {
                *world.fault.lock().unwrap() = Some((at, fault));
                let result = ask(if fault == Fault::Absent { SHORT } else { LONG });
                *world.fault.lock().unwrap() = None;
                match fault {
                    Fault::Absent => assert!(matches!(result, Err(Refused::NoAnswer(_))), "{result:?}"),
                    _ => assert_eq!(result, Err(Refused::Failed(at, Broken::Commit))),
                }
                assert_eq!(world.modes(), [true; 3]);
                assert_eq!(ask(LONG), Ok(()));
            }
            let _held = PIN.hold();
            let pinned = if interpose { Ok(()) } else { Err(Refused::Pinned("a test")) };
            assert_eq!(ask(SHORT), pinned);
        });
    }
}

/// A freeze that comes to nothing says why, and leaves all CPUs where they are.
#[test]
fn a_freeze_is_refused_as_a_switch_is() {
    static PIN: Pin = Pin::new("a test");
    static PINS: [&Pin; 1] = [&PIN];
    machine(3, Pins(&PINS), |switch| {
        switch.request(Some(Phase::Guest), LONG).unwrap();
        let world = switch.world();
        let freeze = |patience| switch.turn().freeze(until(patience), &|| ()).map(|_| ());
        for at in 0..3 {
            for fault in [Fault::Absent, Fault::Commit] {
                if at == 0 && fault == Fault::Absent {
                    continue;
                }
                *world.fault.lock().unwrap() = Some((at, fault));
                let result = freeze(if fault == Fault::Absent { SHORT } else { LONG });
                *world.fault.lock().unwrap() = None;
                match fault {
                    Fault::Absent => assert!(matches!(result, Err(Refused::NoAnswer(_))), "{result:?}"),
                    _ => assert_eq!(result, Err(Refused::Failed(at, Broken::Commit))),
                }
                assert_eq!(world.modes(), [true; 3]);
                assert_eq!(freeze(LONG), Ok(()));
            }
        }
        let held = PIN.hold();
        assert_eq!(freeze(SHORT), Err(Refused::Pinned("a test")));
        drop(held);
        assert_eq!(freeze(LONG), Ok(()));
    });
}
