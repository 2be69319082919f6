//! Intel's part of the monitor.

use super::build::{BuildError, DRY, Extent, Ground, Pool, Wishes};
use super::real::{Beneath, Real};
use super::{Blocks, EnterError, Violation};
use crate::availability::{feature_control_to_set, vmx_allowed, vmx_availability};
use crate::exits::{self, Stop, efer_of_guest};
use crate::nested::{Ept, Size};
use crate::shared::Shared;
use crate::vmx::checks::{Limits, check};
use crate::vmx::setup::VPID;
use crate::vmx::{self as logic, Blame, Controls, Guest, Host, Mtrrs, Places, Refusal};
use core::sync::atomic::{AtomicBool, Ordering};
use machine::memory::map::MemoryMap;
use machine::memory::reserve::Reserve;
use machine::state::{Hardware, Optional, Privileged, Register, Selector, capture, capture_unswitched};
use machine::virtualization::vmx::{self, Block, Current, Failure, Filling, Handler, Launch};
use machine::virtualization::{HostCpu, Next, landing};
use spin::Mutex;
use x86defs::cpuid::Source;
use x86defs::registers::{CR0_NE, CR4_PGE, CR4_VMXE, msr};
use x86defs::state::CpuState;
use x86defs::vmx::capability::{Capabilities, EPT_1G, msr::FEATURE_CONTROL};
use x86defs::vmx::field::{Image, Vmcs, guest, host};
use x86defs::vmx::{ept, permission::MSR_BITMAP};

/// Leaf 1, EDX: memory type range registers.
const LEAF1_EDX_MTRR: u32 = 1 << 12;

/// What the handler keeps for each CPU.
#[derive(Debug)]
pub(super) struct Cpu {
    shared: &'static Shared<Ept, Pool>,
    platform: Beneath,
    /// What exits load.
    host: Host,
    /// Kind and operand of the INVEPT that flushes nested translations.
    flush: (u64, u64),
    /// For the checks of debug builds, and to say what a CPU does not.
    limits: Limits,
    /// The guest has run: from then on a refused entry is not the switch's failure.
    entered: bool,
    /// Why the guest's state was refused.
    refused: Option<EnterError>,
}

/// The monitor on a CPU with VMX.
#[derive(Debug)]
pub(super) struct Vmx {
    blocks: Blocks<Block<Cpu>>,
    pub shared: &'static Shared<Ept, Pool>,
    controls: Controls,
    places: Places,
    limits: Limits,
    /// The control structures hold what never changes.
    filled: AtomicBool,
    /// Where a rehearsal fills one in, in the reserve.
    rehearsal: Mutex<&'static mut Image>,
}

fn feature_control() -> u64 {
    // SAFETY: CPUID announces VMX, or nobody would ask.
    unsafe { vmx::capability(FEATURE_CONTROL) }
}

