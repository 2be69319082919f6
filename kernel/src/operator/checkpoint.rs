//! A checkpoint of the running machine, as a job: memory is frozen in guest mode, read while the system writes on, and streamed to
//! whoever asked, or written to the machine's own disk. What is in one: `kernel/doc/checkpoint.md`.

mod base;
mod disk;
mod stream;

pub use disk::{NO_PLACE, list, to_disk};
pub use stream::checkpoint;

use super::jobs::{Cancelled, Handle};
use super::key::key;
use super::told::Told;
use super::{changes, heir, identity, modes};
use crate::devices::{Held, Part};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use base::{Base, Unfit};
use checkpoint::{FrameKind, Frames, Header, MIN_CHUNK, Manifest, Sink, Totals, WriteError, Writer};
use control::checkpoints::{FROZEN, RESTORED};
use control::jobs::{Said, State};
use control::request::LONGEST;
use core::fmt;
use core::ops::Range;
use drivers_api::BlockError;
use machine::dma::{self, DmaRegion};
use machine::journal::EVENTS;
use machine::memory::frames::Taken;
use machine::memory::map::MemoryMap;
use machine::paging::{PAGE, image_bounds};
use machine::thread::{self, Priority};
use machine::time::{self, Instant};
use machine::{cpu, frames};
use mode::bare::{
    FreezeError, Party, RequestError, Returned, Snapshot, SnapshotError, freeze, freeze_and_record,
};
use x86defs::state::CpuState;

/// Pages that are fetched at a time.
const FETCHED: usize = 64;
/// Raw bytes of a chunk at most.
const CHUNK: usize = 256 * 1024;
const _: () = assert!(CHUNK >= MIN_CHUNK && size_of::<CpuState>() <= FETCHED * PAGE as usize);
/// For copies of what is written meanwhile: a share of what is free, and at least so many bytes.
const ROOM_SHARE: u64 = 8;
const LEAST_ROOM: u64 = 8 << 20;

/// Why there is no checkpoint.
#[derive(Debug)]
enum Fault {
    Cancelled,
    Memory,
    Enter(RequestError),
    Leave(RequestError),
    Freeze(FreezeError),
    Snapshot(SnapshotError),
    Format(checkpoint::Error),
    Base(Unfit),
    Disk(slots::Error<BlockError>),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancelled => f.write_str("cancelled"),
            Self::Memory => f.write_str("there is not enough memory"),
            Self::Enter(error) => error.fmt(f),
            Self::Leave(error) => write!(f, "the machine stays in guest mode: {error}"),
            Self::Freeze(error) => error.fmt(f),
            Self::Snapshot(error) => error.fmt(f),
            Self::Format(error) => error.fmt(f),
            Self::Base(unfit) => unfit.fmt(f),
            Self::Disk(error) => error.fmt(f),
        }
    }
}

impl From<FreezeError> for Fault {
    fn from(error: FreezeError) -> Self {
        Self::Freeze(error)
    }
}

impl From<SnapshotError> for Fault {
    fn from(error: SnapshotError) -> Self {
        Self::Snapshot(error)
    }
}

impl From<checkpoint::Error> for Fault {
    fn from(error: checkpoint::Error) -> Self {
        Self::Format(error)
    }
}

impl From<Cancelled> for Fault {
    fn from(Cancelled: Cancelled) -> Self {
        Self::Cancelled
    }
}

impl From<WriteError<Fault>> for Fault {
    fn from(error: WriteError<Fault>) -> Self {
        match error {
            WriteError::Format(error) => Self::Format(error),
            WriteError::Sink(fault) => fault,
        }
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// How many bytes of copies there may be, unless the machine is to choose.
    pub room: Option<u64>,
    /// The ID of the checkpoint to build on, unless it is to be a full one.
    pub base: Option<[u8; 16]>,
    /// What is written from then on is recorded, for one that builds on this one; so the machine stays in guest mode.
    pub track: bool,
}

/// What is at rest while the machine stands still, and put in order by a system that was restored.
struct Machine(Part);

impl Party for Machine {
    type Held = Held;

