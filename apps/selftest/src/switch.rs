//! Switching between native and guest mode, and what must not come of it.

use crate::check;
use crate::registers::{self, setup};
use crate::state::{self, Middle};
use alloc::sync::Arc;
use alloc::vec::Vec;
use app::Env;
use app::thread::{self, Builder, CpuSet, Priority};
use app::time::Duration;
use core::arch::x86_64::__cpuid;
use core::sync::atomic::{AtomicBool, Ordering};
use machine::paging::{self, PAGE};
use mode::bare::inject::{Fault, arm, disarm};
use mode::bare::{CpuError, RequestError, look, request};
use mode::{Outcome, Phase, Refused};
use vmm::Vendor;
use vmm::call::{Call, Count};
use vmm::monitor::Monitor;

pub const LONG: Duration = Duration::from_secs(30);
pub const SHORT: Duration = Duration::from_millis(30);

/// Switches under the register checker, divided by the CPUs: each more makes an emulator slower. `switches=` has another number.
const SWITCHES: usize = 400;
/// Rounds of each exit under the register checker, on each CPU.
const EXITS: u64 = 60;

/// Runs something on each CPU, one after the other, before all else that wants to run there.
pub fn everywhere<T: Send + 'static>(
    env: &'static Env,
    f: impl Fn(usize) -> T + Send + Sync + 'static,
) -> Result<Vec<T>, &'static str> {
    let f = Arc::new(f);
    (0..env.cpus())
        .map(|cpu| {
            let f = f.clone();
            let builder = Builder::new("everywhere").affinity(CpuSet(1 << cpu)).priority(Priority::High);
            builder.spawn(move || f(cpu)).map(|thread| thread.join()).map_err(|_| "no thread")
        })
        .collect()
}

