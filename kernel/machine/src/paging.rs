//! The page tables: one address space, physical memory identity-mapped, W^X throughout.
//!
//! RAM is mapped writable and not executable with the largest pages that fit; the image in 4 KiB pages, each segment
//! with its own rights; page 0 and guard pages not at all; device memory uncached. Thread stacks are mapped a second
//! time in a window of their own, where unmapped pages lie between them.
//!
//! Source: AMD64 APM vol. 2, chapter 5 (page translation), 7.8 (PAT: PCD and PWT select UC as reset leaves it).

use crate::memory::map::{MemoryMap, RegionKind};
use crate::{apic, cpu, frames};
use core::arch::asm;
use core::arch::x86_64::__cpuid;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

mod scratch;

pub use scratch::Scratch;
pub(crate) use scratch::demand;

/// Size of a page.
pub const PAGE: u64 = 4096;
const LARGE: u64 = 2 << 20;
const HUGE: u64 = 1 << 30;

const PRESENT: u64 = 1;
const WRITE: u64 = 1 << 1;
const UNCACHED: u64 = 1 << 3 | 1 << 4;
const LEAF: u64 = 1 << 7;
const GLOBAL: u64 = 1 << 8;
const NO_EXECUTE: u64 = 1 << 63;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// Where thread stacks are mapped.
pub const STACK_WINDOW: u64 = 0x6000_0000_0000;
/// The identity map ends below the window.
const IDENTITY_END: u64 = 0x4000_0000_0000;

/// What may be done with a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights(u64);

impl Rights {
    /// Read only.
    pub const READ: Self = Self(NO_EXECUTE);
    /// Read and write.
    pub const READ_WRITE: Self = Self(WRITE | NO_EXECUTE);
    /// Read and execute.
    pub const READ_EXECUTE: Self = Self(0);
    /// Read and write, device memory.
    pub const DEVICE: Self = Self(WRITE | NO_EXECUTE | UNCACHED);
}

/// Why a mapping was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapError {
    /// No frame for a page table.
    OutOfMemory,
    /// The range wraps or leaves the part of the address space that may be mapped.
    Range,
}

static ROOT: AtomicU64 = AtomicU64::new(0);
static LOCK: spin::Mutex<()> = spin::Mutex::new(());

fn lock<R>(f: impl FnOnce() -> R) -> R {
    cpu::without_interrupts(|| {
        let _guard = LOCK.lock();
        f()
    })
}

fn table(physical: u64) -> *mut u64 {
    (physical & ADDRESS) as *mut u64
}

fn new_table() -> Result<u64, MapError> {
    let frame = frames::allocate_near(0).ok_or(MapError::OutOfMemory)?;
    // SAFETY: a frame just allocated is ours and identity-mapped.
    unsafe { core::ptr::write_bytes(frame as *mut u8, 0, PAGE as usize) };
    Ok(frame)
}

/// Sets the leaf for `virtual_address` at the level whose pages are `size` bytes; splits larger leaves on the way.
fn set_leaf(root: u64, virtual_address: u64, size: u64, entry: u64) -> Result<(), MapError> {
    let mut current = root;
    let mut shift = 39;
    loop {
        let slot = (virtual_address >> shift & 511) as usize;
        let level_size = 1u64 << shift;
        // SAFETY: `current` is a page table of ours (identity-mapped), `slot` < 512; callers hold the lock.
        let pointer = unsafe { table(current).add(slot) };
        // SAFETY: as above.
        let old = unsafe { pointer.read() };
        if level_size == size {
            // SAFETY: as above; a table hanging below an overwritten entry would leak, never dangle.
            unsafe { pointer.write_volatile(entry) };
            return Ok(());
        }
        if old & PRESENT == 0 {
            let next = new_table()?;
            // SAFETY: as above.
            unsafe { pointer.write_volatile(next | PRESENT | WRITE) };
            current = next;
        } else if old & LEAF != 0 {
            let next = new_table()?;
            let child = level_size / 512;
            for index in 0..512u64 {
                let mut part = (old & !ADDRESS) | ((old & ADDRESS) + index * child);
                if child == PAGE {
                    part &= !LEAF;
                }
                // SAFETY: the new table is ours.
                unsafe { table(next).add(index as usize).write(part) };
            }
            // SAFETY: as above. The new table translates as the old leaf did.
            unsafe { pointer.write_volatile(next | PRESENT | WRITE) };
            current = next;
        } else {
            current = old & ADDRESS;
        }
        shift -= 9;
    }
}

