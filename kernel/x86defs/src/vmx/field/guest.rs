//! Guest state: type 2.

use super::{Field, Natural, Writable, fields};

fields! {
    /// Selector of ES.
    ES_SELECTOR: u16 = 0x0800;
    /// Selector of CS.
    CS_SELECTOR: u16 = 0x0802;
    /// Selector of SS.
    SS_SELECTOR: u16 = 0x0804;
    /// Selector of DS.
    DS_SELECTOR: u16 = 0x0806;
    /// Selector of FS.
    FS_SELECTOR: u16 = 0x0808;
    /// Selector of GS.
    GS_SELECTOR: u16 = 0x080a;
    /// Selector of LDTR.
    LDTR_SELECTOR: u16 = 0x080c;
    /// Selector of TR.
    TR_SELECTOR: u16 = 0x080e;
    /// Requested and serviced virtual interrupts.
    INTERRUPT_STATUS: u16 = 0x0810;
    /// Next entry of the page-modification log.
    PML_INDEX: u16 = 0x0812;
    /// Vector of user-interrupt notifications.
    UINV: u16 = 0x0814;

    /// VMCS link pointer; all ones where there is none.
    VMCS_LINK: u64 = 0x2800;
    /// IA32_DEBUGCTL.
    DEBUGCTL: u64 = 0x2802;
    /// IA32_PAT.
    PAT: u64 = 0x2804;
    /// IA32_EFER.
    EFER: u64 = 0x2806;
    /// IA32_PERF_GLOBAL_CTRL.
    PERF_GLOBAL_CTRL: u64 = 0x2808;
    /// Page-directory-pointer entry 0.
    PDPTE_0: u64 = 0x280a;
    /// Page-directory-pointer entry 1.
    PDPTE_1: u64 = 0x280c;
    /// Page-directory-pointer entry 2.
    PDPTE_2: u64 = 0x280e;
    /// Page-directory-pointer entry 3.
    PDPTE_3: u64 = 0x2810;
    /// IA32_BNDCFGS.
    BNDCFGS: u64 = 0x2812;
    /// IA32_RTIT_CTL.
    RTIT_CTL: u64 = 0x2814;
    /// IA32_LBR_CTL.
    LBR_CTL: u64 = 0x2816;
    /// IA32_PKRS.
    PKRS: u64 = 0x2818;

    /// Limit of ES in bytes, as are the following ones.
    ES_LIMIT: u32 = 0x4800;
    /// Limit of CS.
    CS_LIMIT: u32 = 0x4802;
    /// Limit of SS.
    SS_LIMIT: u32 = 0x4804;
    /// Limit of DS.
    DS_LIMIT: u32 = 0x4806;
    /// Limit of FS.
    FS_LIMIT: u32 = 0x4808;
    /// Limit of GS.
    GS_LIMIT: u32 = 0x480a;
    /// Limit of LDTR.
    LDTR_LIMIT: u32 = 0x480c;
    /// Limit of TR.
    TR_LIMIT: u32 = 0x480e;
    /// Limit of the GDT.
    GDTR_LIMIT: u32 = 0x4810;
    /// Limit of the IDT.
    IDTR_LIMIT: u32 = 0x4812;
    /// Access rights of ES, see [`access_rights`](crate::vmx::access_rights).
    ES_ACCESS_RIGHTS: u32 = 0x4814;
    /// Access rights of CS.
    CS_ACCESS_RIGHTS: u32 = 0x4816;
    /// Access rights of SS.
    SS_ACCESS_RIGHTS: u32 = 0x4818;
    /// Access rights of DS.
    DS_ACCESS_RIGHTS: u32 = 0x481a;
    /// Access rights of FS.
    FS_ACCESS_RIGHTS: u32 = 0x481c;
    /// Access rights of GS.
    GS_ACCESS_RIGHTS: u32 = 0x481e;
    /// Access rights of LDTR.
    LDTR_ACCESS_RIGHTS: u32 = 0x4820;
    /// Access rights of TR.
    TR_ACCESS_RIGHTS: u32 = 0x4822;
    /// What blocks interrupts, see [`interruption`](crate::vmx::interruption).
    INTERRUPTIBILITY: u32 = 0x4824;
    /// Whether the CPU runs, halts or waits, see [`interruption`](crate::vmx::interruption).
    ACTIVITY: u32 = 0x4826;
    /// Base of system-management RAM.
    SMBASE: u32 = 0x4828;
    /// IA32_SYSENTER_CS.
    SYSENTER_CS: u32 = 0x482a;
    /// VMX-preemption timer.
    PREEMPTION_TIMER: u32 = 0x482e;

    /// CR0.
    CR0: Natural = 0x6800;
    /// CR3.
    CR3: Natural = 0x6802;
    /// CR4.
    CR4: Natural = 0x6804;
    /// Base of ES.
    ES_BASE: Natural = 0x6806;
    /// Base of CS.
    CS_BASE: Natural = 0x6808;
    /// Base of SS.
    SS_BASE: Natural = 0x680a;
    /// Base of DS.
    DS_BASE: Natural = 0x680c;
    /// Base of FS.
    FS_BASE: Natural = 0x680e;
    /// Base of GS.
    GS_BASE: Natural = 0x6810;
    /// Base of LDTR.
    LDTR_BASE: Natural = 0x6812;
    /// Base of TR.
    TR_BASE: Natural = 0x6814;
    /// Base of the GDT.
    GDTR_BASE: Natural = 0x6816;
    /// Base of the IDT.
    IDTR_BASE: Natural = 0x6818;
    /// DR7.
    DR7: Natural = 0x681a;
    /// RSP.
    RSP: Natural = 0x681c;
    /// RIP.
    RIP: Natural = 0x681e;
    /// RFLAGS.
    RFLAGS: Natural = 0x6820;
    /// Debug exceptions that wait, see [`interruption`](crate::vmx::interruption).
    PENDING_DEBUG: Natural = 0x6822;
    /// IA32_SYSENTER_ESP.
    SYSENTER_ESP: Natural = 0x6824;
    /// IA32_SYSENTER_EIP.
    SYSENTER_EIP: Natural = 0x6826;
    /// IA32_S_CET.
    S_CET: Natural = 0x6828;
    /// Shadow-stack pointer.
    SSP: Natural = 0x682a;
    /// IA32_INTERRUPT_SSP_TABLE_ADDR.
    INTERRUPT_SSP_TABLE: Natural = 0x682c;
}
