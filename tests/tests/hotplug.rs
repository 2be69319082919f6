//! Devices that are plugged in and pulled out of a running machine: by ACPI on both chipsets, and by PCI Express root ports.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use image_builder::MachineType;
use serde_json::{Value, json};
use tests::guest::{self, Guest, PATIENCE, wait_until};
use tests::operator::Operator;
use tests::store::Client;

/// How a machine's devices are plugged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// The slots of the first bus of a PC, by ACPI.
    Pc,
    /// PCI Express root ports, by ACPI.
    Acpi,
    /// PCI Express root ports, by their own registers.
    Native,
}

const WAYS: [Way; 3] = [Way::Pc, Way::Acpi, Way::Native];
const MODELS: [&str; 2] = ["virtio-net-pci", "e1000e"];
/// Where the first of the root ports is.
const PORT: u32 = 0x10;

impl Way {
    fn start(self, cpus: u32) -> Plugged {
        let mut builder = guest::machine().cpus(cpus).append("log=debug");
        if self == Self::Pc {
            builder = builder.machine(MachineType::Pc);
        } else {
            for port in 0..2 {
                let device = format!(
                    "pcie-root-port,id=port{port},bus=pcie.0,addr={:#x},chassis={port},slot={port}",
                    PORT + port
                );
                builder = builder.qemu_arg("-device").qemu_arg(&device);
            }
        }
        if self == Self::Native {
            let off = "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off";
            builder = builder.qemu_arg("-global").qemu_arg(off);
        }
        let guest = Guest::serving(builder);
        guest.wait_for_line("hot-plug: ", PATIENCE).unwrap();
        let operator = Operator::of(&guest);
        Plugged { way: self, guest, operator }
    }
}

/// A machine, and what is plugged into it.
struct Plugged {
    way: Way,
    operator: Operator,
    guest: Guest,
}

impl Plugged {
    fn monitor(&self, line: &str) -> String {
        let answer = self.guest.qmp("human-monitor-command", json!({ "command-line": line })).unwrap();
        answer.as_str().unwrap().to_owned()
    }

    /// What a port reads as: a byte, half a word or a word (`b`, `h`, `w`).
    fn input(&self, size: char, port: u32) -> u32 {
        let said = self.monitor(&format!("i/{size}x {port:#x}"));
        let value = said.rsplit("0x").next().unwrap().trim();
        u32::from_str_radix(value, 16).unwrap_or_else(|error| panic!("{error}: {said}"))
    }

    fn output(&self, size: char, port: u32, value: u32) {
        self.monitor(&format!("o/{size} {port:#x} {value:#x}"));
    }

    /// Plugs a card in.
    fn plug(&self, model: &str, id: &str) {
        self.guest.qmp("netdev_add", json!({ "type": "user", "id": id })).unwrap();
        let mut device = json!({ "driver": model, "id": id, "netdev": id, "romfile": "" });
        if self.way != Way::Pc {
            device["bus"] = "port0".into();
        }
        self.guest.qmp("device_add", device).unwrap();
    }

    fn is_deleted(&self, id: &str) {
        let event = self.guest.qmp_event("DEVICE_DELETED", id, PATIENCE);
        assert!(event.is_some(), "{id} is still plugged in");
        self.guest.qmp("netdev_del", json!({ "id": id })).unwrap();
    }

    /// Asks for it to leave, and waits until it has.
    fn unplug(&self, id: &str) {
        self.guest.qmp("device_del", json!({ "id": id })).unwrap();
        self.is_deleted(id);
    }

    fn list(&self) -> Value {
        self.operator.ask("device list").1
    }

    /// The idle devices.
    fn idle(&self) -> Vec<Value> {
        let list = self.list();
        list["devices"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|device| device["state"] == "idle")
            .cloned()
            .collect()
    }

    /// Waits for one that is idle, in a port that is taken.
    fn arrived(&self, driver: &str) -> Value {
        wait_until("a device to be there", || self.idle().len() == 1);
        let device = self.idle().remove(0);
        assert!(driver.starts_with(device["driver"].as_str().unwrap()), "{device}");
        let place = device["place"].as_str().unwrap();
        let list = self.list();
        let port = list["ports"]
            .as_array()
            .unwrap()
            .iter()
            .find(|port| place.starts_with(port["place"].as_str().unwrap()));
        let port = port.unwrap_or_else(|| panic!("{list}"));
        assert!(port["is_free"] == false && port["devices"][0] == device["name"], "{list}");
        device
    }

    fn left(&self) {
        wait_until("the device to be gone", || self.idle().is_empty());
    }

    /// Takes it out without asking anybody.
    fn pull(&self, place: &str) {
        let slot: u32 = u32::from_str_radix(&place["pci:0000:00:".len()..][..2], 16).unwrap();
        match self.way {
            Way::Pc => {
                self.output('w', 0xae10, 0);
                self.output('w', 0xae08, 1 << slot);
            }
            Way::Acpi => {
                for selector in 0..2 {
                    self.output('w', 0xcd0, selector);
                    self.output('w', 0xcc8, 1);
                }
            }
            Way::Native => {
                let select = |register: u32| self.output('w', 0xcf8, 1 << 31 | PORT << 11 | register & 0xfc);
                let byte = |register: u32| {
                    select(register);
                    self.input('b', 0xcfc + register % 4)
                };
                let mut capability = byte(0x34);
                while byte(capability) != 0x10 {
                    capability = byte(capability + 1);
                }
                let control = capability + 0x18;
                select(control);
                let port = 0xcfc + control % 4;
                self.output('h', port, self.input('h', port) | 0x700);
            }
        }
    }