impl Vmx {
    pub fn build(reserve: Option<Reserve>, map: &MemoryMap) -> Result<(Self, Extent), BuildError> {
        // SAFETY: CPUID announces VMX, and registers are read that others say are there.
        let can = Capabilities::read(|register| unsafe { vmx::capability(register) });
        let controls = vmx_availability(feature_control(), &can).map_err(BuildError::Unavailable)?;
        let wishes = Wishes {
            largest: if can.has_ept_vpid(EPT_1G) { Size::Huge } else { Size::Large },
            block: size_of::<Block<Cpu>>() as u64,
            maps: (MSR_BITMAP + size_of::<Image>()) as u64,
        };
        let mtrrs = mtrrs();
        let mut ground = Ground::lay(reserve, map, &wishes, |stretch| mtrrs.memory_type(stretch))?;
        let bitmap = ground.arena.bytes::<MSR_BITMAP>().ok_or(DRY)?;
        logic::intercept_msrs(bitmap);
        let places = Places { msr_bitmap: bitmap.as_ptr() as u64, ept: ground.nested };
        let flush = (controls.flush_ept as u64, ept::pointer(ground.nested));
        let rehearsal = Mutex::new(ground.arena.place(Image::ZERO).ok_or(DRY)?);
        let (shared, limits) = (ground.shared, limits(can));
        let optional = Optional { debugctl: vmx::has_debugctl(), ..Optional::default() };
        let make = |cpu, _: &_, _: &_| {
            let platform = Beneath::new(cpu, true);
            let (host, entered, refused) = (Host::default(), false, None);
            Block::new(
                can.revision(),
                optional,
                Cpu { shared, platform, host, flush, limits, entered, refused },
            )
        };
        let blocks = ground.blocks(
            make,
            |block: &mut Block<Cpu>, world: &'static HostCpu, ground: &Ground<Ept>| {
                block.data.host = host(block, world, ground);
                Ok(())
            },
        )?;
        let filled = AtomicBool::new(false);
        let vmx = Self { blocks, shared, controls, places, limits, filled, rehearsal };
        // Where firmware has left the choice open, it is made by the first switch, not by asking.
        if feature_control_to_set(feature_control()).is_none() {
            vmx.ready().map_err(BuildError::Enter)?;
        }
        Ok((vmx, ground.extent()))
    }

    /// Fills the control structures of all CPUs with what never changes, if that has not been done. It takes VMX, so it can't be
    /// done before firmware's word is known to be the last. On the bare machine, while no switch is under way.
    pub fn ready(&self) -> Result<(), EnterError> {
        if self.filled.load(Ordering::Relaxed) {
            return Ok(());
        }
        machine::cpu::without_interrupts(|| {
            open_feature_control()?;
            (0..machine::cpu::count()).try_for_each(|cpu| self.fill(self.blocks.of(cpu)?))
        })?;
        self.filled.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Another CPU's structure can be filled in here, for it goes back to memory.
    fn fill(&self, block: &Block<Cpu>) -> Result<(), EnterError> {
        // SAFETY: the CPU has VMX, firmware allows it, and nobody else uses it.
        unsafe { vmx::enable(block) }.map_err(EnterError::NotEnabled)?;
        // SAFETY: just enabled.
        let mut vmcs = Filling::new(unsafe { Current::new() });
        logic::set_up(&mut vmcs, &self.controls, self.places, &self.limits.can);
        block.data.host.write(&mut vmcs);
        let filled = vmcs.end().map_err(EnterError::MissingField);
        // SAFETY: enabled above.
        unsafe { vmx::disable(block) };
        filled.map(|_| ())
    }

    /// In an image of a control structure: nothing is changed, firmware's choice least of all.
    pub fn check(&self, cpu: usize) -> Result<(), EnterError> {
        let block = self.blocks.of(cpu)?;
        vmx_allowed(feature_control()).map_err(EnterError::Unavailable)?;
        let mut state = CpuState::default();
        take(block.head.optional, &mut state)?;
        let mut image = self.rehearsal.lock();
        logic::set_up(&mut **image, &self.controls, self.places, &self.limits.can);
        block.data.host.write(&mut **image);
        logic::load(&mut **image, &state);
        image.write(host::GS_BASE, state.segments.gs.base);
        violation(&**image, &self.limits)
    }

    #[inline]
    pub fn prepare(&self, number: usize) -> Result<(), EnterError> {
        let block = self.blocks.of(number)?;
        open_feature_control()?;
        take(block.head.optional, &mut block.head.state)?;
        block.data.entered = false;
        // SAFETY: availability was looked at when the monitor was built, firmware's word above; the block is in the reserve for
        // good.
        unsafe { vmx::enable(block) }.map_err(EnterError::NotEnabled)?;
        // SAFETY: just enabled.
        let mut vmcs = unsafe { Current::new() };
        logic::load(&mut vmcs, &block.head.state);
        // In the VMM, too, the CPU knows who it is: last words need it.
        vmcs.write(host::GS_BASE, block.head.state.segments.gs.base);
        let (kind, pointer) = block.data.flush;
        // SAFETY: VMX is on, and the CPU has these kinds. What ran on the bare machine meanwhile left translations stale.
        unsafe {
            vmx::invalidate_ept(kind, pointer);
            if let Some(kind) = self.controls.flush_vpid {
                vmx::invalidate_vpid(kind as u64, VPID);
            }
        }
        if cfg!(debug_assertions) {
            violation(&vmcs, &self.limits).inspect_err(|_| self.undo(number))?;
        }
        Ok(())
    }

    pub fn undo(&self, cpu: usize) {
        if let Ok(block) = self.blocks.of(cpu) {
            // SAFETY: this CPU is on the bare machine with virtualization switched on by `prepare`.
            unsafe { vmx::disable(block) };
        }
    }

    #[inline]
    pub fn launch(&self, cpu: usize) -> Result<(), EnterError> {
        // SAFETY: `prepare` has filled the structure from this CPU's state, which has not changed.
        match unsafe { vmx::launch() } {
            Launch::Over => Ok(()),
            Launch::Left => Err(self.blocks.of(cpu)?.data.refused.unwrap_or(EnterError::Refused)),
            Launch::Failed(failure) => Err(self.failed(cpu, failure)),
        }
    }

    /// The CPU names at best the area: the rule is more.
    #[cold]
    fn failed(&self, cpu: usize, failure: Failure) -> EnterError {
        // SAFETY: VMX is still on.
        let vmcs = unsafe { Current::new() };
        let error = match failure {
            Failure::Valid => violation(&vmcs, &self.limits)
                .err()
                .unwrap_or_else(|| EnterError::Entry(Refusal::of_instruction(&vmcs))),
            Failure::Invalid => EnterError::Entry(Refusal::NoVmcs),
        };
        self.undo(cpu);
        error
    }

    /// Spoils a part of the control structure that has been prepared on this CPU, so that VMLAUNCH refuses it.
    #[cfg(feature = "inject")]
    pub fn spoil(&self, _: usize, part: super::Part) {
        use x86defs::vmx::field::control;
        // SAFETY: `prepare` has made one current.
        let mut vmcs = unsafe { Current::new() };
        match part {
            super::Part::Controls => vmcs.write(control::PIN, 0),
            super::Part::Host => vmcs.write(host::CS_SELECTOR, 0),
            super::Part::Guest => vmcs.write(guest::RFLAGS, 0),
        }
    }

    /// Mends what was spoiled, before the next switch.
    #[cfg(feature = "inject")]
    pub fn mend(&self, _: usize) {
        self.filled.store(false, Ordering::Relaxed);
    }

    #[inline(always)]
    pub fn call(&self, number: u64, first: u64, second: u64) -> (u64, u64) {
        vmx::hypercall(number, first, second)
    }
}

