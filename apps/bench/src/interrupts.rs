//! Interrupts: the timer's, our own, and those between CPUs.

use crate::FIRST_CPU;
use crate::context::{Context, Failure};
use crate::sampler::Sampler;
use crate::threads::{Partner, Shared, park_on};
use alloc::boxed::Box;
use alloc::sync::Arc;
use app::thread::{self, CpuSet, Priority};
use app::time::{Duration, Instant};
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use machine::apic;
use machine::cpu::tsc;
use machine::irq::Irq;

/// How long sleepers sleep.
const NAP: Duration = Duration::from_micros(200);

/// A timer interrupt that makes a sleeper of lower priority ready, seen as a gap between two readings of the clock.
pub fn timer(_: &Context, sampler: &mut Sampler) -> Result<(), Failure> {
    let due = Arc::new(AtomicU64::new(0));
    let theirs = due.clone();
    let sleeper = Partner::new(&Shared::new(), FIRST_CPU, Priority::Low, move |_| {
        thread::park();
        let left = theirs.load(Ordering::Acquire).saturating_sub(Instant::now().as_nanos());
        thread::sleep(Duration::from_nanos(left));
    })?;
    while sampler.wants() {
        // Asleep until then while this thread sleeps, and for longer than this one may oversleep.
        let wake = Instant::now().saturating_add(8 * NAP);
        due.store(wake.as_nanos(), Ordering::Release);
        sleeper.unpark();
        thread::sleep(NAP);
        let end = wake.saturating_add(NAP);
        let (mut last, mut gap) = (tsc(), 0);
        while Instant::now() < end {
            let now = tsc();
            gap = gap.max(now - last);
            last = now;
        }
        sampler.push(gap);
    }
    Ok(())
}

/// By how much a sleep is longer than was asked for, on an idle CPU.
pub fn late(context: &Context, sampler: &mut Sampler) -> Result<(), Failure> {
    let nap = context.hertz * NAP.as_micros() as u64 / 1_000_000;
    while sampler.wants() {
        let start = tsc();
        thread::sleep(NAP);
        sampler.push((tsc() - start).saturating_sub(nap));
    }
    Ok(())
}

/// An interrupt with a handler of ours.
fn interrupt(handler: impl Fn() + Send + Sync + 'static) -> Result<(Irq, u8), Failure> {
    let irq = Irq::new("bench", Box::new(handler)).map_err(|_| Failure::Memory)?;
    // The low byte of a message's data is the vector (Intel SDM vol. 3, "Message Data Register Format").
    let vector = irq.msi().data as u8;
    Ok((irq, vector))
}

/// From the command to the local APIC until somebody has stamped, on the same CPU.
fn until_stamped(sampler: &mut Sampler, vector: u8, shared: &Shared) {
    let apic = apic::access();
    while sampler.wants() {
        let start = tsc();
        apic.send_to_self(vector);
        sampler.push(shared.take(core::hint::spin_loop).saturating_sub(start));
    }
}

/// From the command to the local APIC until the handler runs, on the same CPU.
pub fn handler(_: &Context, sampler: &mut Sampler) -> Result<(), Failure> {
    let shared = Shared::new();
    let theirs = shared.clone();
    let (_irq, vector) = interrupt(move || theirs.stamp())?;
    until_stamped(sampler, vector, &shared);
    Ok(())
}

/// The same until a thread runs that the handler wakes.
pub fn thread(_: &Context, sampler: &mut Sampler) -> Result<(), Failure> {
    let shared = Shared::new();
    let sleeper = Partner::new(&shared, FIRST_CPU, Priority::High, |shared| {
        thread::park();
        shared.stamp();
    })?;
    let woken = sleeper.thread().cloned();
    let (_irq, vector) = interrupt(move || {
        if let Some(thread) = &woken {
            thread.unpark();
        }
    })?;
    until_stamped(sampler, vector, &shared);
    Ok(())
}

fn needs_two(context: &Context) -> Result<(), Failure> {
    if context.cpus < 2 { Err(Failure::Cpus(2)) } else { Ok(()) }
}

/// An interrupt to all other CPUs, until it is seen that the last handler has run.
pub fn ipi(context: &Context, sampler: &mut Sampler) -> Result<(), Failure> {
    needs_two(context)?;
    let seen = Arc::new(AtomicUsize::new(0));
    let theirs = seen.clone();
    let (_irq, vector) = interrupt(move || {
        theirs.fetch_add(1, Ordering::AcqRel);
    })?;
    while sampler.wants() {
        seen.store(0, Ordering::Release);
        let start = tsc();
        apic::send_to_others(vector);
        while seen.load(Ordering::Acquire) < context.cpus - 1 {
            core::hint::spin_loop();
        }
        sampler.push(tsc() - start);
    }
    Ok(())
}

/// Two threads on two CPUs that `unpark` each other and `park`: half a round trip.
pub fn wake(context: &Context, sampler: &mut Sampler) -> Result<(), Failure> {
    needs_two(context)?;
    park_on(CpuSet(2), sampler)
}
