//! What an operator may say: one command line, as an SSH client sends it with `exec`.

use crate::Role;
use crate::checkpoints::on_disk;
use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;
use core::time::Duration;

mod device;
mod verbs;

pub use device::wait as device_wait;
pub use verbs::VERBS;

/// How long a switch may wait for CPUs and pins, unless the command says otherwise.
pub const DEADLINE: Duration = Duration::from_secs(1);
/// The longest a command may ask for.
pub const LONGEST: Duration = Duration::from_secs(60);
/// The most switches a command may ask for.
pub const MOST: u64 = 1_000_000_000;
/// The most memory that a checkpoint may be given for copies, in bytes.
pub const MOST_ROOM: u64 = 1 << 40;
/// The most checkpoints that are kept on the machine's own disk.
pub const MOST_KEPT: usize = 7;
/// The longest time from one checkpoint to the next.
pub const SELDOM: Duration = Duration::from_hours(24);
/// The longest command line, in bytes.
pub const MAX_COMMAND: usize = 1024;
/// The longest operation ID, in characters.
pub const MAX_ID: usize = 64;

/// Which mode a switch leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The bare machine.
    Native,
    /// On top of the VMM.
    Guest,
    /// The other one.
    Toggle,
}

/// A switch that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switch {
    /// Where to.
    pub target: Target,
    /// Only tell what would happen.
    pub dry_run: bool,
    /// Give up with nothing changed after so long, a whole number of milliseconds up to [`LONGEST`].
    pub deadline: Duration,
    /// The same change is made once, however often it is asked for with one ID.
    pub operation: Option<String>,
    /// The change is made only in this generation of the state.
    pub expected: Option<u64>,
}

/// Switches that are asked for: to the other mode each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeat {
    /// So many, 1 to [`MOST`].
    pub times: u64,
    /// From the beginning of one to that of the next, a whole number of milliseconds up to [`LONGEST`]; the next waits for the end of one
    /// that takes longer.
    pub every: Duration,
    /// The deadline of each, as [`Switch::deadline`].
    pub deadline: Duration,
}

/// Measurements that are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bench {
    /// Suites and benchmarks; none: everything.
    pub names: Vec<String>,
    /// Fewer samples.
    pub quick: bool,
    /// Goes on without its client.
    pub detach: bool,
    /// Only tell what there is.
    pub list: bool,
}

/// Checkpoints on the machine's own disk that are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToDisk {
    /// As for [`Verb::Checkpoint`].
    pub room: Option<u64>,
    /// So many are kept, 1 to [`MOST_KEPT`].
    pub keep: usize,
    /// From the beginning of one to that of the next, 1 s to [`SELDOM`]; else there is one.
    pub every: Option<Duration>,
    /// Goes on without its client.
    pub detach: bool,
}

/// A change of a network's card that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swap {
    /// Name or place of the card that a network has, or of the disk that is used.
    pub old: String,
    /// Name or place of the one to come; else the first that is idle.
    pub new: Option<String>,
    /// Only tell what would happen.
    pub dry_run: bool,
    /// Goes on without its client.
    pub detach: bool,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Tell what may be said.
    Help,
    /// Tell the state.
    Status,
    /// Tell the mode.
    Mode,
    /// Change the mode.
    Switch(Switch),
    /// Change the mode over and over.
    Repeat(Repeat),
    /// Tell when each CPU did what in the last switches.
    Trace,
    /// Tell the counters.
    Stats,
    /// Tell what has happened, and with `follow` what happens.
    Events {
        /// Go on.
        follow: bool,
    },
    /// Tell the log, and with `follow` go on.
    Log {
        /// Go on.
        follow: bool,
    },
    /// Show a live view.
    Top {
        /// One picture only.
        once: bool,
    },
    /// Measure.
    Bench(Bench),
    /// Write a checkpoint.
    Checkpoint {
        /// Bytes of memory for copies of what is written meanwhile, whole mebibytes up to [`MOST_ROOM`]; else the machine chooses.
        room: Option<u64>,
        /// ID of the checkpoint that it is to build on; else it is a full one.
        base: Option<[u8; 16]>,
        /// Record what is written from then on, so that the next one can build on it.
        track: bool,
    },
    /// Read a checkpoint, and become the machine that it is of.
    Restore {
        /// As another host: with this machine's addresses and host key, and without the connections of the one that was frozen.
        new_identity: bool,
        /// Which one on the machine's own disk: `latest`, a number, or an ID; else it comes from the client.
        from: Option<String>,
    },
    /// Write checkpoints to the machine's own disk.
    CheckpointToDisk(ToDisk),
    /// Tell which checkpoints are on the machine's own disk.
    CheckpointList,
    /// Tell the jobs.
    JobList,
    /// Tell a job's progress.
    JobWatch(u64),
    /// End a job.
    JobCancel(u64),
    /// Tell the devices.
    DeviceList,
    /// Change a network's card for another, or a disk.
    DeviceSwap(Swap),
    /// Take a network's card away.
    DeviceDetach {
        /// Its name or place.
        device: String,
        /// How long its network may keep it, a whole number of milliseconds up to [`LONGEST`].
        timeout: Duration,
    },
    /// Give a card to a network that has none.
    DeviceAttach {
        /// Its name or place; else the first that is idle.
        device: Option<String>,
    },
    /// Tell what the machine can do.
    Doctor,
    /// Tell what runs here.
    Version,
}

