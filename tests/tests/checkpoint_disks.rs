//! Checkpoints that a machine keeps on its own disk, seen by its operator, and by `qs` when the power is off.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use ::control::checkpoints::RESTORED;
use image_builder::checkpoint::{self as file, CheckpointError};
use image_builder::control;
use image_builder::disk::{self, CheckpointsSize};
use serde_json::{Value, json};
use slots::{BLOCK, Error, Which};
use tests::guest::{self, Guest, PATIENCE, wait_until};
use tests::operator::{DONE, FAILED, Operator, REFUSED};
use tests::store::{FILLED, Load, fill};

/// The first sector of the partition for checkpoints: the table and the machine's state are before it.
const PARTITION: u64 = 4096;

/// The image of a disk, gone with its test.
struct Image(PathBuf);

impl Image {
    fn new(name: &str, mebibytes: u64) -> Self {
        let path = std::env::temp_dir().join(format!("qs-kept-{name}-{}.img", std::process::id()));
        drop(fs::remove_file(&path));
        let size = CheckpointsSize::mebibytes(mebibytes);
        disk::create(&path, size.disk(), Some(size)).unwrap();
        Self(path)
    }

    fn serve(&self) -> (Guest, Operator) {
        let guest = Guest::serving(guest::machine().disk(&self.0));
        let operator = Operator::of(&guest);
        (guest, operator)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}

fn objects(operator: &Operator, line: &str) -> Vec<Value> {
    let told = operator.tell(&format!("{line} --json"));
    assert_eq!(told.status, DONE, "{}{}", told.out, told.err);
    told.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Numbers of those that the machine lists.
fn listed(operator: &Operator) -> Vec<u64> {
    let kept = objects(operator, "checkpoint list");
    assert!(kept.iter().all(|kept| kept["whole"] == true), "{kept:?}");
    kept.iter().map(|kept| kept["checkpoint"].as_u64().unwrap()).collect()
}

/// Numbers of those that are on a disk, each read to its end.
fn verified(disk: &Path) -> Vec<u64> {
    let slots = file::list(disk).unwrap();
    assert!(slots.faults().is_empty(), "{:?}", slots.faults());
    let numbers = slots.whole().map(|record| {
        let which = Which::Number(record.number);
        file::verify_one(disk, which, None).unwrap_or_else(|error| panic!("{which}: {error}"));
        assert_eq!(file::inspect_one(disk, which, None).unwrap().manifest.header.id, record.id);
        record.number
    });
    numbers.collect()
}

/// Others may run a machine then.
fn power_off(guest: Guest) {
    guest.kill().unwrap();
    drop(guest);
}

/// The state of the latest job, and how far it is.
fn job(operator: &Operator) -> (String, u64) {
    let jobs = objects(operator, "job list");
    let last = jobs.last().unwrap();
    (last["state"].as_str().unwrap().to_owned(), last["done"].as_u64().unwrap())
}

#[test]
fn the_last_ones_are_kept_while_the_machine_serves() {
    const SLACK: u64 = 4 << 20;
    let image = Image::new("last", 128);
    let (guest, operator) = image.serve();
    assert_eq!(operator.tell("checkpoint list").out, "no checkpoints\n");
    let devices = operator.tell("device list").out;
    assert!(devices.contains("keeps the machine's state, keeps its checkpoints"), "{devices}");
    fill(&guest, 'a');
    let load = Load::of(&guest);
    let free = || operator.status()["memory"]["free"].as_u64().unwrap();
    let (before, generation) = (free(), operator.status()["generation"].as_u64().unwrap());
    let mut ids = Vec::new();
    for number in 1..=3 {
        let told = operator.tell("checkpoint --to disk --keep 2");
        assert_eq!(told.status, DONE, "{}{}", told.out, told.err);
        assert!(told.out.starts_with(&format!("checkpoint {number}: ")), "{}", told.out);
        assert!(told.err.contains("MiB of memory\n"), "{}", told.err);
        println!("{}", told.out.trim_end());
        let newest: Vec<u64> = (1..=number).rev().take(2).collect();
        assert_eq!(listed(&operator), newest);
        ids.push(objects(&operator, "checkpoint list")[0]["id"].as_str().unwrap().to_owned());
    }
    drop(load);
    assert_eq!(operator.status()["generation"], generation + 3);
    assert_eq!(operator.status()["mode"], "native");
    wait_until("memory to be given back", || free() + SLACK >= before);
    guest.assert_well();
    power_off(guest);
    assert_eq!(verified(&image.0), [3, 2]);
    let (totals, _) = file::verify(&image.0, None).unwrap();
    assert!(totals.pages > (FILLED / checkpoint::PAGE) as u64, "{totals:?}");
    let latest = file::inspect(&image.0, None).unwrap().manifest.header;
    assert_eq!(Which::Id(latest.id).to_string(), ids[2]);
    assert_eq!(latest.generation, generation + 2);
    let gone = file::verify_one(&image.0, Which::Number(1), None);
    assert!(
        matches!(gone, Err(CheckpointError::Kept { error: Error::Missing(Which::Number(1)), .. })),
        "{gone:?}"
    );
    // The next machine with this disk knows them, too.
    let (_guest, operator) = image.serve();
    assert_eq!(listed(&operator), [3, 2]);
}

/// The disk is slow, so that there is time for what comes midway: `job cancel`, a client that goes, the end of the machine.
#[test]
fn what_ends_midway_leaves_no_trace() {
    let image = Image::new("midway", 128);
    let (guest, operator) = image.serve();
    fill(&guest, 'a');
    assert_eq!(operator.tell("checkpoint --to disk").status, DONE);
    let limit = json!({
        "device": "disk0", "bps": 0, "bps_rd": 0, "bps_wr": 500_000, "iops": 0, "iops_rd": 0, "iops_wr": 0
    });
    guest.qmp("block_set_io_throttle", limit).unwrap();
    let begin = || {
        let told = operator.tell("checkpoint --to disk --detach");
        assert!(told.status == DONE && told.out.starts_with("job "), "{}{}", told.out, told.err);
        wait_until("some of it to be written", || job(&operator).1 > 0);
        told.out.trim_end().trim_start_matches("job ").to_owned()
    };
    let number = begin();
    assert_eq!(operator.tell("mode native").status, REFUSED);
    assert_eq!(operator.tell(&format!("job cancel {number}")).status, DONE);
    wait_until("the job to end", || job(&operator).0 == "cancelled");
    assert_eq!(operator.status()["mode"], "native");
    assert_eq!(listed(&operator), [1]);
    guest.assert_well();
    begin();
    power_off(guest);
    assert_eq!(verified(&image.0), [1]);
    // What half of it is left is overwritten.
    let (_guest, operator) = image.serve();
    assert_eq!(listed(&operator), [1]);
    assert_eq!(operator.tell("checkpoint --to disk").status, DONE);
    assert_eq!(listed(&operator), [2]);
}

/// Others change the state between one and the next.
#[test]
fn one_comes_after_another_until_the_job_is_cancelled() {
    let image = Image::new("every", 128);
    let (guest, operator) = image.serve();
    let told = operator.tell("checkpoint --to disk --every 1s --keep 3 --detach");
    assert_eq!(told.status, DONE, "{}", told.err);
    wait_until("five of them", || listed(&operator).first() >= Some(&5));
    wait_until("a switch in between", || operator.tell("mode guest").status == DONE);
    let before = listed(&operator)[0];
    wait_until("one in guest mode", || listed(&operator)[0] > before + 1);
    assert_eq!(operator.status()["mode"], "guest");
    assert_eq!(operator.tell("job cancel 1").status, DONE);
    wait_until("the job to end", || job(&operator).0 == "cancelled");
    guest.assert_well();
    let kept = listed(&operator);
    assert_eq!(kept.len(), 3);
    power_off(guest);
    assert_eq!(verified(&image.0), kept);
}

/// The power goes, and the next machine goes on from the last one, with the job that makes them; then from one that an operator names.
#[test]
fn a_machine_goes_on_from_its_disk() {
    let image = Image::new("restored", 128);
    let (guest, operator) = image.serve();
    assert_eq!(guest.redis_cli(&["SET", "greeting", "hello"]), "OK");
    let told = operator.tell("checkpoint --to disk --every 1s --keep 7 --detach");
    assert_eq!(told.status, DONE, "{}", told.err);
    // The one that is under way may have been frozen before.
    let begun = listed(&operator).first().copied().unwrap_or(0);
    wait_until("one with the greeting", || listed(&operator).first() >= Some(&(begun + 2)));
    drop(operator);
    power_off(guest);
    let kept = verified(&image.0);

    let machine = |which| guest::machine().disk(&image.0).append(&control::at_boot(which, false));
    let guest = Guest::start(machine(Which::Latest));
    control::wait_restored(&guest).unwrap();
    guest.wait_announced().unwrap();
    assert_eq!(guest.redis_cli(&["GET", "greeting"]), "hello");
    let operator = Operator::of(&guest);
    assert_eq!(job(&operator).0, "running");
    wait_until("more of them", || listed(&operator)[0] > kept[0] + 1);
    assert_eq!(operator.tell("job cancel 1").status, DONE);
    wait_until("the job to end", || job(&operator).0 == "cancelled");
    assert_eq!(guest.redis_cli(&["SET", "greeting", "later"]), "OK");
    let named = operator.tell("restore --from disk:1000");
    assert_eq!((named.status, named.err.as_str()), (REFUSED, "there is no checkpoint 1000\n"));
    let (latest, lines) = (listed(&operator)[0], guest.count_lines(RESTORED).unwrap());
    // Its client is let go.
    assert_eq!(operator.tell(&format!("restore --from disk:{latest}")).status, DONE);
    drop(operator);
    guest.wait_for_another_line(&[RESTORED], lines, PATIENCE).unwrap();
    assert_eq!(guest.redis_cli(&["GET", "greeting"]), "hello");
    power_off(guest);

    // A machine that can't go on starts afresh, and says why.
    let guest = Guest::serving(machine(Which::Number(1000)));
    let told = control::wait_restored(&guest).unwrap_err().to_string();
    assert!(
        told.ends_with("restore=disk:1000: there is no checkpoint 1000; this machine starts afresh"),
        "{told}"
    );
    assert_eq!(guest.redis_cli(&["GET", "greeting"]), "");
    assert!(listed(&Operator::of(&guest))[0] >= latest);
}

#[test]
fn without_room_it_fails_alone() {
    let guest = Guest::serving(guest::machine());
    let operator = Operator::of(&guest);
    for line in ["checkpoint --to disk", "checkpoint list"] {
        let told = operator.tell(line);
        assert_eq!(told.status, REFUSED);
        assert_eq!(told.err, "no disk of this machine has a partition for checkpoints\n");
    }
    drop((operator, guest));
    let image = Image::new("small", 1);
    let (guest, operator) = image.serve();
    fill(&guest, 'a');
    let told = operator.tell("checkpoint --to disk");
    assert_eq!(told.status, FAILED, "{}", told.err);
    assert!(told.err.contains("a checkpoint has more bytes than the 458752 of a slot"), "{}", told.err);
    assert_eq!(listed(&operator), [0; 0]);
    assert_eq!(operator.status()["mode"], "native");
    guest.assert_well();
}

/// The disk refuses one sector: of a checkpoint's bytes, of its record.
#[test]
fn a_disk_that_fails_leaves_what_was_there() {
    for (name, sector, kept) in [("bytes", BLOCK + 1000, &[][..]), ("record", 8, &[1])] {
        let image = Image::new(name, 128);
        let drive = [
            "if=none,id=disk0,format=raw,file.driver=blkdebug,file.image.driver=file",
            &format!("file.image.filename={}", image.0.display()),
            "file.inject-error.0.event=none,file.inject-error.0.iotype=write,file.inject-error.0.once=off",
            &format!("file.inject-error.0.errno=5,file.inject-error.0.sector={}", PARTITION + sector),
        ];
        let machine = guest::machine().qemu_arg("-drive").qemu_arg(&drive.join(","));
        let guest = Guest::serving(machine.qemu_arg("-device").qemu_arg("virtio-blk-pci,drive=disk0"));
        let operator = Operator::of(&guest);
        fill(&guest, 'a');
        for _ in kept {
            assert_eq!(operator.tell("checkpoint --to disk").status, DONE);
        }
        let told = operator.tell("checkpoint --to disk");
        assert_eq!(told.status, FAILED, "{name}: {}", told.err);
        assert!(told.err.contains("failed: the disk reports an error"), "{name}: {}", told.err);
        assert_eq!(listed(&operator), kept);
        assert_eq!(operator.status()["mode"], "native");
        guest.assert_well();
        power_off(guest);
        assert_eq!(verified(&image.0), kept);
    }
}