    fn hold(&self) -> Held {
        self.0.hold()
    }

    fn restored(&self, held: &mut Held) {
        changes::begin_anew();
        let is_another = heir::takes_new_identity();
        if is_another && let (Some(seed), Some(identities)) = (heir::host_key(), super::IDENTITIES.get()) {
            identities.set_host_key(&seed);
        }
        self.0.restored(held, is_another);
    }
}

impl Fault {
    /// The end of a job that meets it.
    fn end(self) -> State {
        match self {
            Self::Cancelled => State::Cancelled,
            fault => State::Failed(fault.to_string()),
        }
    }
}

/// Where a checkpoint goes.
trait Outlet: Sink<Error = Fault> {
    /// All has been written: returns when it is there.
    fn finish(&mut self) -> Result<(), Fault>;
}

/// A checkpoint, all of which its outlet has taken.
struct Checkpoint<S> {
    outlet: S,
    header: Header,
    totals: Totals,
    /// How long the machine stood still, in nanoseconds.
    stop: u128,
    /// What more is to be told of it.
    more: String,
}

impl<S> fmt::Display for Checkpoint<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Totals { pages, zero, .. } = self.totals;
        write!(f, "{pages} pages, {zero} more are zero; stopped for {} ns{}", self.stop, self.more)
    }
}

/// Takes one in guest mode, and goes back to the mode that the machine was in, unless what is written is still recorded. None in a system that
/// was restored from it.
fn take<S: Outlet>(
    handle: &Handle,
    outlet: S,
    map: &MemoryMap,
    part: Part,
    wish: Wish,
) -> Result<Option<Checkpoint<S>>, Fault> {
    let entered = modes::enter().map_err(Fault::Enter)?;
    let taken = take_in_guest_mode(handle, outlet, map, part, wish);
    // It was low while pages were sent.
    thread::set_priority(Priority::Normal);
    if entered && !base::is_kept() {
        modes::leave().map_err(Fault::Leave)?;
    }
    if let Ok(None) = taken {
        part.settle();
        let generation = changes::generation();
        EVENTS.push("restored", format_args!("from a checkpoint, generation {generation}"));
        part.announce();
        log::info!("{RESTORED}, generation {generation}");
    }
    taken
}

