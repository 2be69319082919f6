//! The machine's state and counters.

use super::mode::Mode;
use super::modes;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use machine::paging::PAGE;
use machine::time::Instant;
use serde::Serialize;

/// The state.
#[derive(Serialize)]
pub struct Status {
    #[serde(flatten)]
    mode: Mode,
    nmis: u64,
    uptime_ms: u64,
    cpus: usize,
    memory: Memory,
    network: Network,
    control: Control,
    entropy: String,
}

/// Bytes.
#[derive(Serialize)]
struct Memory {
    total: u64,
    free: u64,
    heap: usize,
}

#[derive(Serialize)]
struct Network {
    addresses: Vec<String>,
    connections: u64,
}

#[derive(Serialize)]
struct Control {
    open: u64,
    commands: u64,
    refused: u64,
}

impl Control {
    fn now() -> Self {
        let net::ssh::Counts { open, commands, refused } = net::ssh::counts();
        Self { open, commands, refused }
    }
}

impl Status {
    /// As it is.
    pub fn now() -> Self {
        let frames = machine::frames::statistics();
        let addresses = net::addresses().into_iter().map(|(address, prefix)| format!("{address}/{prefix}"));
        Self {
            mode: modes::mode(),
            nmis: machine::nmis(),
            uptime_ms: Instant::now().as_nanos() / 1_000_000,
            cpus: machine::cpu::count(),
            memory: Memory {
                total: frames.total * PAGE,
                free: frames.free * PAGE,
                heap: machine::heap::statistics().used,
            },
            network: Network { addresses: addresses.collect(), connections: net::statistics().connections },
            control: Control::now(),
            entropy: drivers::entropy::health().to_string(),
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let Memory { total, free, heap } = self.memory;
        let Network { addresses, connections } = &self.network;
        let Control { open, commands, refused } = self.control;
        format!(
            "{}up         {}.{:03} s\nCPUs       {}\nmemory     {} of {} MiB free; heap {} KiB\n\
             network    {}; {connections} connections\n\
             control    {open} connections, {commands} commands, {refused} refused\nentropy    {}\n",
            self.mode.text(),
            self.uptime_ms / 1000,
            self.uptime_ms % 1000,
            self.cpus,
            free >> 20,
            total >> 20,
            heap >> 10,
            addresses.join(", "),
            self.entropy
        )
    }
}

/// What is counted.
#[derive(Serialize)]
pub struct Counters {
    uptime_ms: u64,
    switches: u64,
    exits: alloc::collections::BTreeMap<&'static str, u64>,
    nmis: u64,
    received_frames: u64,
    received_bytes: u64,
    sent_frames: u64,
    sent_bytes: u64,
    dropped: u64,
    connections: u64,
    accepted: u64,
    refused: u64,
    timed_out: u64,
    retransmits: u64,
    heap_bytes: usize,
    free_bytes: u64,
    control: Control,
}

impl Counters {
    /// As they are.
    pub fn now() -> Self {
        let Mode { switches, exits, .. } = modes::mode();
        let net = net::statistics();
        let dropped = net.dropped_malformed
            + net.dropped_fragments
            + net.dropped_checksum
            + net.dropped_foreign
            + net.dropped_device_full
            + net.dropped_too_long;
        Self {
            uptime_ms: Instant::now().as_nanos() / 1_000_000,
            switches,
            exits,
            nmis: machine::nmis(),
            received_frames: net.received_frames,
            received_bytes: net.received_bytes,
            sent_frames: net.sent_frames,
            sent_bytes: net.sent_bytes,
            dropped,
            connections: net.connections,
            accepted: net.accepted,
            refused: net.refused_backlog + net.refused_memory,
            timed_out: net.timed_out,
            retransmits: net.retransmits,
            heap_bytes: machine::heap::statistics().used,
            free_bytes: machine::frames::statistics().free * PAGE,
            control: Control::now(),
        }
    }

    /// A name and a number a line.
    pub fn text(&self) -> String {
        let exits = self.exits.iter().map(|(kind, count)| format!("exits.{kind:<14} {count}\n"));
        let numbers = [
            ("uptime_ms", self.uptime_ms),
            ("switches", self.switches),
            ("nmis", self.nmis),
            ("received_frames", self.received_frames),
            ("received_bytes", self.received_bytes),
            ("sent_frames", self.sent_frames),
            ("sent_bytes", self.sent_bytes),
            ("dropped", self.dropped),
            ("connections", self.connections),
            ("accepted", self.accepted),
            ("refused", self.refused),
            ("timed_out", self.timed_out),
            ("retransmits", self.retransmits),
            ("heap_bytes", self.heap_bytes as u64),
            ("free_bytes", self.free_bytes),
            ("control.open", self.control.open),
            ("control.commands", self.control.commands),
            ("control.refused", self.control.refused),
        ];
        let lines = numbers.iter().map(|(name, number)| format!("{name:<20} {number}\n"));
        lines.chain(exits).collect()
    }

    /// Bytes received and sent since an earlier reading.
    pub fn traffic_since(&self, before: &Self) -> (u64, u64) {
        (self.received_bytes - before.received_bytes, self.sent_bytes - before.sent_bytes)
    }
}
