//! Why a device was not plugged in, or not taken out.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::qmp::QmpError;

#[derive(Debug, thiserror::Error)]
pub enum PlugError {
    #[error("nothing can be plugged into machine '{0}': that takes q35 or pc in QEMU")]
    NoPci(String),
    #[error("machine '{0}' is still being built")]
    Building(String),
    #[error("the machine has no ports: it was started with --hot-plug off")]
    NoPorts,
    #[error("there is no port {number}: the machine has {}", list(.known))]
    NoSuchPort { number: u8, known: Vec<u8> },
    #[error("port {number} is taken by {device}: unplug that first, or leave --port out")]
    PortTaken { number: u8, device: String },
    #[error("all ports are taken: unplug something first")]
    NoFreePort,
    #[error("there is no device {device} to take out{}", others(.present))]
    UnknownDevice { device: String, present: Vec<String> },
    #[error("{0} is built in: nothing leaves the root bus of q35")]
    BuiltIn(String),
    #[error(
        "{device} is still there after {} s: the machine has it in use. Give its work to another device first \
         (device swap) or take it away (device detach), and ask again; --surprise asks nobody",
        patience.as_secs()
    )]
    Stays { device: String, patience: Duration },
    #[error("the network has one card and no hub: start the machine without --hot-plug off")]
    NoHub,
    #[error("the machine's network is the emulator's: leave --tap out")]
    TapOfUser,
    #[error(
        "a tap device has one card, and {interface} has its: give another one of the same bridge with --tap"
    )]
    TapTaken { interface: String },
    #[error("a disk is on no network: leave --tap out")]
    TapOfDisk,
    #[error("--file and --size are for disks")]
    ImageOfCard,
    #[error("an image that is there has its size: leave --size out")]
    SizeOfFile,
    #[error("the machine has no disk to be as large as: add --size, or --file with an image")]
    NoSize,
    #[error("{path}: {error}")]
    Io { path: PathBuf, error: io::Error },
    #[error(transparent)]
    Qmp(#[from] QmpError),
}

impl PlugError {
    /// Whether something was asked for that makes no sense, whatever the machine.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::TapOfDisk | Self::ImageOfCard | Self::SizeOfFile)
    }
}

fn list(numbers: &[u8]) -> String {
    numbers.iter().map(u8::to_string).collect::<Vec<_>>().join(", ")
}

fn others(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!(" (there are: {})", names.join(", ")) }
}
