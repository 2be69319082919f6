//! A snapshot of this machine: memory is frozen in guest mode, and fetched while the system writes on.

use super::{CpuError, switch};
use crate::pins::{Held, Pin};
use crate::switch::Refused;
use crate::trace::{self, CpuTrace};
use crate::{Phase, World};
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;
use core::ops::Range;
use core::sync::atomic::Ordering;
use core::time::Duration;
use machine::dma::{self, DmaRegion};
use machine::frames;
use machine::memory::frames::MAX_ORDER;
use machine::paging::{self, PAGE};
use machine::time::Instant;
use vmm::call::{Call, MOST_FETCHED, MOST_NAMED, Status};
use vmm::frozen::MOST_DONATED;
use vmm::monitor::{BuildError, Monitor};
use x86defs::state::CpuState;

/// Held as long as there is a snapshot: it ends with guest mode.
pub static SNAPSHOT: Pin = Pin::new("a snapshot");

/// The smallest blocks that are donated, 2 MiB: smaller ones would want tables to tell them from their neighbours.
const LEAST_ORDER: u32 = 9;
const _: () = assert!(PAGE << MAX_ORDER == MOST_NAMED);

/// A hypercall that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotError(pub Call, pub Status);

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0, self.1.meaning())
    }
}

/// Why memory is not frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FreezeError {
    /// There is no monitor.
    Unavailable(BuildError),
    /// The machine is in native mode, where nothing stands between the system and its memory.
    Native,
    /// The VMM refused what comes before.
    Prepare(SnapshotError),
    /// As for switches.
    Refused(Refused<CpuError>),
}

impl fmt::Display for FreezeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(error) => error.fmt(f),
            Self::Native => f.write_str("memory can be frozen in guest mode only"),
            Self::Prepare(error) => error.fmt(f),
            Self::Refused(refused) => refused.fmt(f),
        }
    }
}

/// A freeze returns twice, like a fork.
#[derive(Debug)]
pub enum Returned {
    /// The system goes on, and memory as it was is there to be fetched.
    GoOn(Snapshot),
    /// The system is one that was restored from what was fetched. Interrupts are on; what the machine is has to be found out anew by
    /// who asked for the freeze.
    Restored,
}

/// Memory of the system's, lent to the VMM for copies. Ends what was prepared, or the snapshot, when dropped; in guest mode.
#[derive(Debug)]
struct Loan {
    monitor: &'static Monitor,
    /// Blocks and their orders.
    blocks: Vec<(u64, u32)>,
    /// What is written goes on being recorded.
    keep: bool,
}

impl Loan {
    /// Names the DMA pool as exempt, and donates about `room` bytes, less where there are no blocks of 2 MiB. `record`: what is written from
    /// the freeze on is to be recorded.
    fn new(monitor: &'static Monitor, room: u64, record: bool) -> Result<Self, SnapshotError> {
        let mut loan = Self { monitor, blocks: Vec::with_capacity(MOST_DONATED), keep: false };
        if record {
            call(monitor, Call::Record, 0, 0)?;
        }
        for chunk in (0..).map_while(dma::chunk) {
            call(monitor, Call::Exempt, chunk.start, chunk.end - chunk.start)?;
        }
        let (mut pages, mut order) = (room.div_ceil(PAGE).next_multiple_of(1 << LEAST_ORDER), MAX_ORDER);
        while pages > 0 && order >= LEAST_ORDER && loan.blocks.len() < MOST_DONATED {
            let fits = 1 << order <= pages;
            let Some(block) = fits.then(|| frames::allocate(order)).flatten() else {
                order -= 1;
                continue;
            };
            loan.blocks.push((block, order));
            pages -= 1 << order;
            call(monitor, Call::Donate, block, PAGE << order)?;
        }
        split_ahead(monitor);
        Ok(loan)
    }
}

/// Splits the large pages beneath what this thread writes first, its stack and the page tables on the way (whose walk counts as a
/// write on AMD), so that it need not be done while the machine stands still. Where that fails, it is done then.
fn split_ahead(monitor: &Monitor) {
    let local = 0u8;
    let split = |address: u64| {
        let page = address & !(PAGE - 1);
        let _ = call(monitor, Call::Watch, page, PAGE).and_then(|_| call(monitor, Call::Unwatch, page, PAGE));
    };
    if let Some(stack) = paging::walk(&raw const local as u64, split) {
        split(stack);
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        while let Ok(1) = call(self.monitor, Call::Thaw, self.keep.into(), 0) {}
        for (block, order) in self.blocks.drain(..) {
            frames::free_here(block, order);
        }
    }
}

fn call(monitor: &Monitor, call: Call, first: u64, second: u64) -> Result<u64, SnapshotError> {
    monitor.call(call, first, second).map_err(|status| SnapshotError(call, Status::of(status)))
}

/// Memory as it was at the freeze. The machine stays in guest mode until it is dropped, which gives everything back.
#[derive(Debug)]
pub struct Snapshot {
    // In this order: the machine may leave guest mode once nothing is held.
    loan: Loan,
    _held: Held<'static>,
    cpus: Vec<CpuTrace>,
}

impl Snapshot {
    /// How long no CPU ran the system, in ticks: from the call to the other CPUs until the last one went on.
    pub fn stop(&self) -> u64 {
        trace::stop(&self.cpus)
    }

    /// What each CPU did when.
    pub fn cpus(&self) -> &[CpuTrace] {
        &self.cpus
    }

    /// What no checkpoint has contents of, in use or not: the pool of DMA memory, what the VMM has for copies, and the facts of the
    /// machine. In no order.
    pub fn left_out(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        let donated = self.loan.blocks.iter().map(|(block, order)| *block..block + (PAGE << order));
        (0..).map_while(dma::chunk).chain(donated).chain([paging::facts_bounds()])
    }

