//! Takes a device out without asking the system inside: through the registers by which that lets devices go.
//!
//! Sources: QEMU, `docs/specs/acpi_pci_hotplug.rst`; PCI Express Base Specification 5.0, 7.5.3.10 (slot control).

use serde_json::{Value, json};

use super::ports::{FIRST_PORT, Port, port_id};
use super::{PlugError, Site};
use crate::config::{HotPlug, MachineType};
use crate::qmp::{Qmp, QmpError};

/// ACPI's registers, on a pc and on q35: where a bus is selected, and where its slots are ejected, one bit each.
const PC: (u16, u16) = (0xae10, 0xae08);
const Q35: (u16, u16) = (0xcd0, 0xcc8);
/// Configuration space by ports.
const ADDRESS: u16 = 0xcf8;
const DATA: u16 = 0xcfc;
/// Slot control in the configuration space of QEMU's root port.
const SLOT_CONTROL: u16 = 0x6c;
/// Power on and power indicator on, as the system inside leaves them; and both off.
const POWERED: u16 = 0x0100;
const UNPOWERED: u16 = 0x0700;

/// Takes out what is in a port. The machine stands still meanwhile, and has the registers back as they were.
pub(super) fn pull(qmp: &mut Qmp, site: &Site, port: &Port) -> Result<(), PlugError> {
    qmp.execute("stop", Value::Null)?;
    let pulled = match (site.machine, site.hot_plug) {
        (MachineType::Pc, _) => eject(qmp, PC, 0, 1 << port.number),
        (_, HotPlug::Native) => power_off(qmp, port),
        _ => selector(qmp, port).and_then(|selector| eject(qmp, Q35, selector, 1)),
    };
    qmp.execute("cont", Value::Null)?;
    Ok(pulled?)
}

/// The number by which ACPI's registers know a port's bus.
fn selector(qmp: &mut Qmp, port: &Port) -> Result<u32, QmpError> {
    let id = port_id(port.number);
    let path = format!("/machine/peripheral/{id}/{id}");
    let number = qmp.execute("qom-get", json!({ "path": path, "property": "acpi-pcihp-bsel" }))?;
    Ok(number.as_u64().and_then(|number| u32::try_from(number).ok()).unwrap_or_default())
}

fn eject(qmp: &mut Qmp, (select, eject): (u16, u16), bus: u32, slots: u32) -> Result<(), QmpError> {
    let selected = input(qmp, select)?;
    output(qmp, 'w', select, bus)?;
    output(qmp, 'w', eject, slots)?;
    output(qmp, 'w', select, selected)
}

fn power_off(qmp: &mut Qmp, port: &Port) -> Result<(), QmpError> {
    let addressed = input(qmp, ADDRESS)?;
    let device = u32::from(FIRST_PORT + port.number - 1);
    output(qmp, 'w', ADDRESS, 1 << 31 | device << 11 | u32::from(SLOT_CONTROL))?;
    for value in [POWERED, UNPOWERED] {
        output(qmp, 'h', DATA, u32::from(value))?;
    }
    output(qmp, 'w', ADDRESS, addressed)
}

/// Writes a port of the machine: half a word or a word, as QEMU's monitor says (`h`, `w`).
fn output(qmp: &mut Qmp, size: char, port: u16, value: u32) -> Result<(), QmpError> {
    monitor(qmp, &format!("o/{size} {port:#x} {value:#x}")).map(drop)
}

/// Reads a word of a port of the machine: `portw[0x0cd0] = 0x00000000`.
fn input(qmp: &mut Qmp, port: u16) -> Result<u32, QmpError> {
    let said = monitor(qmp, &format!("i/wx {port:#x}"))?;
    Ok(word(&said).unwrap_or_default())
}

fn word(said: &str) -> Option<u32> {
    u32::from_str_radix(said.trim().rsplit("0x").next()?, 16).ok()
}

fn monitor(qmp: &mut Qmp, line: &str) -> Result<String, QmpError> {
    let answer = qmp.execute("human-monitor-command", json!({ "command-line": line }))?;
    Ok(answer.as_str().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monitor_s_words_are_read() {
        assert_eq!(word("portl[0x0cd0] = 0x0000002a\r\n"), Some(0x2a));
        assert_eq!(word("unknown command"), None);
    }
}
