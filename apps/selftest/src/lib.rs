//! Tests that only a running machine can run: registers across preemption, locks under contention, timers, shootdowns, switches.
//! On the command line, `only=WORD` picks the tests with that word in their names and `skip=WORD,…` leaves those out that have one of them;
//! `switches=N` sets the number of switches under the register checker, `snapshots=N` that of snapshots under writers. `sweep=exact` promises that a tick of the counter is an instruction, so that sweeps are complete,
//! and `x87=all` that the emulator bears values on the x87 stacks of all CPUs.
//!
//! With `stamps=on` there are no tests: all CPUs stamp pages for ever, by which a checkpoint of the machine can be judged.
//!
//! Logs `ok NAME` or `FAILED NAME` for each and `selftest: N passed, M failed`, then ends the machine in order if none failed.
#![no_std]
#![expect(unsafe_code, reason = "registers are filled and compared")]
extern crate alloc;

#[cfg(bare_metal)]
mod absorb;
#[cfg(bare_metal)]
mod architecture;
#[cfg(bare_metal)]
mod beneath;
#[cfg(bare_metal)]
mod guards;
#[cfg(bare_metal)]
mod interrupts;
mod locks;
#[cfg(bare_metal)]
mod record;
mod registers;
#[cfg(bare_metal)]
mod restore;
#[cfg(bare_metal)]
mod snapshot;
#[cfg(bare_metal)]
mod stamps;
#[cfg_attr(not(bare_metal), expect(dead_code, reason = "what the tests of the switch need"))]
mod state;
#[cfg(bare_metal)]
mod switch;
mod timing;
mod x87;

use app::{App, AppError, Env};

/// The application.
#[derive(Debug)]
pub struct SelfTest;

/// A test: says what went wrong, if anything.
type Test = fn(&'static Env) -> Result<(), &'static str>;

const TESTS: &[(&str, Test)] = &[
    ("registers survive preemption", registers::survive_preemption),
    ("each thread has an x87 stack of its own", registers::x87_is_empty),
    ("a mutex excludes", locks::mutex_excludes),
    ("a lock that is held stays held when another tries", locks::a_failed_try_releases_nothing),
    ("a condition variable wakes everybody", locks::condvar_wakes_everybody),
    ("a semaphore counts", locks::semaphore_counts),
    ("threads end and are joined, their stacks used again", locks::threads_come_and_go),
    ("affinity is kept", locks::affinity_is_kept),
    ("time never runs backwards", timing::never_backwards),
    ("sleepers wake in the order of their deadlines", timing::sleepers_wake_in_order),
    ("park until a deadline returns without an unpark", timing::park_has_a_deadline),
    ("an unpark is not lost in a lock", timing::unpark_survives_a_lock),
    ("an unpark is not lost in a sleep", timing::unpark_survives_a_sleep),
    ("a higher priority runs at once", timing::priority_preempts),
    ("a stranger gets on beside a greedy thread", timing::strangers_get_on),
    ("background work gets on beside a greedy thread", timing::background_gets_on),
    ("translations are flushed everywhere", timing::shootdowns_return),
    ("it is known how long a CPU was idle", timing::idleness_is_known),
];

/// Tests of the switch: where the machine has a monitor.
#[cfg(bare_metal)]
const SWITCH_TESTS: &[(&str, Test)] = &[
    ("the machine switches and comes back", switch::there_and_back),
    ("all state of each CPU survives", architecture::all_state_survives),
    ("registers survive switches", switch::registers_survive),
    ("registers survive exits", switch::registers_survive_exits),
    ("a fault at any step rolls back on all CPUs", switch::faults_roll_back),
    ("of many requests one wins", switch::requests_compete),
    ("a wild write to the VMM is stopped", switch::a_wild_write_is_stopped),
    ("what is the VMM's is guarded", guards::hold),
    ("a snapshot is of one instant", snapshot::is_of_one_instant),
    ("a snapshot holds the machine in guest mode", snapshot::needs_guest_mode),
    ("a snapshot without room is lost, and nothing else", snapshot::may_be_spoilt),
    ("a record tells what was written", record::tells_what_was_written),
    ("a restore brings the past back", restore::brings_the_past_back),
    ("absorbed registers read as ones", absorb::read_as_ones),
    ("the VMM does not need what the system may switch off", beneath::sse_may_be_switched_off),
    ("ticks go on while the machine toggles", interrupts::ticks_go_on),
    ("an interrupt at each instruction of a switch comes once", interrupts::timer_sweep),
    ("an NMI at each instruction of a switch comes once", interrupts::nmi_sweep),
    ("interrupted deliveries are repeated once", interrupts::deliveries_meet_nested_faults),
];
#[cfg(not(bare_metal))]
const SWITCH_TESTS: &[(&str, Test)] = &[];

/// Whether there is a monitor to test; says why if not.
#[cfg(bare_metal)]
fn can_switch() -> bool {
    match mode::bare::look(|_, _| ()) {
        Ok(()) => true,
        Err(reason) => {
            log::warn!("SKIPPED: the tests of the switch: {reason}");
            false
        }
    }
}
#[cfg(not(bare_metal))]
fn can_switch() -> bool {
    false
}

impl App for SelfTest {
    fn name(&self) -> &'static str {
        "selftest"
    }

    fn listeners(&self) -> usize {
        0
    }

    fn run(&self, env: &'static Env) -> Result<(), AppError> {
        if env.setting("stamps") == Some("on") {
            return serve(env);
        }
        let mut failed = 0;
        let has =
            |name: &str, key| env.setting(key).map(|words| words.split(',').any(|word| name.contains(word)));
        let wanted = |name: &str| has(name, "only") != Some(false) && has(name, "skip") != Some(true);
        let switching: &[_] = if can_switch() { SWITCH_TESTS } else { &[] };
        let tests = || TESTS.iter().chain(switching).filter(|(name, _)| wanted(name));
        for (name, test) in tests() {
            match test(env) {
                Ok(()) => log::info!("ok {name}"),
                Err(what) => {
                    log::error!("FAILED {name}: {what}");
                    failed += 1;
                }
            }
        }
        log::info!("{} passed, {failed} failed", tests().count() - failed);
        end(failed)
    }
}

#[cfg(bare_metal)]
fn serve(env: &'static Env) -> Result<(), AppError> {
    stamps::serve(env).map_err(|_| AppError::OutOfMemory)
}

#[cfg(bare_metal)]
fn end(failed: usize) -> Result<(), AppError> {
    use machine::exit::{Reason, exit};
    exit(if failed == 0 { Reason::Shutdown } else { Reason::Panic })
}

#[cfg(not(bare_metal))]
fn serve(_: &'static Env) -> Result<(), AppError> {
    Ok(())
}

#[cfg(not(bare_metal))]
fn end(_: usize) -> Result<(), AppError> {
    Ok(())
}

/// Says `what` unless `holds`.
fn check(holds: bool, what: &'static str) -> Result<(), &'static str> {
    if holds { Ok(()) } else { Err(what) }
}
