//! Registers that are taken away in guest mode: those of the HPET, which all machines with these tests have and nobody uses after boot.

use crate::check;
use crate::snapshot::tables;
use crate::switch::{LONG, SHORT, all_are, everywhere, switch_to, then_native};
use alloc::vec::Vec;
use app::Env;
use app::thread::{Builder, CpuSet};
use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use machine::io::map_device;
use machine::paging::{PAGE, image_bounds};
use mode::bare::inject::{Fault, arm, disarm};
use mode::bare::{AbsorbError, Absorbed, CpuError, FreezeError, RequestError, absorb, freeze, look, request};
use mode::{Phase, Refused};
use vmm::call::{MOST_ABSORBED, Status};

/// Capabilities, of which 16 bits are the vendor; and what timer 2 compares with, which can be written (IA-PC HPET 1.0a, 2.3).
const CAPABILITIES: u64 = 0;
const COMPARATOR: u64 = 0x148;
/// Where it is if ACPI does not say: where chipsets have it.
const USUAL: u64 = 0xfed0_0000;
const APIC: u64 = 0xfee0_0000;
/// How often it goes and comes back under the eyes of all CPUs.
const TIMES: u64 = 25;

/// The HPET.
#[derive(Clone, Copy)]
struct Hpet(u64);

impl Hpet {
    fn find() -> Result<Self, &'static str> {
        let base = machine::start::acpi().and_then(|acpi| acpi.hpet).unwrap_or(USUAL);
        map_device(base, PAGE as usize).ok_or("the HPET can't be mapped")?;
        let hpet = Self(base);
        check(![0, u64::MAX].contains(&hpet.read(CAPABILITIES)), "there is no HPET")?;
        Ok(hpet)
    }

    fn page(self, number: u64) -> Range<u64> {
        let start = self.0 + number * PAGE;
        start..start + PAGE
    }

    fn register(self, offset: u64) -> *mut u64 {
        core::ptr::with_exposed_provenance_mut((self.0 + offset) as usize)
    }

    fn read(self, offset: u64) -> u64 {
        // SAFETY: a register of the page that was mapped; reading it has no effect.
        unsafe { self.register(offset).read_volatile() }
    }

    fn write(self, offset: u64, value: u64) {
        // SAFETY: as above; the timer is off, and nobody uses it.
        unsafe { self.register(offset).write_volatile(value) };
    }
}

/// Takes all of it away.
fn away(hpet: Hpet) -> Result<Absorbed, &'static str> {
    absorb(core::slice::from_ref(&hpet.page(0)), LONG).map_err(|error| {
        log::error!("{error}");
        "registers were not taken away"
    })
}

fn back(absorbed: Absorbed) -> Result<(), &'static str> {
    absorbed.release().map_err(|error| {
        log::error!("{error}");
        "registers were not given back"
    })
}

/// In guest mode, which they hold; and as they were when they are back.
pub fn read_as_ones(env: &'static Env) -> Result<(), &'static str> {
    let hpet = Hpet::find()?;
    let (before, capabilities, comparator) = (tables(), hpet.read(CAPABILITIES), hpet.read(COMPARATOR));
    let native = absorb(core::slice::from_ref(&hpet.page(0)), LONG).map(drop);
    check(native == Err(AbsorbError::Native), "registers were taken away in native mode")?;
    switch_to(env, Phase::Guest)?;
    let result = (|| {
        let absorbed = away(hpet)?;
        check(absorbed.pages() == 1, "another number of pages is away")?;
        let all = everywhere(env, move |_| [CAPABILITIES, 0xff8].map(|at| hpet.read(at)))?;
        check(all.iter().flatten().all(|word| *word == u64::MAX), "a register is not all ones")?;
        hpet.write(COMPARATOR, !comparator);
        let pinned = Refused::Pinned("absorbed registers");
        let left = request(Some(Phase::Native), SHORT);
        check(left == Err(RequestError::Refused(pinned)), "the machine left with registers away")?;
        let frozen = freeze(0, SHORT, &()).map(drop);
        check(frozen == Err(FreezeError::Refused(pinned)), "memory was frozen with registers away")?;
        back(absorbed)?;
        let all = everywhere(env, move |_| [CAPABILITIES, COMPARATOR].map(|at| hpet.read(at)))?;
        let are_as_before = all.iter().all(|words| *words == [capabilities, comparator]);
        check(are_as_before, "a write reached the device, or the device is another")?;
        // That they can be written at all.
        hpet.write(COMPARATOR, !comparator);
        check(hpet.read(COMPARATOR) != comparator, "a register can't be written")?;
        hpet.write(COMPARATOR, comparator);
        refusals(hpet)?;
        stop(hpet)?;
        deaf(env, hpet)?;
        under_readers(env, hpet, capabilities)?;
        all_are(env, true)
    })();
    then_native(result)?;
    check(hpet.read(CAPABILITIES) == capabilities, "the device is another on the bare machine")?;
    check(tables() == before, "tables of the reserve stay used")
}

/// As many pages as an e1000 has, and for how long the machine stands still for that.
fn stop(hpet: Hpet) -> Result<(), &'static str> {
    const PAGES: u64 = 32;
    let span = hpet.0..hpet.0 + PAGES * PAGE;
    let absorbed =
        absorb(core::slice::from_ref(&span), LONG).map_err(|_| "many pages can't be taken away")?;
    let (pages, ticks) = (absorbed.pages(), absorbed.stop());
    back(absorbed)?;
    check(pages == PAGES && ticks > 0, "another number of pages was away, or for no time")?;
    log::info!("selftest: {pages} pages absorbed, stopped for {ticks} ticks");
    Ok(())
}

