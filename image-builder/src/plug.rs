//! Plugs devices into a running machine in QEMU, and takes them out.
//!
//! What is plugged in has a name of the host's (`nic1`, `blk1`; `nic0` and `blk0` were there at boot), which is the ID of QEMU's device, and of
//! what is behind it: the end of a network, or the node of an image. The system inside has names of its own.

mod error;
mod image;
mod ports;
mod surprise;
#[cfg(test)]
mod tests;

pub use error::PlugError;
pub(crate) use image::format;
pub use ports::Port;
pub(crate) use ports::{CARDS, DISKS, FIRST_PORT, port_id};

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::config::{Config, Emulator, HotPlug, MachineType, Model, Network};
use crate::disk::DiskSize;
use crate::qmp::{Qmp, QmpError};
use ports::Rack;

/// QEMU's number of the hub that all cards of the user network are plugged into.
pub(crate) const HUB: u32 = 0;
/// QEMU's name of the image of the disk that is there at boot.
pub(crate) const DRIVE: &str = "disk0";

/// What has to be known of a machine to plug something into it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    pub machine: MachineType,
    pub hot_plug: HotPlug,
    pub network: Network,
    /// Of the machine's files.
    pub directory: PathBuf,
}

/// A device that is to be plugged in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    pub model: Model,
    /// A port of q35 from 1 on, or the slot of a pc; the first free one otherwise.
    pub port: Option<u8>,
    /// What the card is connected to, where the machine is on tap devices.
    pub tap: Option<String>,
    /// The image of the disk, raw or qcow2; an empty one among the machine's files otherwise.
    pub file: Option<PathBuf>,
    /// The size of an empty image; that of the machine's disk otherwise.
    pub size: Option<DiskSize>,
}

/// A device that was plugged in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plugged {
    pub device: String,
    pub model: Model,
    pub port: u8,
    /// As the machine names it, if it has numbered the port's bus.
    pub place: Option<String>,
}

/// How a device leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// The machine is asked, and lets it go.
    Asked,
    /// Nobody is asked.
    Surprise,
}

impl Wish {
    /// Only that it is of this model.
    pub fn of(model: Model) -> Self {
        Self { model, ..Self::default() }
    }

    /// Refuses what is not for such a device.
    fn check(&self) -> Result<(), PlugError> {
        if self.model.is_disk() {
            match (&self.tap, &self.file, self.size) {
                (Some(_), ..) => Err(PlugError::TapOfDisk),
                (None, Some(_), Some(_)) => Err(PlugError::SizeOfFile),
                _ => Ok(()),
            }
        } else if self.file.is_some() || self.size.is_some() {
            Err(PlugError::ImageOfCard)
        } else {
            Ok(())
        }
    }
}

impl Site {
    /// A machine of this configuration; `None` where nothing can be plugged in.
    pub fn of(config: &Config, directory: &Path) -> Option<Self> {
        let Config { machine, hot_plug, network, .. } = config;
        let has_pci = config.emulator == Emulator::Qemu && *machine != MachineType::Microvm;
        has_pci.then(|| Self {
            machine: *machine,
            hot_plug: *hot_plug,
            network: network.clone(),
            directory: directory.to_owned(),
        })
    }

    /// The machine's ports, and what is in them.
    pub fn ports(&self, qmp: &mut Qmp) -> Result<Vec<Port>, PlugError> {
        Ok(Rack::look(qmp, self.machine)?.ports)
    }

    /// Plugs a device in.
    pub fn plug(&self, qmp: &mut Qmp, wish: &Wish) -> Result<Plugged, PlugError> {
        wish.check()?;
        let rack = Rack::look(qmp, self.machine)?;
        let port = rack.choose(wish.port)?;
        let kind = if wish.model.is_disk() { "blk" } else { "nic" };
        let id = rack.unused(kind);
        let mut device = json!({ "driver": wish.model.driver(), "id": id });
        match self.machine {
            MachineType::Pc => device["addr"] = format!("{:#x}", port.number).into(),
            _ => device["bus"] = port_id(port.number).into(),
        }
        // What an earlier one of this name has left, that went when nobody waited any more.
        self.clear(qmp, &id)?;
        if wish.model.is_disk() {
            image::add(qmp, &id, wish, &self.directory)?;
            device["drive"] = id.as_str().into();
            device["serial"] = id.as_str().into();
        } else {
            if let Some(address) = self.connect(qmp, &id, wish)? {
                device["mac"] = address.into();
            }
            device["netdev"] = id.as_str().into();
            // An empty ROM file: nobody boots from it.
            device["romfile"] = "".into();
        }
        if let Err(error) = qmp.execute("device_add", device) {
            // The error that brought us here is the one to tell.
            drop(self.clear(qmp, &id));
            return Err(error.into());
        }
        Ok(Plugged { device: id, model: wish.model, port: port.number, place: port.place.clone() })
    }

