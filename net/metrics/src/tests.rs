//! What is told of a snapshot, as a whole.

use crate::history::{History, LENGTH, Sample, Totals};
use crate::json::{self, Event};
use crate::snapshot::{Build, Cpu, Memory, Modes, Snapshot, Source, Switches};
use crate::{exposition, page};
use machine::histogram::Histogram;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

fn histogram(durations: &[u64]) -> Histogram {
    let mut histogram = Histogram::new();
    durations.iter().for_each(|nanos| histogram.add(*nanos, 1));
    histogram
}

fn snapshot() -> Snapshot {
    let switches = |done| Switches { done, durations: histogram(&[60_000]), windows: histogram(&[550]) };
    Snapshot {
        build: Build { version: "0.1.0", applications: "kv,\"web\"".into() },
        uptime: 10_500_000_000,
        booted: 1_700_000_000,
        generation: 3,
        modes: Ok(Modes {
            vendor: "svm",
            guest: true,
            native_nanos: 10_000_000_000,
            guest_nanos: 500_000_000,
            switches: [switches(2), switches(1)],
            refusals: vec![("busy", 4)],
            exits: vec![("cpuid", 5), ("hypercall", 6)],
        }),
        nmis: 0,
        cpus: vec![Cpu { idle_nanos: 7_000_000_000, interrupts: 8, thread_switches: 9 }; 2],
        requests: vec![("kv", histogram(&[3_000, 5_000_000])), ("web", histogram(&[]))],
        memory: Memory { total: 1 << 29, free: 1 << 28, heap: 1 << 20 },
        networks: vec![(
            "main",
            net::Statistics { received_bytes: 1000, sent_bytes: 2000, ..Default::default() },
        )],
        control: net::ssh::Counts { open: 1, commands: 2, refused: 3 },
        scrapes: 1,
        entropy_good: true,
        entropy: vec![Source { name: "cpu", samples: 10, failures: 0 }],
    }
}

/// The rules of the format and of Prometheus's names, on everything that is told.
#[test]
fn the_text_keeps_the_rules() {
    let text = exposition::text(&snapshot());
    let mut types: BTreeMap<&str, &str> = BTreeMap::new();
    let (mut seen, mut helped, mut current) = (BTreeSet::new(), "", "");
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            helped = help.split(' ').next().unwrap();
            assert!(help.len() > helped.len() + 1, "{line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(name, helped);
            assert!(types.insert(name, kind).is_none(), "{name} comes twice");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
            current = name;
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let name = series.split('{').next().unwrap();
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
            let of_histogram = types[current] == "histogram";
            assert_eq!(if of_histogram { base.unwrap() } else { name }, current, "{line}");
            assert!(seen.insert(series), "{series} comes twice");
            assert!(value.parse::<f64>().unwrap() >= 0.0, "{line}");
        }
    }
    assert!(types.len() > 40 && text.ends_with('\n'));
    for line in [
        "quicksilver_build_info{version=\"0.1.0\",applications=\"kv,\\\"web\\\"\"} 1",
        "quicksilver_mode{mode=\"guest\"} 1",
        "quicksilver_mode_seconds_total{mode=\"native\"} 10",
        "quicksilver_switches_total{direction=\"enter\"} 2",
        "quicksilver_switch_window_seconds_sum{direction=\"leave\"} 0.00000055",
        "quicksilver_exits_total{reason=\"hypercall\"} 6",
        "quicksilver_requests_total{app=\"kv\"} 2",
        "quicksilver_request_duration_seconds_bucket{app=\"kv\",le=\"0.000004096\"} 1",
        "quicksilver_request_duration_seconds_bucket{app=\"kv\",le=\"+Inf\"} 2",
        "quicksilver_network_dropped_frames_total{network=\"main\",reason=\"checksum\"} 0",
    ] {
        assert!(text.lines().any(|each| each == line), "{line}\n{text}");
    }
}

#[test]
fn a_machine_without_a_monitor_says_so() {
    let snapshot = Snapshot { modes: Err("no virtualization".to_string()), ..snapshot() };
    let text = exposition::text(&snapshot);
    assert!(text.contains("quicksilver_vmm_available{vendor=\"none\"} 0\n"));
    assert!(
        text.contains("quicksilver_mode{mode=\"native\"} 1\n")
            && !text.contains("quicksilver_switches_total")
    );
    let now: Value = serde_json::from_str(&json::now(&snapshot, &[], &[])).unwrap();
    assert_eq!(
        (&now["mode"], &now["unavailable"]),
        (&Value::from("native"), &Value::from("no virtualization"))
    );
}

