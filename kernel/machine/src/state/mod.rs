//! The architectural state of a CPU, taken from it and put back: what a switch, a snapshot and a restore are made of.
//!
//! The order of steps is written once, over [`Privileged`]; the CPU itself and the tests' fake are behind it. What is
//! special to a vendor (EFER, which on AMD carries the switch of virtualization itself) is left to the vendor's code.
//!
//! Sources: AMD64 APM vol. 2, 4.5 to 4.8 (segments), 15.5.1; Intel SDM vol. 3, 27.2.3.

#[cfg(bare_metal)]
mod hardware;
#[cfg(test)]
mod tests;

#[cfg(bare_metal)]
pub use hardware::Hardware;

use x86defs::registers::msr;
use x86defs::segment::{BUSY_TSS, PRESENT, Segment, TableRegister};
use x86defs::state::{CpuState, Interruptibility};

/// Control and debug registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "register names")]
pub enum Register {
    Cr0,
    Cr2,
    Cr3,
    Cr4,
    Dr6,
    Dr7,
    Xcr0,
}

/// Registers that hold a selector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "register names")]
pub enum Selector {
    Es,
    Cs,
    Ss,
    Ds,
    Fs,
    Gs,
    Ldtr,
    Tr,
}

/// A CPU, as capturing and installing see it.
pub trait Privileged {
    /// Reads a control or debug register.
    fn read(&self, register: Register) -> u64;
    /// Writes a control or debug register.
    fn write(&mut self, register: Register, value: u64);
    /// Reads a model-specific register.
    fn msr(&self, number: u32) -> u64;
    /// Writes a model-specific register.
    fn set_msr(&mut self, number: u32, value: u64);
    /// Reads a selector.
    fn selector(&self, register: Selector) -> u16;
    /// Loads a selector; CS is loaded by the jump into the state instead.
    fn load(&mut self, register: Selector, selector: u16);
    /// GDTR.
    fn gdtr(&self) -> TableRegister;
    /// IDTR.
    fn idtr(&self) -> TableRegister;
    /// Loads GDTR.
    fn load_gdtr(&mut self, table: TableRegister);
    /// Loads IDTR.
    fn load_idtr(&mut self, table: TableRegister);
    /// Reads eight bytes of a descriptor table.
    fn descriptor(&self, address: u64) -> u64;
    /// Writes eight bytes of a descriptor table.
    fn set_descriptor(&mut self, address: u64, value: u64);
}

/// Registers that not every CPU has, or not every vendor's way beneath exchanges: those to move. All others stay in the CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Optional {
    /// SPEC_CTRL: SVM exchanges it on CPUs that virtualize it (CPUID 8000_000Ah, EDX bit 20).
    pub spec_ctrl: bool,
    /// DEBUGCTL: an exit of VMX clears it (Intel SDM vol. 3, 28.5.1).
    pub debugctl: bool,
}

/// Why a CPU's state can't be taken as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaptureError {
    /// A segment register holds a selector of the local descriptor table, whose content is not looked at.
    LocalDescriptor(Selector),
}

impl core::fmt::Display for CaptureError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::LocalDescriptor(register) => write!(f, "{register:?} comes from a local descriptor table"),
        }
    }
}

