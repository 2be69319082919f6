//! A disk takes another's place while the machine writes checkpoints to it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::PathBuf;

use image_builder::config::DiskModel;
use image_builder::machine::Builder;
use serde_json::{Value, json};
use tests::disks::{self, Images, MARK, SECTOR, begun, checkpoints, job, names, used_and_idle, verified};
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
fn a_disk_that_is_too_small_is_refused() {
    for model in [DiskModel::VirtioBlk, DiskModel::Nvme] {
        let pair = Pair::new("small", -(32 << 20));
        let guest = Guest::serving(pair.machine(model));
        let operator = Operator::of(&guest);
        let (used, idle) = used_and_idle(&operator);
        for (line, status) in
            [(format!("{idle} --dry-run"), REFUSED), ("next".into(), FAILED), (idle, FAILED)]
        {
            let told = operator.tell(&format!("device swap {used} --to {line}"));
            let is_told = told.err.contains("the new disk is too small: it has ");
            assert!(told.status == status && is_told, "{line}: {}{}", told.out, told.err);
        }
        assert_eq!(operator.tell("checkpoint --to disk").status, DONE);
        drop(guest);
        assert!(fs::read(&pair.new).unwrap().iter().all(|byte| *byte == 0));
    }
}

#[test]
fn a_disk_of_another_size_is_told_of_and_its_table_fits() {
    for (model, more, says) in [
        (DiskModel::VirtioBlk, 1 << 20, "larger by 2048 sectors: the backup of its table goes to its end"),
        (DiskModel::Nvme, -4096, "smaller by 8 sectors, which no partition has"),
    ] {
        let pair = Pair::new("sizes", more);
        let guest = Guest::serving(pair.machine(model));
        let operator = Operator::of(&guest);
        assert_eq!(operator.tell("checkpoint --to disk").status, DONE);
        let kept = checkpoints(&operator);
        let (used, idle) = used_and_idle(&operator);
        let told = operator.tell(&format!("device swap {used} --to next"));
        assert!(told.status == DONE && told.out.contains(says), "{}{}", told.out, told.err);
        guest.kill().unwrap();
        drop(guest);
        assert_eq!(used_at_boot(&pair, model, &kept, STEPS), idle);
        assert_eq!(verified(&pair.new), [1]);
    }
}

/// Steps of progress of a swap.
const STEPS: usize = 200;
/// From here on it is not slowed down, so that the switch is met, too.
const LAST: usize = STEPS - 15;

/// Boots with the disks as they are and returns which of them is used: it has the checkpoint.
fn used_at_boot(pair: &Pair, model: DiskModel, kept: &str, instant: usize) -> String {
    let guest = Guest::serving(pair.machine(model));
    let operator = Operator::of(&guest);
    assert_eq!(checkpoints(&operator), kept, "{model:?}, {instant}");
    let (used, _) = used_and_idle(&operator);
    used
}

/// The machine ends at some moment of a swap: one of the disks is complete, and taken at the next boot. It is the old one until the new one is.
#[test]
fn a_machine_that_ends_at_any_moment_has_a_complete_disk() {
    for (model, seed) in [(DiskModel::VirtioBlk, 1), (DiskModel::Nvme, 2)] {
        let mut noise = Noise::new(seed);
        let mut instants =
            vec![1, 1 + noise.below(STEPS / 2), STEPS / 2 + noise.below(LAST - STEPS / 2), STEPS];
        let near = if tests::soaks() { 20 } else { 2 };
        instants.extend((0..near).map(|_| LAST + noise.below(STEPS - LAST)));
        for instant in instants {
            let pair = Pair::new("moment", 0);
            let guest = Guest::serving(pair.machine(model));
            let operator = Operator::of(&guest);
            let (used, idle) = used_and_idle(&operator);
            assert_eq!(operator.tell("checkpoint --to disk").status, DONE);
            let kept = checkpoints(&operator);
            if instant < LAST {
                limit(&guest, 8_000_000);
            }
            let swap = begun(&operator, &format!("device swap {used} --to {idle}"));
            let mut state = Value::Null;
            wait_until("some of it to be done", || {
                let swap = job(&operator, swap);
                assert!(swap["state"] != "failed", "{swap}");
                let is_far = swap["done"].as_u64().unwrap() >= instant as u64;
                state = swap["state"].clone();
                state == "done" || is_far && instant < STEPS
            });
            guest.kill().unwrap();
            drop(guest);
            let has_table = fs::read(&pair.new).unwrap()[..SECTOR].iter().any(|byte| *byte != 0);
            let used_then = used_at_boot(&pair, model, &kept, instant);
            if instant < LAST {
                assert!(!has_table && state == "running", "{model:?}, {instant}: {state}");
            }
            if state == "done" {
                assert!(has_table && used_then == idle, "{model:?}, {instant}");
            }
            // Between the table and the mark either may be taken, as both are the same.
            assert!(has_table || used_then == used, "{model:?}, {instant}");
            assert_eq!(verified(if used_then == used { &pair.old } else { &pair.new }), [1]);
        }
    }
}

#[test]
fn a_disk_with_larger_sectors_is_refused() {
    for model in [DiskModel::VirtioBlk, DiskModel::Nvme] {
        let pair = Pair::new("sectors", 0);
        let before = fs::read(&pair.new).unwrap();
        let driver = if model == DiskModel::VirtioBlk { "nvme" } else { "virtio-blk-pci" };
        let machine = ["logical", "physical"].iter().fold(pair.machine(model), |machine, which| {
            machine.qemu_arg("-global").qemu_arg(&format!("{driver}.{which}_block_size=4096"))
        });
        let guest = Guest::serving(machine);
        let operator = Operator::of(&guest);
        let ([used], [refused]) = (&names(&operator, "active")[..], &names(&operator, "failed")[..]) else {
            panic!("{:?}", disks::all(&operator))
        };
        for (to, why) in [
            (refused.as_str(), "its sectors have 4096 bytes, and only those of 512 are known here"),
            ("next", "there is no disk that nobody uses"),
        ] {
            let told = operator.tell(&format!("device swap {used} --to {to}"));
            assert!(told.status == FAILED && told.err.contains(why), "{}{}", told.out, told.err);
        }
        assert_eq!(operator.tell("checkpoint --to disk").status, DONE);
        guest.assert_well();
        drop(guest);
        assert!(fs::read(&pair.new).unwrap() == before);
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
