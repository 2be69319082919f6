//! The tests that run inside a machine, on all kinds of machines; and what its own benchmarks say, whose figures repeat
//! exactly where instructions are counted.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use image_builder::figures::{self, Figure};
use image_builder::machine::{Builder, End};
use image_builder::{Machine, MachineType};
use tests::guest::{Guest, checked_image, image};
use tests::slots;

/// A machine that has to emulate eight CPUs on two takes its time.
const PATIENCE: Duration = Duration::from_secs(300);

fn run(cpus: u32, builder: Builder) -> (End, String) {
    let guest = Guest::start_in(slots::take(cpus.div_ceil(2)), builder.cpus(cpus));
    let end = guest.wait_exit(PATIENCE).unwrap();
    (end, guest.serial_text())
}

/// All tests pass, and the machine ends itself. Returns what it said.
fn passes(cpus: u32, builder: Builder) -> String {
    let (end, said) = run(cpus, builder.elf(&image("selftest")));
    assert!(said.contains(" passed, 0 failed") && !said.contains("SKIPPED"), "{said}");
    assert_eq!(end, End::Shutdown, "{said}");
    // What the test of the VMM's memory has provoked.
    assert!(said.contains("an access to the VMM's memory at 0x"), "{said}");
    said
}

fn model(name: &str) -> Builder {
    Machine::builder().qemu_arg("-cpu").qemu_arg(name)
}

#[test]
fn one_cpu() {
    passes(1, Machine::builder());
}

#[test]
fn two_cpus_of_a_known_model() {
    passes(2, model("EPYC"));
}

#[test]
fn four_cpus_of_a_known_model_on_the_old_machine() {
    passes(4, model("EPYC").machine(MachineType::Pc));
}

#[test]
fn eight_cpus() {
    passes(8, Machine::builder());
}

#[test]
fn two_cpus_with_each_entry_checked() {
    let (end, said) = run(2, Machine::builder().elf(&checked_image("selftest")));
    assert!(end == End::Shutdown && said.contains(" passed, 0 failed"), "{said}");
}

/// An interrupt, and an NMI, at each instruction of the way there and back: `sweep=exact` has the machine assert that no offset
/// is left out, from before the first switch to behind the second. And whatever threads and interrupts do in all these tests,
/// they do it again in the same order.
#[test]
fn while_instructions_are_counted_sweeps_are_complete_and_all_counts_repeat() {
    let run = || {
        // Where the machine idles, time goes on at once and not by the host's clock.
        let builder = Machine::builder().icount().qemu_arg("-icount").qemu_arg("sleep=off");
        passes(1, builder.append("sweep=exact ip=off ip6=off"))
    };
    let said = run();
    for what in ["timer interrupts", "NMIs"] {
        assert!(said.contains(&format!("selftest: {what}: ")), "{said}");
    }
    assert_eq!(said, run());
}

fn bench(suite: &str, cpus: u32, icount: bool) -> Vec<Figure> {
    let mut builder = Machine::builder().elf(&image("bench")).append(&format!("bench={suite}"));
    if icount {
        // Nothing comes from outside at moments of the host's.
        builder = builder.icount().append("bench.unit=instructions ip=off ip6=off");
    }
    let (end, said) = run(cpus, builder);
    assert!(end == End::Shutdown && !said.contains("ERROR"), "{said}");
    let figures = figures::parse(&said);
    let unit = if icount { "instructions" } else { "tsc" };
    for figure in &figures {
        let Figure { n, min, p50, p99, max, .. } = *figure;
        assert!(n > 0 && min <= p50 && p50 <= p99 && p99 <= max && max > 0, "{figure:?}");
        assert_eq!((figure.cpus, &*figure.unit), (cpus, unit));
    }
    figures
}

fn names(figures: &[Figure]) -> Vec<(&str, &str)> {
    figures.iter().map(|figure| (&*figure.name, &*figure.mode)).collect()
}

#[test]
fn each_benchmark_gives_its_figures() {
    let threads =
        ["clock.read", "thread.yield", "thread.wake", "timer.interrupt"].map(|name| (name, "native"));
    assert_eq!(names(&bench("threads", 1, false)), threads);
    let switch = [
        ("switch.enter", "native"),
        ("switch.leave", "guest"),
        ("switch.rendezvous", "native"),
        ("exit.hypercall", "guest"),
        ("exit.cpuid", "guest"),
        ("exit.nested_split", "guest"),
    ];
    assert_eq!(names(&bench("switch", 2, false)), switch);
}

#[test]
fn a_switch_takes_the_same_few_instructions_each_time() {
    for cpus in [1, 2, 4, 8] {
        let figures = bench("switch", cpus, true);
        let again = bench("switch", cpus, true);
        assert_eq!(names(&figures), names(&again));
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
            let figure = figures.iter().find(|figure| figure.name == name).unwrap();
            let most = if cpus == 1 { figure.max } else { figure.p99 };
            assert!(most <= limit, "{figure:?}, at most {limit}");
        }
    }
}
