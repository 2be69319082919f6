//! Machines in Bochs: a second opinion on AMD's CPUs, and the only one on Intel's. They boot the same image from a CD.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use image_builder::config::{Bochs, Clock, CpuModel};
use image_builder::figures;
use image_builder::machine::End;
use image_builder::{Machine, Vendor};
use tests::clock::Clock as Ticks;
use tests::guest::{self, Guest, PATIENCE, checked_image, has_bochs, image};
use tests::operator::{self, Operator, REFUSED, TIMED_OUT};
use tests::{load, slots};

/// Switches of each machine under the register checker, and again under load, by an operator and a job of his.
fn switches() -> u64 {
    if tests::soaks() { 20_000 } else { 500 }
}

/// Snapshots under writers.
fn snapshots() -> u64 {
    if tests::soaks() { 2_000 } else { 200 }
}

/// How long the tests inside a machine may take.
fn long() -> Duration {
    Duration::from_secs(if tests::soaks() { 3000 } else { 300 })
}

/// Boots all applications, talks to them, and switches beneath them.
fn serves(vendor: Vendor, cpus: u32) {
    if !has_bochs(&format!("{cpus} CPU(s) of {vendor} in Bochs")) {
        return;
    }
    let builder = Machine::builder().elf(&image("kv,web,bench")).append("bench=ticks");
    let guest = Guest::serving(builder.bochs(vendor).cpus(cpus));
    let counted = format!("{cpus} CPU{}", if cpus == 1 { "" } else { "s" });
    guest.wait_for_line(&counted, PATIENCE).unwrap();
    guest.assert_serving();
    // Few at once: Bochs's user network keeps one connection waiting at a time, as QEMU's does.
    let work = ["-n", "1000", "-c", "5", "-t", "set,get"];
    let rows = load::redis_benchmark(guest.at("kv"), PATIENCE, &work).unwrap();
    assert_eq!(rows.len(), 2, "{rows:?}");
    switches_under_load(&guest, vendor);
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

/// Each switch is one, no client notices, and each tick of each CPU's timer comes.
fn switches_under_load(guest: &Guest, vendor: Vendor) {
    let operator = Operator::of(guest);
    let clock = Ticks::without_loss(guest);
    let name = match vendor {
        Vendor::Amd => "svm",
        Vendor::Intel => "vmx",
    };
    assert_eq!(operator.status()["vendor"], name);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut runs = 0;
            while !over.load(Ordering::Relaxed) {
                let work = ["-n", "200", "-c", "2", "-t", "set,get"];
                load::redis_benchmark(guest.at("kv"), PATIENCE, &work).unwrap();
                runs += 1;
            }
            runs
        });
        operator.toggle_times(switches());
        over.store(true, Ordering::Relaxed);
        assert!(client.join().unwrap() > 0);
    });
    let ticks = Ticks::without_loss(guest).ticks - clock.ticks;
    assert!(ticks >= switches(), "{ticks} ticks in {} switches", switches());
    guest.assert_serving();
}

/// A machine whose time is its instructions, run to its end.
fn counted(model: CpuModel, cpus: u32, image: &Path, settings: &str) -> (End, String) {
    let bochs = Bochs { clock: Clock::Instructions, model, ..Bochs::default() };
    let builder = Machine::builder().elf(image).bochs_with(bochs).cpus(cpus).append(settings);
    // Bochs is one thread, whatever it emulates.
    let guest = Guest::start_in(slots::take(1), builder);
    let end = guest.wait_exit(long()).unwrap();
    (end, guest.serial_text())
}

