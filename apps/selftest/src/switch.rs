//! Switching between native and guest mode, and what must not come of it.

use crate::{check, registers};
use alloc::sync::Arc;
use alloc::vec::Vec;
use app::Env;
use app::thread::{self, Builder, CpuSet, Priority};
use app::time::{Duration, Instant};
use core::arch::x86_64::__cpuid;
use core::sync::atomic::{AtomicBool, Ordering};
use machine::cpu::{self, msr};
use mode::bare::inject::{Fault, arm, disarm};
use mode::bare::{CpuError, RequestError, look, request};
use mode::{Outcome, Phase, Refused};
use vmm::call::Count;
use x86defs::registers::msr as number;

const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(30);

/// Switches under the register checker, shared by all CPUs: each more makes an emulator slower. `switches=` has another.
const SWITCHES: usize = 400;

/// Which CPUs are in guest mode, asked on each of them.
fn modes(env: &'static Env) -> Result<Vec<bool>, &'static str> {
    (0..env.cpus())
        .map(|cpu| {
            let builder = Builder::new("asks").affinity(CpuSet(1 << cpu)).priority(Priority::High);
            let asks = builder.spawn(|| {
                let leaf = __cpuid(0x4000_0000);
                [leaf.ebx, leaf.ecx, leaf.edx].map(u32::to_le_bytes).concat() == vmm::exits::SIGNATURE
            });
            asks.map(|thread| thread.join()).map_err(|_| "no thread")
        })
        .collect()
}

fn all_are(env: &'static Env, guest: bool) -> Result<(), &'static str> {
    check(modes(env)?.into_iter().all(|mode| mode == guest), "a CPU is in another mode than the others")
}

fn switch_to(env: &'static Env, phase: Phase) -> Result<(), &'static str> {
    request(Some(phase), LONG).map_err(|error| {
        log::error!("{error}");
        "a switch was refused"
    })?;
    all_are(env, phase == Phase::Guest)
}

/// Ends in native mode, whatever the test made of it.
fn then_native(result: Result<(), &'static str>) -> Result<(), &'static str> {
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

pub fn registers_survive(env: &'static Env) -> Result<(), &'static str> {
    // An even number: the machine ends in the mode it began in.
    let wanted = env.setting("switches").and_then(|word| word.parse().ok()).unwrap_or(SWITCHES / env.cpus());
    let toggles = wanted & !1;
    let toggle = || {
        for _ in 0..toggles {
            request(None, LONG).map_err(|_| "a switch was refused")?;
            thread::yield_now();
        }
        Ok(())
    };
    let rounds = registers::check_while(env, 1, toggle)?;
    log::info!("{rounds} rounds of registers in {toggles} switches");
    Ok(())
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

/// In guest mode, registers of the VMM's can't be written; EFER stays as the system believes it to be.
pub fn msrs_are_guarded(env: &'static Env) -> Result<(), &'static str> {
    switch_to(env, Phase::Guest)?;
    let refused = |register, value| !cpu::try_wrmsr(register, value);
    let efer = cpu::efer();
    let result = check(refused(number::VM_HSAVE_PA, 0x1000), "VM_HSAVE_PA was written")
        .and_then(|()| check(refused(number::VM_CR, 0), "VM_CR was written"))
        .and_then(|()| check(refused(msr::EFER, 0), "long mode was switched off"))
        .and_then(|()| check(!refused(msr::EFER, efer & !(1 << 12)), "EFER can't be written at all"))
        .and_then(|()| all_are(env, true));
    then_native(result)
}

/// Sleepers wake, none too early, while the machine toggles.
pub fn ticks_go_on(env: &'static Env) -> Result<(), &'static str> {
    let late = |toggling: bool| -> Result<usize, &'static str> {
        let over = Arc::new(AtomicBool::new(false));
        let toggler = {
            let over = over.clone();
            Builder::new("toggler").spawn(move || {
                while toggling && !over.load(Ordering::Relaxed) {
                    if request(None, LONG).is_err() {
                        return false;
                    }
                    thread::sleep(Duration::from_micros(700));
                }
                true
            })
        };
        let mut threads = Vec::new();
        for cpu in 0..env.cpus() {
            let ticker = || {
                let start = Instant::now();
                let mut late = 0;
                for tick in 1..=250u32 {
                    let due = start.saturating_add(Duration::from_millis(1) * tick);
                    thread::sleep(due.saturating_since(Instant::now()));
                    if Instant::now() < due {
                        return Err("a sleeper woke too early");
                    }
                    late += usize::from(due.elapsed() > Duration::from_millis(1));
                }
                Ok(late)
            };
            let builder = Builder::new("ticker").affinity(CpuSet(1 << cpu)).priority(Priority::Realtime);
            threads.push(builder.spawn(ticker).map_err(|_| "no thread")?);
        }
        let mut late = 0;
        for thread in threads {
            late += thread.join()?;
        }
        over.store(true, Ordering::Relaxed);
        check(toggler.map_err(|_| "no thread")?.join(), "a switch was refused")?;
        Ok(late)
    };
    let (native, toggling) = (late(false)?, late(true)?);
    log::info!("of {} ticks a millisecond late: {native} native, {toggling} toggling", 250 * env.cpus());
    then_native(Ok(()))
}

/// A timer interrupt at each instruction of the way there and back: delivered once each. Deterministic under `-icount`; elsewhere
/// the moments are as the emulator makes them.
pub fn interrupts_sweep(env: &'static Env) -> Result<(), &'static str> {
    if env.cpus() > 1 {
        // Other CPUs' interrupts can't be told from the timer's.
        return Ok(());
    }
    let sweep = Builder::new("sweep").priority(Priority::Realtime).spawn(move || {
        let taken = || cpu::this().interrupts.load(Ordering::Relaxed);
        for ticks in 0..SWEEP {
            let before = taken();
            machine::apic::interrupt_after(ticks + 1);
            for _ in 0..2 {
                request(None, LONG).map_err(|_| "a switch was refused")?;
            }
            // It has come, or comes now.
            let start = Instant::now();
            while taken() == before {
                check(start.elapsed() < LONG, "an interrupt was lost")?;
                core::hint::spin_loop();
            }
            if taken() != before + 1 {
                log::error!("at {ticks}: {} interrupts", taken() - before);
                return Err("an interrupt came twice");
            }
        }
        Ok(())
    });
    then_native(sweep.map_err(|_| "no thread")?.join())
}

/// Instructions from before the request to behind it, there and back, with room.
const SWEEP: u32 = 4000;
