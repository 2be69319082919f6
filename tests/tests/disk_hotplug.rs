//! Disks that are plugged in while the machine runs, and the one with the checkpoints pulled out of it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use image_builder::config::DiskModel::{self, Nvme, VirtioBlk};
use image_builder::control::{self, Keys};
use image_builder::plug::Leave;
use serde_json::{Value, json};
use tests::disks::{self, Images, SECTOR, begun, checkpoints, job, names, used_and_idle, verified};
use tests::guest::{self, Guest, PATIENCE, wait_until};
use tests::operator::{DONE, FAILED, Operator, REFUSED};
use tests::remote::{self, Place};
use tests::rig::Way;

/// A machine whose disk for checkpoints can be taken out. Ports and IDs of QEMU's are named by whoever plugs something in.
struct Machine {
    way: Way,
    operator: Operator,
    guest: Guest,
}

/// The ports that are used.
const FIRST: u32 = 1;
const SECOND: u32 = 2;

/// What such a port is named, of several.
fn bus(way: Way, port: u32) -> Option<String> {
    (way != Way::Pc).then(|| format!("port{port}"))
}

fn driver(model: DiskModel) -> &'static str {
    match model {
        VirtioBlk => "virtio-blk-pci",
        Nvme => "nvme",
    }
}

fn other(model: DiskModel) -> DiskModel {
    match model {
        VirtioBlk => Nvme,
        Nvme => VirtioBlk,
    }
}

impl Machine {
    /// With this disk in the first port, of QEMU's ID `first`.
    fn start(way: Way, model: DiskModel, disk: &Path, settings: &str) -> Self {
        let drive = format!("driver=raw,node-name=first,file.driver=file,file.filename={}", disk.display());
        let mut device = format!("{},id=first,drive=first", driver(model));
        if model == Nvme {
            device += ",serial=first";
        }
        if let Some(bus) = bus(way, FIRST) {
            device += &format!(",bus={bus}");
        }
        let builder = way.of(guest::machine()).append(&format!("log=debug {settings}"));
        let words = ["-blockdev", &drive, "-device", &device];
        let guest = Guest::serving(words.iter().fold(builder, |builder, word| builder.qemu_arg(word)));
        guest.wait_for_line("hot-plug: ", PATIENCE).unwrap();
        Self { way, operator: Operator::of(&guest), guest }
    }

    /// Gives QEMU an image, by this name.
    fn add(&self, name: &str, image: &Path) {
        let file = json!({ "driver": "file", "filename": image });
        self.guest.qmp("blockdev-add", json!({ "driver": "raw", "node-name": name, "file": file })).unwrap();
    }

    /// Plugs in a disk with the image of this name, which is its ID, too.
    fn plug(&self, model: DiskModel, name: &str, port: u32) {
        self.plug_with_sectors(512, model, name, port);
    }

    /// The same with sectors of so many bytes.
    fn plug_with_sectors(&self, bytes: u32, model: DiskModel, name: &str, port: u32) {
        let mut device = json!({
            "driver": driver(model), "id": name, "drive": name,
            "logical_block_size": bytes, "physical_block_size": bytes,
        });
        if model == Nvme {
            device["serial"] = name.into();
        }
        if let Some(bus) = bus(self.way, port) {
            device["bus"] = bus.into();
        }
        self.guest.qmp("device_add", device).unwrap();
    }

    /// Plugs in one that nobody waits for; what the machine says of it.
    fn plug_idle(&self, model: DiskModel, name: &str, port: u32) -> Value {
        self.plug(model, name, port);
        wait_until("the disk to be there", || !names(&self.operator, "idle").is_empty());
        disks::all(&self.operator).into_iter().find(|disk| disk["state"] == "idle").unwrap()
    }

    /// Plugs the disk with this image in where the first was, under its ID.
    fn back(&self, model: DiskModel, image: &Path) {
        self.add("first", image);
        self.plug(model, "first", FIRST);
    }

    /// Has a disk leave, its image with it.
    fn leave(&self, name: &str, how: Leave) {
        self.guest.unplug(name, how, PATIENCE).unwrap();
    }

    fn used(&self) -> Value {
        disks::all(&self.operator).into_iter().find(|disk| disk["state"] == "active").unwrap()
    }

