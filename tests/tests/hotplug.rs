//! Devices that are plugged in and pulled out of a running machine: by ACPI on both chipsets, and by PCI Express root ports.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use image_builder::Model;
use image_builder::plug::Leave;
use serde_json::json;
use tests::guest::{PATIENCE, wait_until};
use tests::operator::DONE;
use tests::rig::{Rig, WAYS, Way, vectors};
use tests::store::Client;

const MODELS: [Model; 2] = [Model::VirtioNet, Model::E1000e];

/// Waits until nothing is idle.
fn left(machine: &Rig) {
    wait_until("the device to be gone", || machine.devices("idle").is_empty());
}

fn come_and_go(way: Way, cpus: u32) {
    let rounds = if tests::soaks() { 20 } else { 4 };
    let machine = way.start(cpus);
    let mut first = None;
    for round in 0..rounds {
        for model in MODELS {
            let plugged = machine.plug(model);
            machine.arrived(&plugged);
            machine.unplug(&plugged.device);
            left(&machine);
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
    come_and_go(Way::Pc, 1);
    come_and_go(Way::Pc, 4);
}

#[test]
fn cards_come_and_go_by_acpi() {
    come_and_go(Way::Acpi, 1);
    come_and_go(Way::Acpi, 4);
}

#[test]
fn cards_come_and_go_by_ports_of_their_own() {
    come_and_go(Way::Native, 1);
    come_and_go(Way::Native, 4);
}

#[test]
fn a_card_that_is_pulled_out_is_noticed_and_another_one_arrives() {
    for way in WAYS {
        let machine = way.start(1);
        for model in MODELS {
            let plugged = machine.plug(model);
            let device = machine.arrived(&plugged);
            machine.pull(&plugged.device);
            left(&machine);
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
    for way in WAYS {
        let machine = way.start(2);
        let error = machine.guest.unplug("nic0", Leave::Asked, Duration::from_secs(1)).unwrap_err();
        assert!(error.to_string().starts_with("nic0 is still there"), "{error}");
        wait_until("the refusal", || machine.said("refused to let go: main network has net0"));
        machine.guest.assert_well();
        // Whoever pulls it out all the same has the network wait for another.
        let card = machine.devices("active").into_iter().find(|device| device["name"] == "net0").unwrap();
        let gone = format!("net0 at {} is gone, main network had it", card["place"].as_str().unwrap());
        let mut client = Client::of(machine.guest.connect("kv"));
        assert_eq!(client.ask("SET card first").unwrap(), "+OK");
        machine.pull("nic0");
        machine.guest.wait_for_line(&gone, PATIENCE).unwrap();
        // Asked while there is no card.
        client.send("GET card").unwrap();
        machine.plug(Model::E1000e);
        machine.guest.wait_for_line("the main network goes on with net1", PATIENCE).unwrap();
        assert_eq!([client.line().unwrap(), client.line().unwrap()], ["$5", "first"]);
        assert_eq!(client.ask("APPEND card s").unwrap(), ":6");
        assert!(!machine.list()["devices"].to_string().contains("gone"));
        machine.guest.assert_well();
    }
}

/// While its successor waits for a carrier: the network goes on with that all the same, when there is one.
#[test]
fn a_card_is_pulled_out_of_its_swap() {
    for way in WAYS {
        let machine = way.start(2);
        let mut client = Client::of(machine.guest.connect("kv"));
        assert_eq!(client.ask("SET card first").unwrap(), "+OK");
        let plugged = machine.plug(Model::E1000e);
        machine.arrived(&plugged);
        let link = |up| machine.guest.qmp("set_link", json!({ "name": plugged.device, "up": up })).unwrap();
        link(false);
        assert_eq!(machine.operator.tell("device swap net0 --to net1 --detach").status, DONE);
        wait_until("the swap", || machine.operator.tell("job list").out.contains("running"));
        machine.pull("nic0");
        let ended = "device swap net0 --to net1: connect: it has no carrier; net0 was pulled out";
        machine.guest.wait_for_line("the main network goes on with net1", PATIENCE).unwrap();
        link(true);
        assert_eq!(client.bulk("GET card").unwrap().as_deref(), Some("first"));
        assert!(machine.said(ended));
        let active = machine.devices("active");
        assert!(active.iter().any(|card| card["name"] == "net1"), "{active:?}");
        assert!(!machine.list()["devices"].to_string().contains("net0"));
        machine.guest.assert_well();
    }
}
