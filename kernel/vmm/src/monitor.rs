//! The monitor on a real machine: built once at boot, then asleep until a switch.
//!
//! What is vendor-neutral is here; `amd` and `intel` hold what is not.

#![expect(unsafe_code, reason = "here the monitor meets the machine")]

mod amd;
mod build;
mod intel;
mod real;

use crate::availability::{availability, is_nested};
use crate::call::{Call, Count, Status};
use crate::shared::Report;
use crate::{Unavailable, Vendor};
use amd::Svm;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};
use intel::Vmx;
use machine::cpu::MAX_CPUS;
use machine::dma::DmaRegion;
use machine::facts::Fact;
use machine::memory::map::MemoryMap;
use machine::memory::reserve::Reserve;
use machine::state::CaptureError;
use machine::virtualization::FloatControls;
use machine::virtualization::vmx::EnableError;
use real::Real;
use spin::Once;
use x86defs::state::CpuState;

pub use build::BuildError;

/// A rule of the vendor's manual that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// AMD's.
    Svm(crate::svm::checks::Violation),
    /// Intel's.
    Vmx(crate::vmx::checks::Violation),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Svm(violation) => violation.fmt(f),
            Self::Vmx(violation) => violation.fmt(f),
        }
    }
}

/// Why a CPU can't enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnterError {
    /// Virtualization is not to be had.
    Unavailable(Unavailable),
    /// The CPU's state can't be taken.
    Capture(CaptureError),
    /// The control block breaks a rule of the manual.
    Violation(Violation),
    /// VMX can't be switched on.
    NotEnabled(EnableError),
    /// The CPU's control structure lacks a field: its encoding.
    MissingField(u32),
    /// The CPU refused the control block, without saying why.
    Refused,
    /// The CPU refused the control block.
    Entry(crate::vmx::Refusal),
    /// The monitor was built for fewer CPUs.
    NoBlock,
}

impl fmt::Display for EnterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(reason) => reason.fmt(f),
            Self::Capture(error) => error.fmt(f),
            Self::Violation(violation) => write!(f, "the control block is not sound: {violation}"),
            Self::Entry(refusal) => refusal.fmt(f),
            Self::NotEnabled(EnableError::Vmxon) => f.write_str("the CPU refused VMXON"),
            Self::NotEnabled(EnableError::Vmcs) => f.write_str("the CPU refused VMCLEAR or VMPTRLD"),
            Self::MissingField(encoding) => match x86defs::vmx::field::name(*encoding) {
                Some(name) => write!(f, "the CPU's VMCS has no field {name}"),
                None => write!(f, "the CPU's VMCS has no field {encoding:#x}"),
            },
            Self::Refused => f.write_str("the CPU refused the control block"),
            Self::NoBlock => f.write_str("the monitor knows nothing of this CPU"),
        }
    }
}

/// A part of a control block, for the self test to spoil.
#[cfg(feature = "inject")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What is intercepted.
    Controls,
    /// What exits load.
    Host,
    /// What the entry loads.
    Guest,
}

/// What differs by vendor.
#[derive(Debug)]
enum Backend {
    Svm(Svm),
    Vmx(Vmx),
}

/// The monitor, asleep or not.
#[derive(Debug)]
pub struct Monitor {
    backend: Backend,
    nested: bool,
    arena: u64,
    reserve: core::ops::Range<u64>,
}

/// A CPU's block in the reserve. It is touched by that CPU alone: on the bare machine by [`Monitor::prepare`] and
/// [`Monitor::launch`] with interrupts off, in guest mode by the handler.
#[derive(Debug)]
struct Pointer<B>(*mut B);

impl<B> Clone for Pointer<B> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<B> Copy for Pointer<B> {}

// SAFETY: see the type: each block is its CPU's alone.
unsafe impl<B> Send for Pointer<B> {}
// SAFETY: as above.
unsafe impl<B> Sync for Pointer<B> {}

/// The blocks of all CPUs.
#[derive(Debug)]
struct Blocks<B>([Option<Pointer<B>>; MAX_CPUS]);

