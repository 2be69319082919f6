//! AMD's part of the monitor.

use super::EnterError;
use super::build::Pool;
use crate::availability::firmware_allows;
use crate::exits::{self, Platform, Stop};
use crate::nested::Npt;
use crate::shared::Shared;
use crate::svm::checks::{Limits, check};
use crate::svm::{self as logic, Guest};
use core::arch::x86_64::{__cpuid, __cpuid_count};
use machine::state::{Hardware, Privileged, Register, capture};
use machine::virtualization::svm::{Block, Handler, Next, vm_cr};
use x86defs::cpuid::{Leaf, Source};
use x86defs::registers::{CR4_PGE, RFLAGS_FIXED};

/// What the handler keeps for each CPU.
#[derive(Debug)]
pub(super) struct Cpu {
    pub shared: &'static Shared<Npt, Pool>,
    /// For the checks of debug builds.
    pub limits: Limits,
    /// The guest has run: from then on a refused entry is not the switch's failure.
    pub entered: bool,
}

/// The CPU that runs this, for the handlers.
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

impl Platform for Real {
    fn notify(&self) {
        machine::apic::send_to_self(machine::apic::REPORT_VECTOR);
    }

    fn set_xcr0(&self, value: u64) {
        // SAFETY: in the VMM interrupts are off. The handler has checked the value, and the VMM uses no extended state.
        let mut cpu = unsafe { Hardware::new() };
        cpu.write(Register::Xcr0, value);
    }
}

/// Fills the block from the CPU that runs this.
#[inline]
pub(super) fn prepare(block: &mut Block<Cpu>) -> Result<(), EnterError> {
    firmware_allows(vm_cr()).map_err(EnterError::Unavailable)?;
    let state = &mut block.head.state;
    // SAFETY: interrupts are off; nothing is written through it.
    let cpu = unsafe { Hardware::new() };
    capture(&cpu, state).map_err(EnterError::Capture)?;
    // The jump fills in the real ones.
    state.rflags = RFLAGS_FIXED;
    logic::load(&mut block.guest, state);
    // In the VMM, too, the CPU knows who it is: last words need it.
    block.host.save.gs.base = state.segments.gs.base;
    block.head.cr4 = state.cr4 & !CR4_PGE;
    block.data.entered = false;
    Ok(())
}

impl Handler for Cpu {
    fn exit(block: &mut Block<Self>) -> Next {
        let mut guest = Guest { vmcb: &mut block.guest, registers: &mut block.head.registers };
        let next = exits::handle(&mut guest, block.data.shared, &Real);
        match next {
            exits::Next::Resume => {
                block.data.entered = true;
                if cfg!(debug_assertions)
                    && let Err(violation) = check(&block.guest, &block.data.limits)
                {
                    panic!("the control block is not sound after an exit: {violation}");
                }
                Next::Resume
            }
            exits::Next::Leave => {
                logic::store(&block.guest, &mut block.head.state);
                let rax = block.head.state.registers.rax;
                block.head.state.registers = x86defs::state::Registers { rax, ..block.head.registers };
                Next::Leave
            }
            exits::Next::Refused if !block.data.entered => {
                block.head.state.registers.rax = 1;
                Next::Leave
            }
            exits::Next::Refused => stop(block, Stop::Unexpected(u64::MAX)),
            exits::Next::Stop(reason) => stop(block, reason),
        }
    }
}

#[cold]
fn stop(block: &Block<Cpu>, reason: Stop) -> ! {
    let save = &block.guest.save;
    let what = match reason {
        Stop::Shutdown => "a triple fault",
        Stop::Init => "INIT",
        Stop::Dry => "a nested fault, with no table left to resolve it",
        Stop::Unexpected(_) => "an exit that nobody asked for",
    };
    panic!(
        "the system stopped in guest mode by {what} ({reason:?}): rip {:#x}, rsp {:#x}, cr2 {:#x}, cr3 {:#x}",
        save.rip, save.rsp, save.cr2, save.cr3
    )
}