    /// Pulls the used disk out, of QEMU's ID `first`, and waits until that was noticed. Its name.
    fn pull(&self) -> String {
        let used = self.used();
        let (known_as, place) = (used["name"].as_str().unwrap(), used["place"].as_str().unwrap());
        self.leave("first", Leave::Surprise);
        let line = format!("{known_as} at {place} is gone, checkpoints had it");
        self.guest.wait_for_line(&line, PATIENCE).unwrap();
        known_as.to_owned()
    }

    /// Lets a disk of QEMU's ID `name` move so many bytes a second.
    fn limit(&self, model: DiskModel, name: &str, bytes: u64) {
        let id = match model {
            VirtioBlk => format!("/machine/peripheral/{name}/virtio-backend"),
            Nvme => name.to_owned(),
        };
        let none = json!({ "id": id, "bps": bytes, "bps_rd": 0, "bps_wr": 0, "iops": 0, "iops_rd": 0, "iops_wr": 0 });
        self.guest.qmp("block_set_io_throttle", none).unwrap();
    }

    fn keep_one(&self) {
        let told = self.operator.tell("checkpoint --to disk --keep 2");
        assert_eq!(told.status, DONE, "{}", told.err);
    }

    fn is_done(&self, number: u64, at_least: u64) {
        wait_until("some of it to be done", || {
            let job = job(&self.operator, number);
            assert_eq!(job["state"], "running", "{job}");
            job["done"].as_u64().unwrap() >= at_least
        });
    }

    fn ended(&self, number: u64) -> Value {
        wait_until("the job to end", || !job(&self.operator, number)["ended_ms"].is_null());
        job(&self.operator, number)
    }
}

/// Vectors that were given to disks in this part of the log.
fn vectors(log: &str) -> BTreeSet<&str> {
    let lines = log.lines().filter(|line| line.ends_with(" for virtio-blk") || line.ends_with(" for nvme"));
    lines.map(|line| line.split("interrupt vector ").nth(1).unwrap().split(' ').next().unwrap()).collect()
}

/// Each disk gives way to one that is plugged in, and is unplugged.
fn one_after_another(way: Way) {
    const ROUNDS: usize = 4;
    let images = Images::new(&format!("after-{way:?}"));
    let first = images.kept("first");
    let machine = Machine::start(way, VirtioBlk, &first, "");
    let operator = &machine.operator;
    machine.keep_one();
    let (mut model, mut used, mut image) = (VirtioBlk, "first".to_owned(), first);
    let mut before = None;
    for round in 0..ROUNDS {
        let name = format!("disk-{round}");
        let blank = images.blank(&name, 0);
        machine.add(&name, &blank);
        model = other(model);
        let port = if round % 2 == 0 { SECOND } else { FIRST };
        let new = machine.plug_idle(model, &name, port);
        let (old, idle) = used_and_idle(operator);
        let to = [idle.as_str(), new["place"].as_str().unwrap(), "next"][round % 3];
        let told = operator.tell(&format!("device swap {old} --to {to}"));
        assert_eq!(told.status, DONE, "{way:?}: {}{}", told.out, told.err);
        assert_eq!(used_and_idle(operator), (idle, old));
        machine.leave(&used, Leave::Asked);
        wait_until("the old disk to have left", || names(operator, "idle").is_empty());
        assert_eq!(verified(&image).len(), if round == 0 { 1 } else { 2 });
        machine.keep_one();
        (used, image) = (name, blank);
        // The first round has both drivers' first disk.
        if round == 1 {
            let free = operator.status()["memory"]["free"].as_u64().unwrap();
            before = Some((operator.heap(), free, machine.guest.serial_text().len()));
        }
    }
    let (heap, free, length) = before.unwrap();
    operator.wait_for_heap(heap);
    let lost = free.saturating_sub(operator.status()["memory"]["free"].as_u64().unwrap());
    assert!(lost < 1 << 20, "{way:?}: {lost} bytes of memory are lost");
    let log = machine.guest.serial_text();
    // The used one's and the next one's.
    assert!(vectors(&log[length..]).len() <= 2, "{way:?}: {:?}", vectors(&log));
    machine.guest.assert_well();
    machine.guest.kill().unwrap();
    drop(machine);
    assert_eq!(verified(&image).len(), 2);
}

