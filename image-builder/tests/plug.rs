//! Devices that are plugged into machines in QEMU, with a kernel of a few instructions that never lets one go. With a system that does:
//! `tests/tests/hotplug.rs`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod stub;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use image_builder::disk::{self, DiskSize};
use image_builder::machine::Builder;
use image_builder::plug::{Leave, PlugError, Wish};
use image_builder::{HotPlug, Machine, MachineType, Model};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);
/// For what does not happen.
const SOON: Duration = Duration::from_millis(300);

const WAYS: [(MachineType, HotPlug); 3] = [
    (MachineType::Pc, HotPlug::Acpi),
    (MachineType::Q35, HotPlug::Acpi),
    (MachineType::Q35, HotPlug::Native),
];

fn builder(machine: MachineType, way: HotPlug) -> Builder {
    Machine::builder().elf(stub::finished()).machine(machine).hot_plug(way)
}

fn start(builder: Builder) -> Machine {
    let machine = builder.spawn().unwrap();
    machine.wait_ready("ssh").unwrap();
    machine
}

/// A disk of 8 MiB, gone with the test.
struct Image(PathBuf);

impl Image {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("qs-plug-{}-{name}", std::process::id()));
        drop(fs::remove_file(&path));
        disk::create(&path, DiskSize::mebibytes(8), None).unwrap();
        Self(path)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}

fn refusal(machine: &Machine, wish: &Wish) -> String {
    machine.plug(wish).unwrap_err().to_string()
}

/// What QEMU knows of: the ends of networks, and the nodes of images.
fn behind(machine: &Machine) -> (String, String) {
    let networks = machine.qmp("human-monitor-command", json!({ "command-line": "info network" })).unwrap();
    let nodes = machine.qmp("query-named-block-nodes", Value::Null).unwrap();
    (networks.to_string(), nodes.to_string())
}

#[test]
fn every_model_is_plugged_in_and_pulled_out_everywhere() {
    let disk = Image::new("models");
    for (machine, way) in WAYS {
        let machine = start(builder(machine, way).disk(&disk.0));
        let before = behind(&machine);
        for (_, model) in Model::ALL {
            let plugged = machine.plug(&Wish::of(*model)).unwrap();
            assert_eq!(plugged.device, if model.is_disk() { "blk1" } else { "nic1" });
            let ports = machine.hot_plug_ports().unwrap();
            let port = ports.iter().find(|port| port.number == plugged.port).unwrap();
            assert_eq!((port.device.as_deref(), port.model), (Some(&*plugged.device), Some(*model)));
            assert_ne!(behind(&machine), before);
            // Whoever is asked and does not answer keeps it; asked again, too. A port that has no power yet keeps nothing.
            for _ in 0..if way == HotPlug::Native { 0 } else { 2 } {
                let error = machine.unplug(&plugged.device, Leave::Asked, SOON).unwrap_err();
                assert!(matches!(error, PlugError::Stays { .. }), "{error}");
                assert!(error.to_string().contains("device swap"), "{error}");
            }
            machine.unplug(&plugged.device, Leave::Surprise, PATIENCE).unwrap();
            assert!(
                machine
                    .hot_plug_ports()
                    .unwrap()
                    .iter()
                    .all(|port| port.device != Some(plugged.device.clone()))
            );
            assert_eq!(behind(&machine), before, "{model}");
        }
        assert_eq!(machine.qmp("query-status", Value::Null).unwrap()["status"], "running");
    }
}

#[test]
fn ports_are_taken_in_turn_or_by_number() {
    let machine = start(builder(MachineType::Q35, HotPlug::Acpi).control_nic());
    let plug = |port| machine.plug(&Wish { port, ..Wish::of(Model::VirtioNet) }).unwrap();
    assert_eq!((plug(Some(2)).port, plug(None).port, plug(None).port), (2, 1, 3));
    let wish = Wish { port: Some(2), ..Wish::of(Model::E1000e) };
    assert!(refusal(&machine, &wish).starts_with("port 2 is taken by nic1"));
    assert_eq!(plug(None).device, "nic4");
    assert!(refusal(&machine, &Wish::of(Model::E1000)).starts_with("all ports are taken"));
    // The name that is free again is given again.
    machine.unplug("nic2", Leave::Surprise, PATIENCE).unwrap();
    let again = plug(None);
    assert_eq!((again.device.as_str(), again.port), ("nic2", 1));
    let told = machine.unplug("nic9", Leave::Asked, PATIENCE).unwrap_err().to_string();
    assert_eq!(told, "there is no device nic9 to take out (there are: nic2, nic1, nic3, nic4, nic0)");
    let told = machine.unplug("control0", Leave::Surprise, PATIENCE).unwrap_err().to_string();
    assert!(told.starts_with("control0 is built in"), "{told}");
    assert!(behind(&machine).0.contains("control0: index=0,type=nic"), "{}", behind(&machine).0);
}

