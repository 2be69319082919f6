//! Bits of control registers and numbers of model-specific registers.
//!
//! Sources: AMD64 APM vol. 2, 3.1 (control registers), 3.2 and appendix A (MSRs); Intel SDM vol. 4.

/// CR0: protected mode.
pub const CR0_PE: u64 = 1;
/// CR0: numeric errors are reported as exceptions.
pub const CR0_NE: u64 = 1 << 5;
/// CR0: write protection holds for the supervisor, too.
pub const CR0_WP: u64 = 1 << 16;
/// CR0: not write-through.
pub const CR0_NW: u64 = 1 << 29;
/// CR0: cache disable.
pub const CR0_CD: u64 = 1 << 30;
/// CR0: paging.
pub const CR0_PG: u64 = 1 << 31;

/// CR4: physical-address extension.
pub const CR4_PAE: u64 = 1 << 5;
/// CR4: global pages. Changing it flushes all translations (APM vol. 2, 5.5.2).
pub const CR4_PGE: u64 = 1 << 7;
/// CR4: VMX operation is enabled.
pub const CR4_VMXE: u64 = 1 << 13;
/// CR4: process-context identifiers.
pub const CR4_PCIDE: u64 = 1 << 17;
/// CR4: XSAVE and extended states.
pub const CR4_OSXSAVE: u64 = 1 << 18;
/// CR4: control-flow enforcement.
pub const CR4_CET: u64 = 1 << 23;

/// EFER: system-call extensions.
pub const EFER_SCE: u64 = 1;
/// EFER: long mode enable.
pub const EFER_LME: u64 = 1 << 8;
/// EFER: long mode active.
pub const EFER_LMA: u64 = 1 << 10;
/// EFER: no-execute.
pub const EFER_NXE: u64 = 1 << 11;
/// EFER: secure virtual machine enable.
pub const EFER_SVME: u64 = 1 << 12;

/// RFLAGS: single step.
pub const RFLAGS_TF: u64 = 1 << 8;
/// RFLAGS: virtual-8086 mode.
pub const RFLAGS_VM: u64 = 1 << 17;
/// RFLAGS: interrupts enabled.
pub const RFLAGS_IF: u64 = 1 << 9;
/// RFLAGS: the bit that is always one.
pub const RFLAGS_FIXED: u64 = 1 << 1;

/// Numbers of model-specific registers.
pub mod msr {
    /// SYSENTER: code segment.
    pub const SYSENTER_CS: u32 = 0x174;
    /// SYSENTER: stack pointer.
    pub const SYSENTER_ESP: u32 = 0x175;
    /// SYSENTER: instruction pointer.
    pub const SYSENTER_EIP: u32 = 0x176;
    /// Speculation control.
    pub const SPEC_CTRL: u32 = 0x48;
    /// Debugging: last branches, single steps by branch.
    pub const DEBUGCTL: u32 = 0x1d9;
    /// Page-attribute table.
    pub const PAT: u32 = 0x277;
    /// Extended features.
    pub const EFER: u32 = 0xc000_0080;
    /// SYSCALL: segments.
    pub const STAR: u32 = 0xc000_0081;
    /// SYSCALL: instruction pointer of 64-bit callers.
    pub const LSTAR: u32 = 0xc000_0082;
    /// SYSCALL: instruction pointer of compatibility-mode callers.
    pub const CSTAR: u32 = 0xc000_0083;
    /// SYSCALL: flags to clear.
    pub const SFMASK: u32 = 0xc000_0084;
    /// Base of FS.
    pub const FS_BASE: u32 = 0xc000_0100;
    /// Base of GS.
    pub const GS_BASE: u32 = 0xc000_0101;
    /// What SWAPGS exchanges with the base of GS.
    pub const KERNEL_GS_BASE: u32 = 0xc000_0102;
    /// What RDTSCP returns in ECX.
    pub const TSC_AUX: u32 = 0xc000_0103;
    /// SVM: global control ([`VM_CR_SVMDIS`], [`VM_CR_LOCK`]).
    pub const VM_CR: u32 = 0xc001_0114;
    /// SVM: physical address of the host save area.
    pub const VM_HSAVE_PA: u32 = 0xc001_0117;
    /// SVM: the key that unlocks [`VM_CR`].
    pub const SVM_KEY: u32 = 0xc001_0118;

    /// VM_CR: the lock is closed.
    pub const VM_CR_LOCK: u64 = 1 << 3;
    /// VM_CR: EFER.SVME can't be set.
    pub const VM_CR_SVMDIS: u64 = 1 << 4;
}
