//! Snapshot and history as JSON.

use crate::history::{INTERVAL, Sample};
use crate::snapshot::{DIRECTIONS, Snapshot};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use serde::Serialize;

/// The media type.
pub const MEDIA_TYPE: &str = "application/json";

/// A switch, for `/api/now`.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    /// Counts from 0, undone ones included.
    pub number: u64,
    /// When it ended, in milliseconds since boot.
    pub at_ms: u64,
    /// `enter` or `leave`.
    pub direction: &'static str,
    /// Whether the machine went over.
    pub done: bool,
    /// For each CPU when it did what, in nanoseconds after the first mark; null where it did not. The names are in `marks`.
    pub cpus: Vec<Vec<Option<u64>>>,
}

#[derive(Serialize)]
struct Now<'a> {
    version: &'static str,
    applications: &'a str,
    uptime_ms: u64,
    booted: u64,
    mode: &'static str,
    vendor: Option<&'static str>,
    unavailable: Option<&'a str>,
    generation: u64,
    switches: u64,
    guest_ms: u64,
    windows: BTreeMap<&'static str, Quantiles>,
    durations: BTreeMap<&'static str, Quantiles>,
    refusals: BTreeMap<&'static str, u64>,
    exits: BTreeMap<&'static str, u64>,
    nmis: u64,
    cpus: usize,
    memory: Memory,
    requests: BTreeMap<&'static str, Quantiles>,
    networks: BTreeMap<&'static str, Network>,
    control: Control,
    entropy_healthy: bool,
    marks: &'a [&'static str],
    events: &'a [Event],
}

/// How many, and nanoseconds.
#[derive(Serialize)]
struct Quantiles {
    count: u64,
    median_ns: Option<u64>,
    p99_ns: Option<u64>,
}

impl Quantiles {
    fn of(histogram: &machine::histogram::Histogram) -> Self {
        Self { count: histogram.count(), median_ns: histogram.quantile(500), p99_ns: histogram.quantile(990) }
    }
}

#[derive(Serialize)]
struct Memory {
    total: u64,
    free: u64,
    heap: u64,
}

#[derive(Serialize)]
struct Network {
    received_bytes: u64,
    sent_bytes: u64,
    connections: u64,
    retransmits: u64,
}

#[derive(Serialize)]
struct Control {
    connections: u64,
    commands: u64,
    refused: u64,
}

/// The text of `/api/now`: the snapshot, and the last switches with the names of their marks.
pub fn now(snapshot: &Snapshot, marks: &[&'static str], events: &[Event]) -> String {
    let modes = snapshot.modes.as_ref().ok();
    let switches = || DIRECTIONS.into_iter().zip(modes.iter().flat_map(|modes| &modes.switches));
    let map = |pairs: &Vec<(&'static str, u64)>| pairs.iter().copied().collect();
    let crate::snapshot::Memory { total, free, heap } = snapshot.memory;
    let net::ssh::Counts { open, commands, refused } = snapshot.control;
    let networks = snapshot.networks.iter().map(|(name, counts)| {
        let net::Statistics { received_bytes, sent_bytes, connections, retransmits, .. } = *counts;
        (*name, Network { received_bytes, sent_bytes, connections, retransmits })
    });
    line(&Now {
        version: snapshot.build.version,
        applications: &snapshot.build.applications,
        uptime_ms: snapshot.uptime / 1_000_000,
        booted: snapshot.booted,
        mode: snapshot.mode(),
        vendor: modes.map(|modes| modes.vendor),
        unavailable: snapshot.modes.as_ref().err().map(String::as_str),
        generation: snapshot.generation,
        switches: snapshot.switches(),
        guest_ms: modes.map_or(0, |modes| modes.guest_nanos / 1_000_000),
        windows: switches().map(|(name, each)| (name, Quantiles::of(&each.windows))).collect(),
        durations: switches().map(|(name, each)| (name, Quantiles::of(&each.durations))).collect(),
        refusals: modes.map_or_else(BTreeMap::new, |modes| map(&modes.refusals)),
        exits: modes.map_or_else(BTreeMap::new, |modes| map(&modes.exits)),
        nmis: snapshot.nmis,
        cpus: snapshot.cpus.len(),
        memory: Memory { total, free, heap },
        requests: snapshot.requests.iter().map(|(app, each)| (*app, Quantiles::of(each))).collect(),
        networks: networks.collect(),
        control: Control { connections: open, commands, refused },
        entropy_healthy: snapshot.entropy_good,
        marks,
        events,
    })
}

/// Samples as rows of numbers: ten minutes are a long text as it is.
#[derive(Serialize)]
struct Rows {
    interval_ms: u64,
    /// The number to ask from next.
    next: u64,
    /// What the numbers of a row are; the CPUs' follow at its end.
    columns: [&'static str; 12],
    samples: Vec<Vec<u64>>,
}

/// The text of `/api/history`.
pub fn history(next: u64, samples: impl Iterator<Item = Sample>) -> String {
    let columns = [
        "number",
        "at_ms",
        "length_ms",
        "requests",
        "median_ns",
        "p99_ns",
        "guest_permille",
        "switches",
        "received_bytes",
        "sent_bytes",
        "free_bytes",
        "heap_bytes",
    ];
    let row = |sample: Sample| {
        let Sample {
            number,
            at,
            length,
            requests,
            median,
            p99,
            guest,
            switches,
            received,
            sent,
            free,
            heap,
            ..
        } = sample;
        let fixed = [number, at, length, requests, median, p99, guest, switches, received, sent, free, heap];
        fixed.into_iter().chain(sample.busy().iter().map(|busy| u64::from(*busy))).collect()
    };
    line(&Rows { interval_ms: INTERVAL, next, columns, samples: samples.map(row).collect() })
}

fn line<T: Serialize>(value: &T) -> String {
    // Our values have no keys but strings, and nothing that fails to be written.
    serde_json::to_string(value).unwrap_or_default() + "\n"
}
