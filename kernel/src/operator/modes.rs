//! The modes of a machine with a VMM.

use super::mode::{Last, Mode, Window};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use control::request::{LONGEST, Switch, Target};
use core::ops::Range;
use machine::time::Instant;
use metrics::json::Event;
use metrics::snapshot::{Modes, Switches};
use mode::bare::{RequestError, board, dry_run, look, monitor, request};
use mode::board::Reason;
use mode::trace::{Mark, Record};
use mode::{Direction, Outcome, Phase, Refused};
use net::ssh::exit;
use serde::Serialize;
use vmm::call::Count;

pub use mode::bare::Absorbed;

/// The last switch, as it is told.
fn last(record: &Record) -> Last {
    let windows = record.cpus.iter().enumerate().map(|(cpu, trace)| Window {
        cpu,
        window: trace.window(),
        rendezvous: trace.rendezvous(),
    });
    Last { direction: record.direction.name(), unit: "tsc", cpus: windows.collect() }
}

/// The mode as it is.
pub fn mode() -> Mode {
    let generation = super::changes::generation();
    let seen = look(|figures, monitor| Mode {
        mode: if figures.phase == Phase::Guest { "guest" } else { "native" },
        vendor: Some(vendor(monitor.vendor())),
        nested: monitor.is_nested(),
        generation,
        switches: figures.switches,
        last: figures.last().as_ref().map(last),
        refusal: super::changes::refusal(),
        exits: Count::ALL.iter().map(|(kind, name)| (*name, monitor.exits(*kind))).collect(),
        unavailable: None,
    });
    seen.unwrap_or_else(|reason| Mode {
        mode: "native",
        vendor: None,
        nested: mode::bare::is_nested(),
        generation,
        switches: 0,
        last: None,
        refusal: super::changes::refusal(),
        exits: BTreeMap::new(),
        unavailable: Some(reason.to_string()),
    })
}

/// What is counted, read without waiting for a switch. Exits cost hypercalls in guest mode: they are left out on request.
pub fn measured(with_exits: bool) -> Result<Modes, String> {
    let told = |error: vmm::monitor::BuildError| error.to_string();
    let (board, monitor) = (board().map_err(told)?, monitor().map_err(told)?);
    let switches = |direction| Switches {
        done: board.done(direction),
        durations: board.durations(direction),
        windows: board.windows(direction),
    };
    let exits = Count::ALL.iter().filter(|_| with_exits);
    let (native_nanos, guest_nanos) = board.mode_nanos(Instant::now().as_nanos());
    Ok(Modes {
        vendor: vendor(monitor.vendor()),
        guest: board.is_guest(),
        native_nanos,
        guest_nanos,
        switches: [Direction::Enter, Direction::Leave].map(switches),
        refusals: Reason::ALL.iter().map(|(reason, name)| (*name, board.refusals(*reason))).collect(),
        exits: exits.map(|(kind, name)| (*name, monitor.exits(*kind))).collect(),
    })
}

/// The names of a switch's marks, in their order.
pub fn marks() -> [&'static str; Mark::ALL.len()] {
    Mark::ALL.map(|(_, name)| name)
}

/// The last switches, for the dashboard.
pub fn events() -> Vec<Event> {
    let hertz = u128::from(machine::time::tsc_hertz().max(1));
    let event = |record: Record| {
        let marks = record.cpus.iter().flat_map(|cpu| cpu.marks);
        let begin = marks.filter(|ticks| *ticks > 0).min().unwrap_or(0);
        let nanos = |ticks: u64| {
            let since = (ticks > 0).then(|| u128::from(ticks.saturating_sub(begin)))?;
            Some((since * 1_000_000_000 / hertz) as u64)
        };
        Event {
            number: record.number,
            at_ms: record.nanos / 1_000_000,
            direction: record.direction.name(),
            done: record.done,
            cpus: record.cpus.iter().map(|cpu| cpu.marks.map(nanos).to_vec()).collect(),
        }
    };
    board().map_or_else(|_| Vec::new(), |board| board.iter().map(event).collect())
}

