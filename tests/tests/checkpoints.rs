//! Checkpoints of a machine that serves, by OpenSSH's own client into a file.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Stdio;

use checkpoint::PAGE;
use image_builder::Machine;
use image_builder::checkpoint::{self as file, Trust};
use image_builder::control::{self, Keys};
use image_builder::kernel::CheckpointKey;
use tests::checkpoints;
use tests::guest::{self, Guest, wait_until};
use tests::operator::{DONE, FAILED, Operator, REFUSED};
use tests::remote::{Place, checkpoint, client, restore};
use tests::store::{FILLED, Load, VALUE, fill};

/// What `restore` says, which is refused.
fn is_refused(guest: &Guest, from: &Path) -> String {
    let (status, said) = restore(guest, from);
    assert_eq!(status, Some(i32::from(FAILED)), "{said}");
    guest.assert_serving();
    said
}

fn free(operator: &Operator) -> u64 {
    operator.status()["memory"]["free"].as_u64().unwrap()
}

/// Takes checkpoints of a machine under load, in both modes; they are whole and say what it is, and nothing remains of them.
fn is_taken_under_load(cpus: u32) {
    const SLACK: u64 = 4 << 20;
    let guest = Guest::serving(guest::machine().cpus(cpus));
    let operator = Operator::of(&guest);
    assert_eq!(guest.redis_cli(&["SET", "before", "kept"]), "OK");
    fill(&guest, 'a');
    let mut images = Vec::new();
    for mode in ["native", "guest"] {
        if operator.status()["mode"] != mode {
            operator.toggle();
        }
        let place = Place::new(&format!("{mode}-{cpus}"));
        let made = operator.status()["generation"].as_u64().unwrap();
        let load = Load::of(&guest);
        let before = free(&operator);
        let (status, said) = checkpoint(&guest, "checkpoint", &place.0);
        assert_eq!(status, Some(0), "{said}");
        assert!(said.contains("MiB of memory\n") && said.contains("stopped for"), "{said}");
        println!("{mode}, {cpus} CPUs: {}", said.lines().last().unwrap());
        drop(load);
        let (totals, trust) = file::verify(&place.0, None).unwrap();
        assert!(totals.pages > (FILLED / PAGE) as u64 && trust == Trust::Key, "{totals:?} {trust:?}");
        let header = file::inspect(&place.0, None).unwrap().manifest.header;
        assert_eq!((header.cpus, header.generation), (cpus, made));
        images.push(header.image);
        let status = operator.status();
        assert_eq!(
            (status["mode"].as_str(), status["generation"].as_u64()),
            (Some(mode), Some(made + 1)),
            "{status}"
        );
        wait_until("memory to be given back", || free(&operator) + SLACK >= before);
        assert_eq!(guest.redis_cli(&["GET", "before"]), "kept");
        guest.assert_serving();
    }
    assert_eq!(images[0], images[1]);
}

#[test]
fn is_taken_under_load_with_one_cpu() {
    is_taken_under_load(1);
}

#[test]
fn is_taken_under_load_with_two_cpus() {
    is_taken_under_load(2);
}

/// The ID that a checkpoint has.
fn id(place: &Place) -> String {
    checkpoints::id(&file::inspect(&place.0, None).unwrap().manifest.header)
}

