//! AMD's part of the monitor.

use super::build::{BuildError, DRY, Extent, Ground, Pool, Wishes};
use super::real::{Beneath, Real};
use super::{Blocks, EnterError, Violation};
use crate::availability::firmware_allows;
use crate::exits::{self, Stop};
use crate::nested::{Npt, Size, always_write_back};
use crate::shared::Shared;
use crate::svm::checks::{Limits, check};
use crate::svm::{self as logic, Guest, Maps};
use machine::memory::map::MemoryMap;
use machine::memory::reserve::Reserve;
use machine::state::{Hardware, Optional, capture};
use machine::virtualization::svm::{self, Block, Handler, vm_cr};
use machine::virtualization::{Arena, Next, landing};
use x86defs::cpuid::{SVM_EDX_SPEC_CTRL, Source};
use x86defs::registers::{CR4_PGE, msr};
use x86defs::svm::permission::{IO_MAP, MSR_MAP, intercept_write};

/// What the handler keeps for each CPU.
#[derive(Debug)]
pub(super) struct Cpu {
    shared: &'static Shared<Npt, Pool>,
    platform: Beneath,
    /// For the checks of debug builds.
    limits: Limits,
    /// The guest has run: from then on a refused entry is not the switch's failure.
    entered: bool,
}

/// The monitor on a CPU with SVM.
#[derive(Debug)]
pub(super) struct Svm {
    blocks: Blocks<Block<Cpu>>,
    pub shared: &'static Shared<Npt, Pool>,
    limits: Limits,
    #[cfg(feature = "inject")]
    maps: Maps,
}

impl Svm {
    pub fn build(reserve: Option<Reserve>, map: &MemoryMap) -> Result<(Self, Extent), BuildError> {
        firmware_allows(vm_cr()).map_err(BuildError::Unavailable)?;
        let wishes = Wishes {
            largest: if Real.leaf(0x8000_0001).edx & 1 << 26 != 0 { Size::Huge } else { Size::Large },
            block: size_of::<Block<Cpu>>() as u64,
            maps: (MSR_MAP + IO_MAP) as u64,
        };
        let mut ground = Ground::lay(reserve, map, &wishes, always_write_back)?;
        let maps = permission_maps(&mut ground.arena, ground.nested).ok_or(DRY)?;
        let shared = ground.shared;
        let limits = Limits::of(&Real, machine::cpu::cr4(), machine::cpu::efer());
        let spec_ctrl = Real.leaf(0x8000_000a).edx & SVM_EDX_SPEC_CTRL != 0;
        let optional = Optional { spec_ctrl, ..Optional::default() };
        let make = |cpu, world: &'static _, ground: &Ground<Npt>| {
            let platform = Beneath::new(cpu, false);
            let data = Cpu { shared, platform, limits, entered: false };
            Block::new(world, &ground.idt, ground.host, optional, data)
        };
        let blocks = ground.blocks(make, |block, _, _| {
            logic::set_up(&mut block.guest.control, maps);
            Ok(())
        })?;
        let svm = Self {
            blocks,
            shared,
            limits,
            #[cfg(feature = "inject")]
            maps,
        };
        Ok((svm, ground.extent()))
    }

    /// Nothing is left to be done.
    pub fn ready(&self) -> Result<(), EnterError> {
        Ok(())
    }

    pub fn check(&self, cpu: usize) -> Result<(), EnterError> {
        let block = self.blocks.of(cpu)?;
        prepare(block)?;
        violation(block, &self.limits)
    }

    #[inline(always)]
    pub fn prepare(&self, cpu: usize) -> Result<(), EnterError> {
        let block = self.blocks.of(cpu)?;
        prepare(block)?;
        if cfg!(debug_assertions) {
            violation(block, &self.limits)?;
        }
        // SAFETY: availability was looked at when the monitor was built, firmware's word in `prepare`; the block is in the
        // reserve for good.
        unsafe { svm::enable(block) };
        Ok(())
    }

    pub fn undo(&self, cpu: usize) {
        if let Ok(block) = self.blocks.of(cpu) {
            // SAFETY: this CPU is on the bare machine with virtualization switched on by `prepare`.
            unsafe { svm::disable(&block.head.state) };
        }
    }

    #[inline(always)]
    pub fn launch(&self, cpu: usize) -> Result<(), EnterError> {
        let block = self.blocks.of(cpu)?;
        // SAFETY: `prepare` has filled the block from this CPU's state, which has not changed.
        if unsafe { svm::launch(block) } == 0 { Ok(()) } else { Err(EnterError::Refused) }
    }

    /// Spoils a part of a control block that has been prepared, so that VMRUN refuses it.
    #[cfg(feature = "inject")]
    pub fn spoil(&self, cpu: usize, part: super::Part) {
        let Ok(block) = self.blocks.of(cpu) else { return };
        match part {
            super::Part::Controls => block.guest.control.intercept_2 = 0,
            // There is no host's state in it, but the host's address space identifier may not be used.
            super::Part::Host => block.guest.control.asid = 0,
            super::Part::Guest => block.guest.save.efer &= !x86defs::registers::EFER_SVME,
        }
    }

    /// Mends what was spoiled.
    #[cfg(feature = "inject")]
    pub fn mend(&self, cpu: usize) {
        if let Ok(block) = self.blocks.of(cpu) {
            logic::set_up(&mut block.guest.control, self.maps);
        }
    }

    #[inline(always)]
    pub fn call(&self, number: u64, first: u64, second: u64) -> (u64, u64) {
        svm::hypercall(number, first, second)
    }
}

