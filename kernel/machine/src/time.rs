//! Clocks: monotonic from the time-stamp counter, wall clock from the real-time clock.
//!
//! The TSC's rate comes from CPUID (leaf 15h, or 16h, or a hypervisor's 4000_0010h), else it is measured against the
//! HPET, else against the PIT.
//!
//! Sources: Intel SDM vol. 3, "Time-Stamp Counter", vol. 2, CPUID; IA-PC HPET 1.0a, 2.3; Intel 8254 data sheet.

use crate::{cpu, io};
use core::arch::x86_64::__cpuid;
use core::sync::atomic::{AtomicU64, Ordering};
pub use core::time::Duration;

/// Nanoseconds since boot; monotonic, the same on all CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(u64);

impl Instant {
    /// From nanoseconds since boot.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// As nanoseconds since boot.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time now.
    #[inline]
    pub fn now() -> Self {
        let ticks = cpu::tsc().wrapping_sub(BASE.load(Ordering::Relaxed));
        Self(((u128::from(ticks) * u128::from(NANOS_PER_TICK.load(Ordering::Relaxed))) >> 32) as u64)
    }

    /// Time passed since.
    pub fn elapsed(self) -> Duration {
        Self::now().saturating_since(self)
    }

    /// Later by `duration`; the end of time if that overflows.
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// From `earlier` to this; zero if `earlier` is later.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

crate::facts! {
    /// TSC at boot; of a system that was restored, TSC when its clock would have begun, which may be before the machine was there: it
    /// wraps.
    static BASE: AtomicU64 = AtomicU64::new(0);
    /// 32.32 fixed point.
    static NANOS_PER_TICK: AtomicU64 = AtomicU64::new(1 << 32);
    /// TSC ticks a second.
    static HERTZ: AtomicU64 = AtomicU64::new(1_000_000_000);
    /// Nanoseconds of the UNIX epoch at the base.
    static WALL_BASE: AtomicU64 = AtomicU64::new(0);
}

/// The TSC value at a time in nanoseconds since boot.
pub(crate) fn to_tsc(nanos: u64) -> u64 {
    let ticks = u128::from(nanos) * u128::from(HERTZ.load(Ordering::Relaxed)) / 1_000_000_000;
    let base = i128::from(BASE.load(Ordering::Relaxed) as i64);
    (base + ticks as i128).clamp(0, i128::from(u64::MAX)) as u64
}

/// Sets the clock of a system that was restored: monotonic time goes on from `at`, and wall-clock time is the machine's. While no other
/// CPU looks at it.
pub(crate) fn resume(at: Instant) {
    let wall = WALL_BASE.load(Ordering::Relaxed).wrapping_add(Instant::now().0);
    let ticks = (u128::from(at.0) << 32).div_ceil(u128::from(NANOS_PER_TICK.load(Ordering::Relaxed)));
    BASE.store(cpu::tsc().wrapping_sub(ticks as u64), Ordering::Relaxed);
    WALL_BASE.store(wall.wrapping_sub(at.0), Ordering::Relaxed);
}

/// Time since the UNIX epoch, as the real-time clock told it at boot, plus what has passed. UTC is assumed in the RTC.
pub fn wall_clock() -> Duration {
    Duration::from_nanos(WALL_BASE.load(Ordering::Relaxed).wrapping_add(Instant::now().as_nanos()))
}

/// How the TSC's rate was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockSource {
    /// CPUID states it.
    Cpuid,
    /// Measured against the HPET.
    Hpet,
    /// Measured against the PIT.
    Pit,
    /// Nothing to measure against: one gigahertz is assumed.
    Assumed,
}

/// TSC ticks a second.
pub fn tsc_hertz() -> u64 {
    HERTZ.load(Ordering::Relaxed)
}

/// Remembers the TSC at boot: until [`init`], one tick counts as a nanosecond.
pub fn start() {
    BASE.store(cpu::tsc(), Ordering::Relaxed);
}

/// Finds the TSC's rate and the date. `hpet` is the base address from the ACPI table.
pub(crate) fn init(hpet: Option<u64>) -> ClockSource {
    let (hertz, source) = if let Some(hertz) = from_cpuid() {
        (hertz, ClockSource::Cpuid)
    } else if let Some(hertz) = hpet.and_then(against_hpet) {
        (hertz, ClockSource::Hpet)
    } else if let Some(hertz) = against_pit() {
        (hertz, ClockSource::Pit)
    } else {
        (1_000_000_000, ClockSource::Assumed)
    };
    HERTZ.store(hertz, Ordering::Relaxed);
    NANOS_PER_TICK.store(((1_000_000_000u128 << 32) / u128::from(hertz)) as u64, Ordering::Relaxed);
    WALL_BASE.store(
        (read_rtc().unwrap_or(0) * 1_000_000_000).saturating_sub(Instant::now().as_nanos()),
        Ordering::Relaxed,
    );
    source
}

fn from_cpuid() -> Option<u64> {
    let highest = __cpuid(0).eax;
    if highest >= 0x15 {
        let leaf = __cpuid(0x15);
        if leaf.eax != 0 && leaf.ebx != 0 && leaf.ecx != 0 {
            return Some(u64::from(leaf.ecx) * u64::from(leaf.ebx) / u64::from(leaf.eax));
        }
    }
    if __cpuid(1).ecx & 1 << 31 != 0 && __cpuid(0x4000_0000).eax >= 0x4000_0010 {
        let kilohertz = __cpuid(0x4000_0010).eax;
        if kilohertz > 1000 {
            return Some(u64::from(kilohertz) * 1000);
        }
    }
    None
}

