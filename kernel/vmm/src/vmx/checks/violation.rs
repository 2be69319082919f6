//! What can be wrong with a VMCS.

use core::fmt;

/// Areas of the VMCS, as the manual's checks are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// 27.2.1: the entry fails with VM-instruction error 7.
    Controls,
    /// 27.2.2 to 27.2.4: VM-instruction error 8.
    Host,
    /// 27.3.1.1: from here on the entry ends as an exit with reason 33.
    GuestRegisters,
    /// 27.3.1.2.
    GuestSegments,
    /// 27.3.1.3.
    GuestTables,
    /// 27.3.1.4.
    GuestFlow,
    /// 27.3.1.5 and 27.3.1.6.
    GuestRest,
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Controls => "controls",
            Self::Host => "host state",
            Self::GuestRegisters => "guest control registers, debug registers and MSRs",
            Self::GuestSegments => "guest segment registers",
            Self::GuestTables => "guest descriptor-table registers",
            Self::GuestFlow => "guest RIP and RFLAGS",
            Self::GuestRest => "guest non-register state",
        })
    }
}

macro_rules! violations {
    ($($group:ident { $($name:ident: $text:literal,)* })*) => {
        /// A rule that is broken, with the value that breaks it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Violation {
            $($(#[doc = concat!($text, ".")] $name(u64),)*)*
        }

        impl Violation {
            /// The area that is to blame.
            pub const fn group(self) -> Group {
                match self {
                    $($(Self::$name(_) => Group::$group,)*)*
                }
            }
        }

        impl fmt::Display for Violation {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let group = self.group();
                match self {
                    $($(Self::$name(value) => write!(f, concat!("{}: ", $text, " ({:#x})"), group, value),)*)*
                }
            }
        }
    };
}

