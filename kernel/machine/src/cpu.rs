//! One CPU: its identity, its features, its model-specific registers, and the block of memory it reaches through GS.
//!
//! Sources: AMD64 APM vol. 2, 2.2 and 3.2 (MSRs), APM vol. 3, E (CPUID); Intel SDM vol. 2, CPUID, RDSEED.

use core::arch::asm;
use core::arch::x86_64::{__cpuid, __cpuid_count};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};

/// The most CPUs that are started.
pub const MAX_CPUS: usize = 64;

static COUNT: AtomicUsize = AtomicUsize::new(1);

/// The blocks of the CPUs that were started, for those who look at others' counters.
static BLOCKS: [AtomicPtr<PerCpu>; MAX_CPUS] = [const { AtomicPtr::new(core::ptr::null_mut()) }; MAX_CPUS];

/// What each CPU reaches through GS. The first fields are known to assembly by offset.
#[repr(C)]
pub struct PerCpu {
    this: *const PerCpu,
    /// Number of the CPU, from 0 (`gs:8`).
    pub id: usize,
    /// The running thread (`gs:16`); owned by the scheduler.
    pub current: AtomicUsize,
    /// Set when a thread of higher priority became ready or the time slice ended.
    pub reschedule: AtomicBool,
    /// Interrupts taken.
    pub interrupts: AtomicU64,
    /// Those of its timer among them.
    pub timer_interrupts: AtomicU64,
    /// Thread switches.
    pub switches: AtomicU64,
}

// SAFETY: `this` points at the block itself and is never written after construction; the rest is atomic or constant.
unsafe impl Sync for PerCpu {}
// SAFETY: as above.
unsafe impl Send for PerCpu {}

impl PerCpu {
    /// A block for CPU `id`; `install` gives it its address.
    pub const fn new(id: usize) -> Self {
        Self {
            this: core::ptr::null(),
            id,
            current: AtomicUsize::new(0),
            reschedule: AtomicBool::new(false),
            interrupts: AtomicU64::new(0),
            timer_interrupts: AtomicU64::new(0),
            switches: AtomicU64::new(0),
        }
    }

    /// Makes this the block of the CPU that runs this.
    pub(crate) fn install(&'static mut self) -> &'static PerCpu {
        self.this = self;
        // SAFETY: the block is 'static, and GS is used for nothing else.
        unsafe { wrmsr(msr::GS_BASE, self as *const Self as u64) };
        BLOCKS[self.id].store(self, Ordering::Release);
        self
    }
}

/// The block of the CPU that runs this. Stable only while the thread can't migrate (interrupts off, or pinned).
#[inline]
pub fn this() -> &'static PerCpu {
    let pointer: *const PerCpu;
    // SAFETY: GS points at this CPU's block from `install` on, which is before anything calls this.
    unsafe {
        asm!("mov {}, gs:[0]", out(reg) pointer, options(nostack, preserves_flags, readonly));
        &*pointer
    }
}

/// The block of any CPU that was started.
pub fn block(cpu: usize) -> Option<&'static PerCpu> {
    let block = BLOCKS.get(cpu)?.load(Ordering::Acquire);
    // SAFETY: null, or a block that `install` was given for ever and that is only shared since.
    unsafe { block.as_ref() }
}

/// The number of CPUs that run.
pub fn count() -> usize {
    COUNT.load(Ordering::Acquire)
}

pub(crate) fn set_count(count: usize) {
    COUNT.store(count, Ordering::Release);
}

/// The number of the CPU that runs this, from 0.
#[inline]
pub fn id() -> usize {
    let id: usize;
    // SAFETY: GS points at this CPU's block, whose second field is the number.
    unsafe { asm!("mov {}, gs:[8]", out(reg) id, options(nostack, preserves_flags, readonly)) };
    id
}

/// Numbers of the model-specific registers in use.
pub mod msr {
    /// APIC base address and enables.
    pub const APIC_BASE: u32 = 0x1b;
    /// Extended features: long mode, no-execute.
    pub const EFER: u32 = 0xc000_0080;
    /// Base of FS.
    pub const FS_BASE: u32 = 0xc000_0100;
    /// Base of GS.
    pub const GS_BASE: u32 = 0xc000_0101;
    /// First x2APIC register; register at APIC offset `o` is `X2APIC + o / 16`.
    pub const X2APIC: u32 = 0x800;
    /// Deadline of the local APIC timer in TSC-deadline mode.
    pub const TSC_DEADLINE: u32 = 0x6e0;
}

/// Reads a model-specific register.
///
/// # Safety
/// The register exists on this CPU.
#[inline]
pub unsafe fn rdmsr(register: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: the caller vouches that the register exists; reading has no other effect.
    unsafe { asm!("rdmsr", in("ecx") register, out("eax") low, out("edx") high, options(nomem, nostack)) };
    u64::from(high) << 32 | u64::from(low)
}

/// Writes a model-specific register.
///
/// # Safety
/// The register exists and the value keeps every invariant the rest of the kernel relies on.
#[inline]
pub unsafe fn wrmsr(register: u32, value: u64) {
    // SAFETY: the caller's contract.
    unsafe {
        asm!("wrmsr", in("ecx") register, in("eax") value as u32, in("edx") (value >> 32) as u32, options(nostack));
    }
}

