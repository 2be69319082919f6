//! The VMM's own world on a CPU: stack, GDT, TSS and the IDT. It never takes an interrupt; an exception in it is a fault of
//! the VMM and ends in last words.
//!
//! Selectors mean the same as in the system's GDT, so that CS and SS need no reload on the way.

use super::Arena;
use crate::traps::{Idt, Tss};
use x86defs::segment::{PRESENT, Segment, TableRegister};

/// Bytes of a stack: the deepest user is last words.
const STACK: usize = 16 * 1024;
const TSS_SELECTOR: u16 = 24;

/// Stack and descriptor tables of one CPU.
#[repr(C, align(4096))]
#[derive(Debug)]
pub struct HostCpu {
    stack: [u8; STACK],
    exception_stack: [u8; STACK],
    gdt: [u64; 5],
    tss: Tss,
}

/// The interrupt descriptor table of the VMM, the same for all CPUs.
#[derive(Debug)]
pub struct HostIdt(TableRegister);

impl HostIdt {
    /// A copy of the system's table, which the system can't reach.
    pub fn build(arena: &mut Arena) -> Option<Self> {
        let table = arena.place(crate::traps::idt())?;
        Some(Self(TableRegister { base: &raw const *table as u64, limit: size_of::<Idt>() as u16 - 1 }))
    }

    /// For LIDT.
    pub fn register(&self) -> TableRegister {
        self.0
    }
}

impl HostCpu {
    /// Builds the world of one CPU.
    pub fn build(arena: &mut Arena) -> Option<&'static Self> {
        // SAFETY: a plain structure of integers.
        let cpu: &'static mut Self = unsafe { arena.zeroed() }?;
        // All entries of the interrupt stack table are the same: nothing in here nests but failing last words.
        let exceptions = cpu.exception_stack.as_ptr_range().end as u64;
        let [low, high] = cpu.tss.fill([exceptions; 7]);
        cpu.gdt = [0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff, low, high];
        Some(cpu)
    }

    /// Where the stack begins, 16-byte aligned.
    pub fn stack_top(&self) -> u64 {
        self.stack.as_ptr_range().end as u64
    }

    /// For LGDT.
    pub fn gdt(&self) -> TableRegister {
        TableRegister { base: self.gdt.as_ptr() as u64, limit: size_of_val(&self.gdt) as u16 - 1 }
    }

    /// The task register, as VMLOAD loads it.
    pub fn task(&self) -> Segment {
        Segment {
            selector: TSS_SELECTOR,
            attributes: PRESENT | 0xb,
            limit: size_of::<Tss>() as u32 - 1,
            base: &raw const self.tss as u64,
        }
    }
}