/// All tests inside the machine pass, switches under the register checker among them.
fn passes(model: CpuModel, cpus: u32, image: &Path) {
    if !has_bochs(&format!("the tests inside {cpus} CPU(s), {model}")) {
        return;
    }
    let (switches, snapshots) = (switches(), snapshots());
    let mut settings = format!("x87=all switches={switches} snapshots={snapshots} metrics.port=off");
    if model.vendor() == Vendor::Amd {
        // See `what_bochs_has_not_is_skipped`.
        settings += " skip=deliveries,snapshot,record,restore";
    }
    if cpus == 1 {
        settings += " sweep=exact";
    }
    let (end, said) = counted(model, cpus, image, &settings);
    assert!(said.contains(" passed, 0 failed") && !said.contains("SKIPPED"), "{said}");
    assert_eq!(end, End::Shutdown, "{said}");
    assert!(said.contains(&format!("rounds of registers in {switches} switches")), "{said}");
    let taken = said.contains(&format!("{snapshots} snapshots, stopped for"));
    assert_eq!(taken, model.vendor() == Vendor::Intel, "{said}");
}

#[test]
fn one_cpu_of_amd_passes_the_tests_inside() {
    passes(CpuModel::Ryzen, 1, &image("selftest"));
}

#[test]
fn two_cpus_of_amd_pass_the_tests_inside_with_each_entry_checked() {
    passes(CpuModel::Ryzen, 2, &checked_image("selftest"));
}

#[test]
fn one_cpu_of_intel_passes_the_tests_inside() {
    passes(CpuModel::SkylakeX, 1, &image("selftest"));
}

#[test]
fn two_cpus_of_intel_pass_the_tests_inside_with_each_entry_checked() {
    passes(CpuModel::SkylakeX, 2, &checked_image("selftest"));
}

/// Without XSAVE, and on Intel without pages of 1 GiB.
#[test]
fn old_cpus_pass_the_tests_inside() {
    passes(CpuModel::Toliman, 1, &image("selftest"));
    passes(CpuModel::Arrandale, 1, &image("selftest"));
}

#[test]
fn where_there_can_be_no_vmm_the_system_serves_on() {
    for (model, reason) in [
        (CpuModel::Penryn, "no EPT"),
        (CpuModel::Lynnfield, "no unrestricted guests"),
        (CpuModel::Tyler, "no nested paging"),
    ] {
        if !has_bochs(&format!("the refusal of {model}")) {
            return;
        }
        let bochs = Bochs { model, ..Bochs::default() };
        let guest = Guest::serving(Machine::builder().elf(&image(guest::ALL)).forward(7).bochs_with(bochs));
        let operator = Operator::of(&guest);
        let (status, body) = operator.ask("mode guest");
        assert_eq!(status, REFUSED, "{body}");
        assert!(body["error"].as_str().unwrap().contains(reason), "{model}: {body}");
        assert_eq!(operator.status()["mode"], "native");
        guest.assert_well();
    }
}

#[test]
fn a_cpu_that_does_not_answer_is_named() {
    if !has_bochs("a deaf CPU") {
        return;
    }
    let builder = Machine::builder().elf(&image("kv,faults")).cpus(2).append("test=deaf");
    let guest = Guest::serving(builder.bochs(Vendor::Intel));
    operator::meets_refusals(&guest, TIMED_OUT, "CPU 1", 3, |_, _| {});
}

/// What the tests in QEMU do and those in Bochs can't, with the reasons, in one place.
#[test]
fn what_bochs_has_not_is_skipped() {
    if !has_bochs("what it has not") {
        return;
    }
    // With the echo of `stream`, three of five ports.
    let builder = Machine::builder().elf(&image(guest::ALL)).forward(7);
    let guest = Guest::serving(builder.bochs(Vendor::Intel));
    let error = guest.qmp("inject-nmi", serde_json::Value::Null).unwrap_err();
    guest::skip("NMIs from outside while switching, in Bochs (those of the PIT's line are there)", &error);
    guest.assert_well();
    for (what, why) in [
        (
            "a delivery that meets a nested fault, on SVM in Bochs",
            "EXITINTINFO has the last exception, not the interrupt",
        ),
        (
            "a snapshot, a record and a restore, with interrupts, on SVM in Bochs",
            "first writes meet deliveries all the time",
        ),
        (
            "a triple fault in guest mode, on SVM in Bochs",
            "it ends the machine before it asks for the intercept",
        ),
        ("4 and 8 CPUs in Bochs", "all CPUs are one thread of the host's"),
        ("q35 and microvm in Bochs", "its chipset is an i440FX"),
        ("virtio and disks in Bochs", "it has neither virtio nor ports for more"),
        ("a VMX that firmware has locked, in Bochs", "its BIOS leaves IA32_FEATURE_CONTROL open"),
    ] {
        guest::skip(what, &why);
    }
}

