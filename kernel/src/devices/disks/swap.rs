//! A disk takes the place of another one that somebody uses.
//!
//! Locks are taken in one order: a seat, then the shelf. A disk is never in nobody's hands, so that a freeze finds all of them.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use drivers_api::BlockError;
use machine::thread;
use machine::time::Duration;
use mirror::{Adapted, End, Mirror, Plan, Progress, Refused, Switched};

use super::drive::{Drive, Successor};
use super::seat::{self, Seat};
use super::shelf::{shelf, shelve};
use crate::devices::registry;

/// For those who wait for the disk between two steps: long enough for one of them to have it.
const GIVE_WAY: Duration = Duration::from_millis(1);

/// Why a disk does not take another's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SwapError {
    /// Nobody uses a disk of this name, or what uses it can't have another.
    NotUsed(String),
    /// There is no disk of this name or at this place that nobody uses.
    NotIdle(String),
    /// The disk that is asked for can't be used, which has this reason.
    Refusal(String),
    /// No idle disk fits; why the last one does not.
    NoneFits(Option<Refused>),
    /// Another one is on its way to the same place.
    Busy,
    /// The new disk does not start.
    Start(BlockError),
    /// It does not fit.
    Refused(Refused),
    /// The mirror ended.
    End(End),
    /// The old disk was pulled out, and is waited for.
    Away(String),
    /// The machine is another one by now.
    Gone,
}

impl fmt::Display for SwapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUsed(name) => {
                write!(
                    f,
                    "{name} is no disk with checkpoints or of the benchmarks: only those can be swapped"
                )
            }
            Self::NotIdle(name) => write!(f, "there is no disk {name} that nobody uses"),
            Self::Refusal(why) => f.write_str(why),
            Self::NoneFits(None) => f.write_str("there is no disk that nobody uses"),
            Self::NoneFits(Some(why)) => write!(f, "no disk fits: {why}"),
            Self::Busy => f.write_str("another disk is about to take its place"),
            Self::Start(error) => write!(f, "the new disk does not start: {error}"),
            Self::Refused(why) => why.fmt(f),
            Self::End(end) => end.fmt(f),
            Self::Away(name) => write!(f, "{name} is gone, so there is nothing to be copied"),
            Self::Gone => f.write_str("the machine was restored meanwhile"),
        }
    }
}

/// A disk that takes another's place.
pub struct Swap {
    seat: &'static Seat,
    /// The new one's name.
    pub new: String,
    /// What is other with the new one.
    pub adapted: Adapted,
    /// How much is copied.
    pub sectors: u64,
}

/// Whether a disk, by name or place, else the first that fits, can take the place of `old`; begins to make it so unless it `only_looks`.
pub fn begin(old: &str, to: Option<&str>, only_looks: bool) -> Result<Swap, SwapError> {
    for seat in seat::all() {
        let mut drive = seat.lock();
        if let Some(drive) = drive.as_mut().filter(|drive| drive.name == old) {
            return begin_at(seat, drive, to, only_looks);
        }
    }
    Err(SwapError::NotUsed(old.to_string()))
}

