//! The multiple APIC description table (ACPI 6.5, 5.2.12).

use super::{List, word_at};

/// A CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuEntry {
    /// Local APIC or x2APIC ID.
    pub apic_id: u32,
    /// Whether it may be started.
    pub enabled: bool,
}

/// An I/O APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoApicEntry {
    /// Physical address.
    pub address: u32,
    /// Global system interrupt of its first input.
    pub gsi_base: u32,
}

/// An ISA interrupt that is wired otherwise than one to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Override {
    /// ISA interrupt.
    pub source: u8,
    /// Where it arrives.
    pub gsi: u32,
    /// Polarity (bits 0, 1) and trigger mode (bits 2, 3).
    pub flags: u16,
}

/// The table's entries that matter.
#[derive(Clone, Debug)]
pub struct MadtInfo {
    cpus: List<CpuEntry, 256>,
    io_apics: List<IoApicEntry, 16>,
    overrides: List<Override, 24>,
}

impl MadtInfo {
    /// CPUs in the table's order.
    pub fn cpus(&self) -> impl Iterator<Item = &CpuEntry> {
        self.cpus.as_slice().iter()
    }

    /// I/O APICs.
    pub fn io_apics(&self) -> impl Iterator<Item = &IoApicEntry> {
        self.io_apics.as_slice().iter()
    }

    /// Overrides of ISA interrupts.
    pub fn overrides(&self) -> impl Iterator<Item = &Override> {
        self.overrides.as_slice().iter()
    }
}

pub(super) fn read(table: &[u8]) -> Option<MadtInfo> {
    let mut info = MadtInfo {
        cpus: List::new(CpuEntry { apic_id: 0, enabled: false }),
        io_apics: List::new(IoApicEntry { address: 0, gsi_base: 0 }),
        overrides: List::new(Override { source: 0, gsi: 0, flags: 0 }),
    };
    let mut rest = table.get(44..)?;
    while let [kind, length, ..] = *rest {
        let length = usize::from(length);
        if length < 2 || length > rest.len() {
            break;
        }
        let (entry, next) = rest.split_at(length);
        let cpu = |apic_id, flags: u32| CpuEntry { apic_id, enabled: flags & 1 != 0 };
        match kind {
            0 if length >= 8 => info.cpus.push(cpu(u32::from(entry[3]), word_at(entry, 4)?)),
            1 if length >= 12 => {
                info.io_apics.push(IoApicEntry { address: word_at(entry, 4)?, gsi_base: word_at(entry, 8)? });
            }
            2 if length >= 10 => info.overrides.push(Override {
                source: entry[3],
                gsi: word_at(entry, 4)?,
                flags: u16::from_le_bytes([entry[8], entry[9]]),
            }),
            9 if length >= 16 => info.cpus.push(cpu(word_at(entry, 4)?, word_at(entry, 8)?)),
            _ => {}
        }
        rest = next;
    }
    Some(info)
}
