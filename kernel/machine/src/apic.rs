//! Local APIC, in xAPIC or x2APIC mode, and its timer.
//!
//! Sources: AMD64 APM vol. 2, chapter 16; Intel SDM vol. 3, chapter "Advanced Programmable Interrupt Controller".

use crate::cpu::{self, msr, rdmsr, wrmsr};
use crate::time;
use core::arch::x86_64::__cpuid;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Vectors of our own; those below are the devices'.
pub const TIMER_VECTOR: u8 = 0xf0;
/// Asks a CPU to look at its run queue.
pub const RESCHEDULE_VECTOR: u8 = 0xf1;
/// Asks a CPU to flush translations.
pub const SHOOTDOWN_VECTOR: u8 = 0xf2;
/// Calls a CPU to a rendezvous.
pub const RENDEZVOUS_VECTOR: u8 = 0xf3;
/// Says that the VMM has something to report.
pub const REPORT_VECTOR: u8 = 0xf4;
/// What the APIC delivers when an interrupt vanished.
pub const SPURIOUS_VECTOR: u8 = 0xff;

const ID: u32 = 0x20;
const TPR: u32 = 0x80;
const EOI: u32 = 0xb0;
const SVR: u32 = 0xf0;
const ICR_LOW: u32 = 0x300;
const ICR_HIGH: u32 = 0x310;
const LVT_TIMER: u32 = 0x320;
const LVT_LINT0: u32 = 0x350;
const LVT_LINT1: u32 = 0x360;
const LVT_ERROR: u32 = 0x370;
const TIMER_INITIAL: u32 = 0x380;
const TIMER_CURRENT: u32 = 0x390;
const TIMER_DIVIDE: u32 = 0x3e0;

const MASKED: u32 = 1 << 16;
const TSC_DEADLINE_MODE: u32 = 2 << 17;

crate::facts! {
    static X2APIC: AtomicBool = AtomicBool::new(false);
    static BASE: AtomicU64 = AtomicU64::new(0xfee0_0000);
    static DEADLINE_MODE: AtomicBool = AtomicBool::new(false);
    /// Timer ticks per nanosecond, as a 32.32 fixed-point number.
    static TICKS_PER_NANO: AtomicU64 = AtomicU64::new(0);
    /// Counts of the timer per second, for the log.
    static TIMER_HZ: AtomicU32 = AtomicU32::new(0);
}

fn read(register: u32) -> u32 {
    if X2APIC.load(Ordering::Relaxed) {
        // SAFETY: in x2APIC mode the register at this offset exists as an MSR.
        unsafe { rdmsr(msr::X2APIC + register / 16) as u32 }
    } else {
        // SAFETY: `init` mapped the page of the local APIC at its physical address.
        unsafe { ((BASE.load(Ordering::Relaxed) + u64::from(register)) as *const u32).read_volatile() }
    }
}

fn write(register: u32, value: u32) {
    if X2APIC.load(Ordering::Relaxed) {
        // SAFETY: as for `read`.
        unsafe { wrmsr(msr::X2APIC + register / 16, u64::from(value)) }
    } else {
        // SAFETY: as for `read`.
        unsafe { ((BASE.load(Ordering::Relaxed) + u64::from(register)) as *mut u32).write_volatile(value) }
    }
}

/// Why there is no usable local APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApicError {
    /// CPUID announces none.
    Missing,
    /// Its page could not be mapped.
    Map,
}

/// Finds the local APIC and chooses its mode. Once, on the first CPU.
pub(crate) fn init() -> Result<(), ApicError> {
    let features = __cpuid(1);
    if features.edx & 1 << 9 == 0 {
        return Err(ApicError::Missing);
    }
    // SAFETY: CPUID announces the APIC, so its base register exists.
    let base = unsafe { rdmsr(msr::APIC_BASE) };
    BASE.store(base & 0x000f_ffff_ffff_f000, Ordering::Relaxed);
    if features.ecx & 1 << 21 != 0 {
        X2APIC.store(true, Ordering::Relaxed);
    } else {
        crate::io::map_device(base & 0x000f_ffff_ffff_f000, 4096).ok_or(ApicError::Map)?;
    }
    DEADLINE_MODE.store(features.ecx & 1 << 24 != 0, Ordering::Relaxed);
    init_cpu();
    Ok(())
}