/// The same for the disk that is on a seat, which is locked.
fn begin_at(
    seat: &'static Seat,
    drive: &mut Drive,
    to: Option<&str>,
    only_looks: bool,
) -> Result<Swap, SwapError> {
    if drive.watch.successor.is_some() {
        return Err(SwapError::Busy);
    }
    if drive.is_gone() {
        return Err(SwapError::Away(drive.name.clone()));
    }
    let mut shelf = shelf();
    let wanted = to.map(|which| registry::disk(which).ok_or_else(|| SwapError::NotIdle(which.to_string())));
    let wanted = wanted.transpose()?;
    let is_meant = |name: &str| wanted.as_deref().is_none_or(|wanted| wanted == name);
    let mut why = None;
    for number in (0..shelf.len()).filter(|number| is_meant(&shelf[*number].name)).collect::<Vec<_>>() {
        let new = &mut shelf[number];
        // From here on it does not leave.
        if !registry::reserve(&new.name, "a swap") {
            continue;
        }
        let outcome = match look(drive, new) {
            Ok(plan) => {
                let (new, adapted, sectors) = (new.name.clone(), plan.adapted(), plan.sectors());
                Ok((Swap { seat, new, adapted, sectors }, plan))
            }
            Err(error) => Err(error),
        };
        let outcome = match outcome {
            Ok((swap, _)) if only_looks => Ok((swap, None)),
            Ok((swap, plan)) => match Mirror::begin(plan, new.device()) {
                Ok(mirror) => Ok((swap, Some(mirror))),
                Err(end) => Err(SwapError::End(end)),
            },
            Err(error) => Err(error),
        };
        if let Ok((swap, Some(mirror))) = outcome {
            let drive_to_be = shelf.remove(number);
            drive.watch.successor = Some(Box::new(Successor { mirror, drive: drive_to_be }));
            return Ok(swap);
        }
        new.rest();
        registry::release(&new.name);
        match outcome {
            Ok((swap, _)) => return Ok(swap),
            Err(SwapError::Refused(refused)) => why = Some(refused),
            Err(error) => return Err(error),
        }
    }
    match (to, why) {
        (None, why) => Err(SwapError::NoneFits(why)),
        (_, Some(why)) => Err(SwapError::Refused(why)),
        (Some(to), None) => {
            Err(registry::refusal(to).map_or_else(|| SwapError::NotIdle(to.to_string()), SwapError::Refusal))
        }
    }
}

/// Whether a disk that nobody uses can take the place of another. It is awake afterwards.
fn look(old: &mut Drive, new: &mut Drive) -> Result<Plan, SwapError> {
    new.wake().map_err(SwapError::Start)?;
    Plan::new(old.device(), new.device()).map_err(SwapError::Refused)
}

impl Swap {
    /// Goes on by a little, and lets those use the disk who wait for it.
    pub fn step(&self) -> Result<Progress, SwapError> {
        let mut drive = self.seat.lock();
        let (mirror, old, new) = drive.as_mut().and_then(Drive::mirror).ok_or(SwapError::Gone)?;
        let progress = mirror.step(old, new).map_err(SwapError::End);
        let is_awaited = drive.is_awaited();
        drop(drive);
        if is_awaited {
            thread::sleep(GIVE_WAY);
        }
        progress
    }

    /// Gives up: the new disk is nobody's again.
    pub fn cancel(&self) {
        let mut drive = self.seat.lock();
        if let Some(successor) = drive.as_mut().and_then(|drive| drive.watch.successor.take()) {
            registry::release(&successor.drive.name);
            shelve(successor.drive);
        }
    }

    /// Gives the new disk to who uses the old one, which is nobody's then.
    pub fn switch(&self) -> Result<Switched, SwapError> {
        let mut seated = self.seat.lock();
        let drive = seated.as_mut().ok_or(SwapError::Gone)?;
        let Successor { mirror, drive: mut new } = *drive.watch.successor.take().ok_or(SwapError::Gone)?;
        if mirror.progress() != Progress::Equal {
            drive.watch.successor = Some(Box::new(Successor { mirror, drive: new }));
            return Err(SwapError::End(End::NotEqual));
        }
        let is_known = drive.watch.identity.is_some();
        let switched = mirror.switch(drive.device(), new.device()).map_err(SwapError::End);
        if switched.is_ok() {
            core::mem::swap(drive, &mut new);
            registry::succeed(&new.name, &drive.name);
            // What was lost of the old one is missing in the new one.
            drive.watch.unflushed = core::mem::take(&mut new.watch.unflushed);
            if is_known {
                drive.learn();
            }
            // Who waited for the old one has this one.
            self.seat.is_back.notify_all();
        } else {
            registry::release(&new.name);
        }
        shelve(new);
        switched
    }
}
