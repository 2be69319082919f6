//! The ACPI tables that booting needs, read with every length and checksum doubted.
//!
//! Source: ACPI specification 6.5, chapter 5.2; PCI Firmware Specification 3.3, 4.1.2 (MCFG); IA-PC HPET 1.0a, 3.2.4.

mod aml;
mod madt;

pub use aml::{SlotBus, VirtioMmio, slot_buses, virtio_mmio};
pub use madt::{CpuEntry, IoApicEntry, MadtInfo, Override};

use crate::bootinfo::Reader;

/// Longest table read, in bytes.
const MAX_TABLE: usize = 4 << 20;
const MAX_TABLES: usize = 256;

/// A list of fixed capacity; what does not fit is dropped.
#[derive(Clone, Debug)]
pub struct List<T, const N: usize> {
    items: [T; N],
    count: usize,
}

impl<T: Copy, const N: usize> List<T, N> {
    const fn new(fill: T) -> Self {
        Self { items: [fill; N], count: 0 }
    }

    fn push(&mut self, item: T) {
        if self.count < N {
            self.items[self.count] = item;
            self.count += 1;
        }
    }

    /// The items.
    pub fn as_slice(&self) -> &[T] {
        &self.items[..self.count]
    }
}

/// A segment of PCI Express configuration space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ecam {
    /// Physical address of bus 0's space.
    pub base: u64,
    /// Segment group.
    pub segment: u16,
    /// First and last bus.
    pub buses: (u8, u8),
}

/// What the fixed description table says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fadt {
    /// I/O port and value that reset the machine.
    pub reset: Option<(u16, u8)>,
    /// I/O port of the power-management timer.
    pub pm_timer: Option<u16>,
    /// ISA interrupt of ACPI events.
    pub sci: u16,
    /// I/O port that hands the events over from firmware, and the value for that; `None` where firmware never had them.
    pub enable: Option<(u16, u8)>,
    /// Registers of the fixed events: status, then enable, half of the block each.
    pub pm1_event: Option<Block>,
    /// Control register of the fixed hardware.
    pub pm1_control: Option<Block>,
    /// Registers of the general-purpose events 0 and following, divided as those of the fixed ones.
    pub gpe0: Option<Block>,
}

/// A block of registers in I/O space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// First port.
    pub port: u16,
    /// Number of ports.
    pub length: u8,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Acpi {
    /// Who made the tables: OEMID of the root table.
    pub oem: [u8; 6],
    /// CPUs, I/O APICs, overrides.
    pub madt: Option<MadtInfo>,
    /// Base address of the first HPET.
    pub hpet: Option<u64>,
    /// PCI Express configuration space.
    pub ecam: List<Ecam, 8>,
    /// Fixed description.
    pub fadt: Option<Fadt>,
    /// virtio devices that are described instead of enumerated.
    pub virtio_mmio: List<VirtioMmio, 32>,
    /// Buses whose slots ACPI tells of.
    pub slot_buses: List<SlotBus, 64>,
}

/// Why there are no tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcpiError {
    /// No root pointer.
    NotFound,
    /// The root pointer or the root table is damaged.
    Damaged,
}

fn sum_is_zero(bytes: &[u8]) -> bool {
    bytes.iter().fold(0u8, |sum, &byte| sum.wrapping_add(byte)) == 0
}

fn word_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn long_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

fn is_rsdp(bytes: &[u8]) -> bool {
    bytes.starts_with(b"RSD PTR ") && sum_is_zero(&bytes[..20])
}

/// Looks for the root pointer where BIOSes put it: the EBDA's first kilobyte, and E_0000h to F_FFFFh.
pub fn find_rsdp(reader: &impl Reader) -> Option<u64> {
    let ebda =
        reader.bytes(0x40e, 2).map_or(0, |bytes| u64::from(u16::from_le_bytes([bytes[0], bytes[1]])) << 4);
    let places = (ebda..ebda + 1024).step_by(16).chain((0xe_0000u64..0x10_0000).step_by(16));
    places.filter(|&at| at != 0).find(|&at| reader.bytes(at, 20).is_some_and(is_rsdp))
}

/// The table at `address`, header included, if its length and checksum are sound.
fn table(reader: &impl Reader, address: u64) -> Option<&[u8]> {
    let length = reader.word(address.checked_add(4)?)? as usize;
    if !(36..=MAX_TABLE).contains(&length) {
        return None;
    }
    reader.bytes(address, length).filter(|bytes| sum_is_zero(bytes))
}