const fn vendor(vendor: vmm::Vendor) -> &'static str {
    match vendor {
        vmm::Vendor::Svm => "svm",
        vmm::Vendor::Vmx => "vmx",
    }
}

/// What a switch, or its rehearsal, came to: exit status, whether the mode has changed, and why not.
pub fn carry_out(switch: &Switch) -> (u8, bool, Option<String>) {
    let phase = match switch.target {
        Target::Native => Some(Phase::Native),
        Target::Guest => Some(Phase::Guest),
        Target::Toggle => None,
    };
    let result = if switch.dry_run { dry_run(phase) } else { request(phase, switch.deadline) };
    match result {
        Ok(Outcome::Switched) => (exit::DONE, !switch.dry_run, None),
        Ok(Outcome::Already) => (exit::DONE, false, None),
        // Without a VMM the machine is native already.
        Err(RequestError::Unavailable(_)) if switch.target == Target::Native => (exit::DONE, false, None),
        Err(error) => {
            let late = matches!(error, RequestError::Refused(Refused::NoAnswer(_)));
            (if late { exit::TIMED_OUT } else { exit::REFUSED }, false, Some(error.to_string()))
        }
    }
}

/// Whether there is a VMM.
pub fn check() -> Result<(), String> {
    monitor().map(drop).map_err(|error| error.to_string())
}

/// Guest mode, for a job that needs it; whether the machine was native, and is to be again.
pub fn enter() -> Result<bool, RequestError> {
    Ok(request(Some(Phase::Guest), LONGEST)? == Outcome::Switched)
}

/// Native mode again.
pub fn leave() -> Result<(), RequestError> {
    request(Some(Phase::Native), LONGEST).map(drop)
}

/// Takes device memory away from the system, in guest mode, until what is returned is released or dropped.
pub fn absorb(pages: &[Range<u64>]) -> Result<Absorbed, String> {
    mode::bare::absorb(pages, LONGEST).map_err(|error| error.to_string())
}

/// The last switches, moment by moment.
#[derive(Serialize)]
pub struct Trace {
    hertz: u64,
    switches: Vec<Traced>,
}

#[derive(Serialize)]
struct Traced {
    direction: &'static str,
    done: bool,
    cpus: Vec<Marks>,
}

#[derive(Serialize)]
struct Marks {
    cpu: usize,
    marks: BTreeMap<&'static str, u64>,
}

/// The last switches.
pub fn trace() -> Trace {
    let traced = |record: &Record| Traced {
        direction: record.direction.name(),
        done: record.done,
        cpus: record
            .cpus
            .iter()
            .enumerate()
            .map(|(cpu, trace)| Marks {
                cpu,
                marks: Mark::ALL.iter().zip(trace.marks).map(|((_, name), ticks)| (*name, ticks)).collect(),
            })
            .collect(),
    };
    let switches = board().map(|board| board.iter().map(|record| traced(&record)).collect());
    Trace { hertz: machine::time::tsc_hertz(), switches: switches.unwrap_or_default() }
}

impl Trace {
    /// A line for each CPU of each switch, in ticks after the first CPU's arrival.
    pub fn text(&self) -> String {
        let mut text = if self.switches.is_empty() { "no switches yet\n".to_string() } else { String::new() };
        for (number, Traced { direction, done, cpus }) in self.switches.iter().enumerate() {
            let begin =
                cpus.iter().flat_map(|cpu| cpu.marks.values()).copied().filter(|ticks| *ticks > 0).min();
            let outcome = if *done { "done" } else { "undone" };
            text += &format!("{number}: {direction}, {outcome}\n");
            for Marks { cpu, marks } in cpus {
                let mut places: Vec<_> = marks.iter().filter(|(_, ticks)| **ticks > 0).collect();
                places.sort_by_key(|(_, ticks)| **ticks);
                let after = |ticks: &u64| ticks.saturating_sub(begin.unwrap_or(0));
                let line = places.iter().map(|(name, ticks)| format!(" {name} {}", after(ticks)));
                text += &format!("   CPU {cpu}:{}\n", line.collect::<String>());
            }
        }
        text
    }
}
