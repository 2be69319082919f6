//! The benchmarks, as a job: they load the machine and switch its modes.

use super::jobs::{self, Follower, Handle};
use super::{line, refuse};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use app::Env;
use bench::{Context, FIRST_CPU, Failure, Figure, Mode, Plan, Report, SUITES, Stopped};
use control::jobs::{Said, State};
use control::request::Bench;
use core::time::Duration;
use machine::thread::{self, Builder};
use net::ssh::{Caller, Output, exit};
use serde::Serialize;

/// For what was said to leave the machine before it is measured again.
const SETTLE: Duration = Duration::from_millis(20);

/// Tells the job's watchers.
struct Watched<'a> {
    handle: &'a Handle,
    head: bool,
}

impl Report for Watched<'_> {
    fn progress(&mut self, done: usize, of: usize, name: &'static str) {
        self.handle.progress(done, of, name);
        thread::sleep(SETTLE);
    }

    fn figure(&mut self, figure: &Figure) {
        let head = if core::mem::replace(&mut self.head, false) { Figure::head() } else { String::new() };
        self.handle.say(Said::Result { json: format!("{figure}\n"), text: head + &figure.row() });
    }

    fn left_out(&mut self, name: &str, failure: &Failure) {
        self.handle.say(Said::Remark(format!("{name} is left out: {failure}")));
    }

    fn is_cancelled(&self) -> bool {
        self.handle.is_cancelled()
    }
}

#[derive(Serialize)]
struct Listed {
    suite: &'static str,
    name: &'static str,
    unit: String,
    modes: Vec<&'static str>,
}

fn list(json: bool, output: &mut dyn Output) -> u8 {
    let all = SUITES.iter().flat_map(|suite| suite.benchmarks.iter().map(|each| (suite.name, each)));
    let told = { all }.try_for_each(|(suite, each)| {
        let in_mode = |mode: &Mode| each.only.is_none_or(|only| only == *mode);
        let modes = Mode::ALL.iter().filter(|mode| in_mode(mode)).map(|mode| mode.name()).collect();
        let listed = Listed { suite, name: each.name, unit: each.unit.name(false), modes };
        if json {
            return line(output, &listed);
        }
        let Listed { suite, name, unit, modes } = listed;
        output.out(&format!("{suite:<8} {name:<22} {unit:<22} {}\n", modes.join(", ")))
    });
    if told.is_ok() { exit::DONE } else { exit::UNKNOWN }
}

/// Measures, or tells what there is to be measured.
pub fn bench(caller: &Caller, env: &Env, asked: &Bench, json: bool, output: &mut dyn Output) -> u8 {
    if asked.list {
        return list(json, output);
    }
    let plan = match Plan::of(asked.names.iter().map(String::as_str)) {
        Ok(plan) => plan,
        Err(unknown) => {
            refuse(output, json, &unknown.to_string());
            return exit::USAGE;
        }
    };
    let context = Context::new(env, asked.quick);
    let measure =
        move |handle: &Handle| match bench::run(&plan, &context, &mut Watched { handle, head: true }) {
            Ok(()) => State::Done,
            Err(Stopped::Cancelled) => State::Cancelled,
            Err(stopped) => State::Failed(stopped.to_string()),
        };
    let mut what = String::from("bench");
    for word in asked.names.iter().map(String::as_str).chain(asked.quick.then_some("--quick")) {
        what = what + " " + word;
    }
    match jobs::start(caller, &what, true, Builder::new("bench").affinity(FIRST_CPU), measure) {
        Ok(job) if asked.detach => jobs::detach(job, json, output),
        Ok(job) => jobs::follow(job, Follower::Owner, json, output),
        Err(why) => refuse(output, json, &why),
    }
}
