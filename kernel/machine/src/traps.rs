//! Descriptor tables of a CPU and the way from a vector to its handler.
//!
//! Sources: AMD64 APM vol. 2, chapter 8 (exceptions and interrupts), 12.2.5 (TSS), 4.7 and 4.8 (descriptors).

use crate::virtualization::hooks;
use crate::{apic, attempt, cpu, irq, last_words, probe, thread};
use alloc::boxed::Box;
use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

global_asm!(include_str!("traps.s"));

/// Which extended state XSAVE saves; 0 selects FXSAVE. Read by assembly.
#[unsafe(no_mangle)]
pub(crate) static XSAVE_MASK: AtomicU32 = AtomicU32::new(0);

pub(crate) fn use_xsave(mask: u32) {
    XSAVE_MASK.store(mask, Ordering::Relaxed);
}

/// Registers at an exception or interrupt, as traps.s pushes them.
#[repr(C)]
#[derive(Debug)]
pub struct TrapFrame {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub rdx: u64,
    pub rcx: u64,
    pub rax: u64,
    pub vector: u64,
    pub error: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}
const _: () = assert!(size_of::<TrapFrame>() == 22 * 8);

/// Task-state segment (APM vol. 2, figure 12-8).
#[repr(C, packed(4))]
#[derive(Debug)]
pub(crate) struct Tss {
    reserved0: u32,
    rsp: [u64; 3],
    reserved1: u64,
    ist: [u64; 7],
    reserved2: [u16; 5],
    io_map: u16,
}
const _: () = assert!(size_of::<Tss>() == 104);

impl Tss {
    /// Sets the interrupt stacks (their upper ends) and returns the descriptor's two words.
    pub(crate) fn fill(&mut self, ist: [u64; 7]) -> [u64; 2] {
        self.ist = ist;
        self.io_map = size_of::<Self>() as u16;
        let base = &raw const *self as u64;
        let limit = size_of::<Self>() as u64 - 1;
        [limit | (base & 0xff_ffff) << 16 | 0x89 << 40 | (base >> 24 & 0xff) << 56, base >> 32]
    }
}

/// Interrupts pass through this one for a few instructions; each class of exception has its own.
const IST_INTERRUPT: u8 = 1;
const IST_DOUBLE_FAULT: u8 = 2;
const IST_NMI: u8 = 3;
const IST_MACHINE_CHECK: u8 = 4;
const IST_EXCEPTION: u8 = 5;
const IST_STACKS: usize = 5;
const IST_STACK: usize = 16 * 1024;

/// Descriptor tables and IST stacks of one CPU.
#[repr(C, align(4096))]
pub struct Tables {
    stacks: [[u8; IST_STACK]; IST_STACKS],
    gdt: [u64; 5],
    tss: Tss,
}

impl Tables {
    /// All zero; [`Tables::install`] fills them in.
    pub const fn new() -> Self {
        Self {
            stacks: [[0; IST_STACK]; IST_STACKS],
            gdt: [0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff, 0, 0],
            tss: Tss { reserved0: 0, rsp: [0; 3], reserved1: 0, ist: [0; 7], reserved2: [0; 5], io_map: 0 },
        }
    }

    /// Loads GDT, TSS, segment registers and the common IDT on the CPU that runs this.
    ///
    /// # Safety
    /// Once per CPU, with interrupts off, the block used by no other CPU.
    pub unsafe fn install(&'static mut self) {
        let mut ist = [0; 7];
        for (top, stack) in ist.iter_mut().zip(&self.stacks) {
            *top = stack.as_ptr_range().end as u64;
        }
        [self.gdt[3], self.gdt[4]] = self.tss.fill(ist);
        let gdt = Pointer { limit: size_of_val(&self.gdt) as u16 - 1, base: self.gdt.as_ptr() as u64 };
        let idt = Pointer { limit: size_of::<Idt>() as u16 - 1, base: &raw const IDT as u64 };
        // SAFETY: the tables are 'static and complete; selectors 8 and 16 are flat code and data, 24 the TSS.
        unsafe {
            asm!("lgdt [{}]", in(reg) &gdt, options(readonly, nostack));
            asm!(
                "push 8", "lea {t}, [rip + 2f]", "push {t}", "retfq", "2:",
                "mov ds, {d:x}", "mov es, {d:x}", "mov ss, {d:x}", "mov fs, {z:x}", "mov gs, {z:x}",
                t = out(reg) _, d = in(reg) 16u64, z = in(reg) 0u64,
            );
            asm!("ltr {:x}", in(reg) 24u16, options(nostack));
            asm!("lidt [{}]", in(reg) &idt, options(readonly, nostack));
        }
    }
}

#[repr(C, packed)]
struct Pointer {
    limit: u16,
    base: u64,
}

#[repr(C, align(16))]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Idt([[u64; 2]; 256]);

/// One table for all CPUs: what differs between them (the stacks) is in their TSS.
static mut IDT: Idt = Idt([[0; 2]; 256]);

