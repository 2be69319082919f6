//! Machines in Bochs: a second opinion on AMD's CPUs, and the only one on Intel's. They boot the same image from a CD.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use image_builder::config::{Bochs, Clock};
use image_builder::machine::End;
use image_builder::{Machine, Vendor};
use tests::guest::{self, Guest, PATIENCE, has_bochs, image};
use tests::load;

/// Boots all applications and talks to them.
fn serves(vendor: Vendor, cpus: u32) {
    if !has_bochs(&format!("{cpus} CPU(s) of {vendor} in Bochs")) {
        return;
    }
    let guest = Guest::serving(guest::machine().bochs(vendor).cpus(cpus));
    let counted = format!("{cpus} CPU{}", if cpus == 1 { "" } else { "s" });
    guest.wait_for_line(&counted, PATIENCE).unwrap();
    guest.assert_well();
    // Few at once: Bochs's user network keeps one connection waiting at a time, as QEMU's does.
    let work = ["-n", "1000", "-c", "5", "-t", "set,get"];
    let rows = load::redis_benchmark(guest.at("kv"), PATIENCE, &work).unwrap();
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert!(guest.qmp("query-status", serde_json::Value::Null).is_err());
    guest.kill().unwrap();
    assert_eq!(guest.wait_exit(PATIENCE).unwrap(), End::Stopped);
}

#[test]
fn one_cpu_of_amd_serves() {
    serves(Vendor::Amd, 1);
}

#[test]
fn two_cpus_of_amd_serve() {
    serves(Vendor::Amd, 2);
}

#[test]
fn one_cpu_of_intel_serves() {
    serves(Vendor::Intel, 1);
}

#[test]
fn two_cpus_of_intel_serve() {
    serves(Vendor::Intel, 2);
}

/// A machine whose time is its instructions, run to its end.
fn counted(vendor: Vendor, app: &str, settings: &str) -> (End, String) {
    let bochs = Bochs { clock: Clock::Instructions, model: vendor.model() };
    let builder = Machine::builder().elf(&image(app)).bochs_with(bochs).append(settings);
    let guest = Guest::start(builder);
    let end = guest.wait_exit(PATIENCE).unwrap();
    (end, guest.serial_text())
}

#[test]
fn the_reason_of_an_end_is_told() {
    if !has_bochs("the ends of machines in Bochs") {
        return;
    }
    let (end, said) = counted(Vendor::Intel, "faults", "test=overflow panic=exit");
    assert_eq!(end, End::DoubleFault, "{said}");
    assert!(said.contains("last words: stack overflow"), "{said}");
    assert_eq!(counted(Vendor::Amd, "faults", "test=panic panic=exit").0, End::Panic);
}

#[test]
fn equal_runs_are_equal() {
    if !has_bochs("repetition in Bochs") {
        return;
    }
    let run = || counted(Vendor::Amd, "faults", "test=panic panic=exit").1;
    let first = run();
    assert!(first.contains("last words: panic"), "{first}");
    assert_eq!(first, run());
}
