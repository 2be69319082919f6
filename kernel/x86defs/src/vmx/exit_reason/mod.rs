//! Why a guest stopped (SDM vol. 3, 25.9.1 and appendix C), and exit qualifications (28.2.1).

mod qualification;

pub use qualification::{ControlRegisterAccess, ControlRegisterKind, EntryFailure, EptViolation, IoAccess};

macro_rules! reasons {
    ($($(#[$attribute:meta])* $name:ident = $number:literal,)*) => {
        /// A basic exit reason.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u16)]
        pub enum Reason {
            $($(#[$attribute])* $name = $number,)*
        }

        impl Reason {
            /// From bits 15 to 0 of the field; `None` for numbers that are not in appendix C.
            pub const fn from_number(number: u16) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

reasons! {
    /// An exception or NMI.
    ExceptionOrNmi = 0,
    /// An external interrupt.
    ExternalInterrupt = 1,
    /// A triple fault.
    TripleFault = 2,
    /// INIT.
    Init = 3,
    /// A start-up interrupt.
    Sipi = 4,
    /// A system-management interrupt after an I/O instruction.
    IoSmi = 5,
    /// Another system-management interrupt.
    OtherSmi = 6,
    /// Interrupts could be delivered.
    InterruptWindow = 7,
    /// NMIs could be delivered.
    NmiWindow = 8,
    /// A task switch.
    TaskSwitch = 9,
    /// CPUID.
    Cpuid = 10,
    /// GETSEC.
    Getsec = 11,
    /// HLT.
    Hlt = 12,
    /// INVD.
    Invd = 13,
    /// INVLPG.
    Invlpg = 14,
    /// RDPMC.
    Rdpmc = 15,
    /// RDTSC.
    Rdtsc = 16,
    /// RSM in system-management mode.
    Rsm = 17,
    /// VMCALL.
    Vmcall = 18,
    /// VMCLEAR.
    Vmclear = 19,
    /// VMLAUNCH.
    Vmlaunch = 20,
    /// VMPTRLD.
    Vmptrld = 21,
    /// VMPTRST.
    Vmptrst = 22,
    /// VMREAD.
    Vmread = 23,
    /// VMRESUME.
    Vmresume = 24,
    /// VMWRITE.
    Vmwrite = 25,
    /// VMXOFF.
    Vmxoff = 26,
    /// VMXON.
    Vmxon = 27,
    /// An access to a control register, see [`ControlRegisterAccess`].
    ControlRegister = 28,
    /// MOV to or from a debug register.
    DebugRegister = 29,
    /// An I/O instruction.
    Io = 30,
    /// RDMSR.
    Rdmsr = 31,
    /// WRMSR.
    Wrmsr = 32,
    /// Entry failure: guest state, see [`EntryFailure`].
    InvalidGuestState = 33,
    /// Entry failure: the list of MSRs to load; the qualification is the number of the entry, from 1.
    MsrLoading = 34,
    /// MWAIT.
    Mwait = 36,
    /// The monitor trap flag.
    MonitorTrap = 37,
    /// MONITOR.
    Monitor = 39,
    /// PAUSE.
    Pause = 40,
    /// Entry failure: a machine check.
    EntryMachineCheck = 41,
    /// The TPR went below its threshold.
    TprBelowThreshold = 43,
    /// An access to the APIC page.
    ApicAccess = 44,
    /// A virtualized end of interrupt.
    VirtualizedEoi = 45,
    /// LGDT, LIDT, SGDT, SIDT.
    GdtrOrIdtr = 46,
    /// LLDT, LTR, SLDT, STR.
    LdtrOrTr = 47,
    /// EPT does not allow an access, see [`EptViolation`].
    EptViolation = 48,
    /// An EPT entry that makes no sense.
    EptMisconfiguration = 49,
    /// INVEPT.
    Invept = 50,
    /// RDTSCP.
    Rdtscp = 51,
    /// The VMX-preemption timer.
    PreemptionTimer = 52,
    /// INVVPID.
    Invvpid = 53,
    /// WBINVD or WBNOINVD.
    Wbinvd = 54,
    /// XSETBV.
    Xsetbv = 55,
    /// A write to the virtual APIC.
    ApicWrite = 56,
    /// RDRAND.
    Rdrand = 57,
    /// INVPCID.
    Invpcid = 58,
    /// VMFUNC.
    Vmfunc = 59,
    /// ENCLS.
    Encls = 60,
    /// RDSEED.
    Rdseed = 61,
    /// The page-modification log is full.
    PmlFull = 62,
    /// XSAVES.
    Xsaves = 63,
    /// XRSTORS.
    Xrstors = 64,
    /// PCONFIG.
    Pconfig = 65,
    /// A sub-page-permission event.
    SubpagePermission = 66,
    /// UMWAIT.
    Umwait = 67,
    /// TPAUSE.
    Tpause = 68,
    /// LOADIWKEY.
    Loadiwkey = 69,
    /// ENCLV.
    Enclv = 70,
    /// A bus lock.
    BusLock = 74,
    /// Instruction timeout.
    InstructionTimeout = 75,
}

/// The field [`exit::REASON`](super::field::exit::REASON).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitReason(pub u32);

impl ExitReason {
    /// The basic reason, if it is a known one.
    pub const fn basic(self) -> Option<Reason> {
        Reason::from_number(self.0 as u16)
    }

    /// Whether the entry failed after the host's state was checked: the guest has not run.
    pub const fn is_entry_failure(self) -> bool {
        self.0 >> 31 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_numbered_as_in_appendix_c() {
        assert_eq!(ExitReason(0x8000_0021).basic(), Some(Reason::InvalidGuestState));
        assert!(ExitReason(0x8000_0021).is_entry_failure() && !ExitReason(48).is_entry_failure());
        assert_eq!(ExitReason(0x1000_0030).basic(), Some(Reason::EptViolation));
        for hole in [35, 38, 42, 76, 0xffff] {
            assert_eq!(Reason::from_number(hole), None);
        }
        for number in 0..100 {
            assert!(Reason::from_number(number).is_none_or(|reason| reason as u16 == number));
        }
    }
}
