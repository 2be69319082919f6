//! Jobs: what takes its time runs on a thread of its own, is told of, watched and cancelled. The bookkeeping is
//! [`control::jobs`].

#[cfg(feature = "vmm")]
pub mod belt;
mod load;

pub use load::Load;

use super::{changes, line, refuse, show};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use control::jobs::{Job, Jobs, Progress, Said, State};
use core::time::Duration;
use machine::journal::EVENTS;
use machine::sync::{Condvar, Mutex};
use machine::thread::Builder;
use machine::time::Instant;
use net::ssh::{Caller, Output, exit};
use serde::Serialize;

static JOBS: Mutex<Jobs> = Mutex::new(Jobs::new());
/// A job has said something, is to end, or has ended.
static CHANGED: Condvar = Condvar::new();
/// How often a watcher looks whether somebody still watches.
const LOOK: Duration = Duration::from_millis(200);

/// The job's own end of it.
#[derive(Debug)]
pub struct Handle(u64);

impl Handle {
    /// That of a job by its number.
    #[cfg(feature = "vmm")]
    pub fn of(job: u64) -> Self {
        Self(job)
    }

    /// It is so far.
    pub fn progress(&self, done: usize, of: usize, step: &str) {
        JOBS.lock().progress(self.0, Progress { done, of, step: step.to_string() });
        CHANGED.notify_all();
    }

    /// It has a result, or a remark to make.
    pub fn say(&self, said: Said) {
        JOBS.lock().say(self.0, said);
        CHANGED.notify_all();
    }

    /// Whether it is to end.
    pub fn is_cancelled(&self) -> bool {
        JOBS.lock().is_cancelled(self.0)
    }

    /// Wakes who follows the job: there is more for them.
    #[cfg(feature = "vmm")]
    fn wake(&self) {
        // Whoever looks now has either seen it or waits already.
        drop(JOBS.lock());
        CHANGED.notify_all();
    }

    /// Waits until something is so, of which this job is [woken](Self::wake), or it is to end: then it is an error.
    #[cfg(feature = "vmm")]
    fn wait_for<R>(&self, mut ready: impl FnMut() -> Option<R>) -> Result<R, Cancelled> {
        let mut jobs = JOBS.lock();
        loop {
            if jobs.is_cancelled(self.0) {
                return Err(Cancelled);
            }
            if let Some(result) = ready() {
                return Ok(result);
            }
            jobs = CHANGED.wait(jobs);
        }
    }

    /// Changes the machine's state as an exclusive job does, for as long as `work` takes; not if anybody else does, and then says who.
    #[cfg(feature = "vmm")]
    pub fn in_turn<R>(&self, work: impl FnOnce() -> R) -> Result<R, String> {
        changes::in_turn(|| JOBS.lock().claim(self.0).map_err(|refused| refused.to_string()))?;
        let result = work();
        changes::count();
        JOBS.lock().release(self.0);
        Ok(result)
    }

    /// Waits until a time, or until it is to end.
    pub fn wait_until(&self, time: Instant) {
        self.wait_until_or(time, || false);
    }

    /// The same, or until something is so, of which this job is [woken](Self::wake).
    fn wait_until_or(&self, time: Instant, ready: impl Fn() -> bool) {
        let mut jobs = JOBS.lock();
        while !jobs.is_cancelled(self.0) && !ready() && Instant::now() < time {
            (jobs, _) = CHANGED.wait_until(jobs, time);
        }
    }
}

/// The job is to end.
#[cfg(feature = "vmm")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancelled;

/// The job that changes the machine's state, if one does.
pub fn exclusive() -> Option<u64> {
    JOBS.lock().exclusive()
}

/// Begins a job on a thread of its own and returns its number, or says why not. An `exclusive` one changes the machine's state:
/// until its end nobody else does, and all it did counts as one change. `work` returns how it ended.
pub fn start(
    caller: &Caller,
    what: &str,
    exclusive: bool,
    thread: Builder<'_>,
    work: impl FnOnce(&Handle) -> State + Send + 'static,
) -> Result<u64, String> {
    let begin = || {
        let begun = JOBS.lock().begin(what, &caller.name, exclusive, Instant::now().as_nanos());
        begun.map_err(|refused| refused.to_string())
    };
    let number = if exclusive { changes::in_turn(begin)? } else { begin()? };
    note(number, what, &format!("begun by {}", caller.name));
    let title = what.to_string();
    let spawned = thread.spawn(move || {
        let state = work(&Handle(number));
        end(number, &title, exclusive, state);
    });
    match spawned {
        Ok(_) => Ok(number),
        Err(error) => {
            let why = format!("no thread for it: {error:?}");
            end(number, what, exclusive, State::Failed(why.clone()));
            Err(why)
        }
    }
}

fn end(number: u64, what: &str, exclusive: bool, state: State) {
    let outcome = match &state {
        State::Failed(why) => format!("failed: {why}"),
        other => other.name().to_string(),
    };
    if exclusive {
        changes::count();
    }
    JOBS.lock().end(number, state, Instant::now().as_nanos());
    CHANGED.notify_all();
    note(number, what, &outcome);
}

fn note(number: u64, what: &str, outcome: &str) {
    log::info!("control: job {number}, {what}: {outcome}");
    EVENTS.push("job", format_args!("{number}, {what}: {outcome}"));
}

#[derive(Serialize)]
struct Listed {
    job: u64,
    what: String,
    by: String,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    done: usize,
    of: usize,
    step: String,
    began_ms: u64,
    ended_ms: Option<u64>,
}

