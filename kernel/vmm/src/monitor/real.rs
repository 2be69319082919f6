//! The CPU that runs this, as handlers and builders see it.

use crate::exits::Platform;
use core::arch::x86_64::{__cpuid, __cpuid_count};
use machine::apic::Access;
use machine::state::{Hardware, Privileged, Register};
use x86defs::cpuid::{Leaf, Source};

/// The CPU that runs this, as it describes itself.
#[derive(Debug)]
pub(super) struct Real;

impl Source for Real {
    fn leaf(&self, number: u32) -> Leaf {
        if number > __cpuid(number & 0x8000_0000).eax { Leaf::default() } else { self.subleaf(number, 0) }
    }

    fn subleaf(&self, number: u32, sub: u32) -> Leaf {
        let answer = __cpuid_count(number, sub);
        Leaf { eax: answer.eax, ebx: answer.ebx, ecx: answer.ecx, edx: answer.edx }
    }
}

/// The CPU that runs this, for the handlers. In the reserve, where the system can't change it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beneath {
    apic: Access,
}

impl Beneath {
    /// As the machine is now.
    pub fn new() -> Self {
        Self { apic: machine::apic::access() }
    }
}

impl Source for Beneath {
    fn subleaf(&self, number: u32, sub: u32) -> Leaf {
        Real.subleaf(number, sub)
    }
}

impl Platform for Beneath {
    fn notify(&self) {
        self.apic.send_to_self(machine::apic::REPORT_VECTOR);
    }

    fn set_xcr0(&self, value: u64) {
        // SAFETY: in the VMM interrupts are off. The handler has checked the value, and the VMM uses no state that it could
        // switch off.
        let mut cpu = unsafe { Hardware::new() };
        cpu.write(Register::Xcr0, value);
    }
}
