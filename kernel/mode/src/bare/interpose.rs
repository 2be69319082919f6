//! Registers of a device that are taken away in guest mode: reads find ones, and what is written reaches no device.

use super::{CpuError, switch};
use crate::pins::{Held, Pin};
use crate::switch::Refused;
use crate::{Phase, trace};
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use machine::paging::PAGE;
use machine::time::Instant;
use vmm::call::{Call, Status};
use vmm::monitor::{BuildError, Monitor};

/// Held as long as registers are away: they come back with the bare machine, and whoever had them taken away does not want that.
pub static ABSORBED: Pin = Pin::new("absorbed registers");

/// How long giving back waits for all CPUs.
const LONG: Duration = Duration::from_secs(60);

/// The hypercall that all CPUs are to make. Whoever has the turn sets it.
#[derive(Debug, Default)]
pub(super) struct Interposition {
    release: AtomicU64,
    start: AtomicU64,
    bytes: AtomicU64,
}

impl Interposition {
    fn set(&self, call: Call, span: &Range<u64>) {
        self.release.store((call == Call::Release).into(), Ordering::Relaxed);
        self.start.store(span.start, Ordering::Relaxed);
        self.bytes.store(span.end.saturating_sub(span.start), Ordering::Relaxed);
    }

    /// Makes it, on one of the CPUs.
    pub fn carry_out(&self, monitor: &Monitor) -> Result<(), Status> {
        let call = if self.release.load(Ordering::Relaxed) == 0 { Call::Absorb } else { Call::Release };
        let (start, bytes) = (self.start.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed));
        monitor.call(call, start, bytes).map(drop).map_err(Status::of)
    }
}

/// Why registers are not taken away, or not given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbsorbError {
    /// There is no monitor.
    Unavailable(BuildError),
    /// The machine is in native mode, where nothing stands between the system and its devices.
    Native,
    /// As for switches; or the VMM refuses it.
    Refused(Refused<CpuError>),
}

impl fmt::Display for AbsorbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(error) => error.fmt(f),
            Self::Native => f.write_str("registers can be taken away in guest mode only"),
            Self::Refused(refused) => refused.fmt(f),
        }
    }
}

impl AbsorbError {
    /// Whether there was nothing to give back.
    fn is_nothing(&self) -> bool {
        let nothing = |error: &CpuError| *error == CpuError::Interpose(Status::Nothing);
        matches!(self, Self::Native)
            || matches!(self, Self::Refused(Refused::Failed(_, error)) if nothing(error))
    }
}

/// All CPUs make a hypercall about a range of device memory. Returns for how many ticks they stood still.
fn ask(call: Call, span: &Range<u64>, deadline: Duration) -> Result<u64, AbsorbError> {
    let switch = switch().map_err(AbsorbError::Unavailable)?;
    // Nobody leaves guest mode meanwhile.
    let turn = switch.turn();
    if turn.phase() != Phase::Guest {
        return Err(AbsorbError::Native);
    }
    switch.world().interposition.set(call, span);
    let cpus = turn.interpose(Instant::now().saturating_add(deadline)).map_err(AbsorbError::Refused)?;
    Ok(trace::stop(&cpus))
}

/// Registers that are away. The machine stays in guest mode until they are given back: by [`Absorbed::release`], or when this is dropped.
#[derive(Debug)]
#[must_use = "they come back when this is dropped"]
pub struct Absorbed {
    spans: Vec<Range<u64>>,
    stop: u64,
    held: Option<Held<'static>>,
}

/// Takes device memory away, whole pages of it, all CPUs together: all ranges, or none. Gives up at the deadline. On a thread, interrupts on,
/// in guest mode; it does not wait for pins.
///
/// # Errors
/// See [`AbsorbError`]; [`Call::Absorb`] says what the VMM refuses.
pub fn absorb(spans: &[Range<u64>], deadline: Duration) -> Result<Absorbed, AbsorbError> {
    let (held, none) = (Some(ABSORBED.hold()), Vec::with_capacity(spans.len()));
    let mut absorbed = Absorbed { spans: none, stop: 0, held };
    for span in spans {
        absorbed.stop = absorbed.stop.max(ask(Call::Absorb, span, deadline)?);
        absorbed.spans.push(span.clone());
    }
    Ok(absorbed)
}

impl Absorbed {
    /// How many pages that are.
    pub fn pages(&self) -> u64 {
        self.spans.iter().map(|span| (span.end - span.start) / PAGE).sum()
    }

    /// How long no CPU ran the system for a range, in ticks, at most.
    pub fn stop(&self) -> u64 {
        self.stop
    }

    /// Gives them back.
    ///
    /// # Errors
    /// A CPU does not answer: they are away until the machine is native.
    pub fn release(mut self) -> Result<(), AbsorbError> {
        self.give_back()
    }

    fn give_back(&mut self) -> Result<(), AbsorbError> {
        // Who waits for this pin to leave has the turn, and leaving gives them back, too.
        self.held = None;
        let mut result = Ok(());
        for span in self.spans.drain(..) {
            match ask(Call::Release, &span, LONG) {
                Err(error) if !error.is_nothing() => result = Err(error),
                _ => {}
            }
        }
        result
    }
}

impl Drop for Absorbed {
    fn drop(&mut self) {
        if let Err(error) = self.give_back() {
            log::error!("registers of a device stay away until the machine is native: {error}");
        }
    }
}
