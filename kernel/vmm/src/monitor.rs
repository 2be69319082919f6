//! The monitor on a real machine: built once at boot, then asleep until a switch.
//!
//! What is vendor-neutral is here; `amd` holds what is not.

#![expect(unsafe_code, reason = "here the monitor meets the machine")]

mod amd;
mod build;

use crate::call::{Call, Count, Status};
use crate::nested::Npt;
use crate::shared::{Report, Shared};
use crate::svm::checks::{self, Limits, Violation};
use crate::{Unavailable, Vendor};
use amd::Cpu;
use build::Pool;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};
use machine::cpu::MAX_CPUS;
use machine::state::CaptureError;
use machine::virtualization::svm::{self, Block, hypercall};

pub use build::BuildError;

/// Why a CPU can't enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnterError {
    /// Virtualization is not to be had.
    Unavailable(Unavailable),
    /// The CPU's state can't be taken.
    Capture(CaptureError),
    /// The control block breaks a rule of the manual.
    Violation(Violation),
    /// The CPU refused the control block, without saying why.
    Refused,
    /// The monitor was built for fewer CPUs.
    NoBlock,
}

impl fmt::Display for EnterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(reason) => reason.fmt(f),
            Self::Capture(error) => error.fmt(f),
            Self::Violation(violation) => write!(f, "the control block is not sound: {violation}"),
            Self::Refused => f.write_str("the CPU refused the control block"),
            Self::NoBlock => f.write_str("the monitor knows nothing of this CPU"),
        }
    }
}

/// The monitor, asleep or not.
#[derive(Debug)]
pub struct Monitor {
    blocks: [Option<Pointer>; MAX_CPUS],
    shared: &'static Shared<Npt, Pool>,
    limits: Limits,
    nested: bool,
    arena: u64,
    reserve: core::ops::Range<u64>,
}

/// A CPU's block in the reserve. It is touched by that CPU alone: on the bare machine by [`Monitor::prepare`] and
/// [`Monitor::launch`] with interrupts off, in guest mode by the handler.
#[derive(Clone, Copy, Debug)]
struct Pointer(*mut Block<Cpu>);

// SAFETY: see the type: each block is its CPU's alone.
unsafe impl Send for Pointer {}
// SAFETY: as above.
unsafe impl Sync for Pointer {}

/// Whether the machine itself is a guest.
pub fn is_nested() -> bool {
    crate::is_nested(&amd::Real)
}

/// Whether CPUs are in guest mode, for those who ask in between.
static BENEATH: AtomicBool = AtomicBool::new(false);

impl Monitor {
    #[expect(clippy::mut_from_ref, reason = "the reference leads out of self, into the CPU's own block")]
    fn block(&self, cpu: usize) -> Result<&mut Block<Cpu>, EnterError> {
        let pointer = self.blocks.get(cpu).copied().flatten().ok_or(EnterError::NoBlock)?;
        // SAFETY: callers are on this CPU, on the bare machine, with interrupts off (`Pointer`).
        Ok(unsafe { &mut *pointer.0 })
    }

    /// Takes this CPU's state, fills its control block and switches virtualization on. Can be undone. On the bare machine,
    /// interrupts off.
    #[inline]
    pub fn prepare(&self, cpu: usize) -> Result<(), EnterError> {
        let block = self.block(cpu)?;
        amd::prepare(block)?;
        if cfg!(debug_assertions) {
            checks::check(&block.guest, &self.limits).map_err(EnterError::Violation)?;
        }
        // SAFETY: availability was looked at when the monitor was built, firmware's word in `amd::prepare`; the block is in
        // the reserve for good.
        unsafe { svm::enable(block) };
        Ok(())
    }

    /// What a switch begins with: would this CPU's control block be accepted by the rules of the manual? Nothing is changed.
    pub fn check(&self) -> Result<(), EnterError> {
        machine::cpu::without_interrupts(|| {
            let block = self.block(machine::cpu::id())?;
            amd::prepare(block)?;
            checks::check(&block.guest, &self.limits).map_err(EnterError::Violation)
        })
    }

    /// Undoes [`Monitor::prepare`].
    pub fn undo(&self, cpu: usize) {
        if let Ok(block) = self.block(cpu) {
            // SAFETY: this CPU is on the bare machine with virtualization switched on by `prepare`.
            unsafe { svm::disable(&block.head.state) };
        }
    }

    /// Enters: returns in guest mode, or with an error on the bare machine, virtualization off. After [`Monitor::prepare`],
    /// with interrupts off ever since.
    #[inline]
    pub fn launch(&self, cpu: usize) -> Result<(), EnterError> {
        let block = self.block(cpu)?;
        // SAFETY: `prepare` has filled the block from this CPU's state, which has not changed.
        match unsafe { svm::launch(block) } {
            0 => {
                BENEATH.store(true, Ordering::Relaxed);
                Ok(())
            }
            _ => Err(EnterError::Refused),
        }
    }

    /// Leaves: returns on the bare machine. In guest mode, interrupts off.
    #[inline]
    pub fn leave(&self) {
        hypercall(Call::Leave as u64, 0, 0);
        BENEATH.store(false, Ordering::Relaxed);
    }

    /// Exits of a kind so far.
    pub fn exits(&self, kind: Count) -> u64 {
        if BENEATH.load(Ordering::Relaxed) {
            self.call(Call::Exits, kind as u64, 0).map_or(0, |value| value)
        } else {
            self.shared.exits(kind)
        }
    }

    /// Fetches the oldest report of a forbidden access. In guest mode; on the bare machine there are none to come.
    pub fn report(&self) -> Option<Report> {
        machine::cpu::without_interrupts(|| {
            if !BENEATH.load(Ordering::Relaxed) {
                return self.shared.reports.lock().fetch();
            }
            let address = self.call(Call::Report, 0, 0).ok()?;
            let rip = self.call(Call::ReportOrigin, 0, 0).ok()?;
            Some(Report { address, rip })
        })
    }

    /// Makes a hypercall. In guest mode.
    #[inline]
    pub fn call(&self, call: Call, first: u64, second: u64) -> Result<u64, u64> {
        let (status, value) = hypercall(call as u64, first, second);
        if status == Status::Done as u64 { Ok(value) } else { Err(status) }
    }

    /// Who made the CPU's virtualization.
    pub fn vendor(&self) -> Vendor {
        Vendor::Svm
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
