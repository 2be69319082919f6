//! Checkpoints of machines whose CPUs stamp pages in step, while a store serves: in each, all stamps are of one instant.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use image_builder::checkpoint as file;
use image_builder::machine::Builder;
use image_builder::{Machine, Vendor};
use tests::checkpoints::id;
use tests::guest::{Guest, has_bochs, image};
use tests::remote::{Place, checkpoint};
use tests::stamps::Stamps;
use tests::store::Load;

/// Each so many is a full one, the others build on the one before.
const CHAIN: usize = 10;

/// Takes so many checkpoints, one after the other.
fn are_of_one_instant(name: &str, builder: Builder, count: usize) {
    let guest = Guest::serving(builder.elf(&image("kv,selftest")).append("stamps=on"));
    let (place, key) = (Place::new(&format!("stamps-{name}")), file::key::of_user().unwrap());
    let load = Load::of(&guest);
    let (mut stamps, mut base) = (Stamps::default(), String::new());
    let (mut steps, mut under_way, mut pages) = (Vec::new(), 0, 0);
    for number in 0..count {
        let line = match number % CHAIN {
            0 => "checkpoint --track".to_owned(),
            _ => format!("checkpoint --track --base {base}"),
        };
        let (status, said) = checkpoint(&guest, &line, &place.0);
        assert_eq!(status, Some(0), "{number}: {said}");
        let (header, found) = stamps.read(&place.0, &key);
        assert_eq!(header.base.is_some(), number % CHAIN != 0);
        base = id(&header);
        pages += found;
        let (step, is_under_way) = stamps.assert_one_instant();
        steps.push(step);
        under_way += usize::from(is_under_way);
    }
    drop(load);
    assert!(steps.is_sorted() && steps.first() < steps.last(), "{steps:?}");
    println!(
        "{name}: {count} checkpoints, {under_way} amid a step, {} steps, {pages} stamped pages",
        steps.last().unwrap() - steps[0]
    );
    assert_eq!(guest.redis_cli(&["PING"]), "PONG");
}

fn checkpoints(few: usize, many: usize) -> usize {
    if tests::soaks() { many } else { few }
}

#[test]
fn of_one_cpu_are_of_one_instant() {
    are_of_one_instant("svm-1", Machine::builder().cpus(1), checkpoints(50, 2_000));
}

#[test]
fn of_two_cpus_are_of_one_instant() {
    are_of_one_instant("svm-2", Machine::builder().cpus(2), checkpoints(200, 2_000));
}

/// Few: one takes Bochs as long as twenty do QEMU. `bochs.rs` has many snapshots, judged inside the machine.
#[test]
fn of_intel_are_of_one_instant() {
    if has_bochs("checkpoints of stamped pages on VMX") {
        let builder = Machine::builder().bochs(Vendor::Intel).cpus(2);
        are_of_one_instant("vmx-2", builder, checkpoints(10, 200));
    }
}
