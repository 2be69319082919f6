//! A snapshot as Prometheus reads it. Units and names follow its rules: seconds, bytes, `_total` for what only grows.

use crate::snapshot::{Cpu, DIRECTIONS, Modes, Snapshot, Switches};
use crate::text::Kind::{Counter, Gauge, Histogram};
use crate::text::{Seconds, Text};
use alloc::format;
use alloc::string::String;
use core::ops::RangeInclusive;
use net::Statistics;

/// Upper bounds of latencies, as powers of two of nanoseconds: 1 µs to 8.6 s.
const LATENCIES: RangeInclusive<u32> = 10..=33;
/// The same for switches: 0.26 µs to 4.3 s.
const SWITCHES: RangeInclusive<u32> = 8..=32;

/// The text of `/metrics`.
pub fn text(snapshot: &Snapshot) -> String {
    let mut text = Text::default();
    machine(&mut text, snapshot);
    if let Ok(modes) = &snapshot.modes {
        switches(&mut text, modes);
    }
    cpus(&mut text, snapshot);
    requests(&mut text, snapshot);
    memory(&mut text, snapshot);
    network(&mut text, snapshot);
    entropy(&mut text, snapshot);
    text.finish()
}

fn machine(text: &mut Text, snapshot: &Snapshot) {
    let Snapshot { build, uptime, booted, generation, modes, nmis, .. } = snapshot;
    text.metric(Gauge, "quicksilver_build_info", "The image: always 1.");
    text.sample(&[("version", build.version), ("applications", &build.applications)], 1);
    text.single(Gauge, "quicksilver_boot_time_seconds", "When the machine booted, since 1970.", booted);
    text.single(Gauge, "quicksilver_uptime_seconds", "Time since boot.", Seconds(*uptime));
    text.single(
        Counter,
        "quicksilver_changes_total",
        "Changes of the state that operators made.",
        generation,
    );
    text.single(Counter, "quicksilver_nmis_total", "Non-maskable interrupts taken.", nmis);
    text.metric(Gauge, "quicksilver_vmm_available", "Whether the machine can switch to guest mode.");
    let vendor = modes.as_ref().map_or("none", |modes| modes.vendor);
    text.sample(&[("vendor", vendor)], u8::from(modes.is_ok()));
    text.metric(Gauge, "quicksilver_mode", "1 for the mode that the machine is in, 0 for the other.");
    for mode in ["native", "guest"] {
        text.sample(&[("mode", mode)], u8::from(mode == snapshot.mode()));
    }
    text.metric(Counter, "quicksilver_mode_seconds_total", "Time spent in each mode.");
    let times = modes.as_ref().map(|modes| (modes.native_nanos, modes.guest_nanos));
    let (native, guest) = times.unwrap_or((*uptime, 0));
    text.sample(&[("mode", "native")], Seconds(native));
    text.sample(&[("mode", "guest")], Seconds(guest));
}

fn switches(text: &mut Text, modes: &Modes) {
    let each = || DIRECTIONS.into_iter().zip(&modes.switches);
    text.metric(Counter, "quicksilver_switches_total", "Switches between the modes that were carried out.");
    for (direction, Switches { done, .. }) in each() {
        text.sample(&[("direction", direction)], done);
    }
    text.metric(
        Histogram,
        "quicksilver_switch_duration_seconds",
        "From the call to the other CPUs until the last one went on.",
    );
    for (direction, Switches { durations, .. }) in each() {
        text.histogram(&[("direction", direction)], durations, SWITCHES);
    }
    text.metric(
        Histogram,
        "quicksilver_switch_window_seconds",
        "The busiest CPU's work for a switch with interrupts off, waiting aside.",
    );
    for (direction, Switches { windows, .. }) in each() {
        text.histogram(&[("direction", direction)], windows, SWITCHES);
    }
    text.metric(Counter, "quicksilver_switches_refused_total", "Requests to switch that changed nothing.");
    for (reason, count) in &modes.refusals {
        text.sample(&[("reason", reason)], count);
    }
    text.metric(Counter, "quicksilver_exits_total", "Exits to the VMM, on all CPUs.");
    for (reason, count) in &modes.exits {
        text.sample(&[("reason", reason)], count);
    }
}

fn cpus(text: &mut Text, snapshot: &Snapshot) {
    text.single(Gauge, "quicksilver_cpus", "CPUs that run.", snapshot.cpus.len());
    let mut each = |name, help, value: fn(&mut Text, &str, &Cpu)| {
        text.metric(Counter, name, help);
        for (number, cpu) in snapshot.cpus.iter().enumerate() {
            value(text, &format!("{number}"), cpu);
        }
    };
    each("quicksilver_cpu_idle_seconds_total", "Time without a thread to run.", |text, number, cpu| {
        text.sample(&[("cpu", number)], Seconds(cpu.idle_nanos));
    });
    each("quicksilver_cpu_interrupts_total", "Interrupts taken.", |text, number, cpu| {
        text.sample(&[("cpu", number)], cpu.interrupts);
    });
    each("quicksilver_cpu_thread_switches_total", "Switches between threads.", |text, number, cpu| {
        text.sample(&[("cpu", number)], cpu.thread_switches);
    });
}

