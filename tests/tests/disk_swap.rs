//! A disk takes another's place while the machine writes checkpoints to it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::PathBuf;

use image_builder::config::DiskModel;
use image_builder::machine::Builder;
use serde_json::json;
use tests::disks::{Images, MARK, SECTOR, begun, checkpoints, job, used_and_idle, verified};
use tests::guest::{self, Guest, wait_until};
use tests::noise::Noise;
use tests::operator::{DONE, FAILED, Operator, REFUSED};

/// Two disks, gone with their test.
struct Pair {
    old: PathBuf,
    new: PathBuf,
    _images: Images,
}

impl Pair {
    /// The second is blank, and so many bytes larger.
    fn new(name: &str, more: i64) -> Self {
        let images = Images::new(&format!("swap-{name}"));
        Self { old: images.kept("old"), new: images.blank("new", more), _images: images }
    }

    /// A machine in which both are, the old one as `model` and the new one as the other.
    fn machine(&self, model: DiskModel) -> Builder {
        let drive = format!("if=none,id=second,format=raw,file={}", self.new.display());
        let device = match model {
            DiskModel::VirtioBlk => "nvme,serial=second,drive=second",
            DiskModel::Nvme => "virtio-blk-pci,drive=second",
        };
        let builder = guest::machine().disk(&self.old).disk_model(model);
        ["-drive", &drive, "-device", device].iter().fold(builder, |builder, word| builder.qemu_arg(word))
    }
}

/// Byte by byte, but for the mark that the old one was replaced.
fn assert_same(pair: &Pair) {
    let (mut old, new) = (fs::read(&pair.old).unwrap(), fs::read(&pair.new).unwrap());
    assert_eq!(old[MARK], *b"QsRp");
    old[MARK].fill(0);
    let differs = old.chunks(SECTOR).zip(new.chunks(SECTOR)).position(|(old, new)| old != new);
    assert_eq!((old.len(), differs), (new.len(), None));
}

/// Lets the second disk move so many bytes a second; 0 is all it can.
fn limit(guest: &Guest, bytes: u64) {
    let limit = json!({
        "device": "second", "bps": bytes, "bps_rd": 0, "bps_wr": 0, "iops": 0, "iops_rd": 0, "iops_wr": 0
    });
    guest.qmp("block_set_io_throttle", limit).unwrap();
}

fn swap_between(model: DiskModel, name: &str) {
    let pair = Pair::new(name, 0);
    let guest = Guest::serving(pair.machine(model));
    let operator = Operator::of(&guest);
    let (used, idle) = used_and_idle(&operator);
    assert_eq!(operator.tell("checkpoint --to disk --keep 2").status, DONE);
    let every = begun(&operator, "checkpoint --to disk --keep 2 --every 1s");
    let dry = operator.tell(&format!("device swap {used} --to next --dry-run"));
    assert!(dry.status == DONE && dry.out.contains("can take the place"), "{}{}", dry.out, dry.err);
    let told = operator.tell(&format!("device swap {used} --to {idle}"));
    assert_eq!(told.status, DONE, "{}{}", told.out, told.err);
    assert_eq!(used_and_idle(&operator), (idle.clone(), used.clone()));
    // Now they are written to the new one alone; the old one is not wanted back.
    assert_eq!(operator.tell(&format!("job cancel {every}")).status, DONE);
    wait_until("the checkpoints to end", || job(&operator, every)["state"] == "cancelled");
    let before = fs::read(&pair.old).unwrap();
    assert_eq!(operator.tell("checkpoint --to disk --keep 2").status, DONE);
    assert!(fs::read(&pair.old).unwrap() == before);
    let told = operator.tell(&format!("device swap {idle} --to {used}"));
    assert!(told.status == FAILED && told.err.contains("table of partitions"), "{}{}", told.out, told.err);
    let kept = checkpoints(&operator);
    guest.assert_well();
    guest.kill().unwrap();
    drop(guest);
    assert_eq!(verified(&pair.new).len(), 2);
    // The next boot takes the new one.
    let guest = Guest::serving(pair.machine(model));
    let operator = Operator::of(&guest);
    assert_eq!(checkpoints(&operator), kept);
    assert!(guest.serial_text().contains("is left alone: another disk has taken its place"));
    assert_eq!(operator.tell("checkpoint --to disk --keep 2").status, DONE);
    assert!(fs::read(&pair.old).unwrap() == before);
}

