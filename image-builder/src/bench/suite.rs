//! The suites.

use std::fmt;

use crate::tools::Tool;

use super::record::Record;
use super::{Bench, BenchError, checkpoint, flood, inside, modes, served, swap, timeline};

/// Where a suite's work is done, and who is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Inside the machine: the image `bench`, and the program in `peer/latency` on Linux.
    Inside,
    /// By clients of the host, against Linux if asked for.
    Served,
    /// By clients of the host; ourselves with ourselves.
    Ourselves,
}

macro_rules! suites {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal, $place:ident, $images:expr;)+) => {
        /// A suite.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Suite { $($(#[doc = $doc])* $name),+ }

        impl Suite {
            /// All suites, as the command line spells them.
            pub const ALL: &'static [(&'static str, Suite)] = &[$(($text, Suite::$name)),+];

            /// Name and place of a suite, and the images that it runs.
            const fn row(self) -> (&'static str, Place, &'static [&'static str]) {
                match self { $(Self::$name => ($text, Place::$place, $images)),+ }
            }

            /// What it measures, in a line.
            pub fn about(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),*).trim()),+ }
            }
        }
    };
}

suites! {
    #[doc = " Threads, locks, wake-ups, timers, interrupts"] Threads = "threads", Inside, &["bench"];
    #[doc = " Allocation, pages, STREAM, random latency"] Memory = "memory", Inside, &["bench"];
    #[doc = " A CoreMark-like integer loop, a matrix product"] Compute = "compute", Inside, &["bench"];
    #[doc = " A virtio disk, in turn and at random"] Storage = "storage", Inside, &["bench"];
    #[doc = " The switch, and exits in guest mode"] Switch = "switch", Inside, &["bench"];
    #[doc = " TCP round trip, connection set-up, a stream each way"] Network = "network", Served, &["stream"];
    #[doc = " The store under redis-benchmark"] Kv = "kv", Served, &["kv"];
    #[doc = " The web server under wrk"] Web = "web", Served, &["web"];
    #[doc = " The store beside a thousand idle connections"] Idle = "idle", Served, &["kv"];
    #[doc = " From power on to the first answer"] Start = "start", Served, &["kv"];
    #[doc = " Size of the image, memory in use"] Footprint = "footprint", Served, &["kv", "kv,web"];
    #[doc = " Instructions a request"] Instructions = "instructions", Served, &["kv"];
    #[doc = " The store over QEMU's user network"] UserNetwork = "user-network", Served, &["kv"];
    #[doc = " Requests in guest mode and natively"] Guest = "guest", Ourselves, &["kv"];
    #[doc = " Latency while the mode changes ten times a second"] Toggling = "toggling", Ourselves, &["kv"];
    #[doc = " Latency while the control port is flooded"] Flood = "flood", Ourselves, &["kv"];
    #[doc = " Instructions a request with the VMM asleep and without one"]
    Asleep = "asleep", Ourselves, &["kv", modes::WITHOUT];
    #[doc = " The store while a checkpoint drains, the stop"]
    Checkpoint = "checkpoint", Ourselves, &["kv", "bench"];
    #[doc = " What clients see of a change of the network card, the stop, throughput afterwards"]
    Swap = "swap", Ourselves, &["kv"];
    #[doc = " Requests over time with switches marked, the last switch on each CPU"]
    Timeline = "timeline", Ourselves, &["kv"];
}

impl Suite {
    /// Where its work is done.
    pub const fn place(self) -> Place {
        self.row().1
    }

    /// The images that it runs, by their applications.
    pub(super) const fn images(self) -> &'static [&'static str] {
        self.row().2
    }

    /// Whether it has QEMU count instructions.
    pub(super) const fn counts_instructions(self) -> bool {
        matches!(self, Self::Instructions | Self::Asleep | Self::Swap)
    }

    /// The host tools that it needs.
    pub(super) const fn tools(self) -> &'static [Tool] {
        match self.place() {
            Place::Inside => &[Tool::Qemu],
            Place::Served | Place::Ourselves => {
                &[Tool::Qemu, Tool::Iproute, Tool::RedisTools, Tool::Wrk, Tool::Ssh]
            }
        }
    }

    /// Measures it and adds to the record.
    pub(super) fn measure(self, bench: &Bench<'_>, record: &mut Record) -> Result<(), BenchError> {
        let rows = match self {
            Self::Threads | Self::Memory | Self::Compute | Self::Storage | Self::Switch => {
                return inside::measure(bench, self, record);
            }
            Self::Checkpoint => return checkpoint::measure(bench, record),
            Self::Timeline => return timeline::measure(bench, record),
            Self::Network => served::network(bench)?,
            Self::Kv => served::kv(bench)?,
            Self::Web => served::web(bench)?,
            Self::Idle => served::idle(bench)?,
            Self::Start => served::start(bench)?,
            Self::Footprint => served::footprint(bench)?,
            Self::Instructions => served::instructions(bench)?,
            Self::UserNetwork => served::user_network(bench)?,
            Self::Guest => modes::guest(bench)?,
            Self::Toggling => modes::toggling(bench)?,
            Self::Flood => flood::flood(bench)?,
            Self::Swap => swap::measure(bench)?,
            Self::Asleep => modes::asleep(bench)?,
        };
        record.rows.extend(rows);
        Ok(())
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row().0)
    }
}