/// How long a measurement takes, in nanoseconds.
const MEASURE: u64 = 4_000_000;

fn against_hpet(base: u64) -> Option<u64> {
    let registers = io::map_device(base, 0x400)?.as_ptr();
    // SAFETY: the HPET's register page, just mapped; capabilities (0), configuration (0x10), main counter (0xf0).
    let read = |offset: usize| unsafe { registers.add(offset).cast::<u64>().read_volatile() };
    let period = read(0) >> 32; // femtoseconds
    if period == 0 || period > 100_000_000 {
        return None;
    }
    // SAFETY: as above; bit 0 starts the counter.
    unsafe { registers.add(0x10).cast::<u64>().write_volatile(read(0x10) | 1) };
    let ticks = MEASURE * 1_000_000 / period;
    let (start, tsc) = (read(0xf0) as u32, cpu::tsc());
    let mut passed = 0;
    let mut polls = 0u32;
    while passed < ticks {
        passed = u64::from((read(0xf0) as u32).wrapping_sub(start));
        polls += 1;
        if polls == 10_000_000 {
            return None;
        }
    }
    Some(((u128::from(cpu::tsc() - tsc)) * 1_000_000_000_000_000 / u128::from(passed * period)) as u64)
}

/// Measures against channel 0 of the PIT, which every PC has (channel 2's gate is missing on QEMU's microvm). Its interrupt is
/// masked at this time, and nothing uses the channel afterwards.
fn against_pit() -> Option<u64> {
    const HERTZ: u64 = 1_193_182;
    const TICKS: u64 = MEASURE * HERTZ / 1_000_000_000;
    // SAFETY: the PIT's command and counter ports: mode 0 (count down once), then latched readings.
    let latch = || unsafe {
        io::outb(0x43, 0);
        u16::from_le_bytes([io::inb(0x40), io::inb(0x40)])
    };
    // SAFETY: as above.
    unsafe {
        io::outb(0x43, 0b0011_0000);
        io::outb(0x40, 0xff);
        io::outb(0x40, 0xff);
    }
    let (first, start) = (latch(), cpu::tsc());
    for _ in 0..1_000_000 {
        let (passed, now) = (u64::from(first.wrapping_sub(latch())), cpu::tsc());
        // An absent device reads as all ones, so that nothing ever passes.
        if (TICKS..0x8000).contains(&passed) {
            return Some((u128::from(now - start) * u128::from(HERTZ) / u128::from(passed)) as u64);
        }
    }
    None
}

/// Reads the CMOS clock twice until it is stable (MC146818: a reading during an update is torn). Seconds since 1970.
fn read_rtc() -> Option<u64> {
    // SAFETY: index and data port of the CMOS RAM; bit 7 of the index (NMI disable) is left clear.
    let cmos = |register: u8| unsafe {
        io::outb(0x70, register);
        io::inb(0x71)
    };
    let read = || {
        for _ in 0..100_000 {
            if cmos(0x0a) & 0x80 == 0 {
                break;
            }
        }
        [0u8, 2, 4, 7, 8, 9, 0x32].map(cmos)
    };
    let mut fields = read();
    for _ in 0..5 {
        let again = read();
        if again == fields {
            break;
        }
        fields = again;
    }
    rtc_to_unix(fields, cmos(0x0b))
}

/// Seconds since 1970 from the clock's fields (second, minute, hour, day, month, year, century) and status register B.
fn rtc_to_unix(fields: [u8; 7], status: u8) -> Option<u64> {
    let decode = |value: u8| if status & 4 == 0 { (value >> 4) * 10 + (value & 15) } else { value };
    let pm = status & 2 == 0 && fields[2] & 0x80 != 0;
    let mut hour = decode(fields[2] & 0x7f);
    if status & 2 == 0 {
        hour = hour % 12 + if pm { 12 } else { 0 };
    }
    let (second, minute, day, month) =
        (decode(fields[0]), decode(fields[1]), decode(fields[3]), decode(fields[4]));
    let century = match decode(fields[6]) {
        century @ 19..=22 => u64::from(century),
        _ => 20,
    };
    let year = century * 100 + u64::from(decode(fields[5]));
    if second > 60
        || minute > 59
        || hour > 23
        || !(1..=31).contains(&day)
        || !(1..=12).contains(&month)
        || year < 1970
    {
        return None;
    }
    // Days from the civil date, with March as the first month (H. Hinnant, "chrono-compatible low-level date algorithms").
    let shifted = if month <= 2 { year - 1 } else { year };
    let era_year = shifted % 400;
    let month_index = (u64::from(month) + 9) % 12;
    let day_of_year = (153 * month_index + 2) / 5 + u64::from(day) - 1;
    let day_of_era = era_year * 365 + era_year / 4 - era_year / 100 + day_of_year;
    let days = shifted / 400 * 146_097 + day_of_era - 719_468;
    Some(((days * 24 + u64::from(hour)) * 60 + u64::from(minute)) * 60 + u64::from(second))
}