impl Listed {
    fn new(job: &Job) -> Self {
        let millis = |nanos: u64| nanos / 1_000_000;
        let error = match &job.state {
            State::Failed(why) => Some(why.clone()),
            _ => None,
        };
        Self {
            job: job.number,
            what: job.what.clone(),
            by: job.by.clone(),
            state: job.state.name(),
            error,
            done: job.progress.done,
            of: job.progress.of,
            step: job.progress.step.clone(),
            began_ms: millis(job.began),
            ended_ms: job.ended.map(millis),
        }
    }

    fn text(&self) -> String {
        let Self { job, state, done, of, what, by, .. } = self;
        let error = self.error.as_ref().map_or_else(String::new, |why| format!(": {why}"));
        format!("{job:>4} {state:<10} {done:>3}/{of:<3} {what}, by {by}{error}\n")
    }
}

/// All that run, and the last that have.
pub fn list(json: bool, output: &mut dyn Output) -> u8 {
    let jobs: Vec<Listed> = JOBS.lock().iter().map(Listed::new).collect();
    let told = if json {
        jobs.iter().try_for_each(|job| line(output, job))
    } else if jobs.is_empty() {
        output.out("no jobs\n")
    } else {
        output.out(&jobs.iter().map(Listed::text).collect::<String>())
    };
    if told.is_ok() { exit::DONE } else { exit::UNKNOWN }
}

/// Asks a job to end, and does not wait for that.
pub fn cancel(caller: &Caller, number: u64, json: bool, output: &mut dyn Output) -> u8 {
    let cancelled = {
        let mut jobs = JOBS.lock();
        jobs.cancel(number).and_then(|()| jobs.job(number).map(Listed::new))
    };
    match cancelled {
        Ok(job) => {
            CHANGED.notify_all();
            note(number, &job.what, &format!("cancelled by {}", caller.name));
            show(output, json, &job, Listed::text)
        }
        Err(refused) => refuse(output, json, &refused.to_string()),
    }
}

#[derive(Serialize)]
struct Begun {
    job: u64,
}

/// Tells the number of a job that goes on without its client.
pub fn detach(job: u64, json: bool, output: &mut dyn Output) -> u8 {
    show(output, json, &Begun { job }, |Begun { job }| format!("job {job}\n"))
}

/// Who follows a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follower {
    /// Whoever began it: it ends when they go.
    Owner,
    /// Somebody who looks: at its end they are told what became of it, too.
    Watcher,
}

/// What there was to tell since the last look.
struct News {
    said: Vec<Said>,
    progress: Progress,
    state: State,
    lost: usize,
}

/// The news of a job after so many pieces and this progress; waits a little for them.
fn news(number: u64, told: usize, before: &Progress, load: &impl Load) -> Option<News> {
    let mut jobs = JOBS.lock();
    for looks_again in [true, false] {
        let job = jobs.job(number).ok()?;
        let is_new =
            job.said.len() > told || job.progress != *before || job.state.is_end() || load.is_ready();
        if is_new || !looks_again {
            let said = job.said.get(told..).unwrap_or_default().to_vec();
            let (progress, state, lost) = (job.progress.clone(), job.state.clone(), job.lost);
            return Some(News { said, progress, state, lost });
        }
        (jobs, _) = CHANGED.wait_until(jobs, Instant::now().saturating_add(LOOK));
    }
    None
}

/// Tells what a job says until its end: results on standard output, progress and remarks on standard error.
pub fn follow(number: u64, follower: Follower, json: bool, output: &mut dyn Output) -> u8 {
    follow_with(number, follower, &(), json, output)
}

/// The same of a job that also has something carried.
pub fn follow_with(
    number: u64,
    follower: Follower,
    load: &impl Load,
    json: bool,
    output: &mut dyn Output,
) -> u8 {
    let (mut told, mut before) = (0, Progress::default());
    loop {
        let Some(News { said, progress, state, lost }) = news(number, told, &before, load) else {
            return refuse(output, json, &format!("there is no job {number}"));
        };
        told += said.len();
        let mut telling = said.iter().try_for_each(|said| match said {
            Said::Result { json: object, .. } if json => output.out(object),
            Said::Result { text, .. } => output.out(text),
            Said::Remark(text) => output.err(&format!("{text}\n")),
        });
        if progress != before {
            let Progress { done, of, step } = &progress;
            telling = telling.and_then(|()| output.err(&format!("[{done}/{of}] {step}\n")));
            before = progress;
        }
        if !state.is_end() {
            telling = telling.and_then(|()| load.carry(&Handle(number), output));
        }
        if telling.is_err() || output.is_gone() {
            if follower == Follower::Owner {
                // Where it has ended meanwhile there is nothing to cancel.
                let _ = JOBS.lock().cancel(number);
                CHANGED.notify_all();
            }
            return exit::UNKNOWN;
        }
        if state.is_end() {
            if lost > 0 {
                let _ = output.err(&format!("{lost} pieces of what it said were not kept\n"));
            }
            return conclude(number, follower, state, json, output);
        }
        if load.is_over() {
            return exit::DONE;
        }
    }
}

fn conclude(number: u64, follower: Follower, state: State, json: bool, output: &mut dyn Output) -> u8 {
    if follower == Follower::Watcher {
        let job = JOBS.lock().job(number).map(Listed::new);
        if let Ok(job) = job {
            show(output, json, &job, Listed::text);
        }
    }
    let why = match state {
        State::Failed(why) => format!("job {number} failed: {why}"),
        State::Cancelled => format!("job {number} was cancelled"),
        State::Running | State::Cancelling | State::Done => return exit::DONE,
    };
    refuse(output, json && follower == Follower::Owner, &why);
    exit::FAILED
}