    /// Copies what frames held at the freeze to the beginning of a buffer, which was there before. `frames` are physical addresses,
    /// whole pages of RAM that are neither sent, donated nor of the DMA pool.
    ///
    /// # Errors
    /// [`Status::Spoilt`]: the snapshot is lost. [`Status::BadArgument`]: see above.
    pub fn fetch(&self, frames: Range<u64>, buffer: &mut DmaRegion) -> Result<(), SnapshotError> {
        self.fetch_to(frames, buffer, 0)
    }

    /// The same, to page `page` of the buffer and those that follow.
    ///
    /// # Errors
    /// As for [`Snapshot::fetch`].
    pub fn fetch_to(
        &self,
        frames: Range<u64>,
        buffer: &mut DmaRegion,
        page: usize,
    ) -> Result<(), SnapshotError> {
        let skipped = page as u64 * PAGE;
        let (mut frame, mut to) = (frames.start, buffer.physical() + skipped);
        if frames.end.saturating_sub(frame) > (buffer.len() as u64).saturating_sub(skipped) {
            return Err(SnapshotError(Call::Fetch, Status::BadArgument));
        }
        while frame < frames.end {
            let count = ((frames.end - frame) / PAGE).min(MOST_FETCHED);
            call(self.loan.monitor, Call::Fetch, frame, to | count)?;
            frame += count * PAGE;
            to += count * PAGE;
        }
        Ok(())
    }

    /// A CPU's state at the freeze, by way of a buffer that was there before.
    ///
    /// # Errors
    /// As for [`Snapshot::fetch`].
    pub fn state(&self, cpu: usize, buffer: &mut DmaRegion) -> Result<CpuState, SnapshotError> {
        let state = self.loan.monitor.frozen_state(cpu, buffer);
        state.map_err(|status| SnapshotError(Call::FetchState, status))
    }

    /// Tells which of the [`TOLD`](vmm::call::TOLD) frames from a physical address on, a multiple of as many, were RAM that was written between the freeze before
    /// and this one: a bit for each, ascending, at the beginning of a buffer that was there before. Returns how many.
    ///
    /// # Errors
    /// [`Status::Nothing`]: that was not recorded. [`Status::Spoilt`]: the snapshot is lost.
    pub fn written(&self, address: u64, buffer: &mut DmaRegion) -> Result<u64, SnapshotError> {
        call(self.loan.monitor, Call::Written, address, buffer.physical())
    }

    /// Ends it, and what is written is still recorded, for the next freeze, if this one was asked to begin that. A switch to native mode
    /// ends the record.
    pub fn keep_record(mut self) {
        self.loan.keep = true;
    }

    /// Says that all below a physical address, a multiple of 4 KiB, was sent: its copies make room for others.
    ///
    /// # Errors
    /// As for [`Snapshot::fetch`].
    pub fn pass(&self, address: u64) -> Result<(), SnapshotError> {
        while call(self.loan.monitor, Call::Pass, address, 0)? < address {}
        Ok(())
    }
}

/// Who has a part in a freeze.
pub trait Party {
    /// Nobody is in the midst of anything that it holds: locks, say.
    type Held;
    /// Takes hold of that, just before the machine stands still. What it returns is dropped when all CPUs have gone on, in the system that
    /// was frozen and in the one that was restored.
    fn hold(&self) -> Self::Held;
    /// What a restored system does first, on one CPU, interrupts off, while all others stand still. Time, frames and the heap are in
    /// order; the devices are those of the machine it is on, and none is known yet.
    fn restored(&self, held: &mut Self::Held);
}

/// Nobody: devices stay what they are.
impl Party for () {
    type Held = ();
    fn hold(&self) {}
    fn restored(&self, (): &mut ()) {}
}

/// Freezes memory, all CPUs together or not at all, and donates about `room` bytes for what is written until the snapshot is
/// dropped. Gives up at the deadline with nothing changed. On a thread, interrupts on, in guest mode.
///
/// # Errors
/// See [`FreezeError`].
pub fn freeze(room: u64, deadline: Duration, party: &impl Party) -> Result<Returned, FreezeError> {
    freeze_as(room, deadline, party, false)
}

/// The same, and what is written from then on is recorded: until the snapshot is dropped, or longer ([`Snapshot::keep_record`]).
///
/// # Errors
/// See [`FreezeError`].
pub fn freeze_and_record(room: u64, deadline: Duration, party: &impl Party) -> Result<Returned, FreezeError> {
    freeze_as(room, deadline, party, true)
}

fn freeze_as(
    room: u64,
    deadline: Duration,
    party: &impl Party,
    record: bool,
) -> Result<Returned, FreezeError> {
    let until = Instant::now().saturating_add(deadline);
    let switch = switch().map_err(FreezeError::Unavailable)?;
    // Nobody leaves guest mode meanwhile.
    let turn = switch.turn();
    if turn.phase() != Phase::Guest {
        return Err(FreezeError::Native);
    }
    turn.wait(until).map_err(FreezeError::Refused)?;
    let world = switch.world();
    let loan = Loan::new(world.monitor, room, record).map_err(FreezeError::Prepare)?;
    world.frozen.store(0, Ordering::Relaxed);
    let held = RefCell::new(party.hold());
    let cpus = turn.freeze(until, &|| party.restored(&mut held.borrow_mut()));
    drop(held);
    let cpus = cpus.map_err(FreezeError::Refused)?;
    if world.frozen.load(Ordering::Relaxed) == 0 {
        return Ok(Returned::Restored);
    }
    debug_assert_eq!(cpus.len(), world.cpus());
    Ok(Returned::GoOn(Snapshot { loan, _held: SNAPSHOT.hold(), cpus }))
}