/// Takes everything but the general registers, RIP, RSP and RFLAGS, which belong to the moment of the jump, and what
/// stays in the CPU.
///
/// Interrupts are off; the CPU is at privilege level 0 in 64-bit mode.
#[inline]
pub fn capture<P: Privileged>(cpu: &P, optional: Optional, state: &mut CpuState) -> Result<(), CaptureError> {
    state.cr0 = cpu.read(Register::Cr0);
    state.cr2 = cpu.read(Register::Cr2);
    state.cr3 = cpu.read(Register::Cr3);
    state.cr4 = cpu.read(Register::Cr4);
    state.dr6 = cpu.read(Register::Dr6);
    state.dr7 = cpu.read(Register::Dr7);
    state.gdtr = cpu.gdtr();
    state.idtr = cpu.idtr();
    // Field by field: what is read is stored at once, since so many values would not fit in registers.
    let msrs = &mut state.msrs;
    msrs.efer = cpu.msr(msr::EFER);
    msrs.pat = cpu.msr(msr::PAT);
    msrs.star = cpu.msr(msr::STAR);
    msrs.lstar = cpu.msr(msr::LSTAR);
    msrs.cstar = cpu.msr(msr::CSTAR);
    msrs.sfmask = cpu.msr(msr::SFMASK);
    msrs.kernel_gs_base = cpu.msr(msr::KERNEL_GS_BASE);
    msrs.sysenter_cs = cpu.msr(msr::SYSENTER_CS);
    msrs.sysenter_esp = cpu.msr(msr::SYSENTER_ESP);
    msrs.sysenter_eip = cpu.msr(msr::SYSENTER_EIP);
    msrs.spec_ctrl = if optional.spec_ctrl { cpu.msr(msr::SPEC_CTRL) } else { 0 };
    msrs.debugctl = if optional.debugctl { cpu.msr(msr::DEBUGCTL) } else { 0 };
    let gdt = state.gdtr.base;
    let ds = segment(cpu, gdt, Selector::Ds)?;
    let segments = &mut state.segments;
    segments.ds = ds;
    segments.es = same_or(ds, cpu, gdt, Selector::Es)?;
    // Null where an interrupt has taken a stack of its own.
    segments.ss = same_or(ds, cpu, gdt, Selector::Ss)?;
    segments.cs = segment(cpu, gdt, Selector::Cs)?;
    segments.fs = Segment { base: cpu.msr(msr::FS_BASE), ..segment(cpu, gdt, Selector::Fs)? };
    segments.gs = Segment { base: cpu.msr(msr::GS_BASE), ..segment(cpu, gdt, Selector::Gs)? };
    segments.ldtr = segment(cpu, gdt, Selector::Ldtr)?;
    segments.tr = segment(cpu, gdt, Selector::Tr)?;
    state.interruptibility = Interruptibility::default();
    state.pending = None;
    Ok(())
}

/// Data segments are mostly one and the same.
#[inline(always)]
fn same_or<P: Privileged>(
    known: Segment,
    cpu: &P,
    gdt: u64,
    register: Selector,
) -> Result<Segment, CaptureError> {
    if cpu.selector(register) == known.selector { Ok(known) } else { segment(cpu, gdt, register) }
}

/// What a segment register holds, from its descriptor. A null selector is an unusable segment.
#[inline(always)]
fn segment<P: Privileged>(cpu: &P, gdt: u64, register: Selector) -> Result<Segment, CaptureError> {
    let selector = cpu.selector(register);
    if selector & !3 == 0 {
        return Ok(Segment { selector, ..Segment::default() });
    }
    if selector & 4 != 0 {
        return Err(CaptureError::LocalDescriptor(register));
    }
    let address = gdt + u64::from(selector & !7);
    let low = cpu.descriptor(address);
    if matches!(register, Selector::Ldtr | Selector::Tr) {
        return Ok(Segment::from_system_descriptor(selector, low, cpu.descriptor(address + 8)));
    }
    Ok(Segment::from_descriptor(selector, low))
}

/// Takes again, from a CPU that has just left a guest, what VMX does not keep in its control structure.
pub fn capture_unswitched<P: Privileged>(cpu: &P, state: &mut CpuState) {
    state.cr2 = cpu.read(Register::Cr2);
    state.dr6 = cpu.read(Register::Dr6);
    state.msrs.star = cpu.msr(msr::STAR);
    state.msrs.lstar = cpu.msr(msr::LSTAR);
    state.msrs.cstar = cpu.msr(msr::CSTAR);
    state.msrs.sfmask = cpu.msr(msr::SFMASK);
    state.msrs.kernel_gs_base = cpu.msr(msr::KERNEL_GS_BASE);
}

