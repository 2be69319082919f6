//! Message-signalled interrupts (PCI 3.0, 6.8).

use super::{BarError, ConfigSpace, Function};
use crate::mmio::Registers;
use machine::irq::MsiMessage;

const MSI: u8 = 0x05;
const MSIX: u8 = 0x11;

/// Why messages can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageError {
    /// The function has no such capability.
    Absent,
    /// The table's memory can't be used.
    Table(BarError),
}

/// Makes the function signal by MSI, with one message.
pub fn enable_msi(
    space: &dyn ConfigSpace,
    function: &Function,
    message: MsiMessage,
) -> Result<(), MessageError> {
    let at = *function.capabilities(space, MSI).first().ok_or(MessageError::Absent)?;
    let control = space.read(function.address, at);
    space.write(function.address, at + 4, message.address as u32);
    let data = if control >> 16 & 1 << 7 != 0 {
        space.write(function.address, at + 8, (message.address >> 32) as u32);
        at + 12
    } else {
        at + 8
    };
    space.write(function.address, data, message.data);
    // Enable (bit 0), one vector (bits 4 to 6 zero).
    space.write(function.address, at, control & !(0x70 << 16) | 1 << 16);
    function.disable_line(space);
    Ok(())
}

/// The MSI-X table of a function, enabled, every entry masked until it is set.
#[derive(Debug)]
pub struct Msix {
    table: Registers,
    entries: u16,
}

impl Msix {
    /// Whether the function has MSI-X.
    pub fn is_offered(space: &dyn ConfigSpace, function: &Function) -> bool {
        !function.capabilities(space, MSIX).is_empty()
    }

    /// Enables MSI-X.
    pub fn enable(space: &dyn ConfigSpace, function: &Function) -> Result<Self, MessageError> {
        let at = *function.capabilities(space, MSIX).first().ok_or(MessageError::Absent)?;
        let control = space.read(function.address, at);
        let entries = (control >> 16 & 0x7ff) as u16 + 1;
        let place = space.read(function.address, at + 4);
        let memory = function.map(space, (place & 7) as u8).map_err(MessageError::Table)?;
        let table = memory.part((place & !7) as usize, usize::from(entries) * 16);
        let table = table.ok_or(MessageError::Table(BarError::Absent))?;
        for entry in 0..usize::from(entries) {
            table.write(entry * 16 + 12, 1u32);
        }
        // Enable (bit 15), not masked as a whole (bit 14).
        space.write(function.address, at, control & !(1 << 30) | 1 << 31);
        function.disable_line(space);
        Ok(Self { table, entries })
    }

    /// Number of entries.
    pub fn entries(&self) -> u16 {
        self.entries
    }

    /// Points an entry at a message and unmasks it; entries beyond the table are ignored.
    pub fn set(&self, entry: u16, message: MsiMessage) {
        if entry >= self.entries {
            return;
        }
        let at = usize::from(entry) * 16;
        self.table.write(at, message.address as u32);
        self.table.write(at + 4, (message.address >> 32) as u32);
        self.table.write(at + 8, message.data);
        self.table.write(at + 12, 0u32);
    }
}
