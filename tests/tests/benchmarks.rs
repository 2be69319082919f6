//! What a machine's own benchmarks say: all of it, in both modes, as the manual has it; and exactly the same again where
//! instructions are counted.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use image_builder::Machine;
use image_builder::config::{Bochs, Clock, CpuModel, Memory};
use image_builder::figures::{self, Figure};
use image_builder::machine::{Builder, End};
use serde_json::Value;
use tests::guest::{Guest, has_bochs, image};
use tests::{peer, schema, slots};

/// A machine that has to emulate several CPUs on two takes its time.
const PATIENCE: Duration = Duration::from_secs(300);
const MANUAL: &str = include_str!("../../kernel/doc/benchmarks.md");
const SCHEMA: &str = include_str!("../../kernel/doc/figure.schema.json");
/// Nothing comes from outside at moments of the host's.
const COUNTED: &str = "bench.unit=instructions ip=off ip6=off metrics.port=off";

fn run(builder: Builder, cpus: u32, settings: &str) -> String {
    let builder = builder.elf(&image("bench")).cpus(cpus).append(settings);
    let guest = Guest::start_in(slots::take(cpus.div_ceil(2)), builder);
    let end = guest.wait_exit(PATIENCE).unwrap();
    let said = guest.serial_text();
    assert_eq!(end, End::Shutdown, "{said}");
    said
}

/// The figures in a serial log, each as the schema wants it.
fn figures(said: &str, cpus: u32) -> Vec<Figure> {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let figures = figures::parse(said);
    for figure in &figures {
        let Figure { n, min, p50, p99, max, .. } = *figure;
        assert_eq!(schema::wrong(&schema, &serde_json::to_value(figure).unwrap()), None);
        assert!(min <= p50 && p50 <= p99 && p99 <= max && max > 0, "{figure:?}");
        assert!(
            figure.cpus == cpus && figure.outliers.unwrap() <= n && figure.runs.unwrap() <= n,
            "{figure:?}"
        );
        assert!(figure.ratio.is_none() || figure.mode == "guest", "{figure:?}");
    }
    figures
}

fn measured(figures: &[Figure]) -> Vec<(&str, &str)> {
    figures.iter().map(|figure| (&*figure.name, &*figure.mode)).collect()
}

/// The benchmarks of the manual, each with the modes that it has.
fn manual(wanted: impl Fn(&str) -> bool) -> Vec<(&'static str, &'static str)> {
    let names = MANUAL.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    let names = names.map(|(name, _)| name).filter(|name| name.contains('.') && wanted(name));
    let modes = |name| match name {
        "switch.enter" | "switch.rendezvous" => &["native"][..],
        "switch.leave" | "exit.hypercall" | "exit.nested_split" => &["guest"],
        _ if name.starts_with("snapshot.") => &["guest"],
        _ => &["native", "guest"],
    };
    names.flat_map(|name| modes(name).iter().map(move |mode| (name, *mode))).collect()
}

/// A file of zeros that is gone with this.
struct Disk(PathBuf);

impl Disk {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("qs-bench-{}-{name}", std::process::id()));
        fs::write(&path, vec![0; 4 << 20]).unwrap();
        Self(path)
    }

    fn is_written(&self) -> bool {
        fs::read(&self.0).unwrap().contains(&0xb5)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}

#[test]
fn each_benchmark_of_the_manual_gives_its_figures_in_both_modes() {
    let disk = Disk::new("all");
    let settings = format!("bench.quick=on bench.disk=disk0 bench.peer=10.0.2.2:{}", peer::serve());
    let said = run(Machine::builder().disk(&disk.0), 2, &settings);
    let figures = figures(&said, 2);
    assert!(!said.contains("is left out") && !said.contains("ERROR"), "{said}");
    assert_eq!(measured(&figures), manual(|_| true), "{said}");
    for figure in &figures {
        // Guest mode as a multiple of native, wherever there are both and natively it is not nothing.
        let both = figures.iter().filter(|other| other.name == figure.name).count() == 2;
        let native = figures.iter().find(|other| other.name == figure.name).unwrap();
        assert_eq!(figure.ratio.is_some(), both && figure.mode == "guest" && native.p50 > 0, "{figure:?}");
        let is_rate = MANUAL.contains(&format!("| `{}` | time |", figure.name));
        assert_eq!(figure.unit == "tsc", is_rate, "{figure:?}");
        assert_eq!(figure.runs, Some(2), "{figure:?}");
    }
    assert!(disk.is_written());
}