fn requests(text: &mut Text, snapshot: &Snapshot) {
    text.metric(Counter, "quicksilver_requests_total", "Requests that applications answered.");
    for (app, histogram) in &snapshot.requests {
        text.sample(&[("app", app)], histogram.count());
    }
    text.metric(
        Histogram,
        "quicksilver_request_duration_seconds",
        "From taking a request from the network until its answer was queued.",
    );
    for (app, histogram) in &snapshot.requests {
        text.histogram(&[("app", app)], histogram, LATENCIES);
    }
    let control = &snapshot.control;
    text.single(Gauge, "quicksilver_control_connections", "Connections to the control server.", control.open);
    text.single(
        Counter,
        "quicksilver_control_commands_total",
        "Operators' commands in connections that have ended.",
        control.commands,
    );
    text.single(
        Counter,
        "quicksilver_control_refused_total",
        "Connections to the control server that came to no command.",
        control.refused,
    );
    text.single(
        Counter,
        "quicksilver_metrics_requests_total",
        "Requests to the server of these metrics.",
        snapshot.scrapes,
    );
}

fn memory(text: &mut Text, snapshot: &Snapshot) {
    let memory = &snapshot.memory;
    text.single(Gauge, "quicksilver_memory_size_bytes", "Memory of the system.", memory.total);
    text.single(Gauge, "quicksilver_memory_free_bytes", "Free page frames.", memory.free);
    text.single(Gauge, "quicksilver_heap_used_bytes", "Memory that the heap has handed out.", memory.heap);
}

/// What a network counts: metric, help, a further label, and the figure. Rows of one metric follow each other.
type Row = (
    crate::text::Kind,
    &'static str,
    &'static str,
    Option<(&'static str, &'static str)>,
    fn(&Statistics) -> u64,
);

const NETWORK: &[Row] = &[
    (
        Counter,
        "quicksilver_network_received_bytes_total",
        "Bytes received, Ethernet headers included.",
        None,
        |n| n.received_bytes,
    ),
    (Counter, "quicksilver_network_received_frames_total", "Frames received.", None, |n| n.received_frames),
    (Counter, "quicksilver_network_sent_bytes_total", "Bytes sent, Ethernet headers included.", None, |n| {
        n.sent_bytes
    }),
    (
        Counter,
        "quicksilver_network_sent_frames_total",
        "Frames sent; one that the device cuts counts once.",
        None,
        |n| n.sent_frames,
    ),
    (Counter, DROPPED, "Frames dropped.", Some(("reason", "malformed")), |n| n.dropped_malformed),
    (Counter, DROPPED, "", Some(("reason", "fragment")), |n| n.dropped_fragments),
    (Counter, DROPPED, "", Some(("reason", "checksum")), |n| n.dropped_checksum),
    (Counter, DROPPED, "", Some(("reason", "foreign")), |n| n.dropped_foreign),
    (Counter, DROPPED, "", Some(("reason", "device_full")), |n| n.dropped_device_full),
    (Counter, DROPPED, "", Some(("reason", "too_long")), |n| n.dropped_too_long),
    (Gauge, "quicksilver_network_connections", "TCP connections there are.", None, |n| n.connections),
    (Gauge, "quicksilver_network_buffers_bytes", "Memory that TCP connections hold.", None, |n| {
        n.buffer_bytes
    }),
    (Counter, "quicksilver_network_accepted_total", "TCP connections handed to listeners.", None, |n| {
        n.accepted
    }),
    (Counter, "quicksilver_network_connected_total", "TCP connections opened from here.", None, |n| {
        n.connected
    }),
    (Counter, REFUSED, "TCP connections refused.", Some(("reason", "backlog")), |n| n.refused_backlog),
    (Counter, REFUSED, "", Some(("reason", "memory")), |n| n.refused_memory),
    (
        Counter,
        "quicksilver_network_half_open_dropped_total",
        "Half-open TCP connections dropped.",
        None,
        |n| n.half_open_dropped,
    ),
    (Counter, "quicksilver_network_timed_out_total", "TCP connections ended by a timeout.", None, |n| {
        n.timed_out
    }),
    (Counter, "quicksilver_network_retransmitted_segments_total", "TCP segments sent again.", None, |n| {
        n.retransmits
    }),
];

const DROPPED: &str = "quicksilver_network_dropped_frames_total";
const REFUSED: &str = "quicksilver_network_refused_total";

fn network(text: &mut Text, snapshot: &Snapshot) {
    let mut last = "";
    for (kind, name, help, further, figure) in NETWORK {
        if *name != last {
            text.metric(*kind, name, help);
            last = name;
        }
        for (network, statistics) in &snapshot.networks {
            let labels = [("network", *network), further.unwrap_or_default()];
            let count = 1 + usize::from(further.is_some());
            text.sample(&labels[..count], figure(statistics));
        }
    }
}

fn entropy(text: &mut Text, snapshot: &Snapshot) {
    text.single(
        Gauge,
        "quicksilver_entropy_healthy",
        "Whether a source beside jitter has delivered and no source has failed a health test.",
        u8::from(snapshot.entropy_good),
    );
    text.metric(Counter, "quicksilver_entropy_samples_total", "Samples taken of each source of entropy.");
    for source in &snapshot.entropy {
        text.sample(&[("source", source.name)], source.samples);
    }
    text.metric(Counter, "quicksilver_entropy_failures_total", "Health tests that a source has failed.");
    for source in &snapshot.entropy {
        text.sample(&[("source", source.name)], source.failures);
    }
}
