//! Checkpoints on the machine's own disk: one, or one after another, as a job; and which there are.

use super::{Checkpoint, Fault, Outlet, Wish, base, take};
use crate::devices::{Part, Place, place};
use crate::operator::jobs::{self, Follower, Handle};
use crate::operator::{line, object, refuse};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use checkpoint::Sink;
use control::jobs::{Said, State};
use control::request::ToDisk;
use core::time::Duration;
use drivers_api::BlockError;
use http::Date;
use machine::memory::map::MemoryMap;
use machine::thread::Builder;
use machine::time::Instant;
use mode::bare::{SnapshotError, monitor};
use net::ssh::{Caller, Output, exit};
use serde::Serialize;
use slots::{Record, Slots, Writer};
use vmm::call::Status;

/// Said where there is no place for them.
pub const NO_PLACE: &str = "no disk of this machine has a partition for checkpoints";

/// A checkpoint that counts.
#[derive(Serialize)]
struct Kept {
    checkpoint: u64,
    id: String,
    /// Nanoseconds since 1970, if the date was known.
    wall_ns: Option<u64>,
    bytes: u64,
    whole: bool,
}

impl Kept {
    fn new(record: &Record) -> Self {
        let Record { number, bytes, wall, id, .. } = *record;
        let wall_ns = (wall > 0).then_some(wall);
        Self { checkpoint: number, id: base::hex(&id), wall_ns, bytes, whole: true }
    }

    fn text(&self) -> String {
        let date = self.wall_ns.map(|wall| Date::at(wall / 1_000_000_000));
        let date = date.as_ref().map_or(&b"date unknown"[..], |date| date.text());
        let Self { checkpoint, id, bytes, .. } = self;
        format!("{checkpoint:>6}  {id}  {:<29}  {bytes} bytes\n", String::from_utf8_lossy(date))
    }
}

/// A record that does not count.
#[derive(Serialize)]
struct Broken {
    record: usize,
    whole: bool,
    error: String,
}

/// Tells which there are, the newest first, and which records do not count.
pub fn list(json: bool, output: &mut dyn Output) -> u8 {
    let Some(place) = place() else { return refuse(output, json, NO_PLACE) };
    let slots = match Slots::open(place) {
        Ok(slots) => slots,
        Err(error) => return refuse(output, json, &error.to_string()),
    };
    let kept: Vec<Kept> = slots.whole().map(Kept::new).collect();
    let told = { kept.iter() }
        .try_for_each(|kept| if json { line(output, kept) } else { output.out(&kept.text()) })
        .and_then(|()| if kept.is_empty() && !json { output.out("no checkpoints\n") } else { Ok(()) })
        .and_then(|()| {
            slots.faults().iter().try_for_each(|(record, fault)| match json {
                true => line(output, &Broken { record: *record, whole: false, error: fault.to_string() }),
                false => output.err(&format!("record {record} does not count: {fault}\n")),
            })
        });
    if told.is_ok() { exit::DONE } else { exit::UNKNOWN }
}

/// Takes one and keeps it, or one after another until the job is cancelled.
pub fn to_disk(
    caller: &Caller,
    map: &'static MemoryMap,
    part: Part,
    asked: ToDisk,
    json: bool,
    output: &mut dyn Output,
) -> u8 {
    if let Err(unavailable) = monitor() {
        return refuse(output, json, &unavailable.to_string());
    }
    let Some(place) = place() else { return refuse(output, json, NO_PLACE) };
    if let Err(error) = Slots::open(place).and_then(|slots| slots.capacity(asked.keep)) {
        return refuse(output, json, &error.to_string());
    }
    let mut what = format!("checkpoint --to disk --keep {}", asked.keep);
    if let Some(every) = asked.every {
        what += &format!(" --every {}s", every.as_secs());
    }
    let work = move |handle: &Handle| match asked.every {
        None => match keep_one(handle, place, map, part, asked) {
            Ok(()) => State::Done,
            Err(fault) => fault.end(),
        },
        Some(every) => keep_on(handle, map, part, asked, every),
    };
    // Others change the state between one and the next.
    let exclusive = asked.every.is_none();
    match jobs::start(caller, &what, exclusive, Builder::new("checkpoint"), work) {
        Ok(job) if asked.detach => jobs::detach(job, json, output),
        Ok(job) => jobs::follow(job, Follower::Owner, json, output),
        Err(why) => refuse(output, json, &why),
    }
}

/// One after another, until the job is cancelled or one fails for a reason that will not pass.
fn keep_on(handle: &Handle, map: &MemoryMap, part: Part, asked: ToDisk, every: Duration) -> State {
    let mut next = Instant::now();
    loop {
        handle.wait_until(next);
        if handle.is_cancelled() {
            return State::Cancelled;
        }
        next = next.saturating_add(every).max(Instant::now());
        // It is another one when this system was restored.
        let Some(place) = place() else { return State::Failed(NO_PLACE.to_string()) };
        match handle.in_turn(|| keep_one(handle, place, map, part, asked)) {
            Ok(Ok(())) => {}
            // More was written than there was room for; next time it may be less. Or the disk was away for a while.
            Ok(Err(
                fault @ (Fault::Snapshot(SnapshotError(_, Status::Spoilt))
                | Fault::Disk(slots::Error::Disk(BlockError::Lost))),
            )) => {
                handle.say(Said::Remark(format!("there is one less: {fault}")));
            }
            Ok(Err(fault)) => return fault.end(),
            Err(busy) => handle.say(Said::Remark(format!("there is one less: {busy}"))),
        }
    }
}

fn keep_one(handle: &Handle, place: Place, map: &MemoryMap, part: Part, asked: ToDisk) -> Result<(), Fault> {
    let writer = Slots::open(place).and_then(|slots| slots.begin(asked.keep)).map_err(Fault::Disk)?;
    let wish = Wish { room: asked.room, base: None, track: false };
    let Some(taken) = take(handle, OnDisk { handle, writer }, map, part, wish)? else { return Ok(()) };
    if handle.is_cancelled() {
        return Err(Fault::Cancelled);
    }
    let told = taken.to_string();
    let Checkpoint { outlet, header, totals, stop, .. } = taken;
    let (mut slots, record) = outlet.writer.keep(header.id, header.wall).map_err(Fault::Disk)?;
    let kept = Kept::new(&record);
    let text = format!("checkpoint {}: {} bytes, {told}\n", kept.checkpoint, kept.bytes);
    let (pages, zero) = (totals.pages, totals.zero);
    handle.say(Said::Result { json: object(&Taken { kept, pages, zero, stop_ns: stop as u64 }), text });
    if let Err(error) = slots.drop_beyond(asked.keep) {
        // The next one tries again.
        handle.say(Said::Remark(format!("the oldest is still there: {error}")));
    }
    Ok(())
}

#[derive(Serialize)]
struct Taken {
    #[serde(flatten)]
    kept: Kept,
    pages: u64,
    zero: u64,
    stop_ns: u64,
}

/// Bytes on their way to the disk.
struct OnDisk<'a> {
    handle: &'a Handle,
    writer: Writer<Place>,
}

impl Sink for OnDisk<'_> {
    type Error = Fault;

    fn write(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        if self.handle.is_cancelled() {
            return Err(Fault::Cancelled);
        }
        self.writer.write(bytes).map_err(Fault::Disk)
    }
}

impl Outlet for OnDisk<'_> {
    fn finish(&mut self) -> Result<(), Fault> {
        // It counts from its record on, which is written when the machine is as it was before.
        Ok(())
    }
}