/// What may not be taken away, and that nothing is, then.
fn refusals(hpet: Hpet) -> Result<(), &'static str> {
    let [text, ..] = image_bounds();
    let reserve = look(|_, monitor| monitor.reserve()).map_err(|_| "no monitor")?.start;
    let (page, base) = (hpet.page(0), hpet.0);
    let pages = (0..=MOST_ABSORBED as u64).map(|number| hpet.page(2 * number)).collect();
    let one = |start, bytes| Vec::from_iter([Range { start, end: start + bytes }]);
    for (spans, status) in [
        (one(base + 1, PAGE), Status::Unaligned),
        (one(base, 0), Status::Empty),
        (one(base, (16 << 20) + PAGE), Status::BadArgument),
        (one(text, PAGE), Status::Memory),
        (one(reserve, PAGE), Status::Reserve),
        (one(APIC, PAGE), Status::Apic),
        (Vec::from([page.clone(), page]), Status::Overlap),
        (pages, Status::Full),
    ] {
        let refused = absorb(&spans, LONG).map(drop);
        let is_it = |error| error == CpuError::Interpose(status);
        if !matches!(refused, Err(AbsorbError::Refused(Refused::Failed(_, error))) if is_it(error)) {
            log::error!("{spans:x?}: {refused:?}, not {status:?}");
            return Err("what may not be taken away is not refused as it should be");
        }
        check(hpet.read(CAPABILITIES) != u64::MAX, "a refusal takes registers away")?;
    }
    Ok(())
}

/// A CPU that does not come is not waited for, and nothing is taken away.
fn deaf(env: &'static Env, hpet: Hpet) -> Result<(), &'static str> {
    if env.cpus() == 1 {
        return Ok(());
    }
    let ask = move || {
        arm(1, Fault::Absent);
        let refused = absorb(core::slice::from_ref(&hpet.page(0)), SHORT).map(drop);
        disarm();
        let unanswered = matches!(refused, Err(AbsorbError::Refused(Refused::NoAnswer(_))));
        check(unanswered, "a CPU that does not come was not named")?;
        check(hpet.read(CAPABILITIES) != u64::MAX, "registers are away on a part of the CPUs")
    };
    Builder::new("deaf").affinity(CpuSet(1)).spawn(ask).map_err(|_| "no thread")?.join()
}

/// All CPUs read all the while: once it is away none finds the device, and once it is back none finds ones.
fn under_readers(env: &'static Env, hpet: Hpet, capabilities: u64) -> Result<(), &'static str> {
    /// Of four: it is here, it goes, it is away, it comes back.
    static STATE: AtomicU64 = AtomicU64::new(0);
    static OVER: AtomicBool = AtomicBool::new(false);
    static SEEN: AtomicU64 = AtomicU64::new(0);
    OVER.store(false, Ordering::SeqCst);
    let read = move || {
        let mut wrong = 0;
        while !OVER.load(Ordering::SeqCst) {
            let before = STATE.load(Ordering::SeqCst);
            let word = hpet.read(CAPABILITIES);
            if before == STATE.load(Ordering::SeqCst) {
                SEEN.fetch_add(1, Ordering::Relaxed);
                wrong += match before % 4 {
                    0 => u64::from(word != capabilities),
                    2 => u64::from(word != u64::MAX),
                    _ => 0,
                };
            }
        }
        wrong
    };
    let readers: Vec<_> = (0..env.cpus())
        .map(|cpu| Builder::new("reader").affinity(CpuSet(1 << cpu)).spawn(read))
        .collect::<Result<_, _>>()
        .map_err(|_| "no thread")?;
    let step = || STATE.fetch_add(1, Ordering::SeqCst);
    let result = (0..TIMES).try_for_each(|_| {
        step();
        let absorbed = away(hpet)?;
        step();
        app::thread::yield_now();
        step();
        back(absorbed)?;
        step();
        app::thread::yield_now();
        Ok(())
    });
    OVER.store(true, Ordering::SeqCst);
    let wrong: u64 = readers.into_iter().map(|reader| reader.join()).sum();
    result?;
    check(SEEN.load(Ordering::Relaxed) > 0, "nobody has read anything")?;
    check(wrong == 0, "a CPU reached the device while it was away, or did not when it was back")
}