/// Fills the IDT. Once, on the first CPU, before any [`Tables::install`].
pub(crate) fn build_idt() {
    unsafe extern "C" {
        static vector_entries: [[u8; 16]; 256];
    }
    let table = &raw mut IDT;
    // SAFETY: no CPU has loaded the table yet, and only this one runs.
    for (vector, gate) in unsafe { &mut (*table).0 }.iter_mut().enumerate() {
        let ist = match vector {
            2 => IST_NMI,
            8 => IST_DOUBLE_FAULT,
            18 => IST_MACHINE_CHECK,
            0..32 => IST_EXCEPTION,
            _ => IST_INTERRUPT,
        };
        // SAFETY: the symbol is the table of 256 entries of 16 bytes in traps.s.
        let entry = unsafe { &raw const vector_entries[vector] } as u64;
        let low = entry & 0xffff | 8 << 16 | u64::from(ist) << 32 | 0x8e << 40 | (entry >> 16 & 0xffff) << 48;
        *gate = [low, entry >> 32];
    }
}

/// The table as it is.
pub(crate) fn idt() -> Idt {
    // SAFETY: written once, before any CPU loaded it.
    unsafe { IDT }
}

/// Reads a model-specific register that may not exist; `None` if it doesn't.
pub(crate) fn probe_msr(register: u32) -> Option<u64> {
    let (low, high): (u64, u64);
    // SAFETY: reading has no other effect.
    let vector = unsafe {
        attempt!("rdmsr", in("ecx") register, out("rax") low, out("rdx") high, options(nomem, nostack))
    };
    (vector == 0).then_some(high << 32 | low & 0xffff_ffff)
}

/// Writes a model-specific register; false if that faults.
pub(crate) fn probe_msr_write(register: u32, value: u64) -> bool {
    // SAFETY: called with values that are refused, or that the register has already.
    let vector = unsafe {
        attempt!("wrmsr", in("ecx") register, in("rax") value, in("rdx") value >> 32, options(nostack))
    };
    vector == 0
}

const PAGE_FAULT: u64 = 14;

/// Where the last page fault of this CPU was (CR2).
pub(crate) fn fault_address() -> u64 {
    let address: u64;
    // SAFETY: reads CR2.
    unsafe { asm!("mov {}, cr2", out(reg) address, options(nomem, nostack, preserves_flags)) };
    address
}

static NMIS: AtomicU64 = AtomicU64::new(0);

/// Non-maskable interrupts so far, on all CPUs.
pub fn nmis() -> u64 {
    NMIS.load(Ordering::Relaxed)
}

#[unsafe(no_mangle)]
extern "C" fn exception_dispatch(frame: &mut TrapFrame) {
    match frame.vector {
        2 => {
            if last_words::is_speaking() {
                cpu::stop();
            }
            NMIS.fetch_add(1, Ordering::Relaxed);
        }
        probe::INVALID_OPCODE | probe::GENERAL_PROTECTION => {
            if !probe::resume(frame) {
                last_words::exception(frame);
            }
        }
        PAGE_FAULT if crate::paging::demand(fault_address()) => {}
        _ => last_words::exception(frame),
    }
}

#[unsafe(no_mangle)]
extern "C" fn interrupt_dispatch(frame: &mut TrapFrame) {
    cpu::this().interrupts.fetch_add(1, Ordering::Relaxed);
    let vector = frame.vector as u8;
    match vector {
        apic::SPURIOUS_VECTOR => return,
        apic::TIMER_VECTOR => {
            apic::end_of_interrupt();
            cpu::this().timer_interrupts.fetch_add(1, Ordering::Relaxed);
            thread::timer_interrupt();
        }
        apic::RESCHEDULE_VECTOR => apic::end_of_interrupt(),
        apic::SHOOTDOWN_VECTOR => {
            crate::paging::shootdown_interrupt();
            apic::end_of_interrupt();
        }
        apic::RENDEZVOUS_VECTOR => {
            apic::end_of_interrupt();
            hooks::rendezvous();
        }
        apic::REPORT_VECTOR => {
            apic::end_of_interrupt();
            hooks::report();
        }
        _ => {
            irq::dispatch(vector);
            apic::end_of_interrupt();
        }
    }
    thread::preempt();
}

/// Descriptor tables for a CPU other than the first; `None` when memory is out.
pub(crate) fn allocate_tables() -> Option<&'static mut Tables> {
    // Built in place: at 80 KiB the block is too large for a stack.
    let layout = core::alloc::Layout::new::<Tables>();
    // SAFETY: the layout is not empty; all-zero bytes are a valid `Tables`.
    let tables = unsafe {
        let pointer = alloc::alloc::alloc_zeroed(layout).cast::<Tables>();
        if pointer.is_null() {
            return None;
        }
        Box::leak(Box::from_raw(pointer))
    };
    tables.gdt[1] = 0x00af_9b00_0000_ffff;
    tables.gdt[2] = 0x00cf_9300_0000_ffff;
    Some(tables)
}