fn map_range(
    root: u64,
    start: u64,
    end: u64,
    physical: u64,
    rights: Rights,
    largest: u64,
) -> Result<(), MapError> {
    let mut at = start;
    while at < end {
        let target = physical + (at - start);
        let fits = |size: u64| {
            size <= largest && at.is_multiple_of(size) && target.is_multiple_of(size) && end - at >= size
        };
        let size = if fits(HUGE) {
            HUGE
        } else if fits(LARGE) {
            LARGE
        } else {
            PAGE
        };
        let leaf = if size == PAGE { 0 } else { LEAF };
        set_leaf(root, at, size, target | PRESENT | GLOBAL | leaf | rights.0)?;
        at += size;
    }
    Ok(())
}

unsafe extern "C" {
    static __image_start: u8;
    static __text_end: u8;
    static __rodata_end: u8;
    static __data_end: u8;
    static __facts_start: u8;
    static __facts_end: u8;
    static boot_stack_bottom: u8;
}

/// The image's segments: where text, read-only data and data end. Symbols follow the data.
pub fn image_bounds() -> [u64; 4] {
    [&raw const __image_start, &raw const __text_end, &raw const __rodata_end, &raw const __data_end]
        .map(|address| address as u64)
}

/// Where the [facts](crate::facts) of the machine are, among the image's data: whole pages.
pub fn facts_bounds() -> Range<u64> {
    &raw const __facts_start as u64..&raw const __facts_end as u64
}

/// Builds the kernel's page tables and switches to them. Once, on the first CPU; the frame allocator works.
pub(crate) fn init(map: &MemoryMap, image_end: u64) -> Result<(), MapError> {
    let huge_pages = __cpuid(0x8000_0001).edx & 1 << 26 != 0;
    let largest = if huge_pages { HUGE } else { LARGE };
    let root = new_table()?;
    for region in map.iter() {
        let rights = match region.kind {
            RegionKind::Reserved | RegionKind::Unusable => continue,
            _ => Rights::READ_WRITE,
        };
        let (start, end) = (region.start & !(PAGE - 1), region.end.next_multiple_of(PAGE).min(IDENTITY_END));
        map_range(root, start, end, start, rights, largest)?;
    }
    // Tables of the firmware (ACPI, MP) may lie in reserved memory below 1 MiB.
    map_range(root, 0, 0x10_0000, 0, Rights::READ_WRITE, PAGE)?;
    let [start, text_end, rodata_end, data_end] = image_bounds();
    map_range(root, start, text_end, start, Rights::READ_EXECUTE, PAGE)?;
    map_range(root, text_end, rodata_end, text_end, Rights::READ, PAGE)?;
    map_range(root, rodata_end, data_end, rodata_end, Rights::READ_WRITE, PAGE)?;
    map_range(root, data_end, image_end.next_multiple_of(PAGE), data_end, Rights::READ, PAGE)?;
    set_leaf(root, 0, PAGE, 0)?;
    set_leaf(root, &raw const boot_stack_bottom as u64, PAGE, 0)?;
    ROOT.store(root, Ordering::Release);
    load();
    Ok(())
}

/// Makes the CPU that runs this use the kernel's page tables.
pub(crate) fn load() {
    // SAFETY: the tables map the image, the stacks in use and all memory the kernel knows.
    unsafe { asm!("mov cr3, {}", in(reg) ROOT.load(Ordering::Acquire), options(nostack)) };
}

/// Physical address of the top-level table.
pub(crate) fn root() -> u64 {
    ROOT.load(Ordering::Acquire)
}

/// Maps device memory at its physical address. Pages that are mapped already stay as they are only if they are device
/// memory too: the range must not contain RAM.
pub(crate) fn map_device(physical: u64, bytes: u64) -> Result<(), MapError> {
    let start = physical & !(PAGE - 1);
    let end = physical.checked_add(bytes).ok_or(MapError::Range)?.next_multiple_of(PAGE);
    if end > IDENTITY_END {
        return Err(MapError::Range);
    }
    lock(|| map_range(root(), start, end, start, Rights::DEVICE, LARGE))?;
    flush_local();
    Ok(())
}

/// Maps memory at its physical addresses, whole pages. On a CPU that knows no translation of it.
pub(crate) fn map_memory(span: Range<u64>) -> Result<(), MapError> {
    lock(|| map_range(root(), span.start, span.end, span.start, Rights::READ_WRITE, LARGE))
}