/// A base and two increments of a machine under load, merged, are the machine as it was at the last one: another machine goes on from there. An
/// increment is as small as what was written; and what ends the record makes the next one a full one, and says so.
fn increments_are_merged(cpus: u32) {
    let guest = Guest::serving(guest::machine().cpus(cpus));
    let operator = Operator::of(&guest);
    let [base, first, second, merged] =
        ["base", "first", "second", "merged"].map(|name| Place::new(&format!("{name}-{cpus}")));
    let refused = |line: &str, why: &str| {
        let (status, said) = checkpoint(&guest, line, &merged.0);
        assert_eq!(status, Some(i32::from(REFUSED)), "{said}");
        assert!(said.contains(why), "{said}");
    };
    fill(&guest, 'a');
    refused(&format!("checkpoint --base {:032x}", 7), "is not recorded");
    let load = Load::of(&guest);
    let (status, said) = checkpoint(&guest, "checkpoint --track", &base.0);
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains(&format!("can build on {}", id(&base))), "{said}");
    drop(load);
    assert_eq!(operator.status()["mode"], "guest");
    refused(&format!("checkpoint --base {:032x}", 7), &format!("since checkpoint {}", id(&base)));
    assert_eq!(guest.redis_cli(&["SET", "between", "one"]), "OK");
    let on = |base: &Place, more: &str, to: &Place| {
        let (status, said) = checkpoint(&guest, &format!("checkpoint --base {}{more}", id(base)), &to.0);
        assert_eq!(status, Some(0), "{said}");
        println!("{cpus} CPUs: {}", said.lines().last().unwrap());
        file::verify(&to.0, None).unwrap().0.pages
    };
    let all = file::verify(&base.0, None).unwrap().0.pages;
    let few = on(&base, " --track", &first);
    assert!(few * 4 < all, "{few} pages of {all}");
    // Under load, and with much that is new where frames were free.
    let load = Load::of(&guest);
    fill(&guest, 'b');
    assert_eq!(guest.redis_cli(&["SET", "between", "two"]), "OK");
    assert!(on(&first, "", &second) > (FILLED / checkpoint::PAGE) as u64);
    drop(load);
    // That was the last one on the record; and one does not outlive guest mode.
    refused(&format!("checkpoint --base {}", id(&second)), "is not recorded");
    assert_eq!(operator.status()["mode"], "guest");
    let over = Place::new(&format!("over-{cpus}"));
    assert_eq!(checkpoint(&guest, "checkpoint --track", &over.0).0, Some(0));
    operator.toggle();
    operator.toggle();
    refused(&format!("checkpoint --base {}", id(&over)), "is not recorded");
    drop((operator, guest));

    let inputs = [&base, &first, &second].map(|place| place.0.clone());
    fs::remove_file(&merged.0).unwrap();
    file::merge(&inputs, &merged.0, None).unwrap();
    assert_eq!(id(&merged), id(&second));
    let guest = Guest::serving(guest::machine().cpus(cpus));
    control::restore(&guest, &Keys::of_user().unwrap(), &merged.0, false).unwrap();
    assert_eq!(guest.redis_cli(&["GET", "between"]), "two");
    let values: Vec<_> = (0..FILLED / VALUE).map(|key| format!("{key:03}")).collect();
    let lengths = |name: &str| {
        values.iter().map(|key| guest.redis_cli(&["STRLEN", &format!("{name}{key}")])).collect::<Vec<_>>()
    };
    assert!(lengths("a").into_iter().chain(lengths("b")).all(|length| length == VALUE.to_string()));
    for key in &values {
        assert_eq!(
            guest.redis_cli(&["GETRANGE", &format!("a{key}"), "0", "-1"]),
            guest.redis_cli(&["GETRANGE", &format!("b{key}"), "0", "-1"])
        );
    }
    guest.assert_serving();
}

#[test]
fn increments_are_merged_with_one_cpu() {
    increments_are_merged(1);
}

#[test]
fn increments_are_merged_with_two_cpus() {
    increments_are_merged(2);
}

#[test]
fn ends_with_its_client_or_when_it_is_cancelled() {
    let guest = Guest::serving(guest::machine().cpus(1));
    let operator = Operator::of(&guest);
    let place = Place::new("cancelled");
    fill(&guest, 'a');
    let state = |number: usize| {
        let told = operator.tell("job list --json");
        let line = told.out.lines().nth(number).unwrap_or("{}").to_owned();
        serde_json::from_str::<serde_json::Value>(&line).unwrap()["state"].as_str().map(str::to_owned)
    };
    // Whoever reads nothing holds it up.
    let begun = || {
        let mut owner = client(&guest, "checkpoint", Stdio::piped());
        owner.stdout.as_mut().unwrap().read_exact(&mut [0; 8]).unwrap();
        owner
    };
    let mut owner = begun();
    assert_eq!(operator.status()["mode"], "guest");
    assert_eq!(operator.tell("mode native").status, REFUSED);
    owner.kill().unwrap();
    owner.wait().unwrap();
    wait_until("the job to end", || state(0).as_deref() == Some("cancelled"));
    assert_eq!(operator.status()["mode"], "native");
    let owner = begun();
    assert_eq!(operator.tell("job cancel 2").status, DONE);
    let told = owner.wait_with_output().unwrap();
    let said = String::from_utf8(told.stderr).unwrap();
    assert_eq!(told.status.code(), Some(i32::from(FAILED)), "{said}");
    assert!(said.contains("job 2 was cancelled"), "{said}");
    fs::write(&place.0, told.stdout).unwrap();
    assert!(file::verify(&place.0, None).is_err(), "half of one is taken for one");
    assert_eq!(operator.status()["mode"], "native");
    guest.assert_well();
}

/// It is held up until more has been written than there is room for copies of.
#[test]
fn fails_alone_where_there_is_no_room_for_copies() {
    let guest = Guest::serving(guest::machine().cpus(1));
    let operator = Operator::of(&guest);
    fill(&guest, 'a');
    let mut owner = client(&guest, "checkpoint --room 1", Stdio::piped());
    owner.stdout.as_mut().unwrap().read_exact(&mut [0; 8]).unwrap();
    for name in ['b', 'c', 'd', 'e'] {
        fill(&guest, name);
    }
    let told = owner.wait_with_output().unwrap();
    let said = String::from_utf8(told.stderr).unwrap();
    assert_eq!(told.status.code(), Some(i32::from(FAILED)), "{said}");
    assert!(said.contains("job 1 failed: ") && said.contains("there was no room for a copy"), "{said}");
    assert_eq!(operator.status()["mode"], "native");
    guest.assert_well();
}

