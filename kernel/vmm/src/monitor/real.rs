//! The CPU that runs this, as handlers and builders see it.

use crate::exits::Platform;
use core::arch::x86_64::{__cpuid, __cpuid_count};
use machine::apic::Access;
use machine::state::{Hardware, Privileged, Register, capture_unswitched, install_unswitched};
use x86defs::cpuid::{Leaf, Source};
use x86defs::state::CpuState;

/// How long a CPU waits in the VMM for others that are on their way, in seconds. Generous: an emulator may give one no time at all.
const PATIENCE: u64 = 20;

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
    number: usize,
    /// In ticks.
    patience: u64,
    /// An exit leaves in the CPU what [`capture_unswitched`] takes.
    leaves: bool,
}

impl Beneath {
    /// CPU `number`, as the machine is now. `leaves`: an exit leaves in it what [`capture_unswitched`] takes.
    pub fn new(number: usize, leaves: bool) -> Self {
        let patience = PATIENCE * machine::time::tsc_hertz();
        Self { apic: machine::apic::access(), number, patience, leaves }
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
    fn cpu(&self) -> usize {
        self.number
    }

    fn ticks(&self) -> u64 {
        machine::cpu::tsc()
    }

    fn patience(&self) -> u64 {
        self.patience
    }

    fn complete(&self, state: &mut CpuState) {
        if self.leaves {
            // SAFETY: in the VMM interrupts are off; nothing is written through it.
            capture_unswitched(&unsafe { Hardware::new() }, state);
        }
    }

    fn install(&self, state: &CpuState) {
        if self.leaves {
            // SAFETY: in the VMM interrupts are off. The state is the guest's, and was looked at; the VMM uses none of these registers.
            install_unswitched(&mut unsafe { Hardware::new() }, state);
        }
    }
}