/// Maps frames at addresses of a window (stacks, heap) that were never mapped before (so no CPU holds a translation).
pub(crate) fn map_window(window_address: u64, physical: u64, bytes: u64) -> Result<(), MapError> {
    lock(|| map_range(root(), window_address, window_address + bytes, physical, Rights::READ_WRITE, PAGE))
}

/// Changes the rights of an identity-mapped page and tells all CPUs. Interrupts are on, or only this CPU runs.
pub(crate) fn protect(page: u64, rights: Rights) -> Result<(), MapError> {
    lock(|| map_range(root(), page, page + PAGE, page, rights, PAGE))?;
    shootdown_page(page);
    Ok(())
}

/// Flushes every translation of this CPU, global ones too (APM vol. 2, 5.5.2: toggling CR4.PGE).
fn flush_local() {
    // SAFETY: CR4.PGE was set by `cpu::enable_features`; clearing and setting it only flushes.
    unsafe {
        let cr4: u64;
        asm!("mov {}, cr4", out(reg) cr4, options(nomem, nostack));
        asm!("mov cr4, {}", in(reg) cr4 & !(1 << 7), options(nostack));
        asm!("mov cr4, {}", in(reg) cr4, options(nostack));
    }
}

/// Flushes this CPU's translations of one address, or with [`ALL`] everything.
fn flush(stale: u64) {
    if stale == ALL {
        return flush_local();
    }
    // SAFETY: INVLPG only flushes: global translations too, and those of a large page that has been split (APM vol. 2, 5.5.2).
    unsafe { asm!("invlpg [{}]", in(reg) stale, options(nostack)) };
}

static SHOOTDOWN: AtomicBool = AtomicBool::new(false);
static PENDING: AtomicU64 = AtomicU64::new(0);
/// What the others flush: an address, or [`ALL`].
static STALE: AtomicU64 = AtomicU64::new(ALL);
/// Not an address in any window.
const ALL: u64 = u64::MAX;

/// Flushes every CPU's translations and returns when all have done it.
pub fn shootdown() {
    shootdown_page(ALL);
}

/// The same of one page, by an address in it: what else the CPUs know they keep.
fn shootdown_page(stale: u64) {
    debug_assert!(cpu::count() == 1 || cpu::interrupts_enabled(), "two initiators would wait for each other");
    while SHOOTDOWN.swap(true, Ordering::Acquire) {
        core::hint::spin_loop();
    }
    cpu::without_interrupts(|| {
        let me = cpu::id();
        STALE.store(stale, Ordering::Relaxed);
        PENDING.store(((1u128 << cpu::count()) - 1) as u64 & !(1 << me), Ordering::Release);
        for other in (0..cpu::count()).filter(|&other| other != me) {
            apic::send(crate::smp::apic_id(other), apic::SHOOTDOWN_VECTOR);
        }
        flush(stale);
    });
    while PENDING.load(Ordering::Acquire) != 0 {
        core::hint::spin_loop();
    }
    SHOOTDOWN.store(false, Ordering::Release);
}

pub(crate) fn shootdown_interrupt() {
    let me = 1 << cpu::id();
    // An interrupt that nobody has sent, as after a restore, must not answer who begins just now.
    if PENDING.load(Ordering::Acquire) & me != 0 {
        flush(STALE.load(Ordering::Relaxed));
        PENDING.fetch_and(!me, Ordering::AcqRel);
    }
}

/// Whether a page fault at this address means a stack overflow.
pub(crate) fn is_guard(address: u64) -> bool {
    let boot = &raw const boot_stack_bottom as u64;
    (boot..boot + PAGE).contains(&address) || crate::thread::stack::is_guard(address)
}

/// The physical address behind a virtual one, if it is mapped.
pub fn translate(address: u64) -> Option<u64> {
    walk(address, |_| {})
}

/// The same; calls `visitor` with each page table on the way.
pub fn walk(address: u64, mut visitor: impl FnMut(u64)) -> Option<u64> {
    let mut current = root();
    let mut shift = 39;
    while current != 0 && address < 1 << 47 {
        visitor(current);
        // SAFETY: a page table of ours; slot < 512.
        let entry = unsafe { table(current).add((address >> shift & 511) as usize).read_volatile() };
        if entry & PRESENT == 0 {
            return None;
        }
        if shift == 12 || entry & LEAF != 0 {
            let mask = (1u64 << shift) - 1;
            return Some(entry & ADDRESS & !mask | address & mask);
        }
        current = entry & ADDRESS;
        shift -= 9;
    }
    None
}