#[test]
fn an_nvme_disk_takes_a_virtio_disks_place() {
    swap_between(DiskModel::VirtioBlk, "to-nvme");
}

#[test]
fn a_virtio_disk_takes_an_nvme_disks_place() {
    swap_between(DiskModel::Nvme, "to-virtio");
}

#[test]
fn both_disks_are_the_same_but_for_the_mark() {
    let pair = Pair::new("same", 0);
    let guest = Guest::serving(pair.machine(DiskModel::VirtioBlk));
    let operator = Operator::of(&guest);
    let (used, idle) = used_and_idle(&operator);
    assert_eq!(operator.tell("checkpoint --to disk").status, DONE);
    let told = operator.tell(&format!("device swap {used} --to {idle}"));
    assert_eq!(told.status, DONE, "{}{}", told.out, told.err);
    drop(guest);
    assert_same(&pair);
}

#[test]
fn a_disk_that_is_too_small_is_refused_and_a_larger_one_told_of() {
    for (more, status, says) in
        [(-(32 << 20), REFUSED, "too small"), (1 << 20, DONE, "larger by 2048 sectors")]
    {
        let pair = Pair::new("sizes", more);
        let guest = Guest::serving(pair.machine(DiskModel::VirtioBlk));
        let operator = Operator::of(&guest);
        let (used, _) = used_and_idle(&operator);
        let told = operator.tell(&format!("device swap {used} --to next --dry-run"));
        assert!(told.status == status && (told.out + &told.err).contains(says), "{says}");
    }
}

/// The machine ends while the copy is under way: the old disk is complete, and nobody takes the new one for it.
#[test]
fn a_machine_that_ends_midway_has_its_old_disk() {
    for part in [1, 60, 110, 190] {
        let pair = Pair::new("midway", 0);
        let guest = Guest::serving(pair.machine(DiskModel::VirtioBlk));
        let operator = Operator::of(&guest);
        let (used, idle) = used_and_idle(&operator);
        assert_eq!(operator.tell("checkpoint --to disk").status, DONE);
        let kept = checkpoints(&operator);
        limit(&guest, 8_000_000);
        let swap = begun(&operator, &format!("device swap {used} --to {idle}"));
        wait_until("some of it to be done", || {
            let swap = job(&operator, swap);
            assert_eq!(swap["state"], "running", "{swap}");
            swap["done"].as_u64().unwrap() >= part
        });
        guest.kill().unwrap();
        drop(guest);
        assert!(fs::read(&pair.new).unwrap()[..2 * SECTOR].iter().all(|byte| *byte == 0), "{part}");
        let guest = Guest::serving(pair.machine(DiskModel::VirtioBlk));
        let operator = Operator::of(&guest);
        assert_eq!(checkpoints(&operator), kept, "{part}");
        drop(guest);
        assert_eq!(verified(&pair.old), [1]);
    }
}

/// Bytes of a small request of the benchmarks.
const SMALL: usize = 4096;

/// The number of the request that wrote a piece last, and whether all of it was written by it; 0 where nobody did.
fn stamp(piece: &[u8]) -> u64 {
    let (number, rest) = piece.split_at(8);
    let number = u64::from_le_bytes(number.try_into().unwrap());
    assert!(rest.iter().all(|byte| *byte == if number == 0 { 0 } else { 0xb5 }), "torn: {number}");
    number
}