#[test]
fn a_disk_that_is_plugged_in_takes_anothers_place_on_a_pc() {
    one_after_another(Way::Pc);
}

#[test]
fn a_disk_that_is_plugged_in_takes_anothers_place_by_acpi() {
    one_after_another(Way::Acpi);
}

#[test]
fn a_disk_that_is_plugged_in_takes_anothers_place_by_ports_of_their_own() {
    one_after_another(Way::Native);
}

#[test]
fn a_disk_that_is_about_to_take_anothers_place_stays_until_it_is_pulled_out() {
    for (way, model) in [(Way::Pc, VirtioBlk), (Way::Native, Nvme)] {
        let images = Images::new("target");
        let (first, second) = (images.kept("first"), images.blank("second", 0));
        let machine = Machine::start(way, other(model), &first, "");
        machine.keep_one();
        machine.add("second", &second);
        let new = machine.plug_idle(model, "second", SECOND);
        machine.limit(model, "second", 8_000_000);
        let (old, idle) = used_and_idle(&machine.operator);
        let swap = begun(&machine.operator, &format!("device swap {old} --to {idle}"));
        machine.is_done(swap, 30);
        if way == Way::Pc {
            machine.guest.qmp("device_del", json!({ "id": "second" })).unwrap();
            wait_until("the refusal", || {
                machine.operator.tell("events").out.contains(&format!("refused to let go: a swap has {idle}"))
            });
            machine.is_done(swap, 40);
        }
        let place = new["place"].as_str().unwrap();
        // QEMU may keep an NVMe disk whose requests it has not ended, so it is the machine that is asked.
        drop(machine.guest.unplug("second", Leave::Surprise, Duration::from_secs(1)));
        machine.guest.wait_for_line(&format!("{idle} at {place} is gone, a swap had it"), PATIENCE).unwrap();
        let ended = machine.ended(swap);
        assert!(ended["state"] == "failed" && ended["error"] == "the new disk: the disk is gone", "{ended}");
        wait_until("it to be gone", || disks::all(&machine.operator).len() == 1);
        assert_eq!(names(&machine.operator, "active"), [old]);
        machine.keep_one();
        machine.guest.assert_well();
        machine.guest.kill().unwrap();
        drop(machine);
        assert_eq!(verified(&first), [2, 1]);
        assert!(fs::read(&second).unwrap()[..2 * SECTOR].iter().all(|byte| *byte == 0));
    }
}

/// The swap ends, the disk is waited for as ever, and the next swap succeeds.
#[test]
fn the_old_disk_is_pulled_out_of_a_swap() {
    // QEMU keeps an NVMe disk whose requests it has not ended, and its image with it.
    for (way, model) in [(Way::Pc, VirtioBlk), (Way::Native, VirtioBlk)] {
        let images = Images::new("source");
        let (first, second) = (images.kept("first"), images.blank("second", 0));
        let machine = Machine::start(way, model, &first, "");
        machine.keep_one();
        let kept = checkpoints(&machine.operator);
        machine.add("second", &second);
        machine.plug_idle(other(model), "second", SECOND);
        machine.limit(other(model), "second", 8_000_000);
        let (old, idle) = used_and_idle(&machine.operator);
        let swap = begun(&machine.operator, &format!("device swap {old} --to {idle}"));
        machine.is_done(swap, 30);
        machine.pull();
        let ended = machine.ended(swap);
        let is_told = ended["error"].as_str().unwrap().ends_with(" of the old disk: the disk is gone");
        assert!(ended["state"] == "failed" && is_told, "{ended}");
        machine.back(model, &first);
        assert_eq!(checkpoints(&machine.operator), kept);
        machine.limit(other(model), "second", 0);
        let (back, _) = used_and_idle(&machine.operator);
        let told = machine.operator.tell(&format!("device swap {back} --to {idle}"));
        assert_eq!(told.status, DONE, "{}{}", told.out, told.err);
        assert_eq!(checkpoints(&machine.operator), kept);
        machine.guest.assert_well();
        machine.guest.kill().unwrap();
        drop(machine);
        assert_eq!(verified(&second), [1]);
    }
}

