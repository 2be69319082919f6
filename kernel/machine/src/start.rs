//! Bringing the machine up, from the first Rust instruction to threads on all CPUs.

use crate::acpi::{self, Acpi};
use crate::bootinfo::{Boot, CommandLine, Reader};
use crate::cpu::{self, PerCpu};
use crate::memory::map::{MemoryMap, RegionKind};
use crate::memory::reserve::{self, Reserve};
use crate::traps::{self, Tables};
use crate::{apic, console, exit, facts, frames, irq, paging, smp, symbols, thread, time};
use alloc::boxed::Box;
use core::sync::atomic::{AtomicU64, Ordering};
use spin::Once;

/// Physical memory through the identity map: below 4 GiB, which the boot page tables reach. Page 0 is not read.
pub struct LowMemory;

impl Reader for LowMemory {
    fn bytes(&self, address: u64, length: usize) -> Option<&[u8]> {
        let end = address.checked_add(length as u64)?;
        if address < 0x400 || end > 1 << 32 {
            return None;
        }
        // SAFETY: the boot page tables map this range; firmware tables are not written while they are read.
        Some(unsafe { core::slice::from_raw_parts(address as *const u8, length) })
    }
}

/// Why the machine can't be brought up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartError {
    /// No usable memory below 4 GiB for the first tables.
    Memory,
    /// Page tables could not be built.
    Paging(paging::MapError),
    /// No local APIC.
    Apic(apic::ApicError),
}

/// What was found, for the rest of the system.
pub struct Machine {
    /// The ACPI tables, if there are any.
    pub acpi: Option<&'static Acpi>,
    /// The kernel command line.
    pub command_line: CommandLine,
    /// The VMM's reserve, if memory allows one.
    pub reserve: Option<Reserve>,
    /// RAM in bytes, whatever it is used for.
    pub memory: u64,
    /// What lies where in physical memory.
    pub map: Box<MemoryMap>,
}

// What the tables say refers to nothing, nor does text.
impl facts::Fact for Acpi {}
impl facts::Fact for CommandLine {}

crate::facts! {
    static ACPI: Once<Acpi> = Once::new();
    static COMMAND_LINE: Once<CommandLine> = Once::new();
    /// Where the VMM's reserve begins and ends.
    static RESERVE: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
}

/// What the ACPI tables of this machine say, if it has any.
pub fn acpi() -> Option<&'static Acpi> {
    ACPI.get()
}

/// The kernel command line that this machine was started with; a restored system was started with another.
pub fn command_line() -> &'static str {
    COMMAND_LINE.get().map_or("", CommandLine::as_str)
}

static mut FIRST_TABLES: Tables = Tables::new();
static mut FIRST_CPU: PerCpu = PerCpu::new(0);

/// The very first: exceptions have somewhere to go, the serial line speaks, time runs.
///
/// # Safety
/// Once, on the first CPU, interrupts off, before anything else of this crate.
pub unsafe fn early() {
    time::start();
    // SAFETY: by the contract this runs once, so the statics are borrowed once.
    unsafe {
        traps::build_idt();
        cpu::enable_features();
        let tables = &raw mut FIRST_TABLES;
        (*tables).install();
        // After the tables: loading the GS selector clears GS's base.
        let block = &raw mut FIRST_CPU;
        (*block).install();
    }
    console::init(0x3f8);
}