fn take_in_guest_mode<S: Outlet>(
    handle: &Handle,
    outlet: S,
    map: &MemoryMap,
    part: Part,
    wish: Wish,
) -> Result<Option<Checkpoint<S>>, Fault> {
    // What is fetched goes to exempt memory, which has to be there before.
    let mut buffer = DmaRegion::new(FETCHED).ok_or(Fault::Memory)?;
    let (features, map, image) = (identity::features()?, identity::map(map)?, identity::image());
    let free = frames::statistics().free * PAGE;
    let room = wish.room.unwrap_or((free / ROOM_SHARE).max(LEAST_ROOM));
    let party = Machine(part);
    let returned = match wish.track {
        true => freeze_and_record(room, LONGEST, &party)?,
        false => freeze(room, LONGEST, &party)?,
    };
    let base = base::take();
    let snapshot = match returned {
        Returned::GoOn(snapshot) => snapshot,
        Returned::Restored => return Ok(None),
    };
    // After the freeze: no clock that was read before is ahead of it.
    let (monotonic, wall) = (Instant::now().as_nanos(), time::wall_clock().as_nanos());
    handle.say(Said::Remark(FROZEN.to_string()));
    thread::set_priority(Priority::Background);
    let mut id = [0; 16];
    drivers::entropy::fill(&mut id);
    let header = Header {
        id,
        base: wish.base,
        generation: changes::generation(),
        image,
        vendor: identity::vendor().map_err(FreezeError::Unavailable)?,
        cpus: cpu::count() as u32,
        monotonic,
        wall: u64::try_from(wall).unwrap_or(0),
        memory_end: map.memory_end(),
    };
    let cpus = (0..cpu::count()).map(|cpu| state(&snapshot, cpu, &mut buffer)).collect::<Result<_, _>>()?;
    let frames = in_use(&snapshot, &mut buffer)?;
    let all = wish.track.then(|| frames.clone());
    let frames = match wish.base {
        Some(id) => base::since(id, base, &frames, &snapshot, &mut buffer)?,
        None => frames,
    };
    let (pages, left) = (frames.count(FrameKind::Here), frames.count(FrameKind::Base));
    let ranges: Vec<_> =
        frames.ranges().iter().filter(|range| range.kind == FrameKind::Here).copied().collect();
    let manifest = Manifest { header, features, map, cpus, frames };
    let mut writer = Writer::begin(outlet, manifest, key().as_ref(), CHUNK)?;
    let mut progress = Told::new(handle, pages);
    for range in ranges {
        let mut first = range.first;
        while first < range.end() {
            if handle.is_cancelled() {
                return Err(Fault::Cancelled);
            }
            let count = (range.end() - first).min(FETCHED as u64);
            let next = first + count;
            snapshot.fetch(first * PAGE..next * PAGE, &mut buffer)?;
            writer.pages(first, contents(&buffer, (count * PAGE) as usize))?;
            snapshot.pass(next * PAGE)?;
            progress.more(count);
            first = next;
        }
    }
    let (mut outlet, totals) = writer.end()?;
    outlet.finish()?;
    let stop = u128::from(snapshot.stop()) * 1_000_000_000 / u128::from(time::tsc_hertz().max(1));
    let mut more = String::new();
    if let Some(base) = wish.base {
        more += &format!("; {left} pages are those of {}", base::hex(&base));
    }
    if let Some(frames) = all {
        snapshot.keep_record();
        more += &format!("; the next one can build on {}", base::hex(&id));
        Base::keep(id, frames);
    }
    Ok(Some(Checkpoint { outlet, header, totals, stop, more }))
}

/// What a buffer begins with.
#[expect(unsafe_code, reason = "what the VMM has written to memory of ours")]
fn contents(buffer: &DmaRegion, bytes: usize) -> &[u8] {
    debug_assert!(bytes <= buffer.len());
    // SAFETY: within the buffer, which is lent to us: nobody fetches anything to it meanwhile.
    unsafe { core::slice::from_raw_parts(buffer.pointer().as_ptr(), bytes) }
}

fn state(snapshot: &Snapshot, cpu: usize, buffer: &mut DmaRegion) -> Result<Vec<u8>, Fault> {
    snapshot.state(cpu, buffer)?;
    Ok(contents(buffer, size_of::<CpuState>()).to_vec())
}

/// What was handed out at the freeze, the allocator's table itself, and the image's data; without the VMM's memory and the facts of the
/// machine. The pool of DMA memory has to be there, and nothing of what was in it.
fn in_use(snapshot: &Snapshot, buffer: &mut DmaRegion) -> Result<Frames, Fault> {
    let table = frames::table();
    let pages = table.start..table.end.next_multiple_of(PAGE);
    let [.., constants_end, data_end] = image_bounds();
    let mut used: Vec<Range<u64>> = vec![pages.clone(), constants_end..data_end];
    let mut taken = Taken::default();
    let mut at = pages.start;
    while at < pages.end {
        let end = (at + buffer.len() as u64).min(pages.end);
        snapshot.fetch(at..end, buffer)?;
        let states = contents(buffer, (end.min(table.end) - at) as usize);
        for (block, order) in taken.read(at - table.start, states) {
            let end = block + (PAGE << order);
            match used.last_mut() {
                Some(last) if last.end == block => last.end = end,
                _ => {
                    used.try_reserve(1).map_err(|_| Fault::Memory)?;
                    used.push(block..end);
                }
            }
        }
        at = end;
    }
    let pool: Vec<_> = (0..).map_while(dma::chunk).collect();
    Ok(Frames::of(used, snapshot.left_out().collect(), &pool)?)
}
