//! Exit codes (APM vol. 2, appendix C).

/// INIT.
pub const INIT: u64 = 0x63;
/// CPUID.
pub const CPUID: u64 = 0x72;
/// INVLPGA.
pub const INVLPGA: u64 = 0x7a;
/// RDMSR (EXITINFO1 = 0) or WRMSR (1).
pub const MSR: u64 = 0x7c;
/// Shutdown.
pub const SHUTDOWN: u64 = 0x7f;
/// VMRUN.
pub const VMRUN: u64 = 0x80;
/// VMMCALL.
pub const VMMCALL: u64 = 0x81;
/// SKINIT, the last of the instructions of SVM.
pub const SKINIT: u64 = 0x86;
/// Nested page fault: EXITINFO1 is the error code, EXITINFO2 the guest-physical address (15.25.6).
pub const NPF: u64 = 0x400;
/// VMRUN refused the control block.
pub const INVALID: u64 = u64::MAX;
/// The same as QEMU's TCG stores it: -1 in 32 bits.
pub const INVALID_32: u64 = u32::MAX as u64;

/// Error code of a nested fault: the page was present.
pub const NPF_PRESENT: u64 = 1;
/// Error code of a nested fault: a write.
pub const NPF_WRITE: u64 = 1 << 1;
/// Error code of a nested fault: an instruction fetch.
pub const NPF_FETCH: u64 = 1 << 4;
/// Error code of a nested fault: while the guest's own page tables were walked.
pub const NPF_TABLE_WALK: u64 = 1 << 33;