#[test]
fn what_was_there_at_boot_can_leave() {
    let disk = Image::new("boot");
    for (machine, way) in WAYS {
        let machine = start(builder(machine, way).disk(&disk.0));
        for device in ["nic0", "blk0"] {
            machine.unplug(device, Leave::Surprise, PATIENCE).unwrap();
        }
        let nodes = behind(&machine).1;
        assert!(!nodes.contains("disk0"), "{nodes}");
        // Its network has room for another, and its image can be opened again.
        machine.plug(&Wish::of(Model::E1000)).unwrap();
        machine.plug(&Wish { file: Some(disk.0.clone()), ..Wish::of(Model::Nvme) }).unwrap();
    }
}

#[test]
fn a_disk_has_the_size_that_is_asked_for() {
    let disk = Image::new("size");
    let other = Image::new("other");
    let machine = start(builder(MachineType::Q35, HotPlug::Acpi).disk(&disk.0));
    let blk = Wish::of(Model::VirtioBlk);
    machine.plug(&blk).unwrap();
    machine.plug(&Wish { size: Some(DiskSize::mebibytes(3)), ..blk.clone() }).unwrap();
    machine.plug(&Wish { file: Some(other.0.clone()), ..blk.clone() }).unwrap();
    let nodes = machine.qmp("query-named-block-nodes", json!({ "flat": true })).unwrap();
    let node =
        |id: &str| nodes.as_array().unwrap().iter().find(|node| node["node-name"] == id).unwrap().clone();
    let size = |id: &str| node(id)["image"]["virtual-size"].as_u64().unwrap() >> 20;
    assert_eq!(["blk1", "blk2", "blk3"].map(size), [8, 3, 8]);
    // An image that was made is gone with its device; one that was given stays.
    let made = PathBuf::from(node("blk1")["file"].as_str().unwrap());
    assert!(made.exists());
    for device in ["blk1", "blk3"] {
        machine.unplug(device, Leave::Surprise, PATIENCE).unwrap();
    }
    assert!(!made.exists() && other.0.exists());
    // What QEMU says of an image in use is told.
    let told = refusal(&machine, &Wish { file: Some(disk.0.clone()), ..blk.clone() });
    assert!(told.contains("lock"), "{told}");
    let told = refusal(&machine, &Wish { file: Some("/nonexistent/disk".into()), ..blk.clone() });
    assert!(told.starts_with("/nonexistent/disk: "), "{told}");
    assert_eq!(machine.plug(&blk).unwrap().device, "blk1");
    let diskless = start(builder(MachineType::Pc, HotPlug::Acpi));
    assert!(refusal(&diskless, &blk).starts_with("the machine has no disk to be as large as"));
}

#[test]
fn machines_without_ports_say_so() {
    let card = Wish::of(Model::VirtioNet);
    let q35 = start(builder(MachineType::Q35, HotPlug::Off));
    assert!(refusal(&q35, &card).contains("no ports"));
    let pc = start(builder(MachineType::Pc, HotPlug::Off));
    assert!(refusal(&pc, &card).contains("no hub"));
    let tap = Wish { tap: Some("tap1".into()), ..card.clone() };
    let pc = start(builder(MachineType::Pc, HotPlug::Acpi));
    assert!(refusal(&pc, &tap).contains("leave --tap out"));
    let microvm = start(builder(MachineType::Microvm, HotPlug::Off));
    assert!(refusal(&microvm, &card).contains("that takes q35 or pc in QEMU"));
}
