//! The tests that run inside a machine, on all kinds of machines.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use image_builder::machine::{Builder, End};
use image_builder::{Machine, MachineType};
use tests::guest::{Guest, checked_image, image};
use tests::slots;

/// A machine that has to emulate eight CPUs on two takes its time.
const PATIENCE: Duration = Duration::from_secs(300);

fn run(cpus: u32, builder: Builder) -> (End, String) {
    // Nothing wakes up that no test has set.
    let builder = builder.cpus(cpus).append("metrics.port=off");
    let guest = Guest::start_in(slots::take(cpus.div_ceil(2)), builder);
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

/// Memory frozen again and again under writers on all CPUs: each time as it was at one instant.
#[test]
fn snapshots_are_of_one_instant() {
    let snapshots = if tests::soaks() { 5_000 } else { 200 };
    for cpus in [1, 2, 4] {
        let builder = Machine::builder().elf(&image("selftest"));
        let (end, said) = run(cpus, builder.append(&format!("only=snapshot snapshots={snapshots}")));
        assert!(end == End::Shutdown && said.contains("3 passed, 0 failed"), "{said}");
        assert!(said.contains(&format!("{snapshots} snapshots, stopped for")), "{said}");
    }
}

/// What is not told to be written holds what it held, with writers on all CPUs.
#[test]
fn a_record_tells_what_was_written() {
    for (cpus, image) in [(1, image("selftest")), (2, checked_image("selftest")), (4, image("selftest"))] {
        let (end, said) = run(cpus, Machine::builder().elf(&image).append("only=record"));
        assert!(end == End::Shutdown && said.contains("1 passed, 0 failed"), "{said}");
        assert_eq!(said.matches("were told to be written").count(), 3, "{said}");
    }
}

/// The machine becomes what it was, three times, with writers on all CPUs.
#[test]
fn a_restore_brings_the_past_back() {
    for (cpus, image) in [(1, image("selftest")), (2, image("selftest")), (2, checked_image("selftest"))] {
        let (end, said) = run(cpus, Machine::builder().elf(&image).append("only=restore"));
        assert!(end == End::Shutdown && said.contains("1 passed, 0 failed"), "{said}");
        assert!(said.contains("restored 3 times"), "{said}");
    }
}

/// An interrupt, and an NMI, at each instruction of the way there and back: `sweep=exact` has the machine assert that no offset
/// is left out, from before the first switch to behind the second. And whatever threads and interrupts do in all these tests,
/// they do it again in the same order.
#[test]
fn while_instructions_are_counted_sweeps_are_complete_and_all_counts_repeat() {
    let run = || {
        let builder = Machine::builder().icount_alone();
        passes(1, builder.append("sweep=exact ip=off ip6=off"))
    };
    let said = run();
    for what in ["timer interrupts", "NMIs"] {
        assert!(said.contains(&format!("selftest: {what}: ")), "{said}");
    }
    assert_eq!(said, run());
}