/// Reads the tables that hang from the root pointer at `rsdp`.
pub fn read(reader: &impl Reader, rsdp: u64) -> Result<Acpi, AcpiError> {
    let pointer = reader.bytes(rsdp, 20).filter(|bytes| is_rsdp(bytes)).ok_or(AcpiError::NotFound)?;
    let old = u64::from(word_at(pointer, 16).ok_or(AcpiError::Damaged)?);
    let new =
        if pointer[15] >= 2 { reader.bytes(rsdp, 36).and_then(|bytes| long_at(bytes, 24)) } else { None };
    let extended = new.filter(|&address| address != 0).and_then(|address| table(reader, address));
    let (root, entry) = match extended.filter(|bytes| bytes.starts_with(b"XSDT")) {
        Some(root) => (root, 8),
        None => (table(reader, old).filter(|bytes| bytes.starts_with(b"RSDT")).ok_or(AcpiError::Damaged)?, 4),
    };
    let mut acpi = Acpi {
        oem: root[10..16].try_into().expect("six bytes"),
        madt: None,
        hpet: None,
        ecam: List::new(Ecam { base: 0, segment: 0, buses: (0, 0) }),
        fadt: None,
        virtio_mmio: List::new(VirtioMmio { base: 0, length: 0, gsi: 0 }),
        slot_buses: List::new(SlotBus { bridge: None, selector: 0 }),
    };
    for bytes in root[36..].chunks_exact(entry).take(MAX_TABLES) {
        let mut wide = [0; 8];
        wide[..entry].copy_from_slice(bytes);
        let Some(found) = table(reader, u64::from_le_bytes(wide)) else { continue };
        match &found[..4] {
            b"APIC" if acpi.madt.is_none() => acpi.madt = madt::read(found),
            b"HPET" if acpi.hpet.is_none() => acpi.hpet = long_at(found, 44).filter(|&base| base != 0),
            b"MCFG" => read_mcfg(found, &mut acpi.ecam),
            b"FACP" if acpi.fadt.is_none() => read_fadt(reader, found, &mut acpi),
            b"SSDT" => read_aml(&found[36..], &mut acpi),
            _ => {}
        }
    }
    Ok(acpi)
}

fn read_mcfg(bytes: &[u8], list: &mut List<Ecam, 8>) {
    for entry in bytes[36..].get(8..).unwrap_or(&[]).chunks_exact(16) {
        let base = u64::from_le_bytes(entry[..8].try_into().expect("eight bytes"));
        let segment = u16::from_le_bytes([entry[8], entry[9]]);
        if base != 0 && entry[10] <= entry[11] {
            list.push(Ecam { base, segment, buses: (entry[10], entry[11]) });
        }
    }
}

fn read_fadt(reader: &impl Reader, bytes: &[u8], acpi: &mut Acpi) {
    let mut fadt = Fadt {
        sci: bytes.get(46..48).map_or(9, |sci| u16::from_le_bytes([sci[0], sci[1]])),
        ..Fadt::default()
    };
    let port = |at| word_at(bytes, at).and_then(|port| u16::try_from(port).ok()).filter(|&port| port != 0);
    fadt.pm_timer = port(76);
    fadt.enable = port(48).zip(bytes.get(52).copied()).filter(|&(_, value)| value != 0);
    let block = |at, length: usize| {
        let length = bytes.get(length).copied().filter(|&length| length != 0)?;
        port(at).map(|port| Block { port, length })
    };
    fadt.pm1_event = block(56, 88);
    fadt.pm1_control = block(64, 89);
    fadt.gpe0 = block(80, 92);
    // RESET_REG counts if the flag (bit 10) says so and it lies in I/O space (1).
    if word_at(bytes, 112).is_some_and(|flags| flags & 1 << 10 != 0) && bytes.get(116) == Some(&1) {
        let port = long_at(bytes, 120).and_then(|port| u16::try_from(port).ok());
        fadt.reset = port.zip(bytes.get(128).copied());
    }
    let new = long_at(bytes, 140).filter(|&address| address != 0);
    let dsdt = new.or_else(|| word_at(bytes, 40).map(u64::from));
    if let Some(dsdt) = dsdt.and_then(|address| table(reader, address)) {
        read_aml(&dsdt[36..], acpi);
    }
    acpi.fadt = Some(fadt);
}

fn read_aml(aml: &[u8], acpi: &mut Acpi) {
    virtio_mmio(aml).as_slice().iter().for_each(|&device| acpi.virtio_mmio.push(device));
    slot_buses(aml).as_slice().iter().for_each(|&bus| acpi.slot_buses.push(bus));
}

#[cfg(test)]
mod tests;