/// They overwrite it from its first sector on, so it has nothing that it would be known by.
#[test]
fn nobody_waits_for_the_disk_of_the_benchmarks() {
    let images = Images::new("scratch");
    let machine = Machine::start(Way::Pc, VirtioBlk, &images.blank("first", 0), "bench.disk=disk0");
    let bench = || machine.operator.tell("bench disk.write_random --quick");
    assert_eq!(bench().status, DONE);
    let place = machine.used()["place"].as_str().unwrap().to_owned();
    machine.leave("first", Leave::Surprise);
    machine.guest.wait_for_line(&format!("disk0 at {place} is gone, benchmarks had it"), PATIENCE).unwrap();
    let told = bench();
    assert!(told.status == FAILED && told.err.contains("bench.disk is gone"), "{}{}", told.out, told.err);
    machine.guest.assert_well();
}

/// Ways and models, so that each is there with each at least once.
const PULLED: [(Way, DiskModel); 4] =
    [(Way::Pc, VirtioBlk), (Way::Acpi, Nvme), (Way::Native, VirtioBlk), (Way::Pc, Nvme)];

/// It comes back under another driver, and goes once more. Nobody else waits, not even who freezes the machine; and the machine that was frozen then
/// finds the disk that there is.
#[test]
fn requests_wait_for_a_disk_that_was_pulled_out() {
    for (way, model) in PULLED {
        let images = Images::new("back");
        let first = images.kept("first");
        let machine = Machine::start(way, model, &first, "device.wait=10m");
        machine.keep_one();
        let kept = checkpoints(&machine.operator);
        let frozen = Place::new("without-its-disk");
        for model in [model, other(model)] {
            let old = machine.pull();
            assert_eq!(names(&machine.operator, "gone"), [old.as_str()]);
            let told = std::thread::scope(|scope| {
                let asked = scope.spawn(|| checkpoints(&Operator::of(&machine.guest)));
                let (status, said) = remote::checkpoint(&machine.guest, "checkpoint", &frozen.0);
                assert_eq!(status, Some(0), "{said}");
                machine.guest.assert_well();
                assert!(!asked.is_finished());
                machine.back(model, &first);
                asked.join().unwrap()
            });
            assert_eq!(told, kept, "{way:?}");
            machine.guest.wait_for_line(&format!("{old} is back as "), PATIENCE).unwrap();
            assert!(
                names(&machine.operator, "gone").is_empty() && names(&machine.operator, "idle").is_empty()
            );
        }
        machine.keep_one();
        machine.guest.assert_well();
        let Machine { guest, operator, .. } = machine;
        drop(operator);
        control::restore(&guest, &Keys::of_user().unwrap(), &frozen.0, false).unwrap();
        let operator = Operator::of(&guest);
        wait_until("its disk", || !names(&operator, "active").is_empty());
        assert_eq!(operator.tell("checkpoint --to disk --keep 3").status, DONE);
        guest.assert_well();
        guest.kill().unwrap();
        drop(guest);
        assert_eq!(verified(&first), [3, 2, 1]);
    }
}

/// What was written and not flushed may be lost, so the one that was under way does not count.
#[test]
fn a_checkpoint_meets_a_disk_that_is_pulled_out() {
    // QEMU does not always let go of an NVMe disk with a request under way, so it can't be plugged in again.
    for (way, model) in PULLED.into_iter().filter(|(_, model)| *model == VirtioBlk) {
        let images = Images::new("under-way");
        let first = images.kept("first");
        let machine = Machine::start(way, model, &first, "");
        machine.keep_one();
        let every = begun(&machine.operator, "checkpoint --to disk --keep 2 --every 1s");
        wait_until("another one", || !checkpoints(&machine.operator).starts_with("     1"));
        machine.limit(model, "first", 4_000_000);
        wait_until("one to be under way", || job(&machine.operator, every)["step"] != "");
        machine.pull();
        machine.guest.assert_well();
        machine.back(model, &first);
        // The job goes on, with one less.
        let newest = || checkpoints(&machine.operator).lines().next().unwrap().to_owned();
        let at_return = newest();
        wait_until("a new one", || newest() != at_return);
        let told = machine.operator.tell(&format!("job cancel {every}"));
        assert_eq!(told.status, DONE, "{}", told.err);
        assert_eq!(machine.ended(every)["state"], "cancelled");
        machine.guest.assert_well();
        machine.guest.kill().unwrap();
        drop(machine);
        assert!(!verified(&first).is_empty());
    }
}