#[test]
fn the_state_is_one_object() {
    let event =
        Event { number: 7, at_ms: 10_000, direction: "enter", done: true, cpus: vec![vec![Some(0), None]] };
    let text = json::now(&snapshot(), &["call", "arrive"], &[event]);
    let now: Value = serde_json::from_str(&text).unwrap();
    let expected = [
        ("/mode", Value::from("guest")),
        ("/vendor", Value::from("svm")),
        ("/unavailable", Value::Null),
        ("/switches", Value::from(3)),
        ("/uptime_ms", Value::from(10_500)),
        ("/requests/kv/count", Value::from(2)),
        ("/requests/web/p99_ns", Value::Null),
        ("/networks/main/sent_bytes", Value::from(2000)),
        ("/exits/cpuid", Value::from(5)),
        ("/refusals/busy", Value::from(4)),
        ("/events/0/cpus/0/0", Value::from(0)),
        ("/events/0/cpus/0/1", Value::Null),
        ("/marks/1", Value::from("arrive")),
    ];
    for (pointer, value) in expected {
        assert_eq!(now.pointer(pointer), Some(&value), "{pointer} of {text}");
    }
}

#[test]
fn a_sample_says_what_happened_since_the_last() {
    let before = snapshot();
    let mut now = snapshot();
    now.uptime += 2_000_000_000;
    now.requests[0].1.add(1_000_000, 10);
    now.cpus[0].idle_nanos += 1_500_000_000;
    now.networks[0].1.received_bytes += 77;
    if let Ok(modes) = &mut now.modes {
        modes.guest_nanos += 1_000_000_000;
        modes.switches[0].done += 5;
    }
    let sample = Sample::between(3, &Totals::of(&before), &Totals::of(&now));
    assert_eq!((sample.number, sample.at, sample.length, sample.requests), (3, 12_500, 2_000, 10));
    assert_eq!((sample.guest, sample.switches, sample.received, sample.sent), (500, 5, 77, 0));
    assert!(sample.p99.abs_diff(1_000_000) < 250_000);
    assert_eq!(sample.busy(), [25, 100]);
    let rows: Value = serde_json::from_str(&json::history(4, [sample].into_iter())).unwrap();
    let columns: Vec<&str> =
        rows["columns"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    let row = rows["samples"][0].as_array().unwrap();
    assert_eq!((rows["next"].as_u64(), row.len()), (Some(4), columns.len() + 2));
    let of = |name| row[columns.iter().position(|column| *column == name).unwrap()].as_u64();
    assert_eq!((of("requests"), of("guest_permille"), of("received_bytes")), (Some(10), Some(500), Some(77)));
}

#[test]
fn the_history_forgets_its_oldest() {
    let mut history = History::new();
    assert!(history.reserve() && history.read(0).is_none());
    let totals = Totals::of(&snapshot());
    for number in 0..LENGTH as u64 + 5 {
        history.push(Sample::between(number, &totals, &totals));
    }
    let number = |from| history.read(from).map(|sample| sample.number);
    assert_eq!(
        (number(0), number(100), number(604), number(605), history.next()),
        (Some(5), Some(100), Some(604), None, 605)
    );
}

#[test]
fn the_page_brings_everything_and_may_load_nothing() {
    let html = page::HTML;
    for outside in ["http://", "https://", "src=", "href=", "@import", "url("] {
        let own = html.matches("http://www.w3.org/2000/svg").count();
        let found = html.matches(outside).count();
        assert!(found == 0 || (outside == "http://" && found == own), "{outside} is there");
    }
    assert_eq!((html.matches("<script>").count(), html.matches("<style>").count()), (1, 1));
    // The policy lets no style attribute in either.
    assert!(!html.contains("style=") && !html.contains("onclick"));
    let fields: String = page::fields();
    assert!(
        fields.contains("default-src 'none'; script-src 'sha256-") && fields.ends_with("\r\n"),
        "{fields}"
    );
    assert!(fields.lines().all(|line| line.contains(": ")));
}