/// Which CPUs are in guest mode, asked on each of them.
fn modes(env: &'static Env) -> Result<Vec<bool>, &'static str> {
    everywhere(env, |_| {
        let leaf = __cpuid(0x4000_0000);
        [leaf.ebx, leaf.ecx, leaf.edx].map(u32::to_le_bytes).concat() == vmm::exits::SIGNATURE
    })
}

pub fn all_are(env: &'static Env, guest: bool) -> Result<(), &'static str> {
    check(modes(env)?.into_iter().all(|mode| mode == guest), "a CPU is in another mode than the others")
}

pub fn switch_to(env: &'static Env, phase: Phase) -> Result<(), &'static str> {
    request(Some(phase), LONG).map_err(|error| {
        log::error!("{error}");
        "a switch was refused"
    })?;
    all_are(env, phase == Phase::Guest)
}

/// Ends in native mode, whatever the test made of it.
pub fn then_native(result: Result<(), &'static str>) -> Result<(), &'static str> {
    disarm();
    let _ = request(Some(Phase::Native), LONG);
    result
}

pub fn there_and_back(env: &'static Env) -> Result<(), &'static str> {
    let efer = machine::cpu::efer();
    let mut free = 0;
    for round in 0..60 {
        switch_to(env, Phase::Guest)?;
        check(request(Some(Phase::Guest), LONG) == Ok(Outcome::Already), "the machine forgot its mode")?;
        switch_to(env, Phase::Native)?;
        check(machine::cpu::efer() == efer, "virtualization stayed switched on")?;
        match round {
            9 => free = env.free_memory_bytes(),
            59 => check(env.free_memory_bytes() + (64 << 10) > free, "memory was lost")?,
            _ => {}
        }
    }
    Ok(())
}

/// Each CPU leads in turn, holding values of its own across the call, while all the others check theirs. An even number of
/// switches for each: the machine ends in the mode it began in.
pub fn registers_survive(env: &'static Env) -> Result<(), &'static str> {
    let wanted = env.setting("switches").and_then(|word| word.parse().ok()).unwrap_or(SWITCHES / env.cpus());
    let each = wanted.div_ceil(env.cpus()).next_multiple_of(2);
    let lead = move |cpu| {
        let setup = setup(env, cpu);
        let (mut refused, mut moved, mut wrong) = (0, 0, 0);
        for seed in 0..each as u64 {
            wrong += state::across(seed, &setup, || {
                let stack = state::stack_segment();
                refused += u64::from(request(None, LONG).is_err());
                moved += u64::from(stack != state::stack_segment());
            });
            // Whoever was held up goes on first.
            thread::yield_now();
        }
        (refused, wrong + moved)
    };
    let toggle = || {
        for cpu in 0..env.cpus() {
            let leader = Builder::new("leader").affinity(CpuSet(1 << cpu)).spawn(move || lead(cpu));
            let (refused, wrong) = leader.map_err(|_| "no thread")?.join();
            check(refused == 0, "a switch was refused")?;
            check(wrong == 0, "a register of the leader's changed")?;
        }
        Ok(())
    };
    let rounds = registers::check_while(env, 1, toggle)?;
    log::info!("{rounds} rounds of registers in {} switches", each * env.cpus());
    Ok(())
}

/// In guest mode, each kind of exit in the middle of filled registers, on all CPUs at once.
pub fn registers_survive_exits(env: &'static Env) -> Result<(), &'static str> {
    switch_to(env, Phase::Guest)?;
    let vendor = look(|_, monitor| monitor.vendor()).map_err(|_| "no monitor")?;
    let avx = setup(env, 0).avx;
    // A write that a CPU of that vendor exits for, and that changes nothing.
    let (call, writing, counting) = match vendor {
        Vendor::Svm => (Middle::Vmmcall, Middle::Efer, Count::Msr),
        Vendor::Vmx if avx => (Middle::Vmcall, Middle::Xsetbv, Count::Other),
        Vendor::Vmx => (Middle::Vmcall, Middle::Cpuid, Count::Cpuid),
    };
    let kinds = [Count::Cpuid, Count::Hypercall, Count::Nested, counting];
    let counted = || kinds.map(|kind| look(|_, monitor| monitor.exits(kind)).unwrap_or(0));
    let before = counted();
    let threads: Result<Vec<_>, _> = (0..env.cpus())
        .map(|cpu| {
            let work = move || {
                let setup = setup(env, cpu);
                let page = paging::translate(setup.page.0.as_ptr() as u64)?;
                let mut wrong = 0;
                for seed in 0..3 * EXITS {
                    for middle in [Middle::Cpuid, Middle::Write, writing, call] {
                        if middle == Middle::Write {
                            let watch = |_: &_, monitor: &Monitor| monitor.call(Call::Watch, page, PAGE);
                            look(watch).ok()?.ok()?;
                        }
                        wrong += state::round(seed, middle, &setup);
                    }
                }
                look(|_, monitor| monitor.call(Call::Unwatch, page, PAGE)).ok()?.ok()?;
                Some(wrong)
            };
            Builder::new("exits").affinity(CpuSet(1 << cpu)).spawn(work)
        })
        .collect();
    let wrong: Option<u64> = threads.map_err(|_| "no thread")?.into_iter().map(|thread| thread.join()).sum();
    let least = 3 * EXITS * env.cpus() as u64;
    let exited = before.iter().zip(counted()).all(|(old, new)| new - old >= least);
    then_native(
        check(wrong.is_some(), "a page can't be watched")
            .and_then(|()| check(wrong == Some(0), "an exit changed a register"))
            .and_then(|()| check(exited, "what should exit did not")),
    )
}

/// All of them.
const FAULTS: [Fault; 9] = [
    Fault::Prepare,
    Fault::Prepared,
    Fault::Launch,
    Fault::Launched,
    Fault::Controls,
    Fault::Host,
    Fault::Guest,
    Fault::Absent,
    Fault::Slow,
];

fn is_of_going_over(fault: Fault) -> bool {
    matches!(fault, Fault::Launch | Fault::Launched) || is_refusal(fault)
}

/// Whether it is the CPU that refuses.
fn is_refusal(fault: Fault) -> bool {
    matches!(fault, Fault::Controls | Fault::Host | Fault::Guest)
}

/// Each fault on each CPU in each direction: refused with the CPU's number, all together as before, and the next works.
pub fn faults_roll_back(env: &'static Env) -> Result<(), &'static str> {
    let here = Arc::new(AtomicBool::new(false));
    // The leader is CPU 0: it can't be absent or late for itself.
    let leader = Builder::new("leader").affinity(CpuSet(1)).spawn({
        let here = here.clone();
        move || {
            here.store(true, Ordering::SeqCst);
            for cpu in 0..env.cpus() {
                for fault in FAULTS {
                    let possible = cpu > 0 || !matches!(fault, Fault::Absent | Fault::Slow);
                    for from in [Phase::Native, Phase::Guest] {
                        // Going over can only fail on the way in.
                        if possible && !(is_of_going_over(fault) && from == Phase::Guest) {
                            one_fault(env, cpu, fault, from)?;
                        }
                    }
                }
            }
            Ok(())
        }
    });
    let result = leader.map_err(|_| "no thread")?.join();
    check(here.load(Ordering::SeqCst), "the leader did not run")?;
    then_native(result)
}

fn one_fault(env: &'static Env, cpu: usize, fault: Fault, from: Phase) -> Result<(), &'static str> {
    switch_to(env, from)?;
    arm(cpu, fault);
    let result = match fault {
        Fault::Absent | Fault::Slow => unanswered(cpu),
        _ => request(None, LONG),
    };
    disarm();
    let as_expected = match fault {
        Fault::Absent | Fault::Slow => result == Err(RequestError::Refused(Refused::NoAnswer(cpu))),
        _ => {
            let failed = |at, error| at == cpu && (error != CpuError::Injected) == is_refusal(fault);
            matches!(result, Err(RequestError::Refused(Refused::Failed(at, error))) if failed(at, error))
        }
    };
    if !as_expected {
        log::error!("{fault:?} on CPU {cpu} from {from:?}: {result:?}");
        return Err("a fault was not reported as it was");
    }
    all_are(env, from == Phase::Guest)?;
    check(request(None, LONG) == Ok(Outcome::Switched), "no switch after a fault")?;
    all_are(env, from == Phase::Native)
}

/// A request that `cpu` will not answer. An emulator may give others no time, either: then they get more.
fn unanswered(cpu: usize) -> Result<Outcome, RequestError> {
    let mut deadline = SHORT;
    loop {
        let result = request(None, deadline);
        match result {
            Err(RequestError::Refused(Refused::NoAnswer(other))) if other != cpu && deadline < LONG => {
                deadline *= 2;
            }
            result => return result,
        }
    }
}

/// Many requests at once: each wins, is told that another did, or finds the machine there already.
pub fn requests_compete(env: &'static Env) -> Result<(), &'static str> {
    let before = look(|figures, _| figures.switches).map_err(|_| "no monitor")?;
    let mut threads = Vec::new();
    for _ in 0..4 {
        let worker = || {
            let mut switched = 0;
            for round in 0..40 {
                let target = if round % 2 == 0 { Phase::Guest } else { Phase::Native };
                match request(Some(target), LONG) {
                    Ok(Outcome::Switched) => switched += 1,
                    Ok(Outcome::Already) | Err(RequestError::Refused(Refused::Busy)) => {}
                    Err(_) => return Err("a request was refused"),
                }
            }
            Ok(switched)
        };
        threads.push(Builder::new("requests").spawn(worker).map_err(|_| "no thread")?);
    }
    let mut switched = 0;
    for thread in threads {
        switched += thread.join()?;
    }
    let (now, phase) = look(|figures, _| (figures.switches, figures.phase)).map_err(|_| "no monitor")?;
    check(now - before == switched, "switches were counted wrongly")?;
    all_are(env, phase == Phase::Guest)?;
    then_native(Ok(()))
}

/// A write to the VMM's memory in guest mode is stopped and reported, and nothing else happens.
pub fn a_wild_write_is_stopped(env: &'static Env) -> Result<(), &'static str> {
    switch_to(env, Phase::Guest)?;
    let forbidden = || look(|_, monitor| monitor.exits(Count::Forbidden)).unwrap_or(0);
    let before = forbidden();
    let reserve = look(|_, monitor| monitor.reserve()).map_err(|_| "no monitor")?;
    for address in [reserve.start, reserve.start + 0x12_3458, reserve.end - 8] {
        // SAFETY: unsound on purpose: it is not ours. In guest mode it goes nowhere.
        unsafe { core::ptr::with_exposed_provenance_mut::<u64>(address as usize).write_volatile(!0) };
    }
    let result = check(forbidden() - before == 3, "a write was not stopped");
    then_native(result)?;
    // The monitor is as it was.
    switch_to(env, Phase::Guest)?;
    then_native(Ok(()))
}
