//! Host state: type 3. What every exit loads.

use super::{Field, Natural, Writable, fields};

fields! {
    /// Selector of ES.
    ES_SELECTOR: u16 = 0x0c00;
    /// Selector of CS.
    CS_SELECTOR: u16 = 0x0c02;
    /// Selector of SS.
    SS_SELECTOR: u16 = 0x0c04;
    /// Selector of DS.
    DS_SELECTOR: u16 = 0x0c06;
    /// Selector of FS.
    FS_SELECTOR: u16 = 0x0c08;
    /// Selector of GS.
    GS_SELECTOR: u16 = 0x0c0a;
    /// Selector of TR.
    TR_SELECTOR: u16 = 0x0c0c;

    /// IA32_PAT.
    PAT: u64 = 0x2c00;
    /// IA32_EFER.
    EFER: u64 = 0x2c02;
    /// IA32_PERF_GLOBAL_CTRL.
    PERF_GLOBAL_CTRL: u64 = 0x2c04;
    /// IA32_PKRS.
    PKRS: u64 = 0x2c06;

    /// IA32_SYSENTER_CS.
    SYSENTER_CS: u32 = 0x4c00;

    /// CR0.
    CR0: Natural = 0x6c00;
    /// CR3.
    CR3: Natural = 0x6c02;
    /// CR4.
    CR4: Natural = 0x6c04;
    /// Base of FS.
    FS_BASE: Natural = 0x6c06;
    /// Base of GS.
    GS_BASE: Natural = 0x6c08;
    /// Base of TR.
    TR_BASE: Natural = 0x6c0a;
    /// Base of the GDT; an exit sets its limit to FFFFh.
    GDTR_BASE: Natural = 0x6c0c;
    /// Base of the IDT; an exit sets its limit to FFFFh.
    IDTR_BASE: Natural = 0x6c0e;
    /// IA32_SYSENTER_ESP.
    SYSENTER_ESP: Natural = 0x6c10;
    /// IA32_SYSENTER_EIP.
    SYSENTER_EIP: Natural = 0x6c12;
    /// RSP.
    RSP: Natural = 0x6c14;
    /// RIP.
    RIP: Natural = 0x6c16;
    /// IA32_S_CET.
    S_CET: Natural = 0x6c18;
    /// Shadow-stack pointer.
    SSP: Natural = 0x6c1a;
    /// IA32_INTERRUPT_SSP_TABLE_ADDR.
    INTERRUPT_SSP_TABLE: Natural = 0x6c1c;
}
