//! What runs in the background: each piece of work with a number, where it stands, how to end it, and what it came to.

use alloc::borrow::ToOwned;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// Jobs that run at a time.
pub const RUNNING: usize = 4;
/// Jobs that have ended and are remembered; the oldest is forgotten first.
pub const ENDED: usize = 8;
/// Bytes of results that are kept of each; what comes afterwards only its watchers see.
pub const RESULTS: usize = 64 * 1024;

/// Where a job stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It goes on.
    Running,
    /// It was asked to end, and will at the next opportunity.
    Cancelling,
    /// It has done what it was for.
    Done,
    /// It could not, for a reason.
    Failed(String),
    /// It has ended early because it was asked to.
    Cancelled,
}

impl State {
    /// In a word.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Cancelling => "cancelling",
            Self::Done => "done",
            Self::Failed(_) => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing more comes of it.
    pub const fn is_end(&self) -> bool {
        matches!(self, Self::Done | Self::Failed(_) | Self::Cancelled)
    }
}

/// How far a job is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Steps that are done.
    pub done: usize,
    /// Steps in all; 0 while nobody knows.
    pub of: usize,
    /// What is being done.
    pub step: String,
}

/// A piece of what a job has found out or has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// A result: one JSON object, and the same for people, with the ends of their lines.
    Result {
        /// For programs.
        json: String,
        /// For people.
        text: String,
    },
    /// A remark for whoever watches.
    Remark(String),
}

impl Said {
    fn bytes(&self) -> usize {
        match self {
            Self::Result { json, text } => json.len() + text.len(),
            Self::Remark(text) => text.len(),
        }
    }
}

/// A piece of work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Counted from 1.
    pub number: u64,
    /// The command that began it.
    pub what: String,
    /// Who gave that.
    pub by: String,
    /// It changes the machine's state: while it runs nobody else does.
    pub exclusive: bool,
    /// Where it stands.
    pub state: State,
    /// How far it is.
    pub progress: Progress,
    /// What it has said, as far as that is kept.
    pub said: Vec<Said>,
    /// Pieces that were not kept.
    pub lost: usize,
    /// When it began, in nanoseconds since boot.
    pub began: u64,
    /// When it ended.
    pub ended: Option<u64>,
}

/// Why a job is not begun, or not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// This one changes the state.
    Busy(u64),
    /// So many run already.
    Full,
    /// There is none of this number, or it is forgotten.
    Unknown(u64),
    /// It has ended.
    Ended(u64),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy(number) => write!(f, "busy: job {number}"),
            Self::Full => write!(f, "busy: {RUNNING} jobs are running"),
            Self::Unknown(number) => write!(f, "there is no job {number}"),
            Self::Ended(number) => write!(f, "job {number} has ended"),
        }
    }
}

/// All jobs that run, and the last that have.
#[derive(Debug, Default)]
pub struct Jobs {
    last: u64,
    all: VecDeque<Job>,
}

impl Jobs {
    /// None yet.
    pub const fn new() -> Self {
        Self { last: 0, all: VecDeque::new() }
    }

