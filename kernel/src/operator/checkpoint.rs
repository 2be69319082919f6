//! A checkpoint of the running machine, as a job: memory is frozen in guest mode, read while the system writes on, and streamed to
//! whoever asked. What is in one: `kernel/doc/checkpoint.md`.

mod base;

use super::jobs::belt::Outward;
use super::jobs::{self, Cancelled, Follower, Handle};
use super::key::key;
use super::told::Told;
use super::{changes, heir, identity, refuse};
use crate::devices::{Held, Part};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use base::{Base, Unfit};
use checkpoint::{FrameKind, Frames, Header, MIN_CHUNK, Manifest, Sink, Totals, WriteError, Writer};
use control::jobs::{Said, State};
use control::request::LONGEST;
use core::fmt;
use core::ops::Range;
use machine::dma::DmaRegion;
use machine::journal::EVENTS;
use machine::memory::frames::Taken;
use machine::memory::map::MemoryMap;
use machine::paging::{PAGE, image_bounds};
use machine::thread::{self, Builder, Priority};
use machine::time::{self, Instant};
use machine::{cpu, frames};
use mode::bare::{
    FreezeError, Party, Returned, Snapshot, SnapshotError, freeze, freeze_and_record, monitor, request,
};
use mode::{Outcome, Phase};
use net::ssh::{Caller, Output};
use x86defs::state::CpuState;

/// Pages that are fetched at a time.
const FETCHED: usize = 64;
/// Raw bytes of a chunk at most.
const CHUNK: usize = 256 * 1024;
const _: () = assert!(CHUNK >= MIN_CHUNK && size_of::<CpuState>() <= FETCHED * PAGE as usize);
/// Bytes that are gathered before they are sent.
const PIECE: usize = 64 * 1024;
/// For copies of what is written meanwhile: a share of what is free, and at least so many bytes.
const ROOM_SHARE: u64 = 8;
const LEAST_ROOM: u64 = 8 << 20;

/// Why there is no checkpoint.
#[derive(Debug)]
enum Fault {
    Cancelled,
    Memory,
    Freeze(FreezeError),
    Snapshot(SnapshotError),
    Format(checkpoint::Error),
    Base(Unfit),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancelled => f.write_str("cancelled"),
            Self::Memory => f.write_str("there is not enough memory"),
            Self::Freeze(error) => error.fmt(f),
            Self::Snapshot(error) => error.fmt(f),
            Self::Format(error) => error.fmt(f),
            Self::Base(unfit) => unfit.fmt(f),
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

impl From<WriteError<Cancelled>> for Fault {
    fn from(error: WriteError<Cancelled>) -> Self {
        match error {
            WriteError::Format(error) => Self::Format(error),
            WriteError::Sink(Cancelled) => Self::Cancelled,
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

/// Takes a checkpoint and streams it to the caller.
pub fn checkpoint(
    caller: &Caller,
    map: &'static MemoryMap,
    part: Part,
    wish: Wish,
    output: &mut dyn Output,
) -> u8 {
    if let Err(unavailable) = monitor() {
        return refuse(output, false, &unavailable.to_string());
    }
    if let Some(Err(unfit)) = wish.base.map(base::check) {
        return refuse(output, false, &unfit.to_string());
    }
    let belt = Arc::new(Outward::new());
    let end = Arc::clone(&belt);
    let work = move |handle: &Handle| work(handle, &end, map, part, wish);
    match jobs::start(caller, "checkpoint", true, Builder::new("checkpoint"), work) {
        Ok(job) => jobs::follow_with(job, Follower::Owner, &*belt, false, output),
        Err(why) => refuse(output, false, &why),
    }
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

/// In guest mode, and back to the mode it was in, unless what is written is still recorded.
fn work(handle: &Handle, belt: &Outward, map: &MemoryMap, part: Part, wish: Wish) -> State {
    let entered = match request(Some(Phase::Guest), LONGEST) {
        Ok(outcome) => outcome == Outcome::Switched,
        Err(error) => return State::Failed(error.to_string()),
    };
    let taken = take(handle, belt, map, part, wish);
    // It was low while pages were sent.
    thread::set_priority(Priority::Normal);
    if entered
        && !base::is_kept()
        && let Err(error) = request(Some(Phase::Native), LONGEST)
    {
        return State::Failed(format!("the machine stays in guest mode: {error}"));
    }
    match taken {
        Ok(Made::Written(told)) => {
            handle.say(Said::Remark(told));
            State::Done
        }
        Ok(Made::Restored) => {
            let generation = changes::generation();
            EVENTS.push("restored", format_args!("from a checkpoint, generation {generation}"));
            // `qs run --restore` waits for this line.
            log::info!("restored: goes on from a checkpoint, generation {generation}");
            State::Done
        }
        Err(Fault::Cancelled) => State::Cancelled,
        Err(fault) => State::Failed(fault.to_string()),
    }
}

/// What has become of it.
enum Made {
    /// A checkpoint; told in words.
    Written(String),
    /// This system is on another machine now, or later on this one.
    Restored,
}

fn take(handle: &Handle, belt: &Outward, map: &MemoryMap, part: Part, wish: Wish) -> Result<Made, Fault> {
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
        Returned::Restored => return Ok(Made::Restored),
    };
    // After the freeze: no clock that was read before is ahead of it.
    let (monotonic, wall) = (Instant::now().as_nanos(), time::wall_clock().as_nanos());
    handle.say(Said::Remark("frozen: the machine goes on".to_string()));
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
    let sent = Sent { handle, belt, gathered: Vec::new(), bytes: 0 };
    let manifest = Manifest { header, features, map, cpus, frames };
    let mut writer = Writer::begin(sent, manifest, key().as_ref(), CHUNK)?;
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
    let (mut sent, Totals { pages, zero, .. }) = writer.end()?;
    sent.hand_over().map_err(|Cancelled| Fault::Cancelled)?;
    let nanos = u128::from(snapshot.stop()) * 1_000_000_000 / u128::from(time::tsc_hertz().max(1));
    let mut told =
        format!("{} bytes: {pages} pages, {zero} more are zero; stopped for {nanos} ns", sent.bytes);
    if let Some(base) = wish.base {
        told += &format!("; {left} pages are those of {}", base::hex(&base));
    }
    if let Some(frames) = all {
        snapshot.keep_record();
        told += &format!("; the next one can build on {}", base::hex(&id));
        Base::keep(id, frames);
    }
    Ok(Made::Written(told))
}

/// Bytes on their way to the client, gathered to larger pieces.
struct Sent<'a> {
    handle: &'a Handle,
    belt: &'a Outward,
    gathered: Vec<u8>,
    /// All that were written.
    bytes: u64,
}

impl Sent<'_> {
    fn hand_over(&mut self) -> Result<(), Cancelled> {
        self.belt.put(self.handle, core::mem::take(&mut self.gathered))
    }
}

impl Sink for Sent<'_> {
    type Error = Cancelled;

    fn write(&mut self, bytes: &[u8]) -> Result<(), Cancelled> {
        self.gathered.extend_from_slice(bytes);
        self.bytes += bytes.len() as u64;
        if self.gathered.len() < PIECE { Ok(()) } else { self.hand_over() }
    }
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

/// What was handed out at the freeze, the allocator's table itself, and the image's data; without memory of devices and the VMM, and
/// without the facts of the machine.
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
    Ok(Frames::of(used, snapshot.left_out().collect())?)
}