/// Firmware that does not care leaves the register open, and VMXON wants it locked: done by a switch alone, for no leaving can
/// undo it.
#[inline]
fn open_feature_control() -> Result<(), EnterError> {
    let word = feature_control();
    vmx_allowed(word).map_err(EnterError::Unavailable)?;
    if let Some(value) = feature_control_to_set(word) {
        // SAFETY: not locked.
        unsafe { vmx::set_feature_control(value) };
    }
    Ok(())
}

/// Takes the state of the CPU that runs this, to enter with.
#[inline]
fn take(optional: Optional, state: &mut CpuState) -> Result<(), EnterError> {
    // SAFETY: interrupts are off; nothing is written through it.
    let cpu = unsafe { Hardware::new() };
    capture(&cpu, optional, state).map_err(EnterError::Capture)?;
    state.rip = landing();
    state.rflags = machine::cpu::flags();
    Ok(())
}

fn mtrrs() -> Mtrrs {
    let supported = Real.leaf(1).edx & LEAF1_EDX_MTRR != 0;
    // SAFETY: those are read that CPUID and the first say are there.
    Mtrrs::read(supported, |register| unsafe { vmx::capability(register) })
}

/// What exits load, the base of GS excepted: that is the CPU's own.
fn host(block: &Block<Cpu>, world: &'static HostCpu, ground: &Ground<Ept>) -> Host {
    // SAFETY: interrupts are off; nothing is written through it.
    let cpu = unsafe { Hardware::new() };
    // SAFETY: the world was made for this block.
    let (rsp, rip) = unsafe { vmx::landing(block, world.stack_top()) };
    let task = world.task();
    Host {
        cr0: cpu.read(Register::Cr0) | CR0_NE,
        cr3: ground.host,
        // Without global pages, so that leaving flushes all translations.
        cr4: cpu.read(Register::Cr4) & !CR4_PGE | CR4_VMXE,
        efer: cpu.msr(msr::EFER),
        pat: cpu.msr(msr::PAT),
        cs: cpu.selector(Selector::Cs),
        ss: cpu.selector(Selector::Ss),
        tr: task.selector,
        fs_base: 0,
        gs_base: 0,
        tr_base: task.base,
        gdtr_base: world.gdt().base,
        idtr_base: ground.idt.register().base,
        rsp,
        rip,
    }
}

