//! A checkpoint from a client or from the machine's own disk, and this machine goes on as the one that was frozen. Nothing of this
//! one is touched until all has come and is whole, and fits. How: `kernel/doc/checkpoint.md`.

mod places;

use super::checkpoint::NO_PLACE;
use super::jobs::belt::Inward;
use super::jobs::{self, Cancelled, Follower, Handle};
use super::key::key;
use super::told::Told;
use super::{heir, identity, modes, refuse};
use crate::devices::{Part, Place, place};
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use checkpoint::{Event, Manifest, ReadError, Reader, Source, Stream, refusals};
use control::checkpoints::{AFRESH, on_disk};
use control::jobs::{Said, State};
use control::request::LONGEST;
use core::fmt;
use core::time::Duration;
use drivers_api::BlockError;
use machine::cpu;
use machine::memory::map::MemoryMap;
use machine::thread::Builder;
use machine::time::Instant;
use mode::bare::{self, RequestError, RestoreError, monitor};
use net::ssh::{Caller, Output};
use places::{Misfit, Places, Plan};
use slots::{Slots, Which, WhichError};
use vmm::monitor::BuildError;

/// How long a client has to hang up, once it is told that its checkpoint takes over.
const FAREWELL: Duration = Duration::from_secs(3);

/// Why this machine goes on as it was.
#[derive(Debug)]
enum Fault {
    Cancelled,
    Unavailable(BuildError),
    Read(checkpoint::Error),
    /// All reasons.
    Refused(Vec<String>),
    Misfit(Misfit),
    Which(WhichError),
    /// No disk keeps checkpoints.
    NoPlace,
    Disk(slots::Error<BlockError>),
    Mode(RequestError),
    Restore(RestoreError),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancelled => f.write_str("cancelled"),
            Self::Unavailable(error) => error.fmt(f),
            Self::Read(error) => error.fmt(f),
            Self::Refused(reasons) => write!(f, "this machine can't go on from it: {}", reasons.join("; ")),
            Self::Misfit(error) => error.fmt(f),
            Self::Which(error) => error.fmt(f),
            Self::NoPlace => f.write_str(NO_PLACE),
            Self::Disk(error) => error.fmt(f),
            Self::Mode(error) => error.fmt(f),
            Self::Restore(error) => error.fmt(f),
        }
    }
}

impl From<ReadError<Cancelled>> for Fault {
    fn from(error: ReadError<Cancelled>) -> Self {
        match error {
            ReadError::Format(error) => Self::Read(error),
            ReadError::Source(Cancelled) => Self::Cancelled,
        }
    }
}

impl From<ReadError<BlockError>> for Fault {
    fn from(error: ReadError<BlockError>) -> Self {
        match error {
            ReadError::Format(error) => Self::Read(error),
            ReadError::Source(error) => Self::Disk(slots::Error::Disk(error)),
        }
    }
}

impl From<checkpoint::Error> for Fault {
    fn from(error: checkpoint::Error) -> Self {
        Self::Read(error)
    }
}

impl From<Misfit> for Fault {
    fn from(error: Misfit) -> Self {
        Self::Misfit(error)
    }
}

/// Takes a checkpoint from the caller, or from the machine's own disk (`from`: which one). The caller is let go when it is sure that
/// this machine is able to go on from it; with `new_identity` as a host of its own, beside the one that was frozen.
pub fn restore(
    caller: &Caller,
    map: &'static MemoryMap,
    part: Part,
    new_identity: bool,
    from: Option<&str>,
    output: &mut dyn Output,
) -> u8 {
    if let Err(unavailable) = monitor() {
        return refuse(output, false, &unavailable.to_string());
    }
    let kept = match from.map(Kept::find).transpose() {
        Ok(kept) => kept,
        Err(fault) => return refuse(output, false, &fault.to_string()),
    };
    let belt = Arc::new(if kept.is_some() { Inward::closed() } else { Inward::new() });
    let end = Arc::clone(&belt);
    let work = move |handle: &Handle| match work(handle, &end, map, part, new_identity, kept) {
        Fault::Cancelled => State::Cancelled,
        fault => State::Failed(fault.to_string()),
    };
    match jobs::start(caller, "restore", true, Builder::new("restore"), work) {
        Ok(job) => {
            let client = Arc::clone(&belt);
            output.at_end(Box::new(move || client.client_is_gone(&Handle::of(job))));
            jobs::follow_with(job, Follower::Owner, &*belt, false, output)
        }
        Err(why) => refuse(output, false, &why),
    }
}

