//! What the VMM must not depend on: state that the system shares with it.

use crate::check;
use app::Env;
use app::time::Duration;
use core::arch::asm;
use core::arch::x86_64::__cpuid;
use machine::cpu;
use mode::Phase;
use mode::bare::{look, request};

const LONG: Duration = Duration::from_secs(30);
const OSXSAVE: u64 = 1 << 18;

fn xcr0() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: CR4.OSXSAVE is set.
    unsafe { asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high, options(nomem, nostack)) };
    u64::from(high) << 32 | u64::from(low)
}

fn set_xcr0(value: u64) {
    // SAFETY: CR4.OSXSAVE is set, and the value one of the register's; nothing is saved with it while interrupts are off.
    unsafe {
        asm!("xsetbv", in("ecx") 0, in("eax") value as u32, in("edx") (value >> 32) as u32, options(nostack));
    }
}

/// Exits while SSE is switched off in XCR0, which the VMM shares: they are handled, and SSE registers keep their values.
pub fn sse_may_be_switched_off(_: &'static Env) -> Result<(), &'static str> {
    if cpu::cr4() & OSXSAVE == 0 {
        return Ok(());
    }
    request(Some(Phase::Guest), LONG).map_err(|_| "a switch was refused")?;
    let result = look(|_, monitor| {
        cpu::without_interrupts(|| {
            let before = xcr0();
            set_xcr0(1);
            let kept: u64;
            // SAFETY: CPUID, an exit in guest mode, with a value in an SSE register; RBX is put back.
            unsafe {
                asm!(
                    "movq xmm9, {value}",
                    "push rbx",
                    "xor eax, eax",
                    "cpuid",
                    "pop rbx",
                    "movq {value}, xmm9",
                    value = inout(reg) 0x1234_5678_9abc_def0u64 => kept,
                    out("rax") _, out("rcx") _, out("rdx") _, out("xmm9") _,
                );
            }
            let answer = monitor.call(vmm::call::Call::Version, 0, 0);
            let seen = xcr0();
            set_xcr0(before);
            check(seen == 1, "XCR0 was not written")?;
            check(kept == 0x1234_5678_9abc_def0, "an exit has changed an SSE register")?;
            check(answer == Ok(vmm::call::VERSION), "a hypercall failed")
        })
    });
    let signed = __cpuid(0x4000_0000).ebx.to_le_bytes() == vmm::exits::SIGNATURE[..4];
    request(Some(Phase::Native), LONG).map_err(|_| "a switch was refused")?;
    check(signed, "the machine is not in guest mode")?;
    result.map_err(|_| "no monitor")?
}