impl<B> Blocks<B> {
    const NONE: Self = Self([const { None }; MAX_CPUS]);

    fn put(&mut self, cpu: usize, block: *mut B) {
        self.0[cpu] = Some(Pointer(block));
    }

    #[inline(always)]
    #[expect(clippy::mut_from_ref, reason = "the reference leads out of self, into the CPU's own block")]
    fn of(&self, cpu: usize) -> Result<&mut B, EnterError> {
        let pointer = self.0.get(cpu).copied().flatten().ok_or(EnterError::NoBlock)?;
        // SAFETY: callers are on this CPU, on the bare machine, with interrupts off (`Pointer`).
        Ok(unsafe { &mut *pointer.0 })
    }
}

/// Whether the machine itself is a guest.
pub fn is_guest() -> bool {
    is_nested(&Real)
}

/// All that it points to is in the reserve.
impl Fact for Monitor {}

machine::facts! {
    /// A restored system uses the monitor of the machine that it is on.
    static MONITOR: Once<Monitor> = Once::new();
}

/// Whether CPUs are in guest mode, for those who ask in between.
static BENEATH: AtomicBool = AtomicBool::new(false);

/// Calls the same method of whichever backend there is.
macro_rules! backend {
    ($self:ident, $name:ident => $call:expr) => {
        match &$self.backend {
            Backend::Svm($name) => $call,
            Backend::Vmx($name) => $call,
        }
    };
}

impl Monitor {
    /// Builds it for the CPUs that run. Once, on the bare machine.
    pub fn build(reserve: Option<Reserve>, map: &MemoryMap) -> Result<Self, BuildError> {
        let (backend, extent) = match availability(&Real).map_err(BuildError::Unavailable)? {
            Vendor::Svm => Svm::build(reserve, map).map(|(svm, extent)| (Backend::Svm(svm), extent))?,
            Vendor::Vmx => Vmx::build(reserve, map).map(|(vmx, extent)| (Backend::Vmx(vmx), extent))?,
        };
        Ok(Self { backend, nested: is_guest(), arena: extent.room, reserve: extent.reserve })
    }