/// Why nothing has come of it.
fn work(
    handle: &Handle,
    belt: &Inward,
    map: &MemoryMap,
    part: Part,
    new_identity: bool,
    kept: Option<Kept>,
) -> Fault {
    let mut progress = None;
    let told = |done, of| {
        progress.get_or_insert_with(|| Told::new(handle, of)).more(done);
        if handle.is_cancelled() { Err(Fault::Cancelled) } else { Ok(()) }
    };
    let plan = match kept {
        Some(kept) => receive(kept, map, told),
        None => receive(Received { handle, belt, piece: Vec::new(), read: 0 }, map, told),
    };
    let plan = match plan {
        Ok(plan) => plan,
        Err(fault) => return fault,
    };
    take_over(&plan, part, new_identity, || {
        if handle.is_cancelled() {
            return Err(Fault::Cancelled);
        }
        let told = "all has come and is whole: this machine goes on as the one that was frozen";
        handle.say(Said::Remark(told.to_string()));
        belt.dismiss(handle, Instant::now().saturating_add(FAREWELL));
        Ok(())
    })
}

/// Goes on from a checkpoint on the machine's own disk at boot, before anything serves: `disk`, or `disk:` and which one. Where nothing
/// comes of it the log says why, and the machine goes on as it was started.
pub fn at_boot(map: &MemoryMap, part: Part, new_identity: bool, from: &str) {
    let Some(which) = on_disk(from) else {
        return log::error!("restore={from}: neither disk nor disk:latest, disk:NUMBER, disk:ID; {AFRESH}");
    };
    let work = || {
        monitor().map_err(Fault::Unavailable)?;
        let plan = receive(Kept::find(which)?, map, |_, _| Ok(()))?;
        Err::<(), _>(take_over(&plan, part, new_identity, || Ok(())))
    };
    if let Err(fault) = work() {
        log::error!("restore={from}: {fault}; {AFRESH}");
    }
}

/// A checkpoint on the machine's own disk.
struct Kept(slots::Reader<Place>);

impl Kept {
    fn find(which: &str) -> Result<Self, Fault> {
        let which: Which = which.parse().map_err(Fault::Which)?;
        let place = place().ok_or(Fault::NoPlace)?;
        Slots::open(place).and_then(|slots| slots.read(which)).map(Self).map_err(Fault::Disk)
    }
}

impl Source for Kept {
    type Error = BlockError;

    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, BlockError> {
        self.0.read(bytes)
    }
}

/// Puts the received system in the place of this one. `farewell` is said when nothing is known to be in the way. Where this returns,
/// this machine goes on as it was.
fn take_over(
    plan: &Plan,
    part: Part,
    new_identity: bool,
    farewell: impl FnOnce() -> Result<(), Fault>,
) -> Fault {
    let entered = match modes::enter() {
        Ok(entered) => entered,
        Err(error) => return Fault::Mode(error),
    };
    let fault = farewell().err().unwrap_or_else(|| {
        log::info!("control: taken over by a checkpoint");
        let mut held = part.hold();
        part.silence(&mut held);
        heir::order_new_identity(new_identity);
        let error = bare::restore(plan.address(), LONGEST);
        heir::order_new_identity(false);
        part.find(&mut held);
        drop(held);
        part.settle();
        Fault::Restore(error)
    });
    if entered && let Err(error) = modes::leave() {
        log::error!("the machine stays in guest mode: {error}");
    }
    fault
}

/// Pieces that have come, one after another.
struct Received<'a> {
    handle: &'a Handle,
    belt: &'a Inward,
    piece: Vec<u8>,
    /// How much of the piece has been read.
    read: usize,
}

impl Source for Received<'_> {
    type Error = Cancelled;

    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Cancelled> {
        if self.read == self.piece.len() {
            (self.piece, self.read) = (self.belt.get(self.handle)?, 0);
        }
        let left = &self.piece[self.read..];
        let count = left.len().min(bytes.len());
        bytes[..count].copy_from_slice(&left[..count]);
        self.read += count;
        Ok(count)
    }
}

/// Puts all that comes where it stays, or near. `told` hears how many pages more there are, of how many, and may end it.
fn receive<S: Source>(
    source: S,
    map: &MemoryMap,
    mut told: impl FnMut(u64, u64) -> Result<(), Fault>,
) -> Result<Plan, Fault>
where
    Fault: From<ReadError<S::Error>>,
{
    let mut stream = Stream::new(source, Reader::new(key()))?;
    let Some(Event::Manifest(manifest)) = stream.event()? else {
        unreachable!("the first event of a checkpoint is its manifest");
    };
    compare(manifest, map)?;
    let mut places = Places::find(manifest)?;
    let pages = places.pages();
    while let Some(event) = stream.event()? {
        if let Event::Pages(chunk) = event {
            for piece in chunk.pieces() {
                places.put(piece)?;
                told(piece.count().into(), pages)?;
            }
        }
    }
    Ok(places.plan()?)
}

/// Whether this machine can go on from it.
fn compare(manifest: &Manifest, map: &MemoryMap) -> Result<(), Fault> {
    let here = checkpoint::Machine {
        image: identity::image(),
        vendor: identity::vendor().map_err(Fault::Unavailable)?,
        features: &identity::features()?,
        cpus: cpu::count() as u32,
        map: &identity::map(map)?,
    };
    let reasons: Vec<_> = refusals(manifest, &here).iter().map(ToString::to_string).collect();
    if reasons.is_empty() { Ok(()) } else { Err(Fault::Refused(reasons)) }
}
