//! What machines have to plug devices into, and how one is pulled out without asking anybody.

use image_builder::MachineType;
use image_builder::machine::Builder;
use serde_json::json;

use crate::guest::Guest;

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

/// Where the first of the root ports is.
const PORT: u32 = 0x10;
/// How many root ports there are.
const PORTS: u32 = 2;

impl Way {
    /// A machine with such slots.
    pub fn of(self, machine: Builder) -> Builder {
        let mut machine = machine.machine(if self == Self::Pc { MachineType::Pc } else { MachineType::Q35 });
        for port in 0..if self == Self::Pc { 0 } else { PORTS } {
            let slot = format!("bus=pcie.0,addr={:#x},chassis={port},slot={port}", PORT + port);
            machine = machine.qemu_arg("-device").qemu_arg(&format!("pcie-root-port,id=port{port},{slot}"));
        }
        if self == Self::Native {
            let off = "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off";
            machine = machine.qemu_arg("-global").qemu_arg(off);
        }
        machine
    }

    /// What is plugged into is named so, of several ports.
    pub fn bus(self, port: u32) -> Option<String> {
        (self != Self::Pc).then(|| format!("port{port}"))
    }

    /// Takes what is in a place out without asking anybody. By ACPI whatever is in a root port goes; with ports of their own, what is in this one.
    ///
    /// # Panics
    /// When the machine's monitor does not answer.
    pub fn pull(self, guest: &Guest, place: &str, port: u32) {
        match self {
            Self::Pc => {
                let slot = place.strip_prefix("pci:0000:00:").and_then(|slot| slot.get(..2));
                let slot = slot.and_then(|slot| u32::from_str_radix(slot, 16).ok());
                let slot = slot.unwrap_or_else(|| panic!("{place} is no slot"));
                output(guest, 'w', 0xae10, 0);
                output(guest, 'w', 0xae08, 1 << slot);
            }
            Self::Acpi => {
                for selector in 0..PORTS {
                    output(guest, 'w', 0xcd0, selector);
                    output(guest, 'w', 0xcc8, 1);
                }
            }
            Self::Native => {
                let device = PORT + port;
                let select =
                    |register: u32| output(guest, 'w', 0xcf8, 1 << 31 | device << 11 | register & 0xfc);
                let byte = |register: u32| {
                    select(register);
                    input(guest, 'b', 0xcfc + register % 4)
                };
                let mut capability = byte(0x34);
                while byte(capability) != 0x10 {
                    capability = byte(capability + 1);
                }
                // Slot control: power and its indicator off.
                let control = capability + 0x18;
                select(control);
                let port = 0xcfc + control % 4;
                output(guest, 'h', port, input(guest, 'h', port) | 0x700);
            }
        }
    }
}

fn monitor(guest: &Guest, line: &str) -> String {
    let answer = guest.qmp("human-monitor-command", json!({ "command-line": line }));
    let answer = answer.unwrap_or_else(|error| panic!("{line}: {error}"));
    answer.as_str().unwrap_or_default().to_owned()
}

/// What a port reads as: a byte, half a word or a word (`b`, `h`, `w`).
fn input(guest: &Guest, size: char, port: u32) -> u32 {
    let said = monitor(guest, &format!("i/{size}x {port:#x}"));
    let value = said.rsplit("0x").next().unwrap_or_default().trim();
    u32::from_str_radix(value, 16).unwrap_or_else(|error| panic!("{error}: {said}"))
}

fn output(guest: &Guest, size: char, port: u32, value: u32) {
    monitor(guest, &format!("o/{size} {port:#x} {value:#x}"));
}