/// CR4.
pub fn cr4() -> u64 {
    let value: u64;
    // SAFETY: reads a control register.
    unsafe { asm!("mov {}, cr4", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// EFER.
pub fn efer() -> u64 {
    // SAFETY: every x86-64 CPU has it.
    unsafe { rdmsr(msr::EFER) }
}

/// Writes a model-specific register; false if the CPU refuses by a general protection fault. For tests of what is refused.
pub fn try_wrmsr(register: u32, value: u64) -> bool {
    crate::traps::probe_msr_write(register, value)
}

/// The time-stamp counter.
#[inline]
pub fn tsc() -> u64 {
    // SAFETY: RDTSC is part of x86-64 and CR4.TSD is clear.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Raw entropy from RDSEED, else RDRAND; `None` where the CPU has neither, or it ran dry for ten tries.
pub fn hardware_random() -> Option<u64> {
    let has_seed = __cpuid(0).eax >= 7 && __cpuid_count(7, 0).ebx & 1 << 18 != 0;
    let has_rand = __cpuid(1).ecx & 1 << 30 != 0;
    for _ in 0..10 {
        let (value, good): (u64, u8);
        if has_seed {
            // SAFETY: CPUID announces RDSEED.
            unsafe {
                asm!("rdseed {}", "setc {}", out(reg) value, out(reg_byte) good, options(nomem, nostack))
            };
        } else if has_rand {
            // SAFETY: CPUID announces RDRAND.
            unsafe {
                asm!("rdrand {}", "setc {}", out(reg) value, out(reg_byte) good, options(nomem, nostack))
            };
        } else {
            return None;
        }
        if good != 0 {
            return Some(value);
        }
        core::hint::spin_loop();
    }
    None
}

/// RFLAGS.
#[inline]
pub fn flags() -> u64 {
    let flags: u64;
    // SAFETY: reads RFLAGS through the stack.
    unsafe { asm!("pushfq", "pop {}", out(reg) flags, options(nomem, preserves_flags)) };
    flags
}

/// Whether interrupts are on.
#[inline]
pub fn interrupts_enabled() -> bool {
    flags() & 1 << 9 != 0
}

/// Switches interrupts off and tells whether they were on.
#[inline]
pub fn disable_interrupts() -> bool {
    let were_on = interrupts_enabled();
    // SAFETY: masking interrupts is always sound; the caller restores them.
    unsafe { asm!("cli", options(nostack)) };
    were_on
}

/// Switches interrupts on.
///
/// # Safety
/// No lock that an interrupt handler takes is held.
#[inline]
pub unsafe fn enable_interrupts() {
    // SAFETY: the caller's contract.
    unsafe { asm!("sti", options(nostack)) };
}

/// Runs `f` with interrupts off.
#[inline]
pub fn without_interrupts<R>(f: impl FnOnce() -> R) -> R {
    let were_on = disable_interrupts();
    let result = f();
    if were_on {
        // SAFETY: they were on before.
        unsafe { enable_interrupts() };
    }
    result
}

/// Stops this CPU for good.
pub fn stop() -> ! {
    loop {
        // SAFETY: with interrupts off, HLT ends only by NMI, and the loop halts again.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}

/// Switches on what every CPU needs in its control registers: SSE, global pages, write protection, and the saving of AVX
/// state where the CPU has it.
///
/// # Safety
/// Called once per CPU, before anything relies on extended state.
pub(crate) unsafe fn enable_features() {
    let features = __cpuid(1).ecx;
    // SAFETY: bits that CPUID announces (OSXSAVE) or that x86-64 guarantees (OSFXSR, OSXMMEXCPT, PGE, CR0.WP/MP/NE).
    unsafe {
        let mut cr4: u64;
        asm!("mov {}, cr4", out(reg) cr4, options(nomem, nostack));
        cr4 |= 1 << 5 | 1 << 7 | 1 << 9 | 1 << 10;
        if features & 1 << 26 != 0 {
            cr4 |= 1 << 18;
        }
        asm!("mov cr4, {}", in(reg) cr4, options(nostack));
        let mut cr0: u64;
        asm!("mov {}, cr0", out(reg) cr0, options(nomem, nostack));
        cr0 = cr0 & !(1 << 2 | 1 << 3) | 1 << 1 | 1 << 5 | 1 << 16;
        asm!("mov cr0, {}", in(reg) cr0, options(nostack));
        if features & 1 << 26 != 0 {
            let mut mask = 3u64;
            if features & 1 << 28 != 0 {
                mask |= 4;
            }
            asm!("xsetbv", in("ecx") 0, in("eax") mask as u32, in("edx") 0, options(nostack));
            crate::traps::use_xsave(mask as u32);
        }
        let zero = 0u32;
        asm!("ldmxcsr [{}]", in(reg) &(0x1f80u32 | zero), options(nostack));
        asm!("fninit", options(nomem, nostack));
    }
}
