//! The ports of a machine, as QEMU tells of them.

use std::ops::RangeInclusive;

use serde::Serialize;
use serde_json::{Value, json};

use super::PlugError;
use crate::config::{MachineType, Model};
use crate::qmp::Qmp;

/// The ports of q35: four that are free at boot, and those of what is there at boot.
const PORTS: RangeInclusive<u8> = 1..=DISKS;
/// The port of the network card that is there at boot, and of the disk, if there is one.
pub(crate) const CARDS: u8 = 5;
pub(crate) const DISKS: u8 = 6;
/// Where the first of them is on the root bus.
pub(crate) const FIRST_PORT: u8 = 0x10;
/// The slots of a pc's bus that could be free; its bridge to memory has the first.
const SLOTS: RangeInclusive<u8> = 1..=31;

/// What a device is plugged into: a root port of q35, or a slot of a pc.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Port {
    pub number: u8,
    /// Where what is plugged in will be, if the system inside has numbered the port's bus: `pci:0000:01:00.0`.
    pub place: Option<String>,
    /// The name of what is in it.
    pub device: Option<String>,
    /// Its model, if it is one that can be plugged in.
    pub model: Option<Model>,
}

/// QEMU's ID of a port.
pub(crate) fn port_id(number: u8) -> String {
    format!("port{number}")
}

/// All ports of a machine.
pub(super) struct Rack {
    pub ports: Vec<Port>,
    /// The IDs of all devices.
    ids: Vec<String>,
}

impl Rack {
    pub fn look(qmp: &mut Qmp, machine: MachineType) -> Result<Self, PlugError> {
        let buses = qmp.execute("query-pci", Value::Null)?;
        let mut rack = Self::of(&buses, machine);
        for port in &mut rack.ports {
            let Some(device) = &port.device else { continue };
            let path = format!("/machine/peripheral/{device}");
            // It may just have left.
            let driver = qmp.execute("qom-get", json!({ "path": path, "property": "type" }));
            port.model = driver.ok().and_then(|driver| Model::of_driver(driver.as_str()?));
        }
        Ok(rack)
    }

    /// From the answer to `query-pci`; the models are not in it.
    pub fn of(buses: &Value, machine: MachineType) -> Self {
        let root = devices(&buses[0]);
        let behind = root.iter().flat_map(|port| devices(&port["pci_bridge"]));
        let all = root.iter().copied().chain(behind);
        let ids = all.filter_map(id).map(str::to_owned).collect();
        let ports = match machine {
            MachineType::Pc => SLOTS.filter_map(|number| slot(&root, number)).collect(),
            _ => PORTS.filter_map(|number| port(&root, number)).collect(),
        };
        Self { ports, ids }
    }

    /// A port that is free: this one or any.
    pub fn choose(&self, wish: Option<u8>) -> Result<&Port, PlugError> {
        if self.ports.is_empty() {
            return Err(PlugError::NoPorts);
        }
        let Some(number) = wish else {
            return self.ports.iter().find(|port| port.device.is_none()).ok_or(PlugError::NoFreePort);
        };
        let port = self.ports.iter().find(|port| port.number == number).ok_or_else(|| {
            PlugError::NoSuchPort { number, known: self.ports.iter().map(|port| port.number).collect() }
        })?;
        match &port.device {
            Some(device) => Err(PlugError::PortTaken { number, device: device.clone() }),
            None => Ok(port),
        }
    }

    /// The first name of a kind that no device has. That at boot is number 0.
    pub fn unused(&self, kind: &str) -> String {
        let mut names = (1..).map(|number: u32| format!("{kind}{number}"));
        names.find(|name| !self.has(name)).expect("the numbers do not end")
    }

    /// Whether there is a device of this name, wherever.
    pub fn has(&self, device: &str) -> bool {
        self.ids.iter().any(|id| id == device)
    }

    /// Where a device is plugged in.
    pub fn port_of(&self, device: &str) -> Option<&Port> {
        self.ports.iter().find(|port| port.device.as_deref() == Some(device))
    }

    /// Why a device can't be taken out that is in no port.
    pub fn not_in_a_port(&self, device: &str) -> PlugError {
        let is_port = PORTS.map(port_id).any(|port| port == device);
        if self.has(device) && !is_port {
            return PlugError::BuiltIn(device.to_owned());
        }
        let present = self.ports.iter().filter_map(|port| port.device.clone()).collect();
        PlugError::UnknownDevice { device: device.to_owned(), present }
    }
}

fn devices(bus: &Value) -> Vec<&Value> {
    bus["devices"].as_array().into_iter().flatten().collect()
}

/// Devices that nobody has named have an empty ID.
fn id(device: &Value) -> Option<&str> {
    device["qdev_id"].as_str().filter(|id| !id.is_empty())
}

/// A slot that is free, or has something in it with a name; what has none is part of the machine.
fn slot(root: &[&Value], number: u8) -> Option<Port> {
    let device = root.iter().find(|device| device["slot"] == number);
    let name = device.and_then(|device| id(device));
    let place = Some(format!("pci:0000:00:{number:02x}.0"));
    (device.is_none() || name.is_some()).then(|| Port {
        number,
        place,
        device: name.map(str::to_owned),
        model: None,
    })
}

fn port(root: &[&Value], number: u8) -> Option<Port> {
    let port = root.iter().find(|device| id(device) == Some(&port_id(number)))?;
    let bus = port["pci_bridge"]["bus"]["secondary"].as_u64().filter(|bus| *bus != 0);
    let inside = devices(&port["pci_bridge"]).first().copied();
    // What is in it and has no name was given to QEMU by others.
    let device = inside.map(|device| id(device).unwrap_or("a device without a name").to_owned());
    Some(Port { number, place: bus.map(|bus| format!("pci:0000:{bus:02x}:00.0")), device, model: None })
}
