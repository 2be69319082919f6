//! A checkpoint to the client who asked for it.

use super::{Fault, Outlet, Wish, base, take};
use crate::devices::Part;
use crate::operator::jobs::belt::Outward;
use crate::operator::jobs::{self, Follower, Handle};
use crate::operator::refuse;
use alloc::format;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use checkpoint::Sink;
use control::jobs::{Said, State};
use machine::memory::map::MemoryMap;
use machine::thread::Builder;
use mode::bare::monitor;
use net::ssh::{Caller, Output};

/// Bytes that are gathered before they are sent.
const PIECE: usize = 64 * 1024;

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
    let work = move |handle: &Handle| {
        let sent = Sent { handle, belt: &end, gathered: Vec::new(), bytes: 0 };
        match take(handle, sent, map, part, wish) {
            Ok(Some(taken)) => {
                handle.say(Said::Remark(format!("{} bytes: {taken}", taken.outlet.bytes)));
                State::Done
            }
            Ok(None) => State::Done,
            Err(fault) => fault.end(),
        }
    };
    match jobs::start(caller, "checkpoint", true, Builder::new("checkpoint"), work) {
        Ok(job) => jobs::follow_with(job, Follower::Owner, &*belt, false, output),
        Err(why) => refuse(output, false, &why),
    }
}

/// Bytes on their way to the client, gathered to larger pieces.
struct Sent<'a> {
    handle: &'a Handle,
    belt: &'a Outward,
    gathered: Vec<u8>,
    /// All that were written.
    bytes: u64,
}

impl Sink for Sent<'_> {
    type Error = Fault;

    fn write(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.gathered.extend_from_slice(bytes);
        self.bytes += bytes.len() as u64;
        if self.gathered.len() < PIECE { Ok(()) } else { self.finish() }
    }
}

impl Outlet for Sent<'_> {
    fn finish(&mut self) -> Result<(), Fault> {
        self.belt.put(self.handle, core::mem::take(&mut self.gathered)).map_err(Fault::from)
    }
}
