//! The live picture: what the machine did in the last second.

use super::status::Status;
use super::{line, show};
use crate::metrics::snapshot;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use machine::thread;
use metrics::history::Totals;
use metrics::{Sample, Snapshot};
use net::ssh::{Output, exit};
use serde::Serialize;

/// Between two pictures.
const REFRESH: Duration = Duration::from_secs(1);
/// Characters of a CPU's bar.
const BAR: usize = 30;

/// The state, and what happened between two snapshots.
#[derive(Serialize)]
struct Picture {
    #[serde(flatten)]
    status: Status,
    /// Of a hundred parts of the time, those in which each CPU was busy.
    busy_percent: Vec<u8>,
    requests_per_second: u64,
    applications: BTreeMap<&'static str, u64>,
    median_ns: u64,
    p99_ns: u64,
    exits_per_second: BTreeMap<&'static str, u64>,
    received_bytes_per_second: u64,
    sent_bytes_per_second: u64,
}

impl Picture {
    fn between(before: &Snapshot, now: &Snapshot) -> Self {
        let sample = Sample::between(0, &Totals::of(before), &Totals::of(now));
        let rate = |count: u64| count * 1000 / sample.length.max(1);
        let mut applications = BTreeMap::new();
        for (app, requests) in &now.requests {
            let earlier = before.requests.iter().find(|(name, _)| name == app);
            let count = requests.count() - earlier.map_or(0, |(_, requests)| requests.count());
            applications.insert(*app, rate(count));
        }
        let mut exits_per_second = BTreeMap::new();
        if let (Ok(before), Ok(now)) = (&before.modes, &now.modes) {
            let pairs = before.exits.iter().zip(&now.exits);
            exits_per_second.extend(pairs.map(|((kind, before), (_, now))| (*kind, rate(now - before))));
        }
        Self {
            status: Status::now(),
            busy_percent: sample.busy().to_vec(),
            requests_per_second: rate(sample.requests),
            applications,
            median_ns: sample.median,
            p99_ns: sample.p99,
            exits_per_second,
            received_bytes_per_second: rate(sample.received),
            sent_bytes_per_second: rate(sample.sent),
        }
    }

    /// For people: the state's lines, then a line for each thing that moves.
    fn text(&self) -> String {
        let mut text = self.status.text();
        for (cpu, busy) in self.busy_percent.iter().enumerate() {
            let full = usize::from(*busy) * BAR / 100;
            text += &format!("CPU {cpu:<6} {}{} {busy:3} %\n", "#".repeat(full), ".".repeat(BAR - full));
        }
        let apps = self.applications.iter().map(|(app, rate)| format!("; {app} {rate}/s"));
        text += &format!("requests   {}/s{}\n", self.requests_per_second, apps.collect::<String>());
        if self.requests_per_second > 0 {
            text += &format!(
                "latency    {} median, {} for 99 of 100\n",
                Micros(self.median_ns),
                Micros(self.p99_ns)
            );
        }
        let exits = self.exits_per_second.iter().map(|(kind, rate)| format!("{kind} {rate}/s"));
        if !self.exits_per_second.is_empty() {
            text += &format!("exits      {}\n", exits.collect::<Vec<_>>().join(", "));
        }
        text + &format!(
            "traffic    {} KiB/s in, {} KiB/s out\n",
            self.received_bytes_per_second >> 10,
            self.sent_bytes_per_second >> 10
        )
    }

    /// For a terminal: the mode's badge above the text, each line cleared to its end, and what is below.
    fn drawing(&self) -> String {
        // White on violet where the monitor is beneath, black on green on the bare machine.
        let colour = if self.status.mode() == "guest" { "97;45" } else { "30;42" };
        let badge = format!("\x1b[1;{colour}m {} \x1b[0m Quicksilver\n\n", self.status.mode().to_uppercase());
        format!("\x1b[H{}\x1b[J", (badge + &self.text()).replace('\n', "\x1b[K\r\n"))
    }
}

/// Nanoseconds, written in microseconds.
struct Micros(u64);

impl core::fmt::Display for Micros {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}.{} us", self.0 / 1000, self.0 % 1000 / 100)
    }
}

/// The state and what moves, drawn again each second.
pub fn top(once: bool, json: bool, output: &mut dyn Output) -> u8 {
    let mut before = snapshot(0);
    loop {
        thread::sleep(REFRESH);
        let now = snapshot(0);
        let picture = Picture::between(&before, &now);
        before = now;
        if once {
            return show(output, json, &picture, Picture::text);
        }
        let told = if json { line(output, &picture) } else { output.out(&picture.drawing()) };
        if told.is_err() || output.is_gone() {
            return exit::UNKNOWN;
        }
    }
}