/// Whether [`install_unswitched`] may put a state into a CPU: none of the registers refuses its value.
pub fn is_installable(state: &CpuState) -> bool {
    let is_canonical = |address: u64| (address << 16) as i64 >> 16 == address as i64;
    let msrs = &state.msrs;
    state.dr6 >> 32 == 0
        && msrs.sfmask >> 32 == 0
        && [msrs.lstar, msrs.cstar, msrs.kernel_gs_base].into_iter().all(is_canonical)
}

/// Puts into a CPU, before it enters a guest, what [`capture_unswitched`] takes. The state [is installable](is_installable).
pub fn install_unswitched<P: Privileged>(cpu: &mut P, state: &CpuState) {
    cpu.write(Register::Cr2, state.cr2);
    cpu.write(Register::Dr6, state.dr6);
    cpu.set_msr(msr::STAR, state.msrs.star);
    cpu.set_msr(msr::LSTAR, state.msrs.lstar);
    cpu.set_msr(msr::CSTAR, state.msrs.cstar);
    cpu.set_msr(msr::SFMASK, state.msrs.sfmask);
    cpu.set_msr(msr::KERNEL_GS_BASE, state.msrs.kernel_gs_base);
}

/// Puts back what [`capture`] took, EFER and CS excepted.
///
/// Interrupts and NMIs are off; the page tables of the state map the code and the stack that run this. All translations
/// are flushed if CR4.PGE changes by this, which the monitor arranges.
#[inline]
pub fn install<P: Privileged>(cpu: &mut P, optional: Optional, state: &CpuState) {
    cpu.write(Register::Cr3, state.cr3);
    cpu.write(Register::Cr4, state.cr4);
    cpu.write(Register::Cr0, state.cr0);
    cpu.load_gdtr(state.gdtr);
    cpu.load_idtr(state.idtr);
    let segments = &state.segments;
    cpu.load(Selector::Es, segments.es.selector);
    cpu.load(Selector::Ds, segments.ds.selector);
    cpu.load(Selector::Ss, segments.ss.selector);
    cpu.load(Selector::Fs, segments.fs.selector);
    cpu.load(Selector::Gs, segments.gs.selector);
    cpu.load(Selector::Ldtr, segments.ldtr.selector);
    load_task_register(cpu, state);
    let msrs = &state.msrs;
    // After the selectors: loading one clears the base.
    cpu.set_msr(msr::FS_BASE, segments.fs.base);
    cpu.set_msr(msr::GS_BASE, segments.gs.base);
    cpu.set_msr(msr::PAT, msrs.pat);
    cpu.set_msr(msr::STAR, msrs.star);
    cpu.set_msr(msr::LSTAR, msrs.lstar);
    cpu.set_msr(msr::CSTAR, msrs.cstar);
    cpu.set_msr(msr::SFMASK, msrs.sfmask);
    cpu.set_msr(msr::KERNEL_GS_BASE, msrs.kernel_gs_base);
    cpu.set_msr(msr::SYSENTER_CS, msrs.sysenter_cs);
    cpu.set_msr(msr::SYSENTER_ESP, msrs.sysenter_esp);
    cpu.set_msr(msr::SYSENTER_EIP, msrs.sysenter_eip);
    if optional.spec_ctrl {
        cpu.set_msr(msr::SPEC_CTRL, msrs.spec_ctrl);
    }
    if optional.debugctl {
        cpu.set_msr(msr::DEBUGCTL, msrs.debugctl);
    }
    cpu.write(Register::Cr2, state.cr2);
    cpu.write(Register::Dr6, state.dr6);
    cpu.write(Register::Dr7, state.dr7);
}

/// LTR insists on a TSS that is not busy and marks it so.
#[inline(always)]
fn load_task_register<P: Privileged>(cpu: &mut P, state: &CpuState) {
    let tr = state.segments.tr;
    if tr.attributes & PRESENT == 0 {
        return;
    }
    let address = state.gdtr.base + u64::from(tr.selector & !7);
    let busy = u64::from(BUSY_TSS ^ 0x9) << 40;
    cpu.set_descriptor(address, cpu.descriptor(address) & !busy);
    cpu.load(Selector::Tr, tr.selector);
}
