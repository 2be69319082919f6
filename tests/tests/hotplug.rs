//! Devices that are plugged in and pulled out of a running machine: by ACPI on both chipsets, and by PCI Express root ports.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::time::Duration;

use image_builder::machine::Builder;
use image_builder::plug::{Leave, Plugged, Wish};
use image_builder::{HotPlug, MachineType, Model};
use serde_json::Value;
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
const MODELS: [Model; 2] = [Model::VirtioNet, Model::E1000e];

impl Way {
    fn of(self, builder: Builder) -> Builder {
        match self {
            Self::Pc => builder.machine(MachineType::Pc).hot_plug(HotPlug::Acpi),
            Self::Acpi => builder.hot_plug(HotPlug::Acpi),
            Self::Native => builder.hot_plug(HotPlug::Native),
        }
    }

    fn start(self, cpus: u32) -> Rig {
        let guest = Guest::serving(self.of(guest::machine().cpus(cpus).append("log=debug")));
        guest.wait_for_line("hot-plug: ", PATIENCE).unwrap();
        let operator = Operator::of(&guest);
        Rig { guest, operator }
    }
}

/// A machine, and what is plugged into it.
struct Rig {
    operator: Operator,
    guest: Guest,
}

impl Rig {
    /// Plugs a card in.
    fn plug(&self, model: Model) -> Plugged {
        self.guest.plug(&Wish::of(model)).unwrap()
    }

    /// Asks for it to leave, and waits until it has.
    fn unplug(&self, device: &str) {
        self.guest.unplug(device, Leave::Asked, PATIENCE).unwrap();
    }

    /// Takes it out without asking anybody.
    fn pull(&self, device: &str) {
        self.guest.unplug(device, Leave::Surprise, PATIENCE).unwrap();
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

    /// Waits for what was plugged in to be idle, in a port that is taken.
    fn arrived(&self, plugged: &Plugged) -> Value {
        wait_until("a device to be there", || self.idle().len() == 1);
        let device = self.idle().remove(0);
        let driver = plugged.model.driver();
        assert!(driver.starts_with(device["driver"].as_str().unwrap()), "{device}");
        let place = plugged.place.as_deref().unwrap();
        assert_eq!(device["place"], place);
        let list = self.list();
        let ports = list["ports"].as_array().unwrap();
        let port = ports.iter().find(|port| place.starts_with(port["place"].as_str().unwrap()));
        let port = port.unwrap_or_else(|| panic!("{list}"));
        assert!(port["is_free"] == false && port["devices"][0] == device["name"], "{list}");
        device
    }

    fn left(&self) {
        wait_until("the device to be gone", || self.idle().is_empty());
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
            let plugged = machine.plug(model);
            machine.arrived(&plugged);
            machine.unplug(&plugged.device);
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
            let plugged = machine.plug(model);
            let device = machine.arrived(&plugged);
            machine.pull(&plugged.device);
            machine.left();
            let name = device["name"].as_str().unwrap();
            assert!(machine.said(&format!("{name} at {} is gone", device["place"].as_str().unwrap())));
            // The next one in guest mode.
            machine.operator.toggle();
        }
        assert_eq!(machine.operator.toggle()["mode"], "guest");
        let plugged = machine.plug(MODELS[0]);
        machine.arrived(&plugged);
        machine.unplug(&plugged.device);
        machine.guest.assert_well();
    }
}

#[test]
fn what_a_network_has_does_not_leave() {
    let machine = Way::Pc.start(2);
    let error = machine.guest.unplug("nic0", Leave::Asked, Duration::from_secs(2)).unwrap_err();
    assert!(error.to_string().starts_with("nic0 is still there"), "{error}");
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
    machine.pull("nic0");
    machine.guest.wait_for_line(&format!("net0 at {place} is gone, main network had it"), PATIENCE).unwrap();
    // Asked while there is no card.
    client.send("GET card").unwrap();
    machine.plug(Model::E1000e);
    machine.guest.wait_for_line("the main network goes on with net1", PATIENCE).unwrap();
    assert_eq!([client.line().unwrap(), client.line().unwrap()], ["$5", "first"]);
    assert_eq!(client.ask("APPEND card s").unwrap(), ":6");
    assert!(!machine.list()["devices"].to_string().contains("gone"));
    machine.guest.assert_well();
}
