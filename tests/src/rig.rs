//! Machines whose devices are changed while they run. Made for tests: what goes wrong is a panic.

use std::collections::BTreeSet;

use image_builder::machine::Builder;
use image_builder::plug::{Leave, Plugged, Wish};
use image_builder::{HotPlug, MachineType, Model};
use serde_json::Value;

use crate::guest::{self, Guest, PATIENCE, wait_until};
use crate::operator::{DONE, Operator};

/// How a machine's devices are plugged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The slots of the first bus of a PC, by ACPI.
    Pc,
    /// PCI Express root ports, by ACPI.
    Acpi,
    /// PCI Express root ports, by their own registers.
    Native,
}

/// All ways.
pub const WAYS: [Way; 3] = [Way::Pc, Way::Acpi, Way::Native];

impl Way {
    /// A machine with such slots.
    pub fn of(self, builder: Builder) -> Builder {
        match self {
            Self::Pc => builder.machine(MachineType::Pc).hot_plug(HotPlug::Acpi),
            Self::Acpi => builder.hot_plug(HotPlug::Acpi),
            Self::Native => builder.hot_plug(HotPlug::Native),
        }
    }

    /// A machine with all applications that is operated.
    ///
    /// # Panics
    /// When it has no ports.
    pub fn start(self, cpus: u32) -> Rig {
        let guest = Guest::serving(self.of(guest::machine().cpus(cpus).append("log=debug")));
        let ports = guest.wait_for_line("hot-plug: ", PATIENCE);
        ports.unwrap_or_else(|error| panic!("{error}"));
        let operator = Operator::of(&guest);
        Rig { operator, guest }
    }
}

/// A machine, and what is plugged into it.
#[derive(Debug)]
pub struct Rig {
    pub operator: Operator,
    pub guest: Guest,
}

impl Rig {
    /// Plugs a card in.
    ///
    /// # Panics
    /// When there is no port for it.
    pub fn plug(&self, model: Model) -> Plugged {
        self.guest.plug(&Wish::of(model)).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Asks for it to leave, and waits until it has.
    ///
    /// # Panics
    /// When it stays.
    pub fn unplug(&self, device: &str) {
        self.leave(device, Leave::Asked);
    }

    /// Takes it out without asking anybody.
    ///
    /// # Panics
    /// When that can't be done.
    pub fn pull(&self, device: &str) {
        self.leave(device, Leave::Surprise);
    }

    fn leave(&self, device: &str, how: Leave) {
        self.guest.unplug(device, how, PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    }

    /// What `device list` tells.
    ///
    /// # Panics
    /// When it tells nothing.
    pub fn list(&self) -> Value {
        let (status, body) = self.operator.ask("device list");
        assert_eq!(status, DONE, "{body}");
        body
    }

    /// The devices with this state.
    ///
    /// # Panics
    /// When there is no list of them.
    pub fn devices(&self, state: &str) -> Vec<Value> {
        let list = self.list();
        let devices = list["devices"].as_array().unwrap_or_else(|| panic!("{list}"));
        devices.iter().filter(|device| device["state"] == state).cloned().collect()
    }

    /// Waits for what was plugged in to be the only idle device, in a port that is taken.
    ///
    /// # Panics
    /// When it is something else.
    pub fn arrived(&self, plugged: &Plugged) -> Value {
        let mut idle = Vec::new();
        wait_until("a device to be there", || {
            idle = self.devices("idle");
            idle.len() == 1
        });
        let device = idle.remove(0);
        let driver = device["driver"].as_str().unwrap_or_default();
        assert!(plugged.model.driver().starts_with(driver), "{device}");
        let place = plugged.place.as_deref().unwrap_or_default();
        assert_eq!(device["place"], place);
        let list = self.list();
        let is_it = |port: &&Value| port["place"].as_str().is_some_and(|port| place.starts_with(port));
        let port = list["ports"].as_array().and_then(|ports| ports.iter().find(is_it));
        let port = port.unwrap_or_else(|| panic!("{list}"));
        assert!(port["is_free"] == false && port["devices"][0] == device["name"], "{list}");
        device
    }

    /// Bytes of memory that nobody has.
    ///
    /// # Panics
    /// When there is no figure.
    pub fn free(&self) -> u64 {
        self.operator.status()["memory"]["free"].as_u64().unwrap_or_else(|| panic!("no figure of memory"))
    }

    /// Whether an event tells this.
    pub fn said(&self, pattern: &str) -> bool {
        self.operator.tell("events").out.contains(pattern)
    }
}

/// Vectors that were given to network cards, by a log.
pub fn vectors(log: &str) -> BTreeSet<&str> {
    let lines = log.lines().filter(|line| line.ends_with(" for virtio-net") || line.ends_with(" for e1000"));
    lines.filter_map(|line| line.split("interrupt vector ").nth(1)?.split(' ').next()).collect()
}