#[test]
fn what_cannot_be_measured_is_left_out_with_the_reason() {
    let disk = Disk::new("unnamed");
    let without = Machine::builder().qemu_arg("-cpu").qemu_arg("max,svm=off").disk(&disk.0);
    let said = run(without, 1, "bench.quick=on bench=thread.yield,ipi,net.tcp,disk,exit,switch.enter");
    for left_out in [
        "guest mode is left out: ",
        "ipi.wake is left out: it takes 2 CPUs",
        "net.tcp_connect is left out: bench.peer=ADDRESS[:PORT] names no echo service",
        "disk.write_random is left out: bench.disk=NAME names no disk to be overwritten",
        "exit.hypercall is left out: ",
        "switch.enter is left out: ",
    ] {
        assert!(said.contains(left_out), "{left_out}: {said}");
    }
    assert!(!said.contains("ERROR") && !disk.is_written(), "{said}");
    assert_eq!(
        measured(&figures(&said, 1)),
        [("thread.yield", "native"), ("exit.cpuid", "native")],
        "{said}"
    );
}

/// A disk that is not there, or that is somebody's, is refused, and no other is written to instead.
#[test]
fn no_disk_is_overwritten_by_mistake() {
    let disk = Disk::new("used");
    let refused = |settings: &str, why: &str| {
        let said = run(Machine::builder().disk(&disk.0), 1, &format!("bench=disk bench.quick=on {settings}"));
        assert!(said.contains(&format!("ERROR bench: disk.write_sequential is left out: {why}")), "{said}");
        assert!(figures::parse(&said).is_empty() && !disk.is_written(), "{said}");
    };
    refused("bench.disk=disk1", "bench.disk=disk1: there is no such disk");
    let mut sectors = fs::read(&disk.0).unwrap();
    sectors[510..512].copy_from_slice(&[0x55, 0xaa]);
    fs::write(&disk.0, &sectors).unwrap();
    refused("bench.disk=disk0", "the disk named by bench.disk has a boot sector");
}

#[test]
fn the_same_figures_come_again_where_instructions_are_counted() {
    let settings = format!("bench.quick=on {COUNTED}");
    let once = || run(Machine::builder().icount_alone(), 1, &settings);
    let first = figures(&once(), 1);
    let alone = |name: &str| !["net.", "disk.", "ipi."].iter().any(|start| name.starts_with(start));
    assert_eq!(measured(&first), manual(alone));
    assert!(first.iter().all(|figure| figure.unit.contains("instructions")), "{first:?}");
    for (first, second) in first.iter().zip(figures(&once(), 1)) {
        assert_eq!(*first, second);
    }
}

#[test]
fn a_switch_takes_the_same_few_instructions_each_time() {
    for cpus in [1, 2, 4, 8] {
        let once =
            || figures(&run(Machine::builder().icount(), cpus, &format!("bench=switch {COUNTED}")), cpus);
        let (figures, again) = (once(), once());
        assert_eq!(measured(&figures), measured(&again));
        for (first, second) in figures.iter().zip(&again) {
            if cpus == 1 {
                assert_eq!(first, second, "counts repeat");
            } else {
                // QEMU runs several CPUs in turn, and an event of the host's now and then ends a turn: outliers differ.
                assert_eq!((first.min, first.p50), (second.min, second.p50), "{first:?} {second:?}");
            }
        }
        // Interrupts are off for so long on each CPU at most, however many there are.
        let limits = [
            ("switch.enter", 600),
            ("switch.leave", 600),
            ("exit.hypercall", 150),
            ("exit.cpuid", 200),
            ("exit.nested_split", 1500),
        ];
        for (name, limit) in limits {
            for figure in figures.iter().filter(|figure| figure.name == name) {
                let most = if cpus == 1 { figure.max } else { figure.p99 };
                assert!(most <= limit, "{figure:?}, at most {limit}");
            }
        }
    }
}

/// The machine stands still for few instructions, in a small one and in a large one; and writers pay little afterwards.
#[test]
fn a_freeze_and_what_is_copied_take_few_instructions() {
    let stops = [Memory::mebibytes(128), Memory::gibibytes(16)].map(|memory| {
        let builder = Machine::builder().icount_alone().memory(memory);
        let figures = figures(&run(builder, 1, &format!("bench=snapshot {COUNTED}")), 1);
        let of = |name: &str| figures.iter().find(|figure| figure.name == name).unwrap().max;
        assert!(of("snapshot.first_write") <= 6_000 && of("snapshot.next_write") <= 2_000, "{figures:?}");
        of("snapshot.stop")
    });
    // What differs is in how many large pages the first pages lie that are written, not how many there are.
    assert!(stops.iter().all(|stop| *stop <= 20_000) && stops[1] <= stops[0] + stops[0] / 10, "{stops:?}");
}

/// On VMX, with one CPU and without a network or a disk of its own.
#[test]
fn each_benchmark_that_bochs_has_gives_its_figures_on_intel() {
    if !has_bochs("benchmarks on VMX") {
        return;
    }
    let bochs = Bochs { clock: Clock::Instructions, model: CpuModel::SkylakeX, ..Bochs::default() };
    let said = run(Machine::builder().bochs_with(bochs), 1, &format!("bench.quick=on {COUNTED}"));
    assert!(!said.contains("ERROR"), "{said}");
    let alone = |name: &str| !["net.", "disk.", "ipi."].iter().any(|start| name.starts_with(start));
    assert_eq!(measured(&figures(&said, 1)), manual(alone), "{said}");
}
