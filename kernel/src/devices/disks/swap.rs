//! A disk takes the place of the one with the checkpoints.
//!
//! Locks are taken in one order: the used disk, then the shelf. A disk is never in nobody's hands, so that a freeze finds all of them.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use drivers_api::BlockError;
use machine::sync::{Mutex, MutexGuard};
use mirror::{Adapted, End, Mirror, Plan, Progress, Refused, Switched};

use super::checkpoints::{Place, place};
use super::drive::{Drive, Successor};
use crate::devices::registry;

/// Disks that nobody uses, quiesced.
static SHELF: Mutex<Vec<Drive>> = Mutex::new(Vec::new());

/// Waits until nobody takes from the shelf.
pub(super) fn shelf() -> MutexGuard<'static, Vec<Drive>> {
    SHELF.lock()
}

/// Brings a disk to rest, and keeps it for whoever wants it.
pub(super) fn shelve(drive: Option<Drive>) {
    if let Some(mut drive) = drive {
        drive.rest();
        shelf().push(drive);
    }
}

/// Why a disk does not take another's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SwapError {
    /// Nobody uses a disk of this name, or what uses it can't have another.
    NotUsed(String),
    /// There is no disk of this name or at this place that nobody uses.
    NotIdle(String),
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
    /// The machine is another one by now.
    Gone,
}

impl fmt::Display for SwapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUsed(name) => write!(f, "checkpoints are not on {name}: only their disk can be swapped"),
            Self::NotIdle(name) => write!(f, "there is no disk {name} that nobody uses"),
            Self::NoneFits(None) => f.write_str("there is no disk that nobody uses"),
            Self::NoneFits(Some(why)) => write!(f, "no disk fits: {why}"),
            Self::Busy => f.write_str("another disk is about to take its place"),
            Self::Start(error) => write!(f, "the new disk does not start: {error}"),
            Self::Refused(why) => why.fmt(f),
            Self::End(end) => end.fmt(f),
            Self::Gone => f.write_str("the machine was restored meanwhile"),
        }
    }
}

/// A disk that takes another's place.
pub struct Swap {
    place: Place,
    /// The new one's name.
    pub new: String,
    /// What is other with the new one.
    pub adapted: Adapted,
    /// How much is copied.
    pub sectors: u64,
}

/// Whether a disk, by name or place, else the first that fits, can take the place of `old`; begins to make it so unless it `only_looks`.
pub fn begin(old: &str, to: Option<&str>, only_looks: bool) -> Result<Swap, SwapError> {
    let not_used = || SwapError::NotUsed(old.to_string());
    let place = place().ok_or_else(not_used)?;
    let mut drive = place.lock();
    let drive = drive.as_mut().filter(|drive| drive.name == old).ok_or_else(not_used)?;
    if drive.successor.is_some() {
        return Err(SwapError::Busy);
    }
    let mut shelf = shelf();
    let wanted = to.map(|which| registry::disk(which).ok_or_else(|| SwapError::NotIdle(which.to_string())));
    let wanted = wanted.transpose()?;
    let is_meant = |name: &str| wanted.as_deref().is_none_or(|wanted| wanted == name);
    let mut why = None;
    for number in (0..shelf.len()).filter(|number| is_meant(&shelf[*number].name)).collect::<Vec<_>>() {
        let new = &mut shelf[number];
        new.wake().map_err(SwapError::Start)?;
        let plan = Plan::new(drive.device(), new.device());
        let (adapted, sectors) = match &plan {
            Ok(plan) => (plan.adapted(), plan.sectors()),
            Err(refused) => {
                why = Some(*refused);
                new.rest();
                continue;
            }
        };
        let swap = Swap { place, new: new.name.clone(), adapted, sectors };
        match plan.map_err(SwapError::Refused)? {
            _ if only_looks => new.rest(),
            plan => match Mirror::begin(plan, new.device()) {
                Ok(mirror) => {
                    let drive_to_be = shelf.remove(number);
                    drive.successor = Some(Box::new(Successor { mirror, drive: drive_to_be }));
                }
                Err(end) => {
                    new.rest();
                    return Err(SwapError::End(end));
                }
            },
        }
        return Ok(swap);
    }
    match (to, why) {
        (None, why) => Err(SwapError::NoneFits(why)),
        (_, Some(why)) => Err(SwapError::Refused(why)),
        (Some(to), None) => Err(SwapError::NotIdle(to.to_string())),
    }
}

impl Swap {
    /// Goes on by a little.
    pub fn step(&self) -> Result<Progress, SwapError> {
        let mut drive = self.place.lock();
        let (mirror, old, new) = drive.as_mut().and_then(Drive::mirror).ok_or(SwapError::Gone)?;
        mirror.step(old, new).map_err(SwapError::End)
    }

    /// Gives up: the new disk is nobody's again.
    pub fn cancel(&self) {
        let mut drive = self.place.lock();
        let successor = drive.as_mut().and_then(|drive| drive.successor.take());
        if let Some(successor) = successor {
            let Successor { drive: mut new, .. } = *successor;
            new.rest();
            shelf().push(new);
        }
    }

    /// Gives the new disk to who uses the old one, which is nobody's then.
    pub fn switch(&self) -> Result<Switched, SwapError> {
        let mut place = self.place.lock();
        let drive = place.as_mut().ok_or(SwapError::Gone)?;
        let mut successor = drive.successor.take().ok_or(SwapError::Gone)?;
        if successor.mirror.progress() != Progress::Equal {
            drive.successor = Some(successor);
            return Err(SwapError::End(End::NotEqual));
        }
        let Successor { mirror, drive: ref mut new } = *successor;
        let switched = mirror.switch(drive.device(), new.device());
        let mut new = successor.drive;
        let result = match switched {
            Ok(switched) => {
                core::mem::swap(drive, &mut new);
                Ok(switched)
            }
            Err(end) => Err(SwapError::End(end)),
        };
        if result.is_ok() {
            registry::succeed(&new.name, &drive.name);
        }
        new.rest();
        shelf().push(new);
        result
    }
}
