//! The one thing taken from AML without an interpreter: where QEMU's microvm says its virtio-mmio devices are.
//!
//! Each is a device with the hardware ID "LNRO0005" and a constant resource template: a 32-bit fixed memory range
//! (ACPI 6.5, 6.4.3.4) and an extended interrupt (6.4.3.6).

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