/// Interrupts are off for so few instructions at most, on each CPU; and one machine's counts repeat.
#[test]
fn a_switch_takes_few_instructions() {
    if !has_bochs("instructions of a switch") {
        return;
    }
    let run = |model, cpus| {
        let settings = "bench=switch bench.quick=on bench.unit=instructions ip=off ip6=off metrics.port=off";
        let (end, said) = counted(model, cpus, &image("bench"), settings);
        assert!(end == End::Shutdown && !said.contains("ERROR"), "{said}");
        figures::parse(&said)
    };
    for (model, cpus, limit) in [
        (CpuModel::Ryzen, 1, 600),
        (CpuModel::Ryzen, 2, 600),
        (CpuModel::SkylakeX, 1, 800),
        (CpuModel::SkylakeX, 2, 800),
    ] {
        let figures = run(model, cpus);
        for name in ["switch.enter", "switch.leave"] {
            let figure = figures.iter().find(|figure| figure.name == name).unwrap();
            assert!(figure.max <= limit, "{model}: {figure:?}, at most {limit}");
        }
        if (model, cpus) == (CpuModel::SkylakeX, 2) {
            assert_eq!(figures, run(model, cpus));
        }
    }
}

/// Nothing changes while something holds a pin, and the pin is named.
#[test]
fn a_pin_is_named() {
    if !has_bochs("a pin") {
        return;
    }
    let builder = Machine::builder().elf(&image("kv,faults")).append("test=pin").bochs(Vendor::Intel);
    operator::meets_a_pin(&Guest::serving(builder));
}

#[test]
fn the_reason_of_an_end_is_told() {
    if !has_bochs("the ends of machines in Bochs") {
        return;
    }
    let (end, said) = counted(CpuModel::SkylakeX, 1, &image("faults"), "test=overflow panic=exit");
    assert_eq!(end, End::DoubleFault, "{said}");
    assert!(said.contains("last words: stack overflow"), "{said}");
    assert_eq!(counted(CpuModel::Ryzen, 1, &image("faults"), "test=panic panic=exit").0, End::Panic);
    // In guest mode a triple fault is an exit, and last words.
    let (end, said) = counted(CpuModel::SkylakeX, 1, &image("faults"), "test=triple panic=exit");
    assert_eq!(end, End::Panic, "{said}");
    assert!(said.contains("a triple fault"), "{said}");
}

#[test]
fn equal_runs_are_equal() {
    if !has_bochs("repetition in Bochs") {
        return;
    }
    let run = || counted(CpuModel::Ryzen, 1, &image("faults"), "test=panic panic=exit ip=off ip6=off").1;
    let (first, second) = (run(), run());
    assert!(first.contains("last words: panic"), "{first}");
    let ((times, text), (times_again, text_again)) = (apart(&first), apart(&second));
    assert_eq!(text, text_again);
    assert!(times.len() > 5, "{first}");
    // Bochs's RDRAND is the host's chance, and a few instructions depend on it.
    let are_near = times.iter().zip(&times_again).all(|(one, other)| one.abs_diff(*other) <= 2);
    assert!(are_near, "{times:?}, {times_again:?} us");
}

/// The microseconds at the beginning of lines of the log, and all else.
fn apart(said: &str) -> (Vec<u64>, String) {
    let mut times = Vec::new();
    let rest = said.split_inclusive('\n').map(|line| {
        let stamp = line.split_once("] ").and_then(|(stamp, rest)| Some((stamp.rsplit_once('[')?.1, rest)));
        let parsed = stamp.and_then(|(time, rest)| Some((time.trim().replace('.', "").parse().ok()?, rest)));
        match parsed {
            Some((time, rest)) => {
                times.push(time);
                rest
            }
            None => line,
        }
    });
    let rest = rest.collect();
    (times, rest)
}