/// MSRs that are the VMM's own can't be written; ports are free.
fn permission_maps(arena: &mut Arena, nested: u64) -> Option<Maps> {
    let registers = arena.bytes::<MSR_MAP>()?;
    for register in [msr::EFER, msr::VM_CR, msr::VM_HSAVE_PA, msr::SVM_KEY] {
        intercept_write(registers, register);
    }
    let msr = registers.as_ptr() as u64;
    let io = arena.bytes::<IO_MAP>()?.as_ptr() as u64;
    Some(Maps { msr, io, nested })
}

/// Fills the block from the CPU that runs this.
#[inline(always)]
fn prepare(block: &mut Block<Cpu>) -> Result<(), EnterError> {
    firmware_allows(vm_cr()).map_err(EnterError::Unavailable)?;
    let state = &mut block.head.state;
    // SAFETY: interrupts are off; nothing is written through it.
    let cpu = unsafe { Hardware::new() };
    capture(&cpu, block.head.optional, state).map_err(EnterError::Capture)?;
    state.rip = landing();
    state.rflags = machine::cpu::flags();
    // That it went well.
    state.registers.rax = 0;
    logic::load(&mut block.guest, state);
    // In the VMM, too, the CPU knows who it is: last words need it.
    block.host.save.gs.base = state.segments.gs.base;
    block.head.cr4 = state.cr4 & !CR4_PGE;
    block.data.entered = false;
    Ok(())
}

impl Handler for Cpu {
    fn exit(block: &mut Block<Self>) -> Next {
        let (vmcb, registers) = (&mut block.guest, &mut block.head.registers);
        let mut guest = Guest { vmcb, registers, limits: &block.data.limits };
        let next = exits::handle(&mut guest, block.data.shared, &block.data.platform);
        match next {
            exits::Next::Resume => resume(block),
            exits::Next::Restored => {
                // The CPU is known by the new system's name.
                block.host.save.gs.base = block.guest.save.gs.base;
                resume(block)
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
            exits::Next::Refused => refused(block),
            exits::Next::Stop(reason) => stop(block, reason),
        }
    }
}

#[inline(always)]
fn resume(block: &mut Block<Cpu>) -> Next {
    block.data.entered = true;
    if cfg!(debug_assertions)
        && let Err(violation) = violation(block, &block.data.limits)
    {
        panic!("after an exit {violation}");
    }
    Next::Resume
}

fn violation(block: &Block<Cpu>, limits: &Limits) -> Result<(), EnterError> {
    check(&block.guest, limits).map_err(|violation| EnterError::Violation(Violation::Svm(violation)))
}

/// VMRUN does not say why.
#[cold]
fn refused(block: &Block<Cpu>) -> ! {
    match violation(block, &block.data.limits) {
        Err(violation) => panic!("VMRUN refused to go on with the system: {violation}"),
        Ok(()) => panic!("VMRUN refused to go on with the system, though no rule is known to be broken"),
    }
}

#[cold]
fn stop(block: &Block<Cpu>, reason: Stop) -> ! {
    let save = &block.guest.save;
    let what = reason.name();
    panic!(
        "the system stopped in guest mode by {what} ({reason:?}): rip {:#x}, rsp {:#x}, cr2 {:#x}, cr3 {:#x}",
        save.rip, save.rsp, save.cr2, save.cr3
    )
}
