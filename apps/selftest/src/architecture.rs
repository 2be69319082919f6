//! All state that the system can see of each CPU, natively, in guest mode, and natively again: registers are given values that
//! are unlike those after a reset wherever the system bears it, and read one by one, not by the code that carries them over.

use crate::check;
use crate::guards::leftovers;
use crate::switch::{everywhere, switch_to, then_native};
use alloc::sync::Arc;
use alloc::vec::Vec;
use app::Env;
use core::arch::asm;
use core::fmt;
use machine::state::{Hardware, Privileged, Register, Selector};
use machine::{attempt, cpu};
use mode::Phase;
use mode::bare::look;
use x86defs::registers::{CR4_OSXSAVE, CR4_VMXE, EFER_SVME, msr};
use x86defs::segment::TableRegister;

/// The selector of the system's data segment.
const DATA: u16 = 16;

const REGISTERS: [(&str, Register); 5] = [
    ("CR0", Register::Cr0),
    ("CR3", Register::Cr3),
    ("CR4", Register::Cr4),
    ("DR6", Register::Dr6),
    ("DR7", Register::Dr7),
];

/// Functions that read and write a register of those that no switch moves.
macro_rules! unmoved {
    ($name:literal, $register:literal) => {
        (
            $name,
            || {
                let value: u64;
                // SAFETY: reading it has no effect.
                unsafe { asm!(concat!("mov {}, ", $register), out(reg) value, options(nomem, nostack)) };
                value
            },
            |value| {
                // SAFETY: the callers write breakpoints that are off, or a priority below all vectors in use.
                unsafe { asm!(concat!("mov ", $register, ", {}"), in(reg) value, options(nostack)) };
            },
        )
    };
}

