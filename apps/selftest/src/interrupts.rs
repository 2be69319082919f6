//! Interrupts and NMIs that fall into switches, or whose delivery an exit interrupts: each is taken once.

use crate::check;
use crate::switch::{LONG, everywhere, switch_to, then_native};
use alloc::sync::Arc;
use alloc::vec::Vec;
use app::Env;
use app::thread::{self, Builder, CpuSet, Priority};
use app::time::{Duration, Instant};
use core::sync::atomic::{AtomicBool, Ordering};
use machine::cpu::{self, tsc};
use machine::paging::{self, PAGE};
use machine::state::{Hardware, Privileged, Selector};
use machine::{apic, io, irq, time};
use mode::Phase;
use mode::bare::{look, request};
use vmm::call::{Call, Count};

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

/// Timer interrupts of the CPU that runs this, which the caller's thread may not leave.
fn timer_interrupts() -> u64 {
    cpu::this().timer_interrupts.load(Ordering::Relaxed)
}

/// Where an interrupt fell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Before,
    First,
    Second,
    Behind,
}

/// Requests two switches with an interrupt under way; where it was taken, once.
fn taken_in(count: fn() -> u64, arm: impl FnOnce()) -> Result<Place, &'static str> {
    let before = count();
    arm();
    // Room for it to come before the first request.
    delay(true, 100);
    let mut place = if count() == before { Place::Behind } else { Place::Before };
    for during in [Place::First, Place::Second] {
        request(None, LONG).map_err(|_| "a switch was refused")?;
        if place == Place::Behind && count() != before {
            place = during;
        }
    }
    let start = Instant::now();
    while count() == before {
        check(start.elapsed() < LONG, "an interrupt was lost")?;
        core::hint::spin_loop();
    }
    // A second one would be pending, and come now.
    for _ in 0..20 {
        core::hint::spin_loop();
    }
    check(count() == before + 1, "an interrupt came twice")?;
    Ok(place)
}

/// Whether one more instruction of delay is one more tick of whatever the interrupt waits for, from one CPU's view. Then a sweep
/// goes on until it is behind both switches, and has to begin before them. `sweep=exact` says so.
fn is_exact(env: &'static Env) -> bool {
    env.setting("sweep") == Some("exact")
}

/// Offsets of an exact sweep at most.
const MOST: u64 = 60_000;
/// Ticks up to which another sweep tries, and how far apart: switches take longer there.
const INEXACT: u64 = 120_000;
const STEP: usize = 400;
/// Of an exact sweep's offsets so many in a row behind both switches are enough.
const ENOUGH: u64 = 20;

/// Tries one offset after the other, and says where the interrupts fell.
fn sweep(
    what: &str,
    exact: bool,
    offsets: impl Iterator<Item = u64>,
    mut one: impl FnMut(u64) -> Result<Place, &'static str>,
) -> Result<(), &'static str> {
    let mut places = Vec::new();
    let mut behind = 0;
    for offset in offsets {
        let place = one(offset).inspect_err(|_| log::error!("{what}, {offset} after the first"))?;
        places.push(place);
        behind = if place == Place::Behind { behind + 1 } else { 0 };
        if exact && behind == ENOUGH {
            break;
        }
    }
    let count = |wanted| places.iter().filter(|place| **place == wanted).count();
    let counts = [Place::Before, Place::First, Place::Second, Place::Behind].map(count);
    let [before, first, second, after] = counts;
    log::info!(
        "{what}: {before} before two switches, {first} in the first, {second} in the second, {after} behind"
    );
    if exact {
        check(places.first() == Some(&Place::Before), "the sweep begins in a switch")?;
        check(behind == ENOUGH, "the sweep ends in a switch")?;
        check(counts.iter().all(|count| *count > 0), "the sweep left a switch out")?;
    }
    Ok(())
}