impl Handler for Cpu {
    fn exit(block: &mut Block<Self>) -> Next {
        // SAFETY: in the VMM there is a current structure.
        let mut vmcs = unsafe { Current::new() };
        let mut guest = Guest::new(&mut vmcs, &mut block.head.registers, &block.data.limits);
        let next = exits::handle(&mut guest, block.data.shared, &block.data.platform);
        let stale = guest.stale;
        match next {
            exits::Next::Resume => resume(block, &vmcs, stale),
            exits::Next::Restored => {
                // The CPU is known by the new system's name.
                vmcs.write(host::GS_BASE, vmcs.read(guest::GS_BASE));
                resume(block, &vmcs, stale)
            }
            exits::Next::Leave => leave(block, &vmcs),
            exits::Next::Refused if !block.data.entered => {
                // The CPU names at best the area: the rule is more.
                let said = Refusal::of_exit(&vmcs).map(EnterError::Entry);
                block.data.refused = violation(&vmcs, &block.data.limits).err().or(said);
                block.head.registers.rax = vmx::LEFT;
                leave(block, &vmcs)
            }
            exits::Next::Refused => {
                let said = Refusal::of_exit(&vmcs).unwrap_or(Refusal::NoVmcs);
                panic!("VMRESUME of the system: {}", Blame::of(said, &vmcs, &block.data.limits))
            }
            exits::Next::Stop(reason) => stop(&vmcs, reason),
        }
    }

    #[cold]
    fn refused(block: &Block<Self>, failure: Failure) -> ! {
        // SAFETY: in the VMM there is a current structure; if the CPU has lost it, nothing more is read.
        let vmcs = unsafe { Current::new() };
        match failure {
            Failure::Valid => {
                let said = Refusal::of_instruction(&vmcs);
                panic!("VMRESUME of the system: {}", Blame::of(said, &vmcs, &block.data.limits))
            }
            Failure::Invalid => panic!("VMRESUME of the system: {}", Refusal::NoVmcs),
        }
    }
}

#[inline(always)]
fn resume(block: &mut Block<Cpu>, vmcs: &Current, stale: bool) -> Next {
    block.data.entered = true;
    if cfg!(debug_assertions)
        && let Err(violation) = violation(vmcs, &block.data.limits)
    {
        panic!("after an exit {violation}");
    }
    if stale {
        let (kind, pointer) = block.data.flush;
        // SAFETY: VMX is on, and the CPU has this kind.
        unsafe { vmx::invalidate_ept(kind, pointer) };
    }
    Next::Resume
}

fn violation(vmcs: &impl Vmcs, limits: &Limits) -> Result<(), EnterError> {
    check(vmcs, limits).map_err(|violation| EnterError::Violation(Violation::Vmx(violation)))
}

/// What the CPU says about itself.
fn limits(can: Capabilities) -> Limits {
    let widths = Real.leaf(0x8000_0008).eax;
    Limits {
        can,
        physical_bits: widths & 0xff,
        linear_bits: widths >> 8 & 0xff,
        efer: machine::cpu::efer() | efer_of_guest(&Real),
    }
}

/// Takes the state that the system goes on with.
#[inline]
fn leave(block: &mut Block<Cpu>, vmcs: &Current) -> Next {
    let state = &mut block.head.state;
    logic::store(vmcs, state);
    // SAFETY: interrupts are off; nothing is written through it.
    capture_unswitched(&unsafe { Hardware::new() }, state);
    state.registers = block.head.registers;
    Next::Leave
}

#[cold]
fn stop(vmcs: &Current, reason: Stop) -> ! {
    panic!(
        "the system stopped in guest mode by {} ({reason:?}): rip {:#x}, rsp {:#x}, cr3 {:#x}",
        reason.name(),
        vmcs.read(guest::RIP),
        vmcs.read(guest::RSP),
        vmcs.read(guest::CR3)
    )
}