/// Enables the local APIC of the CPU that runs this.
pub(crate) fn init_cpu() {
    // SAFETY: the register exists (`init` looked); enabling (bit 11) and, where chosen, x2APIC mode (bit 10) are the
    // documented transitions from disabled or xAPIC mode.
    unsafe {
        let base = rdmsr(msr::APIC_BASE);
        let mode = if X2APIC.load(Ordering::Relaxed) { 1 << 10 } else { 0 };
        wrmsr(msr::APIC_BASE, base | 1 << 11);
        if mode != 0 {
            wrmsr(msr::APIC_BASE, base | 1 << 11 | mode);
        }
    }
    write(TPR, 0);
    write(LVT_LINT0, MASKED);
    write(LVT_LINT1, 4 << 8); // NMI
    write(LVT_ERROR, MASKED);
    write(SVR, 1 << 8 | u32::from(SPURIOUS_VECTOR));
    write(TIMER_DIVIDE, 0b1011); // by one
    let mode = if DEADLINE_MODE.load(Ordering::Relaxed) { TSC_DEADLINE_MODE } else { 0 };
    write(LVT_TIMER, mode | u32::from(TIMER_VECTOR));
}

/// The local APIC ID of the CPU that runs this.
pub(crate) fn id() -> u32 {
    if X2APIC.load(Ordering::Relaxed) { read(ID) } else { read(ID) >> 24 }
}

/// Whether the APIC runs in x2APIC mode.
pub fn is_x2apic() -> bool {
    X2APIC.load(Ordering::Relaxed)
}

/// Tells the APIC that the interrupt being handled is done.
#[inline]
pub(crate) fn end_of_interrupt() {
    write(EOI, 0);
}

/// Measures the timer against the calibrated clock. Once, on the first CPU; needs no interrupt.
pub(crate) fn calibrate_timer() {
    if DEADLINE_MODE.load(Ordering::Relaxed) {
        return;
    }
    write(LVT_TIMER, MASKED | u32::from(TIMER_VECTOR));
    let start = time::Instant::now();
    write(TIMER_INITIAL, u32::MAX);
    let mut elapsed = 0;
    while elapsed < 2_000_000 {
        elapsed = time::Instant::now().as_nanos() - start.as_nanos();
    }
    let ticks = u64::from(u32::MAX - read(TIMER_CURRENT));
    write(TIMER_INITIAL, 0);
    write(LVT_TIMER, u32::from(TIMER_VECTOR));
    TICKS_PER_NANO.store((ticks << 32) / elapsed.max(1), Ordering::Relaxed);
    TIMER_HZ
        .store((ticks * 1_000_000_000 / elapsed.max(1)).min(u64::from(u32::MAX)) as u32, Ordering::Relaxed);
}

/// Describes mode and timer for the boot log.
pub(crate) fn describe() -> (&'static str, &'static str, u32) {
    let mode = if is_x2apic() { "x2APIC" } else { "xAPIC" };
    let timer = if DEADLINE_MODE.load(Ordering::Relaxed) { "TSC deadline" } else { "one-shot" };
    (mode, timer, TIMER_HZ.load(Ordering::Relaxed))
}

/// Arms this CPU's timer for a time in nanoseconds since boot; a time in the past fires at once. Timers further away than
/// the counter reaches fire early; the scheduler re-arms.
pub(crate) fn arm_timer(deadline: u64) {
    if DEADLINE_MODE.load(Ordering::Relaxed) {
        // SAFETY: CPUID announces TSC-deadline mode, which `init_cpu` chose. Zero would disarm.
        unsafe { wrmsr(msr::TSC_DEADLINE, time::to_tsc(deadline).max(1)) };
    } else {
        let nanos = deadline.saturating_sub(time::Instant::now().as_nanos()).min(4_000_000_000);
        let ticks = (nanos * (TICKS_PER_NANO.load(Ordering::Relaxed) >> 8)) >> 24;
        write(TIMER_INITIAL, ticks.clamp(1, u64::from(u32::MAX)) as u32);
    }
}

