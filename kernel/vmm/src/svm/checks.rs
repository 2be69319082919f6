//! The rules by which VMRUN refuses a control block, applied in software: emulators accept what hardware refuses.
//!
//! Segment bases and RIP are not looked at: VMRUN makes them canonical instead of refusing them (15.5.1). Beyond the manual's
//! rules, what it leaves undefined and nobody can want is refused, too: those variants say so.
//!
//! Source: AMD64 APM vol. 2, 15.5.1 ("Canonicalization and Consistency Checks"), 15.10.1, 15.11, 15.20, 15.25.3, 15.25.4.

mod limits;
#[cfg(test)]
pub(crate) mod tests;

use core::fmt;
use x86defs::event::{Event, Kind};
use x86defs::registers::{
    CR0_CD, CR0_NW, CR0_PE, CR0_PG, CR0_WP, CR4_CET, CR4_PAE, EFER_LMA, EFER_LME, EFER_SVME, RFLAGS_FIXED,
};
use x86defs::segment::{BUSY_TSS, DEFAULT_BIG, LONG, PRESENT};
use x86defs::svm::permission::{IO_MAP, MSR_MAP};
use x86defs::svm::{Control, Save, Vmcb, intercept, vmcb};

/// Bits that S_CET has: SH_STK_EN and WR_SHSTK_EN.
const S_CET: u64 = 0b11;

/// What this CPU supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Width of physical addresses in bits, 32 to 52 (CPUID 8000_0008h, EAX bits 7 to 0).
    pub physical_bits: u32,
    /// Address space identifiers, the host's included (CPUID 8000_000Ah, EBX).
    pub asids: u32,
    /// The CPU has long mode.
    pub long_mode: bool,
    /// Bits that CR4 may have; all others must be zero.
    pub cr4: u64,
    /// Bits that EFER may have.
    pub efer: u64,
}

macro_rules! violations {
    ($($(#[$attribute:meta])* $name:ident($value:literal)),* $(,)?) => {
        /// A rule that is broken, with the value that breaks it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Violation {
            $($(#[$attribute])* $name(u64),)*
        }

        impl fmt::Display for Violation {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$name(value) => write!(f, concat!($value, " ({:#x})"), value),)*
                }
            }
        }
    };
}

violations! {
    /// 15.5.1.
    SvmeClear("EFER.SVME is clear"),
    /// 15.5.1.
    NotWriteThroughWithCaches("CR0.NW is set with CR0.CD clear"),
    /// 15.5.1.
    Cr0High("CR0 has bits above 31"),
    /// 15.5.1.
    Cr3Reserved("CR3 has bits beyond the physical addresses"),
    /// 15.5.1.
    Cr4Reserved("CR4 has bits that this CPU does not know"),
    /// 15.5.1.
    Dr6High("DR6 has bits above 31"),
    /// 15.5.1.
    Dr7High("DR7 has bits above 31"),
    /// 15.5.1.
    EferReserved("EFER has bits that this CPU does not know"),
    /// 15.5.1.
    NoLongMode("EFER asks for long mode, which this CPU lacks"),
    /// 15.5.1.
    LongModeWithoutPae("EFER.LME and CR0.PG are set with CR4.PAE clear"),
    /// 15.5.1.
    LongModeWithoutProtection("EFER.LME and CR0.PG are set with CR0.PE clear"),
    /// 15.5.1.
    CodeLongAndBig("CS.L and CS.D are both set in long mode"),
    /// 15.5.1.
    CetWithoutWriteProtection("CR4.CET is set with CR0.WP clear"),
    /// 15.5.1.
    SupervisorCetReserved("S_CET has reserved bits set"),
    /// 15.5.1.
    VmrunNotIntercepted("VMRUN is not intercepted"),
    /// 15.11: page-aligned, and within the physical addresses to its end.
    MsrMap("the MSR permission map is misplaced"),
    /// 15.10.1.
    IoMap("the I/O permission map is misplaced"),
    /// 15.20.
    Injection("the event to inject is of no legal kind"),
    /// 15.5.1.
    AsidZero("the address space identifier is the host's"),
    /// 15.15: beyond what CPUID says.
    AsidRange("the address space identifier is beyond this CPU's number"),
    /// 15.25.4.
    NestedCr3("the nested CR3 is misplaced"),
    /// 15.25.4.
    GuestPat("G_PAT has a reserved memory type"),
    /// Undefined: LMA is not LME and PG.
    LmaInconsistent("EFER.LMA contradicts EFER.LME and CR0.PG"),
    /// Undefined: bit 1 of RFLAGS is always one.
    Rflags("RFLAGS has bit 1 clear"),
    /// Undefined: the code segment is not present.
    CodeNotPresent("CS is not present"),
    /// Undefined: in long mode TR is a 64-bit TSS in use.
    TaskRegister("TR is not a busy TSS"),
    /// Undefined: reserved fields of the control area.
    ControlReserved("a reserved field of the control area is not zero"),
    /// Undefined: SEV and its kin are not for us.
    NestedControl("nested paging is not on, or more than that"),
}

/// The first rule that a control block breaks.
pub fn check(vmcb: &Vmcb, limits: &Limits) -> Result<(), Violation> {
    check_control(&vmcb.control, limits)?;
    check_save(&vmcb.save, limits)
}

