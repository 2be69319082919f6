//! The machine's state and counters.

use super::mode::Mode;
use super::modes;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use machine::paging::PAGE;
use machine::time::Instant;
use net::Network;
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
    network: Interface,
    control: Control<Interface>,
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
struct Interface {
    addresses: Vec<String>,
    connections: u64,
}

impl Interface {
    fn of(network: Network) -> Self {
        let addresses =
            network.addresses().into_iter().map(|(address, prefix)| format!("{address}/{prefix}"));
        Self { addresses: addresses.collect(), connections: network.statistics().connections }
    }

    fn text(&self) -> String {
        format!("{}; {} connections", self.addresses.join(", "), self.connections)
    }
}

#[derive(Serialize)]
struct Control<T> {
    open: u64,
    commands: u64,
    refused: u64,
    /// The control network, where there is one.
    network: Option<T>,
}

impl<T> Control<T> {
    fn now(of: impl FnOnce(Network) -> T) -> Self {
        let net::ssh::Counts { open, commands, refused } = net::ssh::counts();
        let network = Network::Control;
        Self { open, commands, refused, network: network.is_running().then(|| of(network)) }
    }
}

impl Status {
    /// `native` or `guest`.
    pub fn mode(&self) -> &'static str {
        self.mode.mode
    }

    /// As it is.
    pub fn now() -> Self {
        let frames = machine::frames::statistics();
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
            network: Interface::of(Network::Main),
            control: Control::now(Interface::of),
            entropy: drivers::entropy::health().to_string(),
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let Memory { total, free, heap } = self.memory;
        let Control { open, commands, refused, ref network } = self.control;
        let own = network.as_ref().map(|own| format!("\n           {}", own.text())).unwrap_or_default();
        format!(
            "{}up         {}.{:03} s\nCPUs       {}\nmemory     {} of {} MiB free; heap {} KiB\n\
             network    {}\n\
             control    {open} sessions, {commands} commands, {refused} refused{own}\nentropy    {}\n",
            self.mode.text(),
            self.uptime_ms / 1000,
            self.uptime_ms % 1000,
            self.cpus,
            free >> 20,
            total >> 20,
            heap >> 10,
            self.network.text(),
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
    #[serde(flatten)]
    network: Traffic,
    heap_bytes: usize,
    free_bytes: u64,
    control: Control<Traffic>,
}

/// What a network counts.
#[derive(Serialize)]
struct Traffic {
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
}

impl Traffic {
    fn of(network: Network) -> Self {
        let net = network.statistics();
        Self {
            received_frames: net.received_frames,
            received_bytes: net.received_bytes,
            sent_frames: net.sent_frames,
            sent_bytes: net.sent_bytes,
            dropped: net.dropped_malformed
                + net.dropped_fragments
                + net.dropped_checksum
                + net.dropped_foreign
                + net.dropped_device_full
                + net.dropped_too_long,
            connections: net.connections,
            accepted: net.accepted,
            refused: net.refused_backlog + net.refused_memory,
            timed_out: net.timed_out,
            retransmits: net.retransmits,
        }
    }

    fn named(&self) -> [(&'static str, u64); 10] {
        [
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
        ]
    }
}

impl Counters {
    /// As they are.
    pub fn now() -> Self {
        let Mode { switches, exits, .. } = modes::mode();
        Self {
            uptime_ms: Instant::now().as_nanos() / 1_000_000,
            switches,
            exits,
            nmis: machine::nmis(),
            network: Traffic::of(Network::Main),
            heap_bytes: machine::heap::statistics().used,
            free_bytes: machine::frames::statistics().free * PAGE,
            control: Control::now(Traffic::of),
        }
    }

    /// A name and a number a line.
    pub fn text(&self) -> String {
        let exits = self.exits.iter().map(|(kind, count)| format!("exits.{kind:<14} {count}\n"));
        let counts = [("uptime_ms", self.uptime_ms), ("switches", self.switches), ("nmis", self.nmis)];
        let memory = [("heap_bytes", self.heap_bytes as u64), ("free_bytes", self.free_bytes)];
        let Control { open, commands, refused, ref network } = self.control;
        let control = [("open", open), ("commands", commands), ("refused", refused)];
        let own = network
            .iter()
            .flat_map(Traffic::named)
            .map(|(name, number)| (format!("control.network.{name}"), number));
        let numbers = counts
            .into_iter()
            .chain(self.network.named())
            .chain(memory)
            .map(|(name, number)| (name.to_string(), number))
            .chain(control.map(|(name, number)| (format!("control.{name}"), number)))
            .chain(own);
        let lines = numbers.map(|(name, number)| format!("{name:<20} {number}\n"));
        lines.chain(exits).collect()
    }
}