    /// All of them, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Job> {
        self.all.iter()
    }

    /// One of them.
    pub fn job(&self, number: u64) -> Result<&Job, Refused> {
        self.all.iter().find(|job| job.number == number).ok_or(Refused::Unknown(number))
    }

    fn running(&mut self, number: u64) -> Option<&mut Job> {
        self.all.iter_mut().find(|job| job.number == number && !job.state.is_end())
    }

    /// The job that changes the machine's state, if one does.
    pub fn exclusive(&self) -> Option<u64> {
        self.all.iter().find(|job| job.exclusive && !job.state.is_end()).map(|job| job.number)
    }

    /// Begins a job at a time in nanoseconds since boot, and returns its number.
    pub fn begin(&mut self, what: &str, by: &str, exclusive: bool, now: u64) -> Result<u64, Refused> {
        if let Some(other) = self.exclusive().filter(|_| exclusive) {
            return Err(Refused::Busy(other));
        }
        if self.all.iter().filter(|job| !job.state.is_end()).count() == RUNNING {
            return Err(Refused::Full);
        }
        self.last += 1;
        self.all.push_back(Job {
            number: self.last,
            what: what.to_owned(),
            by: by.to_owned(),
            exclusive,
            state: State::Running,
            progress: Progress::default(),
            said: Vec::new(),
            lost: 0,
            began: now,
            ended: None,
        });
        Ok(self.last)
    }

    /// From now on a job changes the state, until it says that it does not.
    pub fn claim(&mut self, number: u64) -> Result<(), Refused> {
        if let Some(other) = self.exclusive().filter(|other| *other != number) {
            return Err(Refused::Busy(other));
        }
        self.job(number)?;
        self.running(number).ok_or(Refused::Ended(number))?.exclusive = true;
        Ok(())
    }

    /// A job does not change the state any more.
    pub fn release(&mut self, number: u64) {
        if let Some(job) = self.running(number) {
            job.exclusive = false;
        }
    }

    /// A job is so far.
    pub fn progress(&mut self, number: u64, progress: Progress) {
        if let Some(job) = self.running(number) {
            job.progress = progress;
        }
    }

    /// A job has said something.
    pub fn say(&mut self, number: u64, said: Said) {
        if let Some(job) = self.running(number) {
            let kept: usize = job.said.iter().map(Said::bytes).sum();
            if kept + said.bytes() > RESULTS {
                job.lost += 1;
            } else {
                job.said.push(said);
            }
        }
    }

    /// Asks a job to end.
    pub fn cancel(&mut self, number: u64) -> Result<(), Refused> {
        self.job(number)?;
        let job = self.running(number).ok_or(Refused::Ended(number))?;
        job.state = State::Cancelling;
        Ok(())
    }

    /// Whether a job was asked to end.
    pub fn is_cancelled(&self, number: u64) -> bool {
        self.job(number).is_ok_and(|job| job.state == State::Cancelling)
    }

    /// A job has ended, as the state says.
    pub fn end(&mut self, number: u64, state: State, now: u64) {
        debug_assert!(state.is_end());
        if let Some(job) = self.running(number) {
            job.state = state;
            job.ended = Some(now);
        }
        while self.all.iter().filter(|job| job.state.is_end()).count() > ENDED {
            // Whoever follows the one that ended last, however long ago it began, has yet to see how.
            let ended = self.all.iter().enumerate().filter(|(_, job)| job.state.is_end());
            if let Some((oldest, _)) = ended.min_by_key(|(_, job)| job.ended) {
                self.all.remove(oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    fn result(text: &str) -> Said {
        Said::Result { json: format!("{{\"text\":\"{text}\"}}"), text: format!("{text}\n") }
    }

    #[test]
    fn a_job_from_beginning_to_end() {
        let mut jobs = Jobs::new();
        assert_eq!(jobs.job(1), Err(Refused::Unknown(1)));
        assert_eq!(jobs.begin("bench", "me", true, 5), Ok(1));
        let progress = Progress { done: 1, of: 2, step: "x".to_owned() };
        jobs.progress(1, progress.clone());
        jobs.say(1, result("y"));
        let job = jobs.job(1).unwrap();
        assert_eq!(
            (&job.state, &job.progress, job.said.len(), job.began),
            (&State::Running, &progress, 1, 5)
        );
        jobs.end(1, State::Done, 9);
        assert_eq!((&jobs.job(1).unwrap().state, jobs.job(1).unwrap().ended), (&State::Done, Some(9)));
        // What comes afterwards changes nothing.
        jobs.end(1, State::Cancelled, 10);
        jobs.say(1, result("z"));
        assert_eq!(jobs.job(1).unwrap().said.len(), 1);
        assert_eq!(jobs.job(1).unwrap().state, State::Done);
        assert_eq!(jobs.cancel(1), Err(Refused::Ended(1)));
    }

    #[test]
    fn one_at_a_time_changes_the_state() {
        let mut jobs = Jobs::new();
        assert_eq!(jobs.begin("a", "me", true, 0), Ok(1));
        assert_eq!(jobs.begin("b", "me", true, 0), Err(Refused::Busy(1)));
        assert_eq!(jobs.exclusive(), Some(1));
        for number in 2..=RUNNING as u64 {
            assert_eq!(jobs.begin("c", "me", false, 0), Ok(number));
        }
        assert_eq!(jobs.begin("d", "me", false, 0), Err(Refused::Full));
        assert_eq!(jobs.cancel(1), Ok(()));
        assert!(jobs.is_cancelled(1) && !jobs.is_cancelled(2));
        // Until it really has ended it is in the way.
        assert_eq!(jobs.begin("b", "me", true, 0), Err(Refused::Busy(1)));
        jobs.end(1, State::Cancelled, 1);
        assert_eq!(jobs.exclusive(), None);
        assert_eq!(jobs.begin("b", "me", true, 1), Ok(RUNNING as u64 + 1));
    }

    #[test]
    fn a_job_changes_the_state_now_and_then() {
        let mut jobs = Jobs::new();
        let often = jobs.begin("often", "me", false, 0).unwrap();
        assert_eq!(jobs.claim(often), Ok(()));
        assert_eq!(jobs.begin("once", "me", true, 0), Err(Refused::Busy(often)));
        jobs.release(often);
        assert_eq!(jobs.begin("once", "me", true, 0), Ok(2));
        assert_eq!(jobs.claim(often), Err(Refused::Busy(2)));
        jobs.end(2, State::Done, 0);
        assert_eq!(jobs.claim(often), Ok(()));
        jobs.end(often, State::Cancelled, 0);
        assert_eq!((jobs.exclusive(), jobs.claim(often)), (None, Err(Refused::Ended(often))));
        assert_eq!(jobs.claim(7), Err(Refused::Unknown(7)));
    }

    #[test]
    fn memory_is_bounded() {
        let mut jobs = Jobs::new();
        let kept = jobs.begin("long", "me", false, 0).unwrap();
        for _ in 0..3 * ENDED {
            let number = jobs.begin("short", "me", false, 0).unwrap();
            jobs.end(number, State::Done, 0);
        }
        assert_eq!(jobs.iter().count(), 1 + ENDED);
        assert!(jobs.job(kept).is_ok() && jobs.job(kept + 1).is_err());
        let long = "x".repeat(1000);
        for _ in 0..100 {
            jobs.say(kept, Said::Remark(long.clone()));
        }
        let job = jobs.job(kept).unwrap();
        assert_eq!((job.said.len(), job.lost), (RESULTS / 1000, 100 - RESULTS / 1000));
        // It began first and ended last: it is not the first to go.
        jobs.end(kept, State::Done, 1);
        assert_eq!(jobs.iter().count(), ENDED);
        assert!(jobs.job(kept).is_ok());
    }
}
