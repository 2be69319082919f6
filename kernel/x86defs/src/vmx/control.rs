//! Bits of the control words (SDM vol. 3, 25.6 to 25.8).

/// Pin-based VM-execution controls (table 25-5).
pub mod pin {
    /// "External-interrupt exiting".
    pub const EXTERNAL_INTERRUPT_EXITING: u32 = 1;
    /// "NMI exiting".
    pub const NMI_EXITING: u32 = 1 << 3;
    /// "Virtual NMIs".
    pub const VIRTUAL_NMIS: u32 = 1 << 5;
    /// "Activate VMX-preemption timer".
    pub const ACTIVATE_PREEMPTION_TIMER: u32 = 1 << 6;
    /// "Process posted interrupts".
    pub const PROCESS_POSTED_INTERRUPTS: u32 = 1 << 7;
}

/// Primary processor-based VM-execution controls (table 25-6).
pub mod primary {
    /// "Interrupt-window exiting".
    pub const INTERRUPT_WINDOW_EXITING: u32 = 1 << 2;
    /// "Use TSC offsetting".
    pub const USE_TSC_OFFSETTING: u32 = 1 << 3;
    /// "HLT exiting".
    pub const HLT_EXITING: u32 = 1 << 7;
    /// "INVLPG exiting".
    pub const INVLPG_EXITING: u32 = 1 << 9;
    /// "MWAIT exiting".
    pub const MWAIT_EXITING: u32 = 1 << 10;
    /// "RDPMC exiting".
    pub const RDPMC_EXITING: u32 = 1 << 11;
    /// "RDTSC exiting".
    pub const RDTSC_EXITING: u32 = 1 << 12;
    /// "CR3-load exiting".
    pub const CR3_LOAD_EXITING: u32 = 1 << 15;
    /// "CR3-store exiting".
    pub const CR3_STORE_EXITING: u32 = 1 << 16;
    /// "Activate tertiary controls".
    pub const ACTIVATE_TERTIARY: u32 = 1 << 17;
    /// "CR8-load exiting".
    pub const CR8_LOAD_EXITING: u32 = 1 << 19;
    /// "CR8-store exiting".
    pub const CR8_STORE_EXITING: u32 = 1 << 20;
    /// "Use TPR shadow".
    pub const USE_TPR_SHADOW: u32 = 1 << 21;
    /// "NMI-window exiting".
    pub const NMI_WINDOW_EXITING: u32 = 1 << 22;
    /// "MOV-DR exiting".
    pub const MOV_DR_EXITING: u32 = 1 << 23;
    /// "Unconditional I/O exiting".
    pub const UNCONDITIONAL_IO_EXITING: u32 = 1 << 24;
    /// "Use I/O bitmaps".
    pub const USE_IO_BITMAPS: u32 = 1 << 25;
    /// "Monitor trap flag".
    pub const MONITOR_TRAP_FLAG: u32 = 1 << 27;
    /// "Use MSR bitmaps".
    pub const USE_MSR_BITMAPS: u32 = 1 << 28;
    /// "MONITOR exiting".
    pub const MONITOR_EXITING: u32 = 1 << 29;
    /// "PAUSE exiting".
    pub const PAUSE_EXITING: u32 = 1 << 30;
    /// "Activate secondary controls".
    pub const ACTIVATE_SECONDARY: u32 = 1 << 31;
}

/// Secondary processor-based VM-execution controls (table 25-7).
pub mod secondary {
    /// "Virtualize APIC accesses".
    pub const VIRTUALIZE_APIC_ACCESSES: u32 = 1;
    /// "Enable EPT".
    pub const ENABLE_EPT: u32 = 1 << 1;
    /// "Descriptor-table exiting".
    pub const DESCRIPTOR_TABLE_EXITING: u32 = 1 << 2;
    /// "Enable RDTSCP".
    pub const ENABLE_RDTSCP: u32 = 1 << 3;
    /// "Virtualize x2APIC mode".
    pub const VIRTUALIZE_X2APIC: u32 = 1 << 4;
    /// "Enable VPID".
    pub const ENABLE_VPID: u32 = 1 << 5;
    /// "WBINVD exiting".
    pub const WBINVD_EXITING: u32 = 1 << 6;
    /// "Unrestricted guest".
    pub const UNRESTRICTED_GUEST: u32 = 1 << 7;
    /// "APIC-register virtualization".
    pub const APIC_REGISTER_VIRTUALIZATION: u32 = 1 << 8;
    /// "Virtual-interrupt delivery".
    pub const VIRTUAL_INTERRUPT_DELIVERY: u32 = 1 << 9;
    /// "PAUSE-loop exiting".
    pub const PAUSE_LOOP_EXITING: u32 = 1 << 10;
    /// "RDRAND exiting".
    pub const RDRAND_EXITING: u32 = 1 << 11;
    /// "Enable INVPCID".
    pub const ENABLE_INVPCID: u32 = 1 << 12;
    /// "Enable VM functions".
    pub const ENABLE_VM_FUNCTIONS: u32 = 1 << 13;
    /// "VMCS shadowing".
    pub const VMCS_SHADOWING: u32 = 1 << 14;
    /// "Enable ENCLS exiting".
    pub const ENCLS_EXITING: u32 = 1 << 15;
    /// "RDSEED exiting".
    pub const RDSEED_EXITING: u32 = 1 << 16;
    /// "Enable PML".
    pub const ENABLE_PML: u32 = 1 << 17;
    /// "EPT-violation #VE".
    pub const EPT_VIOLATION_EXCEPTION: u32 = 1 << 18;
    /// "Conceal VMX from PT".
    pub const CONCEAL_VMX_FROM_PT: u32 = 1 << 19;
    /// "Enable XSAVES/XRSTORS".
    pub const ENABLE_XSAVES: u32 = 1 << 20;
    /// "Mode-based execute control for EPT".
    pub const MODE_BASED_EXECUTE: u32 = 1 << 22;
    /// "Sub-page write permissions for EPT".
    pub const SUBPAGE_WRITE_PERMISSIONS: u32 = 1 << 23;
    /// "Intel PT uses guest physical addresses".
    pub const PT_USES_GUEST_PHYSICAL: u32 = 1 << 24;
    /// "Use TSC scaling".
    pub const USE_TSC_SCALING: u32 = 1 << 25;
    /// "Enable user wait and pause".
    pub const ENABLE_USER_WAIT_AND_PAUSE: u32 = 1 << 26;
    /// "Enable PCONFIG".
    pub const ENABLE_PCONFIG: u32 = 1 << 27;
    /// "Enable ENCLV exiting".
    pub const ENCLV_EXITING: u32 = 1 << 28;
}