/// Runs on the first CPU and does not leave it to anybody.
fn alone(work: impl FnOnce() -> Result<(), &'static str> + Send + 'static) -> Result<(), &'static str> {
    let builder = Builder::new("sweep").affinity(CpuSet(1)).priority(Priority::Realtime);
    builder.spawn(work).map_err(|_| "no thread")?.join()
}

/// A timer interrupt at each instruction of the way there and back. Deterministic under `-icount` and in Bochs; elsewhere the
/// moments are as the emulator makes them.
pub fn timer_sweep(env: &'static Env) -> Result<(), &'static str> {
    let exact = is_exact(env);
    let last = if exact { MOST } else { INEXACT };
    then_native(alone(move || {
        let step = if exact { 1 } else { STEP * env.cpus() };
        sweep("timer interrupts", exact, (1..=last).step_by(step), |ticks| {
            let once = || taken_in(timer_interrupts, || apic::interrupt_after(ticks as u32));
            // A sleeper's own moment may have come just then: not again at the same place.
            if exact { once() } else { once().or_else(|_| once()).or_else(|_| once()) }
        })
    }))
}

/// The PIT's input: line 0 of the ISA bus, moved to 2 on all PCs with an I/O APIC.
const PIT_LINE: u32 = 2;
const PIT_HERTZ: u64 = 1_193_182;

/// The PIT raises an edge after so many of its ticks, once.
fn start_pit(ticks: u64) {
    let ticks = ticks.min(0xffff) as u16;
    // SAFETY: channel 0 of the PIT in mode 0: low and high byte of the count. Nobody uses it after the boot.
    unsafe {
        io::outb(0x43, 0b0011_0000);
        io::outb(0x40, ticks as u8);
        io::outb(0x40, (ticks >> 8) as u8);
    }
}

/// NMIs of a sweep that is not exact; fewer with more CPUs, each of which makes an emulator slower.
const NMIS: u64 = 240;

/// Waits for instructions where each is a tick of the counter, else for ticks.
fn delay(exact: bool, amount: u64) {
    if !exact {
        let start = tsc();
        while tsc().wrapping_sub(start) < amount {}
        return;
    }
    // SAFETY: counts a register down.
    unsafe {
        core::arch::asm!(
            "test {n}, 1", "jz 2f", "nop", "2:", "shr {n}, 1", "jz 3f", "4:", "dec {n}", "jnz 4b", "3:",
            n = inout(reg) amount => _, options(nomem, nostack)
        );
    }
}

/// How many ticks of the counter an operation takes.
fn duration(mut operation: impl FnMut() -> Result<(), &'static str>) -> Result<u64, &'static str> {
    let mut samples = [0; 9];
    for sample in &mut samples {
        let start = tsc();
        operation()?;
        *sample = tsc().wrapping_sub(start);
    }
    samples.sort_unstable();
    Ok(samples[samples.len() / 2])
}

/// A non-maskable interrupt at each instruction of the way there and back, on the leader and on the others: from the PIT, which
/// goes on while all CPUs switch.
pub fn nmi_sweep(env: &'static Env) -> Result<(), &'static str> {
    let result = (0..env.cpus()).try_for_each(|target| {
        irq::nmi_on_line(PIT_LINE, Some(target)).map_err(|_| "the PIT's line is in use")?;
        let exact = is_exact(env) && target == 0;
        let rounds = NMIS / (env.cpus() * env.cpus()) as u64;
        alone(move || nmis_on(exact, rounds))
    });
    irq::nmi_on_line(PIT_LINE, None).map_err(|_| "the PIT's line is in use")?;
    then_native(result)
}

fn nmis_on(exact: bool, rounds: u64) -> Result<(), &'static str> {
    let switches = duration(|| {
        (0..2).try_for_each(|_| request(None, LONG).map(drop).map_err(|_| "a switch was refused"))
    })?;
    // Far enough away for both switches to come first.
    let pit = 3 * switches * PIT_HERTZ / time::tsc_hertz() / 2 + 20;
    let wait_for_one = || {
        let before = machine::nmis();
        start_pit(pit);
        let start = Instant::now();
        while machine::nmis() == before {
            check(start.elapsed() < LONG, "the PIT raises no NMI")?;
        }
        Ok(())
    };
    let away = duration(wait_for_one)?;
    let first = away + away / 8 + 64;
    let step = if exact { 1 } else { first / rounds + 1 };
    sweep("NMIs", exact, (0..first).step_by(step as usize), |offset| {
        taken_in(machine::nmis, || {
            start_pit(pit);
            delay(exact, first - offset);
        })
    })
}

/// Interrupts of each kind on each CPU.
const DELIVERIES: u64 = 60;

/// The stack on which this CPU takes exceptions and interrupts of a class: the last byte of that entry of the interrupt stack
/// table (APM vol. 2, figure 12-8).
fn interrupt_stack(entry: u64) -> u64 {
    cpu::without_interrupts(|| {
        // SAFETY: interrupts are off; nothing is written through it.
        let cpu = unsafe { Hardware::new() };
        let descriptor = cpu.gdtr().base + u64::from(cpu.selector(Selector::Tr) & !7);
        let (low, high) = (cpu.descriptor(descriptor), cpu.descriptor(descriptor + 8));
        let task = high << 32 | low >> 56 << 24 | low >> 16 & 0xff_ffff;
        // SAFETY: the table that the task register points to.
        unsafe { ((task + 36 + 8 * (entry - 1)) as *const u64).read_unaligned() - 1 }
    })
}

/// In guest mode, interrupts and NMIs whose stack is watched: writing the frame is a nested fault, the delivery is interrupted
/// and done again. And the stack of whoever is interrupted.
pub fn deliveries_meet_nested_faults(env: &'static Env) -> Result<(), &'static str> {
    switch_to(env, Phase::Guest)?;
    let result = everywhere(env, |cpu| {
        irq::nmi_on_line(PIT_LINE, Some(cpu)).map_err(|_| "the PIT's line is in use")?;
        let timer = || apic::interrupt_after(2000);
        deliveries(interrupt_stack(1), timer_interrupts, timer)?;
        deliveries(interrupt_stack(3), machine::nmis, || start_pit(20))
    });
    irq::nmi_on_line(PIT_LINE, None).map_err(|_| "the PIT's line is in use")?;
    then_native(result.and_then(|results| results.into_iter().collect()))
}

fn deliveries(stack: u64, count: fn() -> u64, raise: fn()) -> Result<(), &'static str> {
    let page = |address| paging::translate(address).map(|place| place & !(PAGE - 1)).ok_or("no such page");
    let here = 0u8;
    let pages = [page(stack)?, page(&raw const here as u64)?];
    let each = |call: Call| {
        let done = look(|_, monitor| pages.iter().all(|page| monitor.call(call, *page, PAGE).is_ok()));
        check(done == Ok(true), "a stack can't be watched")
    };
    let nested = || look(|_, monitor| monitor.exits(Count::Nested)).unwrap_or(0);
    let mut interrupted = 0;
    for _ in 0..DELIVERIES {
        let (before, faults) = (count(), nested());
        // Nothing else comes between, so the first to write there is the delivery.
        cpu::without_interrupts(|| {
            each(Call::Watch)?;
            raise();
            Ok(())
        })?;
        let start = Instant::now();
        while count() == before {
            check(start.elapsed() < LONG, "an interrupted delivery was lost")?;
            core::hint::spin_loop();
        }
        for _ in 0..20 {
            core::hint::spin_loop();
        }
        check(count() == before + 1, "an interrupted delivery was repeated too often")?;
        interrupted += u64::from(nested() - faults >= 2);
    }
    each(Call::Unwatch)?;
    check(interrupted == DELIVERIES, "a delivery met no watched page")
}