/// Memory, interrupts, clocks. What calls this becomes the idle thread of the first CPU; threads can be spawned
/// afterwards.
pub fn start(mut boot: Boot) -> Result<Machine, StartError> {
    COMMAND_LINE.call_once(|| boot.command_line.clone());
    let map = &mut boot.map;
    let memory = map.total(RegionKind::Usable);
    let [image_start, .., data_end] = paging::image_bounds();
    let image_end = data_end + symbols::table_bytes() as u64;
    map.insert(image_start, image_end - image_start, RegionKind::Kernel);
    // Page 0 and the first megabyte: the BIOS's data, the trampoline, boot information.
    map.insert(0, 1 << 20, RegionKind::Reserved);
    let acpi = read_acpi(boot.rsdp).map(|acpi| ACPI.call_once(|| acpi));
    let reserve = reserve::carve(map);
    if let Some(Reserve { start, length, .. }) = reserve {
        RESERVE[0].store(start, Ordering::Relaxed);
        RESERVE[1].store(start + length, Ordering::Relaxed);
    }
    if !frames::init(map) {
        return Err(StartError::Memory);
    }
    paging::init(map, image_end).map_err(StartError::Paging)?;
    frames::add_high(map);
    apic::init().map_err(StartError::Apic)?;
    smp::init_first();
    let clock = time::init(acpi.and_then(|acpi| acpi.hpet));
    apic::calibrate_timer();
    if let Some(madt) = acpi.and_then(|acpi| acpi.madt.as_ref()) {
        irq::init(madt);
    }
    if let Some(acpi) = acpi {
        exit::set_maker(&acpi.oem);
    }
    if let Some((port, value)) = acpi.and_then(|acpi| acpi.fadt).and_then(|fadt| fadt.reset) {
        exit::set_reset_register(port, value);
    }
    thread::adopt_idle();
    report(map, memory, reserve.as_ref(), clock);
    Ok(Machine { acpi, command_line: boot.command_line, reserve, memory, map: Box::new(boot.map) })
}

/// Puts the memory of a system that was restored in order: time goes on from `at`, and free frames are known again. The very first, while
/// no other CPU looks at anything.
pub fn resume(at: time::Instant) {
    time::resume(at);
    frames::resume();
    // The way into guest mode and back leads through the reserve, and this system's page tables know that of the machine it was on.
    let [start, end] = RESERVE.each_ref().map(|address| address.load(Ordering::Relaxed));
    paging::map_memory(start..end)
        .expect("free memory for a few page tables: what was frozen had lent as much");
}

/// Starts the other CPUs. On a thread, interrupts on.
pub fn start_cpus(machine: &Machine) {
    let limit =
        crate::bootinfo::setting(machine.command_line.as_str(), "cpus").and_then(|text| text.parse().ok());
    if let Some(madt) = machine.acpi.and_then(|acpi| acpi.madt.as_ref()) {
        smp::start(madt, limit.unwrap_or(cpu::MAX_CPUS));
    }
    log::info!("{} CPU{}", cpu::count(), if cpu::count() == 1 { "" } else { "s" });
}

fn read_acpi(rsdp: Option<u64>) -> Option<Acpi> {
    let rsdp = rsdp.or_else(|| acpi::find_rsdp(&LowMemory))?;
    match acpi::read(&LowMemory, rsdp) {
        Ok(acpi) => Some(acpi),
        Err(error) => {
            log::warn!("ACPI tables at {rsdp:#x} can't be used: {error:?}");
            None
        }
    }
}

fn report(map: &MemoryMap, memory: u64, reserve: Option<&Reserve>, clock: time::ClockSource) {
    log::info!("memory {} MiB, free {} MiB", memory >> 20, frames::statistics().free >> 8);
    if map.is_truncated() {
        log::warn!("the memory map has more regions than fit; some memory is not used");
    }
    match reserve {
        Some(reserve) => log::info!(
            "VMM reserve {} MiB at {:#x}, {}.{} % of memory",
            reserve.length >> 20,
            reserve.start,
            reserve.per_mille() / 10,
            reserve.per_mille() % 10
        ),
        None => log::warn!("no room for a VMM reserve: this machine stays native"),
    }
    let (mode, timer, hertz) = apic::describe();
    log::info!(
        "TSC {} MHz ({clock:?}), {mode}, timer {timer} {} MHz",
        time::tsc_hertz() / 1_000_000,
        hertz / 1_000_000
    );
}