    fn free(&self) -> u64 {
        self.operator.status()["memory"]["free"].as_u64().unwrap()
    }

    fn said(&self, pattern: &str) -> bool {
        self.operator.tell("events").out.contains(pattern)
    }
}

/// Vectors that were given to network cards since the log was so long.
fn vectors(log: &str) -> BTreeSet<&str> {
    let lines = log.lines().filter(|line| line.ends_with(" for virtio-net") || line.ends_with(" for e1000"));
    lines.map(|line| line.split("interrupt vector ").nth(1).unwrap().split(' ').next().unwrap()).collect()
}

fn come_and_go(way: Way, cpus: u32, rounds: usize) {
    let machine = way.start(cpus);
    let mut first = None;
    for round in 0..rounds {
        for model in MODELS {
            machine.plug(model, "hot");
            machine.arrived(model);
            machine.unplug("hot");
            machine.left();
        }
        if round == 0 {
            first = Some((machine.operator.heap(), machine.free(), machine.guest.serial_text().len()));
        }
    }
    let (heap, free, length) = first.unwrap();
    machine.operator.wait_for_heap(heap);
    let lost = free.saturating_sub(machine.free());
    assert!(lost < 1 << 20, "{way:?}: {lost} bytes of memory are lost");
    let log = machine.guest.serial_text();
    let vectors = vectors(&log[length..]);
    assert!(vectors.len() <= MODELS.len(), "{way:?}: {vectors:?}");
    machine.guest.assert_well();
}

#[test]
fn cards_come_and_go_on_a_pc() {
    come_and_go(Way::Pc, 1, 20);
    come_and_go(Way::Pc, 4, 20);
}

#[test]
fn cards_come_and_go_by_acpi() {
    come_and_go(Way::Acpi, 1, 20);
    come_and_go(Way::Acpi, 4, 20);
}

/// A button is meant five seconds after it was pressed, so there are fewer rounds.
#[test]
fn cards_come_and_go_by_ports_of_their_own() {
    let rounds = if tests::soaks() { 20 } else { 4 };
    come_and_go(Way::Native, 1, rounds);
    come_and_go(Way::Native, 4, rounds);
}

#[test]
fn a_card_that_is_pulled_out_is_noticed_and_another_one_arrives() {
    for way in WAYS {
        let machine = way.start(1);
        for model in MODELS {
            machine.plug(model, "hot");
            let device = machine.arrived(model);
            machine.pull(device["place"].as_str().unwrap());
            machine.is_deleted("hot");
            machine.left();
            let name = device["name"].as_str().unwrap();
            assert!(machine.said(&format!("{name} at {} is gone", device["place"].as_str().unwrap())));
            // The next one in guest mode.
            machine.operator.toggle();
        }
        assert_eq!(machine.operator.toggle()["mode"], "guest");
        machine.plug(MODELS[0], "hot");
        machine.arrived(MODELS[0]);
        machine.unplug("hot");
        machine.guest.assert_well();
    }
}

#[test]
fn what_a_network_has_does_not_leave() {
    let machine = Way::Pc.start(2);
    let anonymous = machine.guest.qmp("qom-list", json!({ "path": "/machine/peripheral-anon" })).unwrap();
    let card = anonymous.as_array().unwrap().iter().find(|device| device["type"] == "child<virtio-net-pci>");
    let path = format!("/machine/peripheral-anon/{}", card.unwrap()["name"].as_str().unwrap());
    machine.guest.qmp("device_del", json!({ "id": path })).unwrap();
    wait_until("the refusal", || machine.said("refused to let go: main network has net0"));
    machine.guest.assert_well();
    // Whoever pulls it out all the same has the network wait for another.
    let list = machine.list();
    let place =
        list["devices"].as_array().unwrap().iter().find(|device| device["name"] == "net0").unwrap()["place"]
            .as_str()
            .unwrap();
    let mut client = Client::of(machine.guest.connect("kv"));
    assert_eq!(client.ask("SET card first").unwrap(), "+OK");
    machine.pull(place);
    machine.guest.wait_for_line(&format!("net0 at {place} is gone, main network had it"), PATIENCE).unwrap();
    // Asked while there is no card.
    client.send("GET card").unwrap();
    let device = json!({ "driver": "e1000e", "id": "next", "netdev": "net0", "romfile": "" });
    machine.guest.qmp("device_add", device).unwrap();
    machine.guest.wait_for_line("the main network goes on with net1", PATIENCE).unwrap();
    assert_eq!([client.line().unwrap(), client.line().unwrap()], ["$5", "first"]);
    assert_eq!(client.ask("APPEND card s").unwrap(), ":6");
    assert!(!machine.list()["devices"].to_string().contains("gone"));
    machine.guest.assert_well();
}