/// Primary VM-exit controls (table 25-13).
pub mod exit {
    /// "Save debug controls": DR7 and IA32_DEBUGCTL.
    pub const SAVE_DEBUG_CONTROLS: u32 = 1 << 2;
    /// "Host address-space size": the host is in 64-bit mode.
    pub const HOST_ADDRESS_SPACE_SIZE: u32 = 1 << 9;
    /// "Load IA32_PERF_GLOBAL_CTRL".
    pub const LOAD_PERF_GLOBAL_CTRL: u32 = 1 << 12;
    /// "Acknowledge interrupt on exit".
    pub const ACKNOWLEDGE_INTERRUPT: u32 = 1 << 15;
    /// "Save IA32_PAT".
    pub const SAVE_PAT: u32 = 1 << 18;
    /// "Load IA32_PAT".
    pub const LOAD_PAT: u32 = 1 << 19;
    /// "Save IA32_EFER".
    pub const SAVE_EFER: u32 = 1 << 20;
    /// "Load IA32_EFER".
    pub const LOAD_EFER: u32 = 1 << 21;
    /// "Save VMX-preemption timer value".
    pub const SAVE_PREEMPTION_TIMER: u32 = 1 << 22;
    /// "Clear IA32_BNDCFGS".
    pub const CLEAR_BNDCFGS: u32 = 1 << 23;
    /// "Conceal VMX from PT".
    pub const CONCEAL_VMX_FROM_PT: u32 = 1 << 24;
    /// "Clear IA32_RTIT_CTL".
    pub const CLEAR_RTIT_CTL: u32 = 1 << 25;
    /// "Clear IA32_LBR_CTL".
    pub const CLEAR_LBR_CTL: u32 = 1 << 26;
    /// "Load CET state".
    pub const LOAD_CET_STATE: u32 = 1 << 28;
    /// "Load PKRS".
    pub const LOAD_PKRS: u32 = 1 << 29;
    /// "Activate secondary controls".
    pub const ACTIVATE_SECONDARY: u32 = 1 << 31;
}

/// VM-entry controls (table 25-15).
pub mod entry {
    /// "Load debug controls": DR7 and IA32_DEBUGCTL.
    pub const LOAD_DEBUG_CONTROLS: u32 = 1 << 2;
    /// "IA-32e mode guest".
    pub const IA32E_MODE_GUEST: u32 = 1 << 9;
    /// "Entry to SMM".
    pub const ENTRY_TO_SMM: u32 = 1 << 10;
    /// "Deactivate dual-monitor treatment".
    pub const DEACTIVATE_DUAL_MONITOR: u32 = 1 << 11;
    /// "Load IA32_PERF_GLOBAL_CTRL".
    pub const LOAD_PERF_GLOBAL_CTRL: u32 = 1 << 13;
    /// "Load IA32_PAT".
    pub const LOAD_PAT: u32 = 1 << 14;
    /// "Load IA32_EFER".
    pub const LOAD_EFER: u32 = 1 << 15;
    /// "Load IA32_BNDCFGS".
    pub const LOAD_BNDCFGS: u32 = 1 << 16;
    /// "Conceal VMX from PT".
    pub const CONCEAL_VMX_FROM_PT: u32 = 1 << 17;
    /// "Load IA32_RTIT_CTL".
    pub const LOAD_RTIT_CTL: u32 = 1 << 18;
    /// "Load CET state".
    pub const LOAD_CET_STATE: u32 = 1 << 20;
    /// "Load guest IA32_LBR_CTL".
    pub const LOAD_LBR_CTL: u32 = 1 << 21;
    /// "Load PKRS".
    pub const LOAD_PKRS: u32 = 1 << 22;
}