/// A command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What is to be done.
    pub verb: Verb,
    /// Answer with one JSON object a line.
    pub json: bool,
}

/// Why a command line is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UsageError {
    /// It begins with no verb.
    NoVerb(String),
    /// A word has no place in it.
    Unexpected(String),
    /// A word lacks its value, or has one that makes no sense.
    Value(&'static str),
    /// It is longer than [`MAX_COMMAND`] or contains control characters.
    NotText,
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoVerb(word) => write!(f, "there is no '{word}': see help"),
            Self::Unexpected(word) => write!(f, "'{word}' has no place here: see help"),
            Self::Value(what) => write!(f, "{what}: see help"),
            Self::NotText => write!(f, "a command is a line of at most {MAX_COMMAND} bytes"),
        }
    }
}

impl core::error::Error for UsageError {}

impl Verb {
    /// Who may say it.
    pub fn role(&self) -> Role {
        match self {
            Self::Switch(_)
            | Self::Repeat(_)
            | Self::JobCancel(_)
            | Self::Bench(_)
            | Self::DeviceSwap(_)
            | Self::DeviceDetach { .. }
            | Self::DeviceAttach { .. }
            | Self::Checkpoint { .. }
            | Self::CheckpointToDisk(_) => Role::Operate,
            Self::Restore { .. } => Role::Admin,
            _ => Role::Observe,
        }
    }
}

/// The words behind a verb, as far as they are not taken yet.
struct Words<'a> {
    left: Vec<&'a str>,
}

impl<'a> Words<'a> {
    fn first(&mut self) -> Option<&'a str> {
        (!self.left.is_empty()).then(|| self.left.remove(0))
    }

    /// Takes the first word unless it is an option.
    fn word(&mut self) -> Option<&'a str> {
        if self.left.first()?.starts_with("--") { None } else { self.first() }
    }

    fn flag(&mut self, name: &str) -> bool {
        let place = self.left.iter().position(|word| *word == name);
        place.map(|place| self.left.remove(place)).is_some()
    }

    /// `--name VALUE` or `--name=VALUE`.
    fn value(&mut self, name: &str) -> Option<&'a str> {
        let of = |word: &'a str| word.strip_prefix(name).and_then(|rest| rest.strip_prefix('='));
        if let Some(place) = self.left.iter().position(|word| of(word).is_some()) {
            return of(self.left.remove(place));
        }
        let place = self.left.iter().position(|word| *word == name)?;
        self.left.remove(place);
        Some(if place < self.left.len() { self.left.remove(place) } else { "" })
    }

    fn number(&mut self, name: &str, what: &'static str) -> Result<Option<u64>, UsageError> {
        self.value(name).map(|word| number(word, what)).transpose()
    }
}

fn number(word: &str, what: &'static str) -> Result<u64, UsageError> {
    // `parse` takes a plus sign, too.
    if word.starts_with('+') { None } else { word.parse().ok() }.ok_or(UsageError::Value(what))
}

