//! `device swap` of a disk, as a job: a copy while the disk is used, a comparison, the switch.

use super::jobs::{self, Follower, Handle};
use super::{object, refuse, show};
use crate::devices::swap::{self, Swap, SwapError};
use alloc::format;
use alloc::string::{String, ToString};
use control::jobs::{Said, State};
use control::request::Swap as Asked;
use core::time::Duration;
use machine::thread::Builder;
use machine::time::Instant;
use mirror::{End, Progress};
use net::ssh::{Caller, Output};
use serde::Serialize;

/// How long until it is looked again whether another job has ended.
const AGAIN: Duration = Duration::from_millis(100);
/// Each of copy and comparison is so many steps of progress.
const PARTS: u64 = 100;

/// What was done, or would be.
#[derive(Serialize)]
struct Swapped {
    old: String,
    new: String,
    sectors: u64,
    adapted: String,
    done: bool,
}

impl Swapped {
    fn new(old: &str, swap: &Swap, done: bool) -> Self {
        let (new, adapted) = (swap.new.clone(), swap.adapted.to_string());
        Self { old: old.to_string(), new, sectors: swap.sectors, adapted, done }
    }

    fn text(&self) -> String {
        let Self { old, new, sectors, adapted, done } = self;
        let verb = if *done { "has taken" } else { "can take" };
        format!("{new} {verb} the place of {old}: {sectors} sectors; {adapted}\n")
    }
}

/// Lets a disk take another's place. Checkpoints are written meanwhile; the switch itself is in turn with them.
pub fn swap(caller: &Caller, what: &str, asked: Asked, json: bool, output: &mut dyn Output) -> u8 {
    let Asked { old, new, dry_run, detach } = asked;
    if dry_run {
        return match swap::begin(&old, new.as_deref(), true) {
            Ok(swap) => show(output, json, &Swapped::new(&old, &swap, false), Swapped::text),
            Err(error) => refuse(output, json, &error.to_string()),
        };
    }
    let work = move |handle: &Handle| match swap::begin(&old, new.as_deref(), false) {
        Ok(swap) => run(handle, &old, &swap),
        Err(error) => State::Failed(error.to_string()),
    };
    match jobs::start(caller, what, false, Builder::new("disk-swap"), work) {
        Ok(job) if detach => jobs::detach(job, json, output),
        Ok(job) => jobs::follow(job, Follower::Owner, json, output),
        Err(why) => refuse(output, json, &why),
    }
}

fn run(handle: &Handle, old: &str, swap: &Swap) -> State {
    handle.say(Said::Remark(swap.adapted.to_string()));
    let mut told = None;
    let failed = loop {
        if handle.is_cancelled() {
            swap.cancel();
            return State::Cancelled;
        }
        match swap.step() {
            Ok(Progress::Equal) => match handle.in_turn(|| swap.switch()) {
                Ok(Ok(switched)) => {
                    if let Some(error) = switched.unmarked {
                        handle.say(Said::Remark(format!(
                            "{old} may not be marked as replaced, so take it out before the next boot: {error}"
                        )));
                    }
                    let swapped = Swapped::new(old, swap, true);
                    handle.say(Said::Result { text: swapped.text(), json: object(&swapped) });
                    return State::Done;
                }
                // Somebody's write failed since.
                Ok(Err(SwapError::End(End::NotEqual))) => {}
                Ok(Err(error)) => break error,
                Err(_) => handle.wait_until(Instant::now().saturating_add(AGAIN)),
            },
            Ok(progress) => {
                let (done, step) = match progress {
                    Progress::Copied(sectors) => (part(sectors, swap), "copied"),
                    Progress::Compared(sectors) => (PARTS + part(sectors, swap), "compared"),
                    Progress::Equal => (2 * PARTS, "equal"),
                };
                if told.replace(done) != Some(done) {
                    handle.progress(done as usize, 2 * PARTS as usize, step);
                }
            }
            Err(error) => break error,
        }
    };
    swap.cancel();
    State::Failed(failed.to_string())
}

fn part(sectors: u64, swap: &Swap) -> u64 {
    sectors * PARTS / swap.sectors.max(1)
}
