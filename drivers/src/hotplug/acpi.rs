//! Slots that ACPI tells of (QEMU, `docs/specs/acpi_pci_hotplug.rst`), and the event by which it does (ACPI 6.5, 4.8).

use super::wait;
use crate::pci::Function;
use machine::acpi::{Block, Fadt};
use machine::io;
use machine::time::Duration;

/// Ports, as they are read and written.
pub trait IoSpace: Send + Sync {
    /// Reads 8 bits; all ones where nothing answers.
    fn read8(&self, port: u16) -> u8;
    /// Writes 8 bits.
    fn write8(&self, port: u16, value: u8);
    /// Reads 16 bits.
    fn read16(&self, port: u16) -> u16;
    /// Writes 16 bits.
    fn write16(&self, port: u16, value: u16);
    /// Reads 32 bits.
    fn read32(&self, port: u16) -> u32;
    /// Writes 32 bits.
    fn write32(&self, port: u16, value: u32);
}

/// The ports of this machine. Only registers that ACPI tables or a chipset name are reached through it.
#[derive(Clone, Copy, Debug)]
pub struct X86;

macro_rules! port {
    ($read:ident, $write:ident, $in:ident, $out:ident, $type:ty) => {
        fn $read(&self, port: u16) -> $type {
            // SAFETY: a register of events or slots, which are this module's alone.
            unsafe { io::$in(port) }
        }
        fn $write(&self, port: u16, value: $type) {
            // SAFETY: as above.
            unsafe { io::$out(port, value) }
        }
    };
}

impl IoSpace for X86 {
    port!(read8, write8, inb, outb, u8);
    port!(read16, write16, inw, outw, u16);
    port!(read32, write32, inl, outl, u32);
}

/// Offsets of the slots' registers, 32 bits each.
mod register {
    pub const UP: u16 = 0;
    pub const DOWN: u16 = 4;
    /// Written: slots to eject. Read: what else there is.
    pub const EJECT: u16 = 8;
    pub const REMOVABLE: u16 = 12;
    pub const SELECT: u16 = 16;
}

/// The registers of the slots of all buses. A bit is a slot: a device's number.
#[derive(Debug)]
pub struct Slots {
    base: u16,
}

impl Slots {
    /// Where a chipset that has such registers has them.
    fn place(function: &Function) -> Option<u16> {
        match (function.vendor, function.device) {
            // PIIX4 and ICH9.
            (0x8086, 0x7113) => Some(0xae00),
            (0x8086, 0x2918) => Some(0x0cc0),
            _ => None,
        }
    }

    /// The registers of this machine, if it has some and they are in use.
    pub fn find(io: &dyn IoSpace, functions: &[Function]) -> Option<Self> {
        let base = functions.iter().find_map(Self::place)?;
        let slots = Self { base };
        // Where nothing is, all ones are read.
        io.write32(base + register::SELECT, 0);
        let answers = [register::SELECT, register::EJECT].map(|at| io.read32(base + at));
        answers.iter().all(|answer| *answer != u32::MAX).then_some(slots)
    }

    fn read(&self, io: &dyn IoSpace, selector: u32, register: u16) -> u32 {
        io.write32(self.base + register::SELECT, selector);
        match io.read32(self.base + register) {
            // The registers are gone: nothing has happened.
            u32::MAX if register != register::REMOVABLE => 0,
            value => value,
        }
    }

    /// Slots into which something was plugged, since this was asked last.
    pub fn arrived(&self, io: &dyn IoSpace, selector: u32) -> u32 {
        self.read(io, selector, register::UP)
    }

    /// Slots that somebody wants to be ejected. Asking changes nothing.
    pub fn asked(&self, io: &dyn IoSpace, selector: u32) -> u32 {
        self.read(io, selector, register::DOWN)
    }

    /// Slots that can be ejected.
    pub fn removable(&self, io: &dyn IoSpace, selector: u32) -> u32 {
        self.read(io, selector, register::REMOVABLE)
    }

    /// Ejects a slot: nobody drives what is there.
    pub fn eject(&self, io: &dyn IoSpace, selector: u32, slot: u8) {
        io.write32(self.base + register::SELECT, selector);
        io.write32(self.base + register::EJECT, 1 << (slot & 31));
    }
}

/// The general-purpose event that tells of slots: number 1.
const SLOTS: u8 = 1 << 1;
const SCI_ENABLED: u16 = 1;
/// How long firmware may take to hand the events over.
const PATIENCE: Duration = Duration::from_secs(3);

/// Why there are no events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventError {
    /// The tables name no registers for them.
    NoRegisters,
    /// Firmware does not hand them over.
    Refused,
}

/// The registers of the events 0 to 7.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    status: u16,
    enable: u16,
}

impl Event {
    /// Takes the events over from firmware, and lets the slots' one interrupt, no other.
    pub fn take_over(io: &dyn IoSpace, fadt: &Fadt) -> Result<Self, EventError> {
        let Some(Block { port: status, length: length @ 2.. }) = fadt.gpe0 else {
            return Err(EventError::NoRegisters);
        };
        let event = Self { status, enable: status + u16::from(length / 2) };
        for enable in 0..u16::from(length / 2) {
            io.write8(event.enable + enable, 0);
        }
        if let Some(Block { port, length: length @ 4.. }) = fadt.pm1_event {
            io.write16(port + u16::from(length / 2), 0);
        }
        if let (Some((port, value)), Some(control)) = (fadt.enable, fadt.pm1_control) {
            let is_ours = || io.read16(control.port) & SCI_ENABLED != 0;
            if !is_ours() {
                io.write8(port, value);
            }
            if !wait(PATIENCE, is_ours) {
                return Err(EventError::Refused);
            }
        }
        event.acknowledge(io);
        io.write8(event.enable, SLOTS);
        Ok(event)
    }

    /// Makes the event's line let go; whether it was this event. For an interrupt handler.
    pub fn acknowledge(&self, io: &dyn IoSpace) -> bool {
        let is_slots = io.read8(self.status) & SLOTS != 0;
        if is_slots {
            io.write8(self.status, SLOTS);
        }
        is_slots
    }

    /// Lets nothing interrupt any more.
    pub fn ignore(&self, io: &dyn IoSpace) {
        io.write8(self.enable, 0);
    }
}
