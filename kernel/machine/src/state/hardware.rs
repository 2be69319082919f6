//! The CPU that runs this, behind [`Privileged`].

use super::{Privileged, Register, Selector};
use crate::cpu::{rdmsr, wrmsr};
use core::arch::asm;
use x86defs::segment::TableRegister;

/// The CPU that runs this.
#[derive(Debug)]
pub struct Hardware(());

impl Hardware {
    /// The CPU that runs this.
    ///
    /// # Safety
    /// Interrupts are off. What is written through it is a state taken by [`super::capture`] before, or one that keeps
    /// every invariant the kernel relies on.
    pub unsafe fn new() -> Self {
        Self(())
    }
}

macro_rules! read {
    ($register:literal) => {{
        let value: u64;
        // SAFETY: reading a control or debug register at privilege level 0 has no effect on memory.
        unsafe { asm!(concat!("mov {}, ", $register), out(reg) value, options(nomem, nostack, preserves_flags)) };
        value
    }};
}

macro_rules! write {
    ($register:literal, $value:expr) => {
        // SAFETY: by the contract of `new` the value keeps the kernel's invariants.
        unsafe { asm!(concat!("mov ", $register, ", {}"), in(reg) $value, options(nostack, preserves_flags)) }
    };
}

macro_rules! selector {
    ($instruction:literal) => {{
        let value: u16;
        // SAFETY: stores a selector in a register.
        unsafe { asm!($instruction, out(reg) value, options(nomem, nostack, preserves_flags)) };
        value
    }};
}

macro_rules! load {
    ($instruction:literal, $value:expr) => {
        // SAFETY: by the contract of `new` the selector is one of the table that is loaded.
        unsafe { asm!($instruction, in(reg) $value, options(nostack, preserves_flags)) }
    };
}

/// The operand of LGDT, LIDT, SGDT and SIDT.
#[repr(C, packed)]
#[derive(Clone, Copy)]
struct Pointer {
    limit: u16,
    base: u64,
}

impl Privileged for Hardware {
    #[inline(always)]
    fn read(&self, register: Register) -> u64 {
        match register {
            Register::Cr0 => read!("cr0"),
            Register::Cr2 => read!("cr2"),
            Register::Cr3 => read!("cr3"),
            Register::Cr4 => read!("cr4"),
            Register::Dr6 => read!("dr6"),
            Register::Dr7 => read!("dr7"),
            Register::Xcr0 => {
                let (low, high): (u32, u32);
                // SAFETY: asked for only where CR4.OSXSAVE is set.
                unsafe {
                    asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high, options(nomem, nostack))
                };
                u64::from(high) << 32 | u64::from(low)
            }
        }
    }

    #[inline(always)]
    fn write(&mut self, register: Register, value: u64) {
        match register {
            Register::Cr0 => write!("cr0", value),
            Register::Cr2 => write!("cr2", value),
            Register::Cr3 => write!("cr3", value),
            Register::Cr4 => write!("cr4", value),
            Register::Dr6 => write!("dr6", value),
            Register::Dr7 => write!("dr7", value),
            // SAFETY: as for the others; asked for only where CR4.OSXSAVE is set.
            Register::Xcr0 => unsafe {
                asm!("xsetbv", in("ecx") 0, in("eax") value as u32, in("edx") (value >> 32) as u32, options(nostack));
            },
        }
    }

    #[inline(always)]
    fn msr(&self, number: u32) -> u64 {
        // SAFETY: registers of x86-64, or asked for only where `Optional` has them.
        unsafe { rdmsr(number) }
    }

    #[inline(always)]
    fn set_msr(&mut self, number: u32, value: u64) {
        // SAFETY: as for `msr`, and by the contract of `new`.
        unsafe { wrmsr(number, value) }
    }

    #[inline(always)]
    fn selector(&self, register: Selector) -> u16 {
        match register {
            Selector::Es => selector!("mov {0:x}, es"),
            Selector::Cs => selector!("mov {0:x}, cs"),
            Selector::Ss => selector!("mov {0:x}, ss"),
            Selector::Ds => selector!("mov {0:x}, ds"),
            Selector::Fs => selector!("mov {0:x}, fs"),
            Selector::Gs => selector!("mov {0:x}, gs"),
            Selector::Ldtr => selector!("sldt {0:x}"),
            Selector::Tr => selector!("str {0:x}"),
        }
    }

    #[inline(always)]
    fn load(&mut self, register: Selector, selector: u16) {
        match register {
            Selector::Es => load!("mov es, {0:x}", selector),
            Selector::Ss => load!("mov ss, {0:x}", selector),
            Selector::Ds => load!("mov ds, {0:x}", selector),
            Selector::Fs => load!("mov fs, {0:x}", selector),
            Selector::Gs => load!("mov gs, {0:x}", selector),
            Selector::Ldtr => load!("lldt {0:x}", selector),
            Selector::Tr => load!("ltr {0:x}", selector),
            Selector::Cs => {}
        }
    }

    #[inline(always)]
    fn gdtr(&self) -> TableRegister {
        let mut pointer = Pointer { limit: 0, base: 0 };
        // SAFETY: stores ten bytes into a local.
        unsafe { asm!("sgdt [{}]", in(reg) &mut pointer, options(nostack, preserves_flags)) };
        TableRegister { base: pointer.base, limit: pointer.limit }
    }

    #[inline(always)]
    fn idtr(&self) -> TableRegister {
        let mut pointer = Pointer { limit: 0, base: 0 };
        // SAFETY: as for `gdtr`.
        unsafe { asm!("sidt [{}]", in(reg) &mut pointer, options(nostack, preserves_flags)) };
        TableRegister { base: pointer.base, limit: pointer.limit }
    }

    #[inline(always)]
    fn load_gdtr(&mut self, table: TableRegister) {
        let pointer = Pointer { limit: table.limit, base: table.base };
        // SAFETY: by the contract of `new` the table is complete.
        unsafe { asm!("lgdt [{}]", in(reg) &pointer, options(readonly, nostack, preserves_flags)) };
    }

    #[inline(always)]
    fn load_idtr(&mut self, table: TableRegister) {
        let pointer = Pointer { limit: table.limit, base: table.base };
        // SAFETY: as for `load_gdtr`.
        unsafe { asm!("lidt [{}]", in(reg) &pointer, options(readonly, nostack, preserves_flags)) };
    }

    #[inline(always)]
    fn descriptor(&self, address: u64) -> u64 {
        // SAFETY: an entry of the GDT that is (being) loaded, which the kernel's page tables map.
        unsafe { (address as *const u64).read_volatile() }
    }

    #[inline(always)]
    fn set_descriptor(&mut self, address: u64, value: u64) {
        // SAFETY: as for `descriptor`; by the contract of `new` the value is a sound descriptor.
        unsafe { (address as *mut u64).write_volatile(value) };
    }
}