violations! {
    Controls {
        Pin: "this CPU does not have the pin-based controls so",
        Primary: "this CPU does not have the primary controls so",
        Secondary: "this CPU does not have the secondary controls so",
        Unused: "a control is set that the VMM has no use for",
        Cr3Targets: "more CR3-target values than there are",
        IoBitmaps: "an I/O bitmap is misplaced",
        MsrBitmap: "the MSR bitmap is misplaced",
        VirtualNmis: "virtual NMIs without NMI exiting",
        NmiWindow: "NMI-window exiting without virtual NMIs",
        VpidZero: "the virtual-processor identifier is that of VMX operation itself",
        EptPointer: "the EPT pointer is not valid",
        UnrestrictedWithoutEpt: "an unrestricted guest without EPT",
        PmlWithoutEpt: "page-modification logging without EPT",
        PmlAddress: "the page-modification log is misplaced",
        Exit: "this CPU does not have the exit controls so",
        SaveTimer: "the preemption timer is saved, but not used",
        ExitMsrStore: "the list of MSRs that an exit stores is misplaced",
        ExitMsrLoad: "the list of MSRs that an exit loads is misplaced",
        Entry: "this CPU does not have the entry controls so",
        EntryMsrLoad: "the list of MSRs that an entry loads is misplaced",
        InjectionType: "the event to inject is of a reserved type",
        InjectionVector: "the event to inject has a vector that its type has not",
        InjectionErrorCode: "the event to inject has an error code, or none, against its nature",
        InjectionReserved: "the event to inject has reserved bits set",
        ErrorCodeReserved: "the error code to inject has bits above 15",
        InjectionLength: "the software event to inject has no legal instruction length",
        SmmControls: "a control of system-management mode is set outside of it",
    }
    Host {
        HostCr0: "CR0 is not as VMX demands",
        HostCr4: "CR4 is not as VMX demands",
        HostCet: "CR4.CET without CR0.WP",
        HostCr3: "CR3 has bits beyond the physical addresses",
        HostSysenter: "a SYSENTER register is not canonical",
        HostPat: "PAT has a reserved memory type",
        HostEferReserved: "EFER has bits that this CPU does not know",
        HostEferMode: "EFER contradicts the host's address-space size",
        HostSelector: "a selector has a privilege level, or is of a local descriptor table",
        HostCsNull: "the selector of CS is null",
        HostTrNull: "the selector of TR is null",
        HostBase: "a base is not canonical",
        HostSize: "the host's address-space size is not that of this CPU's mode",
        HostPae: "a 64-bit host without CR4.PAE",
        HostRip: "RIP is not canonical",
    }
    GuestRegisters {
        Cr0: "CR0 is not as VMX demands",
        PagingWithoutProtection: "CR0.PG without CR0.PE",
        Cr4: "CR4 is not as VMX demands",
        Cet: "CR4.CET without CR0.WP",
        Debugctl: "IA32_DEBUGCTL has reserved bits set",
        LongWithoutPaging: "a 64-bit guest without CR0.PG",
        LongWithoutPae: "a 64-bit guest without CR4.PAE",
        PcideWithoutLong: "CR4.PCIDE without a 64-bit guest",
        Cr3: "CR3 has bits beyond the physical addresses",
        Dr7: "DR7 has bits above 31",
        Sysenter: "a SYSENTER register is not canonical",
        Pat: "PAT has a reserved memory type",
        EferReserved: "EFER has bits that this CPU does not know",
        EferLma: "EFER.LMA contradicts the entry controls",
        EferLme: "EFER.LME is not EFER.LMA although paging is on",
    }
    GuestSegments {
        TrLocal: "TR is of a local descriptor table",
        LdtrLocal: "LDTR is of a local descriptor table",
        Rpl: "the privilege levels of the selectors of CS and SS differ",
        Virtual8086: "a segment is not one of virtual-8086 mode",
        BaseNotCanonical: "a segment's base is not canonical",
        BaseHigh: "the base of CS, SS, DS or ES has bits above 31",
        CsType: "CS has a type that it can't have",
        SsType: "SS has a type that it can't have",
        DataType: "a data segment is not accessed, or not readable",
        System: "a code or data segment is a system segment",
        CsDpl: "the privilege level of CS contradicts that of SS",
        SsDpl: "the privilege level of SS contradicts its selector, or real mode",
        DataDpl: "the privilege level of a data segment is below that of its selector",
        NotPresent: "a segment that can be used is not present",
        RightsReserved: "access rights have reserved bits set",
        LongAndBig: "CS.L and CS.D are both set",
        Granularity: "a limit contradicts its granularity",
        TrUnusable: "TR can't be used",
        TrType: "TR is not a busy TSS",
        LdtrType: "LDTR is not a local descriptor table",
    }
    GuestTables {
        TableBase: "the base of GDT or IDT is not canonical",
        TableLimit: "the limit of GDT or IDT has bits above 15",
    }
    GuestFlow {
        Rip: "RIP is beyond the addresses of the mode",
        Rflags: "RFLAGS has reserved bits wrong",
        RflagsVm: "RFLAGS.VM in a mode that has no virtual-8086 mode",
        RflagsIf: "an interrupt is injected with RFLAGS.IF clear",
    }
    GuestRest {
        Activity: "this CPU has no such activity state",
        HaltedUser: "halted at a privilege level other than 0",
        InactiveShadow: "not active, but behind STI or MOV SS",
        InactiveInjection: "the event to inject does not end the activity state",
        InterruptibilityReserved: "the interruptibility state has reserved bits set",
        BothShadows: "blocking by STI and by MOV SS at once",
        StiWithoutIf: "blocking by STI with RFLAGS.IF clear",
        InterruptBlocked: "an interrupt is injected while interrupts are blocked",
        NmiBlocked: "an NMI is injected while NMIs are blocked",
        SmiBlocking: "blocking by a system-management interrupt outside of its mode",
        EnclaveShadow: "an enclave behind MOV SS",
        PendingDebugReserved: "the pending debug exceptions have reserved bits set",
        PendingSingleStep: "the pending debug exceptions contradict RFLAGS.TF",
        PendingTransaction: "a pending debug exception of a transaction with others",
        Link: "a VMCS is linked",
        Pdpte: "a page-directory-pointer entry has reserved bits set",
    }
}
