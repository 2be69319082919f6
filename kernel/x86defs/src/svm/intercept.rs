//! Bits of the intercept words (APM vol. 2, table B-1, offsets 00Ch and 010h).

/// First word: INIT.
pub const INIT: u32 = 1 << 3;
/// First word: the CPUID instruction.
pub const CPUID: u32 = 1 << 18;
/// First word: INVLPGA.
pub const INVLPGA: u32 = 1 << 26;
/// First word: ports, by the I/O permission map.
pub const IOIO_PROT: u32 = 1 << 27;
/// First word: model-specific registers, by the MSR permission map.
pub const MSR_PROT: u32 = 1 << 28;
/// First word: shutdown (triple fault).
pub const SHUTDOWN: u32 = 1 << 31;

/// Second word: VMRUN. VMRUN itself insists on it.
pub const VMRUN: u32 = 1;
/// Second word: VMMCALL.
pub const VMMCALL: u32 = 1 << 1;
/// Second word: VMLOAD.
pub const VMLOAD: u32 = 1 << 2;
/// Second word: VMSAVE.
pub const VMSAVE: u32 = 1 << 3;
/// Second word: STGI.
pub const STGI: u32 = 1 << 4;
/// Second word: CLGI.
pub const CLGI: u32 = 1 << 5;
/// Second word: SKINIT.
pub const SKINIT: u32 = 1 << 6;