/// A time of at most [`LONGEST`].
fn milliseconds(
    words: &mut Words<'_>,
    name: &str,
    what: &'static str,
) -> Result<Option<Duration>, UsageError> {
    match words.number(name, what)?.map(Duration::from_millis) {
        Some(time) if time > LONGEST => Err(UsageError::Value(what)),
        time => Ok(time),
    }
}

fn deadline(words: &mut Words<'_>) -> Result<Duration, UsageError> {
    let asked = milliseconds(words, "--deadline", "--deadline takes milliseconds, 0 to 60000")?;
    Ok(asked.unwrap_or(DEADLINE))
}

fn repeat(times: u64, words: &mut Words<'_>) -> Result<Verb, UsageError> {
    let every = milliseconds(words, "--every", "--every takes milliseconds, 0 to 60000")?.unwrap_or_default();
    Ok(Verb::Repeat(Repeat { times, every, deadline: deadline(words)? }))
}

fn toggle(words: &mut Words<'_>) -> Result<Verb, UsageError> {
    const TIMES: &str = "--times takes a number, 1 to 1000000000";
    match words.number("--times", TIMES)? {
        Some(times @ 1..=MOST) => repeat(times, words),
        Some(_) => Err(UsageError::Value(TIMES)),
        None => switch(Target::Toggle, words),
    }
}

fn switch(target: Target, words: &mut Words<'_>) -> Result<Verb, UsageError> {
    const ID: &str = "--op takes an ID of up to 64 letters, digits, '-', '_' and '.'";
    let deadline = deadline(words)?;
    let operation = words.value("--op");
    let is_id = |id: &str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        !id.is_empty() && id.len() <= MAX_ID && id.bytes().all(fits)
    };
    if operation.is_some_and(|id| !is_id(id)) {
        return Err(UsageError::Value(ID));
    }
    Ok(Verb::Switch(Switch {
        target,
        dry_run: words.flag("--dry-run"),
        deadline,
        operation: operation.map(ToOwned::to_owned),
        expected: words.number("--expect", "--expect takes the number of a generation")?,
    }))
}

fn bench(words: &mut Words<'_>) -> Result<Verb, UsageError> {
    const NAME: &str = "bench takes names of letters, digits, '.' and '_'";
    let (quick, detach, list) = (words.flag("--quick"), words.flag("--detach"), words.flag("--list"));
    let mut names = Vec::new();
    while let Some(name) = words.word() {
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._".contains(&byte)) {
            return Err(UsageError::Value(NAME));
        }
        names.push(name.to_owned());
    }
    Ok(Verb::Bench(Bench { names, quick, detach, list }))
}

fn room(words: &mut Words<'_>) -> Result<Option<u64>, UsageError> {
    const ROOM: &str = "--room takes mebibytes, 1 to 1048576";
    match words.number("--room", ROOM)? {
        Some(mebibytes) if !(1..=MOST_ROOM >> 20).contains(&mebibytes) => Err(UsageError::Value(ROOM)),
        mebibytes => Ok(mebibytes.map(|mebibytes| mebibytes << 20)),
    }
}

/// A time with its unit.
fn time(word: &str, what: &'static str) -> Result<Duration, UsageError> {
    let unit = word.char_indices().next_back().map_or(0, |(place, _)| place);
    let (count, unit) = word.split_at(unit);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(UsageError::Value(what)),
    };
    let time = number(count, what)?.checked_mul(seconds).map(Duration::from_secs);
    time.filter(|time| (Duration::from_secs(1)..=SELDOM).contains(time)).ok_or(UsageError::Value(what))
}

fn to_disk(words: &mut Words<'_>) -> Result<Verb, UsageError> {
    const KEEP: &str = "--keep takes a number, 1 to 7";
    const EVERY: &str = "--every takes a time such as 30s, 5m or 1h, at most 24h";
    let keep = match words.number("--keep", KEEP)? {
        None => 1,
        Some(keep) if (1..=MOST_KEPT as u64).contains(&keep) => keep as usize,
        Some(_) => return Err(UsageError::Value(KEEP)),
    };
    let every = words.value("--every").map(|word| time(word, EVERY)).transpose()?;
    Ok(Verb::CheckpointToDisk(ToDisk { room: room(words)?, keep, every, detach: words.flag("--detach") }))
}