#[test]
fn after_the_time_requests_end_and_a_late_return_counts_all_the_same() {
    for ((way, model), wait) in PULLED.into_iter().zip(["0", "1s", "1s", "0"]) {
        let images = Images::new("late");
        let first = images.kept("first");
        let machine = Machine::start(way, model, &first, &format!("device.wait={wait}"));
        machine.keep_one();
        let old = machine.pull();
        for line in ["checkpoint list", "checkpoint --to disk", "checkpoint list"] {
            let told = machine.operator.tell(line);
            assert!(
                told.status == REFUSED && told.err.contains("the disk is gone"),
                "{}{}",
                told.out,
                told.err
            );
        }
        let told = machine.operator.tell(&format!("device swap {old} --to next"));
        assert!(told.status == FAILED && told.err.contains(&format!("{old} is gone")), "{}", told.err);
        machine.guest.assert_well();
        machine.back(model, &first);
        machine.guest.wait_for_line(&format!("{old} is back as "), PATIENCE).unwrap();
        machine.keep_one();
        machine.guest.kill().unwrap();
        drop(machine);
        assert_eq!(verified(&first), [2, 1]);
    }
}

#[test]
fn another_disk_is_not_taken_for_the_one_that_was_pulled_out() {
    for (way, model) in [(Way::Pc, VirtioBlk), (Way::Native, Nvme)] {
        let images = Images::new("strangers");
        let first = images.kept("first");
        let machine = Machine::start(way, model, &first, "");
        machine.keep_one();
        let kept = checkpoints(&machine.operator);
        let old = machine.pull();
        for (name, image, why) in [
            ("larger", images.blank("larger", 1 << 20), "and the other one had"),
            ("blank", images.blank("blank", 0), "it has not the other one's table"),
            ("twin", images.kept("twin"), "it has not the other one's table"),
        ] {
            let before = fs::read(&image).unwrap();
            machine.add(name, &image);
            let stranger = machine.plug_idle(model, name, FIRST);
            let stranger = stranger["name"].as_str().unwrap();
            let line = format!("{stranger} is not {old}, which is waited for: ");
            assert!(machine.guest.wait_for_line(&line, PATIENCE).unwrap().contains(why));
            assert_eq!(names(&machine.operator, "gone"), [old.as_str()]);
            machine.leave(name, Leave::Asked);
            wait_until("it to have left", || names(&machine.operator, "idle").is_empty());
            assert!(fs::read(&image).unwrap() == before, "{name}");
        }
        machine.back(model, &first);
        machine.guest.wait_for_line(&format!("{old} is back as "), PATIENCE).unwrap();
        assert_eq!(checkpoints(&machine.operator), kept);
        machine.guest.assert_well();
    }
}

#[test]
fn a_disk_with_larger_sectors_is_listed_with_the_reason_and_leaves() {
    for (way, model) in [(Way::Pc, Nvme), (Way::Native, VirtioBlk)] {
        let images = Images::new("sectors");
        let (first, large) = (images.kept("first"), images.blank("large", 0));
        let machine = Machine::start(way, VirtioBlk, &first, "");
        machine.add("large", &large);
        machine.plug_with_sectors(4096, model, "large", SECOND);
        wait_until("it to be listed", || !names(&machine.operator, "failed").is_empty());
        let name = names(&machine.operator, "failed").remove(0);
        let told = machine.operator.tell(&format!("device swap disk0 --to {name}"));
        let why = format!("{name} is not used: its sectors have 4096 bytes");
        assert!(told.status == FAILED && told.err.contains(&why), "{}{}", told.out, told.err);
        assert!(machine.operator.tell("events").out.contains("and is not used: its sectors have 4096 bytes"));
        machine.leave("large", Leave::Asked);
        wait_until("it to have left", || disks::all(&machine.operator).len() == 1);
        machine.keep_one();
        machine.guest.assert_well();
    }
}
