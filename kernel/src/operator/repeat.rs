//! Many switches, as a job: for whoever wants to see under load what one costs, and that none of them is noticed.

use super::jobs::{self, Follower, Handle};
use super::{modes, object, refuse};
use alloc::format;
use control::jobs::{Said, State};
use control::request::{Repeat, Switch, Target};
use machine::thread::{self, Builder};
use machine::time::Instant;
use net::ssh::{Caller, Output};

/// Progress is told so many times at most, and at the end.
const TOLD: u64 = 100;

/// Switches over and over until it has done so as often as asked, one is refused, or the job is cancelled. What is told at the end
/// is the state then.
pub fn toggle(caller: &Caller, asked: Repeat, json: bool, output: &mut dyn Output) -> u8 {
    let what = format!("mode toggle --times {}", asked.times);
    match jobs::start(caller, &what, true, Builder::new("toggle"), move |handle| work(handle, asked)) {
        Ok(job) => jobs::follow(job, Follower::Owner, json, output),
        Err(why) => refuse(output, json, &why),
    }
}

fn work(handle: &Handle, Repeat { times, every, deadline }: Repeat) -> State {
    let switch = Switch { target: Target::Toggle, dry_run: false, deadline, operation: None, expected: None };
    let step = times.div_ceil(TOLD);
    let mut next = Instant::now();
    for number in 1..=times {
        handle.wait_until(next);
        if handle.is_cancelled() {
            return State::Cancelled;
        }
        if let (_, _, Some(why)) = modes::carry_out(&switch) {
            return State::Failed(format!("after {} switches: {why}", number - 1));
        }
        if number % step == 0 || number == times {
            handle.progress(number as usize, times as usize, "switches");
        }
        next = next.saturating_add(every).max(Instant::now());
        // Whoever else wants the CPU has it in between.
        thread::yield_now();
    }
    let mode = modes::mode();
    handle.say(Said::Result { json: object(&mode), text: mode.text() });
    State::Done
}