/// Machines whose images differ in the key of their checkpoints alone: each goes on from its own, and from no other's.
#[test]
fn are_taken_from_who_has_the_key() {
    let place = |name: &str| Place::new(&format!("key-{name}"));
    let (mine, flipped, theirs, unkeyed, digits) =
        (place("mine"), place("flipped"), place("theirs"), place("unkeyed"), place("digits"));
    fs::write(&digits.0, "1f".repeat(32)).unwrap();
    let machine = |key| Machine::builder().elf(&guest::image_with_checkpoint_key("kv,web", key));
    let keys = [(CheckpointKey::Of(&digits.0), &theirs), (CheckpointKey::None, &unkeyed)];
    for (key, place) in keys {
        let guest = Guest::serving(machine(key));
        let (status, said) = checkpoint(&guest, "checkpoint", &place.0);
        assert_eq!(status, Some(0), "{said}");
        let findings = Operator::of(&guest).tell("doctor").out;
        let found = if key == CheckpointKey::None { "NOT OK  none" } else { "ok      the image's" };
        assert!(findings.contains(&format!("checkpoint key  {found}")), "{findings}");
    }
    let guest = Guest::serving(machine(CheckpointKey::OfUser));
    assert_eq!(guest.redis_cli(&["SET", "when", "before"]), "OK");
    let (status, said) = checkpoint(&guest, "checkpoint", &mine.0);
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(guest.redis_cli(&["SET", "when", "after"]), "OK");
    let images = [&mine, &theirs, &unkeyed].map(|place| file::inspect(&place.0, None).unwrap());
    assert_eq!(images.clone().map(|found| found.trust), [Trust::Key, Trust::Nothing, Trust::Checksums]);
    assert!(images.iter().all(|found| found.manifest.header.image == images[0].manifest.header.image));
    let other = file::key::read(&digits.0).unwrap();
    assert_eq!(file::verify(&theirs.0, Some(&other)).unwrap().1, Trust::Key);

    // In the middle of the pages.
    let mut bytes = fs::read(&mine.0).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&flipped.0, bytes).unwrap();
    for (from, why) in [
        (&flipped, "(pages): tag"),
        (&theirs, "header: key ID: made with another key"),
        (&unkeyed, "header: flags: made without a key, where one is asked for"),
    ] {
        assert!(file::verify(&from.0, Some(&file::key::of_user().unwrap())).is_err());
        let said = is_refused(&guest, &from.0);
        assert!(said.contains(why), "{said}");
    }
    let keyless = Guest::serving(machine(CheckpointKey::None));
    let said = is_refused(&keyless, &mine.0);
    assert!(said.contains("header: flags: made with a key, and there is none here"), "{said}");

    control::restore(&guest, &Keys::of_user().unwrap(), &mine.0, false).unwrap();
    assert_eq!(guest.redis_cli(&["GET", "when"]), "before");
    guest.assert_serving();
}

/// A machine that has made and read checkpoints has no trace of their key in what it writes next.
#[test]
fn have_no_trace_of_their_key() {
    let guest = Guest::serving(guest::machine().cpus(1));
    let (first, second) = (Place::new("trace-first"), Place::new("trace-second"));
    guest.redis_cli(&["SET", "word", "that is to be found"]);
    assert_eq!(checkpoint(&guest, "checkpoint", &first.0).0, Some(0));
    let bytes = fs::read(&first.0).unwrap();
    fs::write(&first.0, &bytes[..bytes.len() - 1]).unwrap();
    is_refused(&guest, &first.0);
    assert_eq!(checkpoint(&guest, "checkpoint", &second.0).0, Some(0));
    let key = file::key::of_user().unwrap();
    let mut pages = Vec::new();
    checkpoints::pages(&second.0, &key, |_, page| pages.extend_from_slice(page));
    let finds = |wanted: &[u8]| pages.windows(wanted.len()).any(|window| window == wanted);
    assert!(finds(b"that is to be found"));
    let derived = ["header", "chunk"]
        .map(|what| blake3::derive_key(&format!("Quicksilver checkpoint 1: {what}"), key.bytes()));
    for (secret, name) in [key.bytes(), &derived[0], &derived[1]].into_iter().zip(["key", "header", "chunk"])
    {
        // A register holds half of it.
        for half in secret.chunks(16) {
            assert!(!finds(half), "{name}");
        }
    }
}