fn checkpoint(words: &mut Words<'_>, json: bool) -> Result<Verb, UsageError> {
    const BASE: &str = "--base takes the ID of a checkpoint, 32 hexadecimal digits";
    const JSON: &str = "a checkpoint is no text, there is no --json for it";
    match words.word() {
        None => {}
        Some("list") => return Ok(Verb::CheckpointList),
        Some(other) => return Err(UsageError::Unexpected(other.to_owned())),
    }
    match words.value("--to") {
        Some("disk") => to_disk(words),
        Some(_) => Err(UsageError::Value("--to takes 'disk'")),
        None if json => Err(UsageError::Value(JSON)),
        None => {
            let base =
                words.value("--base").map(|word| id(word).ok_or(UsageError::Value(BASE))).transpose()?;
            Ok(Verb::Checkpoint { room: room(words)?, base, track: words.flag("--track") })
        }
    }
}

/// 16 bytes that are not all zero, as hexadecimal digits.
fn id(word: &str) -> Option<[u8; 16]> {
    let digits = word.len() == 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let id = u128::from_str_radix(word, 16).ok().filter(|id| digits && *id != 0)?;
    Some(id.to_be_bytes())
}

fn restore(words: &mut Words<'_>, json: bool) -> Result<Verb, UsageError> {
    const FROM: &str = "--from takes disk, or disk:latest, disk:NUMBER, disk:ID";
    // What it says in the end another machine would have to say.
    const JSON: &str = "there is no --json for restore";
    if json {
        return Err(UsageError::Value(JSON));
    }
    let of_disk = |word| on_disk(word).filter(|which| !which.is_empty()).ok_or(UsageError::Value(FROM));
    let from = words.value("--from").map(of_disk).transpose()?.map(str::to_owned);
    Ok(Verb::Restore { new_identity: words.flag("--new-identity"), from })
}

fn job(words: &mut Words<'_>) -> Result<Verb, UsageError> {
    const ID: &str = "job watch and job cancel take the number of a job";
    let verb: fn(u64) -> Verb = match words.word() {
        None | Some("list") => return Ok(Verb::JobList),
        Some("watch") => Verb::JobWatch,
        Some("cancel") => Verb::JobCancel,
        Some(other) => return Err(UsageError::Unexpected(other.to_owned())),
    };
    Ok(verb(number(words.word().unwrap_or_default(), ID)?))
}

impl FromStr for Request {
    type Err = UsageError;

    /// Words between blanks; options anywhere behind the verb.
    fn from_str(line: &str) -> Result<Self, UsageError> {
        if line.len() > MAX_COMMAND || line.chars().any(char::is_control) {
            return Err(UsageError::NotText);
        }
        let mut words = Words { left: line.split(' ').filter(|word| !word.is_empty()).collect() };
        let json = words.flag("--json");
        let verb = match words.first() {
            None | Some("help" | "--help") => Verb::Help,
            Some("status") => Verb::Status,
            Some("mode") => match words.word() {
                None => Verb::Mode,
                Some("native") => switch(Target::Native, &mut words)?,
                Some("guest") => switch(Target::Guest, &mut words)?,
                Some("toggle") => toggle(&mut words)?,
                Some(other) => return Err(UsageError::Unexpected(other.to_owned())),
            },
            Some("trace") => Verb::Trace,
            Some("stats") => Verb::Stats,
            Some("events") => Verb::Events { follow: words.flag("--follow") },
            Some("log") => Verb::Log { follow: words.flag("--follow") },
            Some("top") => Verb::Top { once: words.flag("--once") },
            Some("bench") => bench(&mut words)?,
            Some("checkpoint") => checkpoint(&mut words, json)?,
            Some("restore") => restore(&mut words, json)?,
            Some("job") => job(&mut words)?,
            Some("device") => device::device(&mut words)?,
            Some("doctor") => Verb::Doctor,
            Some("version") => Verb::Version,
            Some(other) => return Err(UsageError::NoVerb(other.to_owned())),
        };
        match words.first() {
            Some(word) => Err(UsageError::Unexpected(word.to_owned())),
            None => Ok(Self { verb, json }),
        }
    }
}

#[cfg(test)]
mod tests;