fn fail_if(broken: bool, violation: Violation) -> Result<(), Violation> {
    if broken { Err(violation) } else { Ok(()) }
}

/// Whether `bytes` at `address` are page-aligned and within the physical addresses.
const fn is_placed(address: u64, bytes: u64, bits: u32) -> bool {
    address.is_multiple_of(4096) && address < 1 << bits && bytes <= (1 << bits) - address
}

fn check_control(control: &Control, limits: &Limits) -> Result<(), Violation> {
    let bits = limits.physical_bits;
    fail_if(
        control.intercept_2 & intercept::VMRUN == 0,
        Violation::VmrunNotIntercepted(control.intercept_2.into()),
    )?;
    let (msr, io) = (control.msrpm_base_pa, control.iopm_base_pa);
    fail_if(!is_placed(msr, MSR_MAP as u64, bits), Violation::MsrMap(msr))?;
    fail_if(!is_placed(io, IO_MAP as u64, bits), Violation::IoMap(io))?;
    fail_if(control.asid == 0, Violation::AsidZero(0))?;
    fail_if(control.asid >= limits.asids, Violation::AsidRange(control.asid.into()))?;
    fail_if(!is_injectable(control.event_injection), Violation::Injection(control.event_injection))?;
    let nested = control.nested_control;
    fail_if(nested != vmcb::NESTED_PAGING, Violation::NestedControl(nested))?;
    fail_if(!is_placed(control.nested_cr3, 4096, bits), Violation::NestedCr3(control.nested_cr3))?;
    let reserved = control.reserved_0e8 | control.reserved_100;
    fail_if(reserved != 0, Violation::ControlReserved(reserved))
}

/// 15.20: reserved types, exceptions that are none, and an NMI's vector is not looked at.
fn is_injectable(field: u64) -> bool {
    const VALID: u64 = 1 << 31;
    if field & VALID == 0 {
        return true;
    }
    match Event::decode(field) {
        None => false,
        // Vector 2 is the NMI, 3 and 4 are injected as exceptions after INT3 and INTO.
        Some(Event { kind: Kind::Exception, vector, .. }) => vector < 32 && vector != 2,
        Some(_) => true,
    }
}

fn check_save(save: &Save, limits: &Limits) -> Result<(), Violation> {
    let (efer, cr0, cr4) = (save.efer, save.cr0, save.cr4);
    fail_if(efer & EFER_SVME == 0, Violation::SvmeClear(efer))?;
    fail_if(cr0 & (CR0_CD | CR0_NW) == CR0_NW, Violation::NotWriteThroughWithCaches(cr0))?;
    fail_if(cr0 >> 32 != 0, Violation::Cr0High(cr0))?;
    fail_if(save.cr3 >> limits.physical_bits != 0, Violation::Cr3Reserved(save.cr3))?;
    fail_if(cr4 & !limits.cr4 != 0, Violation::Cr4Reserved(cr4))?;
    fail_if(cr4 & CR4_CET != 0 && cr0 & CR0_WP == 0, Violation::CetWithoutWriteProtection(cr4))?;
    fail_if(save.s_cet & !S_CET != 0, Violation::SupervisorCetReserved(save.s_cet))?;
    fail_if(save.dr6 >> 32 != 0, Violation::Dr6High(save.dr6))?;
    fail_if(save.dr7 >> 32 != 0, Violation::Dr7High(save.dr7))?;
    let long = efer & (EFER_LMA | EFER_LME) != 0;
    fail_if(long && !limits.long_mode, Violation::NoLongMode(efer))?;
    fail_if(efer & !limits.efer != 0, Violation::EferReserved(efer))?;
    if efer & EFER_LME != 0 && cr0 & CR0_PG != 0 {
        fail_if(cr4 & CR4_PAE == 0, Violation::LongModeWithoutPae(cr4))?;
        fail_if(cr0 & CR0_PE == 0, Violation::LongModeWithoutProtection(cr0))?;
        let code = save.cs.attributes;
        let both = LONG | DEFAULT_BIG;
        fail_if(code & both == both, Violation::CodeLongAndBig(code.into()))?;
    }
    let active = efer & EFER_LME != 0 && cr0 & CR0_PG != 0;
    fail_if((efer & EFER_LMA != 0) != active, Violation::LmaInconsistent(efer))?;
    fail_if(!is_pat(save.g_pat), Violation::GuestPat(save.g_pat))?;
    fail_if(save.rflags & RFLAGS_FIXED == 0, Violation::Rflags(save.rflags))?;
    fail_if(save.cs.attributes & PRESENT == 0, Violation::CodeNotPresent(save.cs.attributes.into()))?;
    let task = save.tr.attributes;
    fail_if(task & (PRESENT | 0x1f) != PRESENT | BUSY_TSS, Violation::TaskRegister(task.into()))
}

/// Each byte is one of 0 (UC), 1 (WC), 4 (WT), 5 (WP), 6 (WB), 7 (UC-) (7.8.1), all eight at once.
const fn is_pat(pat: u64) -> bool {
    const EACH: u64 = 0x0101_0101_0101_0101;
    // Bits 7 to 3 are zero; and bit 1 (types 2, 3, 6, 7) only with bit 2.
    pat & (0xf8 * EACH) == 0 && pat >> 1 & !(pat >> 2) & EACH == 0
}
