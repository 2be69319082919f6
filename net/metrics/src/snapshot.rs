//! Everything that is measured, at one moment.

use alloc::string::String;
use alloc::vec::Vec;
use machine::histogram::Histogram;
use net::Statistics;
use net::ssh::Counts;

/// What the image is.
#[derive(Clone, Debug, Default)]
pub struct Build {
    /// The system's version.
    pub version: &'static str,
    /// Names of the applications, with commas between.
    pub applications: String,
}

/// The machine's mode and its switches, where it has a monitor.
#[derive(Clone, Debug, Default)]
pub struct Modes {
    /// `svm` or `vmx`.
    pub vendor: &'static str,
    /// Whether the monitor is beneath.
    pub guest: bool,
    /// Nanoseconds in native mode since boot.
    pub native_nanos: u64,
    /// Nanoseconds in guest mode since boot.
    pub guest_nanos: u64,
    /// By direction.
    pub switches: [Switches; 2],
    /// Requests that changed nothing, by reason.
    pub refusals: Vec<(&'static str, u64)>,
    /// Exits, by reason.
    pub exits: Vec<(&'static str, u64)>,
}

/// The directions of [`Modes::switches`].
pub const DIRECTIONS: [&str; 2] = ["enter", "leave"];

/// Switches in one direction.
#[derive(Clone, Debug, Default)]
pub struct Switches {
    /// Carried out.
    pub done: u64,
    /// From the call to the other CPUs until the last one went on.
    pub durations: Histogram,
    /// The busiest CPU's work with interrupts off.
    pub windows: Histogram,
}

/// What a CPU has done since boot.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu {
    /// Nanoseconds without a thread to run.
    pub idle_nanos: u64,
    /// Interrupts taken.
    pub interrupts: u64,
    /// Switches between threads.
    pub thread_switches: u64,
}

/// Bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Of the system, without the VMM's reserve.
    pub total: u64,
    /// Free page frames.
    pub free: u64,
    /// Handed out by the heap.
    pub heap: u64,
}

/// A source of entropy.
#[derive(Clone, Copy, Debug, Default)]
pub struct Source {
    /// `cpu`, `device` or `jitter`.
    pub name: &'static str,
    /// Samples taken.
    pub samples: u64,
    /// Health tests failed.
    pub failures: u64,
}

/// Everything that is measured.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The image.
    pub build: Build,
    /// Nanoseconds since boot.
    pub uptime: u64,
    /// Seconds since 1970 at boot.
    pub booted: u64,
    /// Changes of the machine's state that operators made.
    pub generation: u64,
    /// The mode; without a monitor, why there is none.
    pub modes: Result<Modes, String>,
    /// Non-maskable interrupts.
    pub nmis: u64,
    /// By number.
    pub cpus: Vec<Cpu>,
    /// Latencies of requests, by application.
    pub requests: Vec<(&'static str, Histogram)>,
    /// Memory.
    pub memory: Memory,
    /// Networks by name.
    pub networks: Vec<(&'static str, Statistics)>,
    /// The control server.
    pub control: Counts,
    /// Requests for metrics.
    pub scrapes: u64,
    /// Whether the entropy is good.
    pub entropy_good: bool,
    /// Sources of entropy.
    pub entropy: Vec<Source>,
}

impl Snapshot {
    /// `native` or `guest`.
    pub fn mode(&self) -> &'static str {
        if self.modes.as_ref().is_ok_and(|modes| modes.guest) { "guest" } else { "native" }
    }

    /// Latencies of all applications' requests together.
    pub fn all_requests(&self) -> Histogram {
        let mut all = Histogram::new();
        self.requests.iter().for_each(|(_, histogram)| all.merge(histogram));
        all
    }

    /// Switches that were carried out.
    pub fn switches(&self) -> u64 {
        self.modes.as_ref().map_or(0, |modes| modes.switches.iter().map(|each| each.done).sum())
    }

    /// Bytes received and sent, on all networks.
    pub fn traffic(&self) -> (u64, u64) {
        let sum = |part: fn(&Statistics) -> u64| self.networks.iter().map(|(_, each)| part(each)).sum();
        (sum(|each| each.received_bytes), sum(|each| each.sent_bytes))
    }
}
