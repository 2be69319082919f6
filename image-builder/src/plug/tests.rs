use super::*;
use ports::Rack;

/// What QEMU tells of q35 with a card in its second port.
fn q35() -> Value {
    let port = |number: u8, devices: Value| {
        json!({ "bus": 0, "slot": FIRST_PORT + number - 1, "function": 0, "qdev_id": port_id(number),
                "pci_bridge": { "bus": { "number": 0, "secondary": number }, "devices": devices } })
    };
    let card = json!([{ "bus": 2, "slot": 0, "function": 0, "qdev_id": "nic1" }]);
    json!([{ "bus": 0, "devices": [
        { "bus": 0, "slot": 0, "function": 0, "qdev_id": "" },
        { "bus": 0, "slot": 1, "function": 0, "qdev_id": "control0" },
        port(1, json!([])), port(2, card), port(3, json!([])), port(4, json!([])),
    ] }])
}

/// A pc with a card that was there at boot.
fn pc() -> Value {
    let device = |slot: u8, id: &str| json!({ "bus": 0, "slot": slot, "function": 0, "qdev_id": id });
    json!([{ "bus": 0, "devices": [device(0, ""), device(1, ""), device(2, "nic0"), device(3, "")] }])
}

#[test]
fn ports_of_q35() {
    let rack = Rack::of(&q35(), MachineType::Q35);
    let numbers: Vec<u8> = rack.ports.iter().map(|port| port.number).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
    assert_eq!(rack.ports[0].place.as_deref(), Some("pci:0000:01:00.0"));
    assert_eq!(rack.choose(None).unwrap().number, 1);
    assert_eq!(rack.choose(Some(3)).unwrap().number, 3);
    let refusal = |wish| rack.choose(wish).unwrap_err().to_string();
    assert!(refusal(Some(2)).starts_with("port 2 is taken by nic1"));
    assert_eq!(refusal(Some(5)), "there is no port 5: the machine has 1, 2, 3, 4");
    assert_eq!((rack.unused("nic"), rack.unused("blk")), ("nic2".to_owned(), "blk1".to_owned()));
    assert_eq!(rack.port_of("nic1").map(|port| port.number), Some(2));
    assert!(rack.port_of("control0").is_none());
    assert!(rack.not_in_a_port("control0").to_string().starts_with("control0 is built in"));
    for unknown in ["nic7", "port1"] {
        let told = rack.not_in_a_port(unknown).to_string();
        assert_eq!(told, format!("there is no device {unknown} to take out (there are: nic1)"));
    }
}

#[test]
fn slots_of_a_pc() {
    let rack = Rack::of(&pc(), MachineType::Pc);
    let taken: Vec<(u8, Option<&str>)> =
        rack.ports.iter().take(2).map(|port| (port.number, port.device.as_deref())).collect();
    assert_eq!((taken, rack.ports.len()), (vec![(2, Some("nic0")), (4, None)], 29));
    assert_eq!(rack.choose(None).unwrap().place.as_deref(), Some("pci:0000:00:04.0"));
    assert!(matches!(rack.choose(Some(1)), Err(PlugError::NoSuchPort { .. })));
    assert_eq!(rack.port_of("nic0").map(|port| port.number), Some(2));
}

#[test]
fn a_machine_without_ports_or_with_none_left() {
    let bare = json!([{ "bus": 0, "devices": [{ "bus": 0, "slot": 1, "qdev_id": "nic0" }] }]);
    assert!(matches!(Rack::of(&bare, MachineType::Q35).choose(None), Err(PlugError::NoPorts)));
    let mut full = Rack::of(&q35(), MachineType::Q35);
    full.ports.iter_mut().for_each(|port| port.device = Some("x".to_owned()));
    assert!(matches!(full.choose(None), Err(PlugError::NoFreePort)));
}

#[test]
fn what_is_not_for_such_a_device_is_refused() {
    let card = Wish::of(Model::E1000e);
    let disk = Wish::of(Model::Nvme);
    let size = Some(DiskSize::mebibytes(3));
    for (wish, is_right) in [
        (card.clone(), true),
        (Wish { tap: Some("tap1".into()), ..card.clone() }, true),
        (Wish { size, ..card.clone() }, false),
        (Wish { file: Some("x".into()), ..card }, false),
        (disk.clone(), true),
        (Wish { size, ..disk.clone() }, true),
        (Wish { file: Some("x".into()), ..disk.clone() }, true),
        (Wish { file: Some("x".into()), size, ..disk.clone() }, false),
        (Wish { tap: Some("tap1".into()), ..disk }, false),
    ] {
        assert_eq!(wish.check().is_ok(), is_right, "{wish:?}");
        assert!(wish.check().err().is_none_or(|error| error.is_usage()), "{wish:?}");
    }
}

#[test]
fn taps_get_addresses_of_their_own() {
    assert_ne!(mac("tap0"), mac("tap1"));
}