/// A register's name, and how it is read and written.
type Unmoved = (&'static str, fn() -> u64, fn(u64));

/// They are the CPU's in both modes.
const UNMOVED: [Unmoved; 5] = [
    unmoved!("CR8", "cr8"),
    unmoved!("DR0", "dr0"),
    unmoved!("DR1", "dr1"),
    unmoved!("DR2", "dr2"),
    unmoved!("DR3", "dr3"),
];

/// Registers that not every CPU has, nor every emulator.
const OPTIONAL: [(&str, u32); 3] =
    [("TSC_AUX", msr::TSC_AUX), ("SPEC_CTRL", msr::SPEC_CTRL), ("DEBUGCTL", msr::DEBUGCTL)];
/// What is noted of one that is not there.
const ABSENT: u64 = !0;

fn optional(register: u32) -> u64 {
    let (low, high): (u64, u64);
    // SAFETY: reading has no other effect.
    let vector = unsafe {
        attempt!("rdmsr", in("ecx") register, out("rax") low, out("rdx") high, options(nomem, nostack))
    };
    if vector == 0 { high << 32 | low & 0xffff_ffff } else { ABSENT }
}

/// Registers that every CPU has, and whether they get other values.
const MSRS: [(&str, u32, bool); 13] = [
    ("EFER", msr::EFER, false),
    ("PAT", msr::PAT, false),
    ("GS base", msr::GS_BASE, false),
    ("FS base", msr::FS_BASE, true),
    ("KERNEL_GS base", msr::KERNEL_GS_BASE, true),
    ("STAR", msr::STAR, true),
    ("LSTAR", msr::LSTAR, true),
    ("CSTAR", msr::CSTAR, true),
    ("SFMASK", msr::SFMASK, true),
    ("SYSENTER_CS", msr::SYSENTER_CS, true),
    ("SYSENTER_ESP", msr::SYSENTER_ESP, true),
    ("SYSENTER_EIP", msr::SYSENTER_EIP, true),
    ("APIC base", cpu::msr::APIC_BASE, false),
];

/// SS is the thread's, not the CPU's: an interrupt that takes a stack of its own may clear it, and its end puts it back.
const SELECTORS: [(&str, Selector); 7] = [
    ("ES", Selector::Es),
    ("CS", Selector::Cs),
    ("DS", Selector::Ds),
    ("FS", Selector::Fs),
    ("GS", Selector::Gs),
    ("LDTR", Selector::Ldtr),
    ("TR", Selector::Tr),
];

/// Everything, with names.
struct Picture(Vec<(&'static str, u64)>);

impl Picture {
    /// Of the CPU that runs this.
    fn take() -> Self {
        cpu::without_interrupts(|| {
            // SAFETY: interrupts are off; nothing is written through it.
            let cpu = unsafe { Hardware::new() };
            let mut all: Vec<_> = REGISTERS.iter().map(|(name, which)| (*name, cpu.read(*which))).collect();
            all.extend(UNMOVED.iter().map(|(name, read, _)| (*name, read())));
            all.extend(MSRS.iter().map(|(name, number, _)| (*name, cpu.msr(*number))));
            all.extend(SELECTORS.iter().map(|(name, which)| (*name, cpu.selector(*which).into())));
            for (base, limit, table) in
                [("GDT base", "GDT limit", cpu.gdtr()), ("IDT base", "IDT limit", cpu.idtr())]
            {
                let TableRegister { base: at, limit: end } = table;
                all.extend([(base, at), (limit, end.into())]);
            }
            // Busy or not, and what LTR has read.
            let task = cpu.gdtr().base + u64::from(cpu.selector(Selector::Tr) & !7);
            all.extend([
                ("TSS descriptor", cpu.descriptor(task)),
                ("its upper half", cpu.descriptor(task + 8)),
            ]);
            if cpu.read(Register::Cr4) & CR4_OSXSAVE != 0 {
                all.push(("XCR0", cpu.read(Register::Xcr0)));
            }
            all.extend(OPTIONAL.iter().map(|(name, register)| (*name, optional(*register))));
            Self(all)
        })
    }

    fn of(&self, wanted: &str) -> u64 {
        self.0.iter().find(|(name, _)| *name == wanted).map_or(0, |(_, value)| *value)
    }

    /// The first register that differs, but for bits of EFER.
    fn difference(&self, other: &Self, efer: u64) -> Option<Difference> {
        let but = |name| if name == "EFER" { efer } else { 0 };
        let pairs = self.0.iter().zip(&other.0);
        let mut differing = pairs.filter(|((name, old), (_, new))| (old ^ new) & !but(*name) != 0);
        differing.next().map(|((name, old), (_, new))| Difference { name, old: *old, new: *new })
    }
}

struct Difference {
    name: &'static str,
    old: u64,
    new: u64,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} was {:#x} and is {:#x}", self.name, self.old, self.new)
    }
}

/// A value for each CPU, canonical as an address.
fn odd(cpu: usize, number: u64) -> u64 {
    0x1234_5600_0008 + (cpu as u64) * 0x1_0010 + number * 0x0101_0000
}

/// Gives the CPU that runs this values unlike those after a reset. Nothing of the system uses these registers.
fn make_odd() {
    cpu::without_interrupts(|| {
        let me = cpu::id();
        // SAFETY: interrupts are off. Breakpoints are off or at an address nobody touches, the priority threshold is below all
        // vectors in use, FS and the registers of system calls are nobody's; GS gets its base back.
        let mut cpu = unsafe { Hardware::new() };
        // The class below the devices', then breakpoints.
        for (number, (_, _, write)) in UNMOVED.iter().enumerate() {
            write(if number == 0 { 2 } else { odd(me, number as u64) });
        }
        // BS and B2, with what always reads as ones; a breakpoint on writes of eight bytes, for all tasks, on the third.
        cpu.write(Register::Dr6, 0xffff_4ff4);
        cpu.write(Register::Dr7, 0x0900_0620);
        let gs = cpu.msr(msr::GS_BASE);
        cpu.load(Selector::Es, 0);
        cpu.load(Selector::Fs, DATA);
        cpu.load(Selector::Gs, DATA);
        cpu.set_msr(msr::GS_BASE, gs);
        for (number, (_, register, _)) in MSRS.iter().filter(|(.., odd)| *odd).enumerate() {
            let value = odd(me, 16 + number as u64);
            // Those that have 32 bits on some CPU.
            let narrow = matches!(*register, msr::SYSENTER_CS | msr::SFMASK);
            cpu.set_msr(*register, if narrow { value & 0xffff_fff8 } else { value });
        }
        cpu::try_wrmsr(msr::TSC_AUX, odd(me, 40) & 0xffff_ffff);
    });
}

/// Puts back what [`make_odd`] has changed.
fn make_even(was: &Picture) {
    cpu::without_interrupts(|| {
        // SAFETY: interrupts are off; the values are this CPU's own.
        let mut cpu = unsafe { Hardware::new() };
        for (name, register) in REGISTERS.iter().skip(3) {
            cpu.write(*register, was.of(name));
        }
        for (name, _, write) in UNMOVED {
            write(was.of(name));
        }
        for (name, register) in [("ES", Selector::Es), ("FS", Selector::Fs), ("GS", Selector::Gs)] {
            cpu.load(register, was.of(name) as u16);
        }
        cpu.set_msr(msr::GS_BASE, was.of("GS base"));
        for (name, register, _) in MSRS.iter().filter(|(.., odd)| *odd) {
            cpu.set_msr(*register, was.of(name));
        }
        if was.of("TSC_AUX") != ABSENT {
            cpu.set_msr(msr::TSC_AUX, was.of("TSC_AUX"));
        }
    });
}

/// Compares on each CPU; `guest`: EFER may have what makes the CPU a guest's.
fn compare(env: &'static Env, before: &[Picture], guest: bool) -> Result<(), &'static str> {
    let now = everywhere(env, |_| Picture::take())?;
    for (cpu, (old, new)) in before.iter().zip(&now).enumerate() {
        if let Some(difference) = old.difference(new, if guest { EFER_SVME } else { 0 }) {
            log::error!("CPU {cpu}: {difference}");
            return Err("a register changed");
        }
    }
    Ok(())
}

/// Each register has in guest mode what it had before, and after leaving, too; of virtualization nothing is left.
pub fn all_state_survives(env: &'static Env) -> Result<(), &'static str> {
    let original = everywhere(env, |_| Picture::take())?;
    everywhere(env, |_| make_odd())?;
    let before = everywhere(env, |_| Picture::take())?;
    let mut result = Ok(());
    for _ in 0..10 {
        result = result
            .and_then(|()| switch_to(env, Phase::Guest))
            .and_then(|()| compare(env, &before, true))
            .and_then(|()| switch_to(env, Phase::Native))
            .and_then(|()| compare(env, &before, false));
    }
    let original = Arc::new(original);
    let was = original.clone();
    everywhere(env, move |cpu| make_even(&was[cpu]))?;
    then_native(result)?;
    compare(env, &original, false)?;
    let clean = |cpu: &Picture| cpu.of("EFER") & EFER_SVME == 0 && cpu.of("CR4") & CR4_VMXE == 0;
    check(original.iter().all(clean), "virtualization is switched on")?;
    // Outside of VMX operation and without SVME these are invalid opcodes again, as is the hypercall.
    let vendor = look(|_, monitor| monitor.vendor()).map_err(|_| "no monitor")?;
    let left = everywhere(env, move |_| leftovers(vendor))?;
    check(left.into_iter().all(|nothing| nothing), "something of virtualization is left")
}
