//! What is taken from AML without an interpreter.
//!
//! - Where QEMU's microvm says its virtio-mmio devices are: each is a device with the hardware ID "LNRO0005" and a constant resource
//!   template: a 32-bit fixed memory range (ACPI 6.5, 6.4.3.4) and an extended interrupt (6.4.3.6).
//! - Which bus QEMU's hot-plug registers mean by which number (QEMU, docs/specs/acpi_pci_hotplug.rst: bus selector): in the scope of the
//!   bridge, behind its address, a name `BSEL` is declared with the number (ACPI 6.5, 20.2.5.1: DefName; 20.2.3: constants).

use super::{List, word_at};

const HARDWARE_ID: &[u8] = b"LNRO0005";
/// How far behind the ID the template is looked for, in bytes.
const REACH: usize = 256;

/// A virtio device in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VirtioMmio {
    /// Physical address of its registers.
    pub base: u64,
    /// Their length in bytes.
    pub length: u32,
    /// Its global system interrupt.
    pub gsi: u32,
}

/// Finds the devices in a definition block.
pub fn virtio_mmio(aml: &[u8]) -> List<VirtioMmio, 32> {
    let mut found = List::new(VirtioMmio { base: 0, length: 0, gsi: 0 });
    let mut rest = aml;
    while let Some(at) = rest.windows(HARDWARE_ID.len()).position(|window| window == HARDWARE_ID) {
        rest = &rest[at + HARDWARE_ID.len()..];
        let next =
            rest.windows(HARDWARE_ID.len()).position(|window| window == HARDWARE_ID).unwrap_or(rest.len());
        if let Some(device) = resources(&rest[..next.min(REACH)]) {
            found.push(device);
        }
    }
    found
}

fn resources(bytes: &[u8]) -> Option<VirtioMmio> {
    let memory = bytes.windows(3).position(|window| window == [0x86, 9, 0])?;
    let (base, length) = (word_at(bytes, memory + 4)?, word_at(bytes, memory + 8)?);
    let behind = bytes.get(memory + 12..)?;
    // Tag, length (2 bytes), flags, number of interrupts, the interrupts.
    let interrupt = behind.windows(3).position(|window| window == [0x89, 6, 0])?;
    (behind.get(interrupt + 4) == Some(&1)).then_some(())?;
    Some(VirtioMmio { base: u64::from(base), length, gsi: word_at(behind, interrupt + 5)? })
}

/// A bus whose slots ACPI tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotBus {
    /// What was declared as an address last: where it is that of a bridge, the bus is behind that one, else it is the first bus. Device in
    /// the upper half, function in the lower (ACPI 6.5, 6.1.1).
    pub bridge: Option<u32>,
    /// Its number for the registers.
    pub selector: u32,
}

/// Finds them in a definition block.
pub fn slot_buses(aml: &[u8]) -> List<SlotBus, 64> {
    let mut found = List::new(SlotBus { bridge: None, selector: 0 });
    let mut bridge = None;
    for at in 0..aml.len().saturating_sub(5) {
        let name = &aml[at..at + 5];
        let value = || constant(&aml[at + 5..]);
        if name == b"\x08_ADR" {
            bridge = value();
        } else if name == b"\x08BSEL"
            && let Some(selector) = value()
        {
            found.push(SlotBus { bridge, selector });
        }
    }
    found
}

/// A constant of up to 32 bits.
fn constant(aml: &[u8]) -> Option<u32> {
    match *aml {
        [value @ (0 | 1), ..] => Some(u32::from(value)),
        [0x0a, value, ..] => Some(u32::from(value)),
        [0x0b, low, high, ..] => Some(u32::from(u16::from_le_bytes([low, high]))),
        [0x0c, ..] => word_at(aml, 1),
        _ => None,
    }
}