    /// Gives it its place for good. Once.
    pub fn settle_in(self) -> &'static Self {
        MONITOR.call_once(|| self)
    }

    /// Takes this CPU's state, fills its control block and switches virtualization on. Can be undone. On the bare machine,
    /// interrupts off.
    #[inline(always)]
    pub fn prepare(&self, cpu: usize) -> Result<(), EnterError> {
        backend!(self, backend => backend.prepare(cpu))
    }

    /// What a switch begins with: would this CPU's control block be accepted by the rules of the manual? Nothing is changed.
    pub fn check(&self) -> Result<(), EnterError> {
        machine::cpu::without_interrupts(|| backend!(self, backend => backend.check(machine::cpu::id())))
    }

    /// Does once what a switch needs and can't be undone: not for a rehearsal. On the bare machine, while no switch is under way.
    pub fn ready(&self) -> Result<(), EnterError> {
        backend!(self, backend => backend.ready())
    }

    /// Spoils a part of this CPU's control block between [`Monitor::prepare`] and [`Monitor::launch`].
    #[cfg(feature = "inject")]
    pub fn spoil(&self, cpu: usize, part: Part) {
        backend!(self, backend => backend.spoil(cpu, part));
    }

    /// Mends it when it has been refused.
    #[cfg(feature = "inject")]
    pub fn mend(&self, cpu: usize) {
        backend!(self, backend => backend.mend(cpu));
    }

    /// Undoes [`Monitor::prepare`].
    pub fn undo(&self, cpu: usize) {
        backend!(self, backend => backend.undo(cpu));
    }

    /// Enters: returns in guest mode, or with an error on the bare machine, virtualization off. After [`Monitor::prepare`],
    /// with interrupts off ever since.
    #[inline(always)]
    pub fn launch(&self, cpu: usize) -> Result<(), EnterError> {
        backend!(self, backend => backend.launch(cpu))?;
        BENEATH.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Leaves: returns on the bare machine. In guest mode, interrupts off.
    #[inline(always)]
    pub fn leave(&self) {
        backend!(self, backend => backend.call(Call::Leave as u64, 0, 0));
        BENEATH.store(false, Ordering::Relaxed);
    }

    /// Exits of a kind so far, in either mode: a switch waits for those few instructions.
    pub fn exits(&self, kind: Count) -> u64 {
        machine::cpu::without_interrupts(|| {
            if BENEATH.load(Ordering::Relaxed) {
                self.call(Call::Exits, kind as u64, 0).map_or(0, |value| value)
            } else {
                backend!(self, backend => backend.shared.exits(kind))
            }
        })
    }

    /// Fetches the oldest report of a forbidden access. In guest mode; on the bare machine there are none to come.
    pub fn report(&self) -> Option<Report> {
        machine::cpu::without_interrupts(|| {
            if !BENEATH.load(Ordering::Relaxed) {
                return backend!(self, backend => backend.shared.reports.lock().fetch());
            }
            let address = self.call(Call::Report, 0, 0).ok()?;
            let rip = self.call(Call::ReportOrigin, 0, 0).ok()?;
            Some(Report { address, rip })
        })
    }

    /// Makes a hypercall. In guest mode.
    #[inline]
    pub fn call(&self, call: Call, first: u64, second: u64) -> Result<u64, u64> {
        let (status, value) = backend!(self, backend => backend.call(call as u64, first, second));
        if status == Status::Done as u64 { Ok(value) } else { Err(status) }
    }

    /// Makes the hypercall [`Call::Freeze`], on each CPU, interrupts off. Whether the system has been restored. In guest mode.
    ///
    /// A call of its own: its caller expects no extended register to be kept, and none is, when it returns a second time.
    ///
    /// # Errors
    /// See there; memory is not frozen.
    #[inline(never)]
    pub fn freeze(&self) -> Result<bool, Status> {
        let controls = FloatControls::take();
        let restored = self.call(Call::Freeze, 0, 0).map_err(Status::of)? != 0;
        if restored {
            controls.install();
        }
        Ok(restored)
    }

    /// Makes the hypercall [`Call::Restore`], on each CPU, interrupts off. In guest mode. Returns only where it fails: nothing has
    /// changed. The plan with its head at `plan` describes a system of this image that was frozen whole, and nothing writes memory,
    /// devices neither.
    pub fn restore(&self, plan: u64) -> Status {
        self.call(Call::Restore, plan, 0).map_or_else(Status::of, |_| Status::Done)
    }

    /// A CPU's frozen state, by way of the first page of a buffer that is exempt. In guest mode.
    ///
    /// # Errors
    /// See [`Call::FetchState`].
    pub fn frozen_state(&self, cpu: usize, buffer: &mut DmaRegion) -> Result<CpuState, Status> {
        self.call(Call::FetchState, cpu as u64, buffer.physical()).map_err(Status::of)?;
        // SAFETY: the VMM has written one there, and the buffer is ours.
        Ok(unsafe { buffer.pointer().cast::<CpuState>().read() })
    }

    /// Ends on the bare machine what only holds in guest mode, and joins nested tables that were split. On a thread, while no switch is
    /// under way. Returns how many tables are free again.
    pub fn settle(&self) -> u64 {
        backend!(self, backend => backend.shared.memory.lock().settle())
    }

    /// Nested tables in use, the VMM's own among them. On the bare machine, while no switch is under way.
    pub fn tables(&self) -> u64 {
        backend!(self, backend => backend.shared.memory.lock().tables.used())
    }

    /// Who made the CPU's virtualization.
    pub fn vendor(&self) -> Vendor {
        match &self.backend {
            Backend::Svm(_) => Vendor::Svm,
            Backend::Vmx(_) => Vendor::Vmx,
        }
    }

    /// Whether the machine itself is a guest.
    pub fn is_nested(&self) -> bool {
        self.nested
    }

    /// The VMM's memory: physical addresses.
    pub fn reserve(&self) -> core::ops::Range<u64> {
        self.reserve.clone()
    }

    /// Bytes of the reserve that are left for copies.
    pub fn arena(&self) -> u64 {
        self.arena
    }
}
