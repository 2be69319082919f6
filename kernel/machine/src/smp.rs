//! Starting the other CPUs: INIT, SIPI, a trampoline below 1 MiB, and from there into the idle thread.
//!
//! Sources: Intel SDM vol. 3, "Multiple-Processor Initialization"; AMD64 APM vol. 2, 16.5 (INIT, SIPI).

use crate::acpi::MadtInfo;
use crate::cpu::{self, MAX_CPUS, PerCpu};
use crate::paging::{self, Rights};
use crate::time::{Duration, Instant};
use crate::{apic, thread, traps};
use alloc::boxed::Box;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

core::arch::global_asm!(include_str!("trampoline.s"));

/// Where the trampoline is copied; reserved in the memory map. Its number is the SIPI's vector.
pub(crate) const TRAMPOLINE: u64 = 0x8000;
const STACK: usize = 64 * 1024;

crate::facts! {
    static APIC_IDS: [AtomicU32; MAX_CPUS] = [const { AtomicU32::new(0) }; MAX_CPUS];
}
static RUNNING: AtomicUsize = AtomicUsize::new(1);

/// Local APIC ID of a CPU by its number.
pub(crate) fn apic_id(cpu: usize) -> u32 {
    APIC_IDS[cpu].load(Ordering::Relaxed)
}

/// What an arriving CPU finds.
struct Arrival {
    block: &'static mut PerCpu,
    tables: &'static mut traps::Tables,
}

/// Fills the first CPU's place in the table.
pub(crate) fn init_first() {
    APIC_IDS[0].store(apic::id(), Ordering::Relaxed);
}

/// Starts every enabled CPU of the MADT, up to `limit` in all, one after the other. A CPU that does not come up in time is
/// left out, with a warning.
pub(crate) fn start(madt: &MadtInfo, limit: usize) {
    unsafe extern "C" {
        static trampoline_start: u8;
        static trampoline_end: u8;
        static trampoline_cr3: u8;
        static trampoline_stack: u8;
        static trampoline_arrival: u8;
    }
    let image = &raw const trampoline_start as u64;
    let length = &raw const trampoline_end as u64 - image;
    // SAFETY: the page is reserved in the memory map, identity-mapped and writable; the source is the image's own code.
    unsafe { core::ptr::copy_nonoverlapping(image as *const u8, TRAMPOLINE as *mut u8, length as usize) };
    let field = |symbol: *const u8| (TRAMPOLINE + (symbol as u64 - image)) as *mut u64;
    // The parameters lie in the same page as the code: written first, executed afterwards.
    let me = apic::id();
    for entry in madt.cpus().filter(|entry| entry.enabled && entry.apic_id != me) {
        let number = cpu::count();
        if number >= limit.min(MAX_CPUS) {
            log::warn!("CPUs beyond {number} are left off");
            break;
        }
        if entry.apic_id > 0xfe && !apic::is_x2apic() {
            log::warn!("CPU with APIC ID {} needs x2APIC, which this machine lacks", entry.apic_id);
            continue;
        }
        let (Some(tables), Some(stack), Some(block)) =
            (traps::allocate_tables(), allocate_stack(), allocate_block(number))
        else {
            log::warn!("no memory to start CPU {number}");
            break;
        };
        APIC_IDS[number].store(entry.apic_id, Ordering::Relaxed);
        let arrival = Box::into_raw(Box::new(Arrival { block, tables }));
        let protect = |rights| paging::protect(TRAMPOLINE, rights);
        // SAFETY: the fields of the copied trampoline; no CPU runs it now.
        unsafe {
            field(&raw const trampoline_cr3).write(paging::root());
            field(&raw const trampoline_stack).write(stack);
            field(&raw const trampoline_arrival).write(arrival as u64);
        }
        if protect(Rights::READ_EXECUTE).is_err() {
            log::warn!("no memory to start CPU {number}");
            break;
        }
        let came = start_one(entry.apic_id, number);
        if protect(Rights::READ_WRITE).is_err() {
            break;
        }
        if !came {
            log::warn!("CPU {number} (APIC ID {}) did not answer", entry.apic_id);
            // Its memory stays reserved: it may still wake.
            break;
        }
    }
}

fn start_one(apic_id: u32, number: usize) -> bool {
    apic::send_init(apic_id);
    // The manual's 10 ms are for 82489DX APICs; CPUs with long mode need none (Linux waits 0), a little does no harm.
    wait(Duration::from_micros(500), || false);
    for _ in 0..2 {
        apic::send_startup(apic_id, (TRAMPOLINE >> 12) as u8);
        if wait(Duration::from_millis(100), || RUNNING.load(Ordering::Acquire) > number) {
            return true;
        }
    }
    wait(Duration::from_millis(900), || RUNNING.load(Ordering::Acquire) > number)
}

/// Spins until `done`, at most for `limit`.
fn wait(limit: Duration, done: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    while !done() {
        if start.elapsed() >= limit {
            return false;
        }
        core::hint::spin_loop();
    }
    true
}

/// A CPU's block, in a page of its own at its physical address: the VMM, whose page tables know no heap, finds it there, too.
fn allocate_block(number: usize) -> Option<&'static mut PerCpu> {
    const { assert!(size_of::<PerCpu>() <= paging::PAGE as usize) };
    let page = crate::frames::allocate_near(0)? as *mut PerCpu;
    // SAFETY: the frame is ours for good, identity-mapped, aligned and large enough.
    unsafe {
        page.write(PerCpu::new(number));
        Some(&mut *page)
    }
}

fn allocate_stack() -> Option<u64> {
    let order = (STACK as u64 / paging::PAGE).trailing_zeros();
    crate::frames::allocate_near(order).map(|frame| frame + STACK as u64)
}

/// First Rust code of another CPU, on its own stack, in the kernel's address space.
#[unsafe(no_mangle)]
extern "C" fn cpu_arrived(arrival: *mut Arrival) -> ! {
    // SAFETY: the pointer comes from `start`, which made it for this CPU alone.
    let Arrival { block, tables } = *unsafe { Box::from_raw(arrival) };
    // SAFETY: once, on this CPU, interrupts off, with tables of its own.
    unsafe {
        cpu::enable_features();
        tables.install();
    }
    let block = block.install();
    apic::init_cpu();
    thread::adopt_idle();
    cpu::set_count(block.id + 1);
    RUNNING.store(block.id + 1, Ordering::Release);
    thread::run_idle()
}
