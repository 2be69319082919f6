//! Checkpoints that machines go on from: the same system, on another machine or later on this one.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use image_builder::control::{self, Keys};
use image_builder::machine::Builder;
use image_builder::{Machine, Nic, Vendor};
use tests::guest::{self, Guest};
use tests::operator::{FAILED, Operator};
use tests::remote::{self, Place};

/// A second since 1970, by 65,536: generations of restored systems are above.
const ANEW: u64 = 1_700_000_000 << 16;

/// Frozen on one machine, and restored on a fresh one.
fn goes_on(name: &str, before: Builder, after: Builder, mode: &str) {
    let place = Place::new(name);
    let guest = Guest::serving(before);
    let operator = Operator::of(&guest);
    if operator.status()["mode"] != mode {
        operator.toggle();
    }
    assert_eq!(guest.redis_cli(&["SET", "greeting", "hello"]), "OK");
    for value in ["1", "2", "3"] {
        guest.redis_cli(&["RPUSH", "list", value]);
    }
    let frozen = operator.status();
    let (status, said) = remote::checkpoint(&guest, "checkpoint", &place.0);
    assert_eq!(status, Some(0), "{said}");
    // What comes later is not in it.
    assert_eq!(guest.redis_cli(&["SET", "greeting", "later"]), "OK");
    drop((operator, guest));

    let guest = Guest::serving(after);
    assert_eq!(guest.redis_cli(&["GET", "greeting"]), "");
    assert_eq!(guest.redis_cli(&["SET", "fresh", "lost"]), "OK");
    control::restore(&guest, &Keys::of_user().unwrap(), &place.0, false).unwrap();
    let operator = Operator::of(&guest);
    let status = operator.status();
    assert_eq!(status["mode"], mode, "{status}");
    let number = |status: &serde_json::Value, name: &str| status[name].as_u64().unwrap();
    assert!(number(&status, "generation") > ANEW, "{status}");
    assert!(number(&status, "uptime_ms") >= number(&frozen, "uptime_ms"), "{status}");
    let used = |status: &serde_json::Value| {
        status["memory"]["total"].as_u64().unwrap() - status["memory"]["free"].as_u64().unwrap()
    };
    assert!(used(&status) < used(&frozen) + (24 << 20), "memory is lost: {frozen} {status}");
    assert_eq!(guest.redis_cli(&["GET", "greeting"]), "hello");
    assert_eq!(guest.redis_cli(&["LRANGE", "list", "0", "-1"]), "1\n2\n3");
    assert_eq!(guest.redis_cli(&["EXISTS", "fresh"]), "0");
    assert_eq!(guest.redis_cli(&["SET", "after", "kept"]), "OK");
    // All goes on: switches, devices, another checkpoint, and back once more.
    operator.toggle();
    operator.toggle();
    let second = Place::new(&format!("{name}-second"));
    let (code, said) = remote::checkpoint(&guest, "checkpoint", &second.0);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(guest.redis_cli(&["SET", "after", "gone"]), "OK");
    drop(operator);
    control::restore(&guest, &Keys::of_user().unwrap(), &second.0, false).unwrap();
    assert_eq!(guest.redis_cli(&["GET", "after"]), "kept");
    let again = Operator::of(&guest).status();
    assert!(number(&again, "generation") > number(&status, "generation"), "{again}");
    assert!(used(&again) < used(&status) + (8 << 20), "memory is lost: {status} {again}");
    guest.assert_serving();
}

#[test]
fn a_native_machine_goes_on() {
    goes_on("native", guest::machine().cpus(1), guest::machine().cpus(1), "native");
}

#[test]
fn a_machine_with_two_cpus_goes_on_in_guest_mode() {
    goes_on("two", guest::machine().cpus(2), guest::machine().cpus(2), "guest");
}

/// The network card is of another model, and there is more memory.
#[test]
fn a_machine_goes_on_with_other_devices() {
    let before = guest::machine().cpus(1).memory("256M".parse().unwrap());
    goes_on(
        "other",
        before,
        guest::machine().cpus(1).memory("1G".parse().unwrap()).nic(Nic::E1000e),
        "native",
    );
}

/// What the store has used is where the other one has memory, too.
#[test]
fn a_machine_goes_on_with_less_memory() {
    let after = guest::machine().cpus(2).memory("256M".parse().unwrap());
    goes_on("less", guest::machine().cpus(2), after, "native");
}

/// On Intel's CPUs, which Bochs alone emulates.
#[test]
fn a_machine_of_intel_goes_on() {
    if !guest::has_bochs("a restore with VMX") {
        return;
    }
    let machine = || Machine::builder().elf(&guest::image("kv,web")).bochs(Vendor::Intel);
    goes_on("vmx", machine().cpus(2), machine().cpus(2), "native");
}

/// Whatever is not a whole checkpoint of this very image and machine is refused with the reason, and nothing has changed.
#[test]
fn what_does_not_fit_is_refused_and_the_machine_serves_on() {
    const SLACK: u64 = 4 << 20;
    let place = Place::new("refused");
    let guest = Guest::serving(guest::machine().cpus(1));
    guest.redis_cli(&["SET", "greeting", "hello"]);
    // More than the smaller machine has, though nothing but zeros.
    assert_eq!(guest.redis_cli(&["SETRANGE", "large", "100000000", "x"]), "100000001");
    assert_eq!(remote::checkpoint(&guest, "checkpoint", &place.0).0, Some(0));
    let whole = fs::read(&place.0).unwrap();
    let operator = Operator::of(&guest);
    let before = operator.status();
    let free = |status: &serde_json::Value| status["memory"]["free"].as_u64().unwrap();
    let refused = |guest: &Guest, bytes: &[u8], why: &str| {
        let other = Place::new("refused-other");
        fs::write(&other.0, bytes).unwrap();
        let (status, said) = remote::restore(guest, &other.0);
        assert_eq!(status, Some(i32::from(FAILED)), "{said}");
        assert!(said.contains(why), "{why}: {said}");
        guest.redis_cli(&["PING"]);
    };
    refused(&guest, b"", "ends");
    refused(&guest, b"GIF89a and something else", "magic");
    refused(&guest, &whole[..whole.len() - 1], "ends");
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    refused(&guest, &flipped, "tag");
    refused(&guest, &[&whole[..], b"more"].concat(), "follows its last chunk");
    let status = operator.status();
    assert_eq!((&status["mode"], &status["switches"]), (&before["mode"], &before["switches"]));
    assert!(free(&status) + SLACK >= free(&before), "memory is lost: {before} {status}");
    assert_eq!(guest.redis_cli(&["GET", "greeting"]), "hello");
    drop((operator, guest));

    let guest = Guest::serving(guest::machine().cpus(2).memory("128M".parse().unwrap()));
    refused(&guest, &whole, "it needs 1 CPUs, and there are 2");
    refused(&guest, &whole, "where there is no");
    drop(guest);
    let image = guest::image("kv");
    let guest = Guest::serving(Machine::builder().elf(&image).cpus(1));
    refused(&guest, &whole, "it was taken of another image");
}