/// They write before, during and after the swap. Of what the old disk has the new one misses nothing but what was overwritten since.
#[test]
fn the_benchmarks_write_at_random_to_a_disk_that_gives_way() {
    for (model, name) in [(DiskModel::VirtioBlk, "disk0"), (DiskModel::Nvme, "disk1")] {
        let images = Images::new("random");
        let (old, new) = (images.blank("old", 0), images.blank("new", 1 << 20));
        let pair = Pair { old, new, _images: images };
        let guest = Guest::serving(pair.machine(model).append(&format!("bench.disk={name}")));
        let operator = Operator::of(&guest);
        let bench = || {
            // The switch itself is in turn with them.
            let told = operator.tell("bench disk.write_random");
            let is_busy = told.status == REFUSED && told.err.contains("busy: ");
            assert!(told.status == DONE || is_busy, "{}{}", told.out, told.err);
        };
        bench();
        let before = fs::read(&pair.old).unwrap();
        let written = before.chunks(SMALL).filter(|piece| stamp(piece) > 0).count();
        assert!(written > 100, "{written}");
        let told = operator.tell(&format!("device swap {name} --to next --dry-run"));
        assert!(told.out.contains("larger by 2048 sectors, which stay unused"), "{}{}", told.out, told.err);
        let swap = begun(&operator, &format!("device swap {name} --to next"));
        wait_until("the swap", || {
            bench();
            job(&operator, swap)["state"] != "running"
        });
        assert_eq!(job(&operator, swap)["state"], "done", "{}", job(&operator, swap));
        let before = fs::read(&pair.old).unwrap();
        bench();
        guest.assert_well();
        guest.kill().unwrap();
        drop(guest);
        let (old, new) = (fs::read(&pair.old).unwrap(), fs::read(&pair.new).unwrap());
        assert!(old == before, "the old disk is still written");
        let last = old.chunks(SMALL).map(stamp).max().unwrap();
        let (mut same, mut later) = (0, 0);
        for (number, (old, new)) in old.chunks(SMALL).zip(new.chunks(SMALL)).enumerate() {
            match (stamp(old), stamp(new)) {
                (old, new) if old == new => same += 1,
                (_, new) if new > last => later += 1,
                (old, new) => panic!("{name}: piece {number} is of {new} in place of {old}"),
            }
        }
        assert!(same > 100 && later > 100, "{same} {later}");
    }
}

/// Checkpoints of changing sizes go to one slot after another while it is copied and compared; then both disks are the same, byte by byte.
#[test]
fn what_is_written_meanwhile_is_on_both_disks() {
    /// Steps of progress of 200 after which no more is written: enough is left for the last of them to begin before the switch.
    const ENOUGH: u64 = 120;
    for model in [DiskModel::VirtioBlk, DiskModel::Nvme] {
        let pair = Pair::new("meanwhile", 0);
        let guest = Guest::serving(pair.machine(model));
        let operator = Operator::of(&guest);
        let (used, idle) = used_and_idle(&operator);
        limit(&guest, 8_000_000);
        let mut noise = Noise::new(8);
        let swap = begun(&operator, &format!("device swap {used} --to {idle}"));
        let mut count = 0;
        loop {
            let swap = job(&operator, swap);
            assert!(swap["state"] != "failed", "{swap}");
            if swap["done"].as_u64().unwrap() >= ENOUGH {
                break;
            }
            for key in 0..count % 5 * 4 {
                let value: String = noise.bytes(40_000).iter().map(|byte| format!("{byte:02x}")).collect();
                assert_eq!(guest.redis_cli(&["SET", &format!("key{key}"), &value]), "OK");
            }
            let told = operator.tell(&format!("checkpoint --to disk --keep {}", 1 + count % 3));
            assert_eq!(told.status, DONE, "{}{}", told.out, told.err);
            count += 1;
        }
        assert!(count > 2, "{count}");
        limit(&guest, 0);
        wait_until("the swap", || job(&operator, swap)["state"] == "done");
        guest.assert_well();
        guest.kill().unwrap();
        drop(guest);
        assert_same(&pair);
        assert_eq!(verified(&pair.old), verified(&pair.new));
        assert!(verified(&pair.new)[0] == count as u64);
    }
}