/// Sets this CPU's timer to interrupt after so many of its ticks, whatever it was set to: the scheduler sets it again when it
/// comes. In one-shot mode; in TSC-deadline mode the ticks are the time-stamp counter's.
pub fn interrupt_after(ticks: u32) {
    if DEADLINE_MODE.load(Ordering::Relaxed) {
        // SAFETY: as in `arm_timer`.
        unsafe { wrmsr(msr::TSC_DEADLINE, cpu::tsc() + u64::from(ticks)) };
    } else {
        write(TIMER_INITIAL, ticks);
    }
}

/// Raises again what may have been pending on this CPU when it was frozen, and is not in the restored one: any interrupt of ours comes
/// once more, which none of them minds, and the scheduler sets the timer.
pub fn raise_again() {
    for vector in [RESCHEDULE_VECTOR, SHOOTDOWN_VECTOR, REPORT_VECTOR] {
        access().send_to_self(vector);
    }
    interrupt_after(1);
}

/// Sends a fixed interrupt to one CPU.
pub(crate) fn send(apic_id: u32, vector: u8) {
    send_command(apic_id, u32::from(vector) | 1 << 14);
}

/// How the local APIC of each CPU is reached: for the VMM, which does not rely on what the system keeps.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    x2apic: bool,
    base: u64,
}

/// How it is reached. Stays so.
pub fn access() -> Access {
    Access { x2apic: is_x2apic(), base: BASE.load(Ordering::Relaxed) }
}

impl Access {
    /// Sends a fixed interrupt to the CPU that runs this. Leaves the upper half of the command register alone,
    /// which somebody beneath whom this runs may have written for a command of his own.
    pub fn send_to_self(self, vector: u8) {
        let command = u32::from(vector) | 1 << 14 | 1 << 18;
        if self.x2apic {
            // SAFETY: the ICR of x2APIC mode.
            unsafe { wrmsr(msr::X2APIC + ICR_LOW / 16, u64::from(command)) };
            return;
        }
        let register = (self.base + u64::from(ICR_LOW)) as *mut u32;
        // SAFETY: `init` mapped the page of the local APIC at its physical address; so do the VMM's tables.
        unsafe {
            while register.read_volatile() & 1 << 12 != 0 {
                core::hint::spin_loop();
            }
            register.write_volatile(command);
        }
    }
}

/// Sends a fixed interrupt to all CPUs but this one that have been started.
pub fn send_to_others(vector: u8) {
    let me = cpu::id();
    (0..cpu::count()).filter(|&other| other != me).for_each(|other| send(crate::smp::apic_id(other), vector));
}

/// Where the registers are, unless they are model-specific ones. A page.
pub fn memory() -> Option<u64> {
    (!is_x2apic()).then(|| BASE.load(Ordering::Relaxed))
}

/// Sends an NMI to all CPUs but this one.
pub(crate) fn send_nmi_to_others() {
    send_command(0, 4 << 8 | 1 << 14 | 3 << 18);
}

/// Sends INIT (level assert).
pub(crate) fn send_init(apic_id: u32) {
    send_command(apic_id, 5 << 8 | 1 << 14);
}

/// Sends a start-up IPI: execution begins in real mode at `page << 12`.
pub(crate) fn send_startup(apic_id: u32, page: u8) {
    send_command(apic_id, 6 << 8 | 1 << 14 | u32::from(page));
}

fn send_command(apic_id: u32, command: u32) {
    cpu::without_interrupts(|| {
        if X2APIC.load(Ordering::Relaxed) {
            // SAFETY: the ICR of x2APIC mode (MSR 830h). The fence orders earlier stores before the interrupt
            // (Intel SDM vol. 3, 11.12.3: x2APIC MSR writes do not serialise).
            unsafe {
                core::arch::asm!("mfence", "lfence", options(nostack));
                wrmsr(msr::X2APIC + ICR_LOW / 16, u64::from(apic_id) << 32 | u64::from(command));
            }
        } else {
            while read(ICR_LOW) & 1 << 12 != 0 {
                core::hint::spin_loop();
            }
            write(ICR_HIGH, apic_id << 24);
            write(ICR_LOW, command);
        }
    });
}