    /// Takes a device out, and waits until it has left.
    pub fn unplug(
        &self,
        qmp: &mut Qmp,
        device: &str,
        how: Leave,
        patience: Duration,
    ) -> Result<(), PlugError> {
        let rack = Rack::look(qmp, self.machine)?;
        let Some(port) = rack.port_of(device) else {
            // It may have gone by itself since it was asked to.
            return if !rack.has(device) && self.clear(qmp, device)? {
                Ok(())
            } else {
                Err(rack.not_in_a_port(device))
            };
        };
        match how {
            Leave::Asked => ask(qmp, device)?,
            Leave::Surprise => surprise::pull(qmp, self, port)?,
        }
        let is_it = |told: &Value| told["event"] == "DEVICE_DELETED" && told["data"]["device"] == device;
        if qmp.event(is_it, Instant::now() + patience).is_none() {
            return Err(PlugError::Stays { device: device.to_owned(), patience });
        }
        self.clear(qmp, device)?;
        Ok(())
    }

    /// Connects a card to the network of the others; the address that it needs, if it matters.
    fn connect(&self, qmp: &mut Qmp, id: &str, wish: &Wish) -> Result<Option<String>, PlugError> {
        let end = match (&self.network, &wish.tap) {
            (Network::User, Some(_)) => return Err(PlugError::TapOfUser),
            (Network::User, None) if self.hot_plug == HotPlug::Off => return Err(PlugError::NoHub),
            (Network::User, None) => json!({ "type": "hubport", "id": id, "hubid": HUB }),
            (Network::Tap { interface }, None) => {
                return Err(PlugError::TapTaken { interface: interface.clone() });
            }
            (Network::Tap { interface }, Some(tap)) if interface == tap => {
                return Err(PlugError::TapTaken { interface: interface.clone() });
            }
            (Network::Tap { .. }, Some(tap)) => {
                json!({ "type": "tap", "id": id, "ifname": tap, "script": "no", "downscript": "no" })
            }
        };
        qmp.execute("netdev_add", end)?;
        Ok(wish.tap.as_deref().map(mac))
    }

    /// Removes what was behind a device, if there is something.
    fn clear(&self, qmp: &mut Qmp, id: &str) -> Result<bool, PlugError> {
        let was_card = gone(qmp.execute("netdev_del", json!({ "id": id })))?;
        let was_disk = image::remove(qmp, id, &self.directory)?;
        Ok(was_card || was_disk)
    }
}

/// Asks for a device to be let go. What was asked before counts, as long as QEMU or the machine is at it: another press of a port's button would
/// withdraw it.
fn ask(qmp: &mut Qmp, device: &str) -> Result<(), PlugError> {
    let is_asked = |answer: &Value| {
        let why = answer["desc"].as_str().unwrap_or_default();
        why.contains("already in the process of unplug") || why.contains("guest is busy")
    };
    match qmp.execute("device_del", json!({ "id": device })) {
        Err(QmpError::Refused { answer, .. }) if is_asked(&answer) => Ok(()),
        answer => Ok(answer.map(drop)?),
    }
}

/// Whether a command has removed something. Where there was nothing QEMU refuses.
fn gone(answer: Result<Value, QmpError>) -> Result<bool, PlugError> {
    match answer {
        Ok(_) => Ok(true),
        Err(QmpError::Refused { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// A locally administered address that differs between tap devices, which may share a bridge.
pub(crate) fn mac(interface: &str) -> String {
    // FNV-1a.
    let hash = interface
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let [a, b, c, _] = hash.to_le_bytes();
    format!("52:54:00:{a:02x}:{b:02x}:{c:02x}")
}
