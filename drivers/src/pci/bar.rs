//! Base address registers (PCI 3.0, 6.2.5).

use super::{ConfigSpace, Function, register};
use crate::mmio::Registers;
use machine::io;

/// What a base address register describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bar {
    /// Device memory.
    Memory {
        /// Physical address; 0 = not assigned.
        address: u64,
        /// Length in bytes.
        length: u64,
        /// Whether the register is 64 bits wide.
        wide: bool,
    },
    /// Ports.
    Io {
        /// First port.
        port: u32,
        /// Number of ports.
        length: u32,
    },
}

/// Why a base address can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarError {
    /// The register does not exist or describes nothing.
    Absent,
    /// It describes ports where memory was expected.
    NotMemory,
    /// No address was assigned, and there is no window to assign one from.
    Unassigned,
    /// The range can't be mapped.
    Map,
}

/// A range of addresses from which base addresses are assigned where firmware left them empty.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Next free address.
    pub next: u64,
    /// End of the range.
    pub end: u64,
}

impl Function {
    /// Reads and sizes base address register `index` (0 to 5). The function must not be in use meanwhile.
    pub fn bar(&self, space: &dyn ConfigSpace, index: u8) -> Result<Bar, BarError> {
        if index > 5 {
            return Err(BarError::Absent);
        }
        let at = register::BAR0 + 4 * u16::from(index);
        let low = space.read(self.address, at);
        let sizes = |at| {
            let old = space.read(self.address, at);
            space.write(self.address, at, u32::MAX);
            let size = space.read(self.address, at);
            space.write(self.address, at, old);
            size
        };
        if low & 1 != 0 {
            let mask = sizes(at) & !3;
            if mask == 0 {
                return Err(BarError::Absent);
            }
            return Ok(Bar::Io { port: low & !3, length: (mask | 0xffff_0000).wrapping_neg() });
        }
        let wide = low >> 1 & 3 == 2 && index < 5;
        let high = if wide { space.read(self.address, at + 4) } else { 0 };
        let mask_low = sizes(at) & !15;
        let mask_high = if wide { sizes(at + 4) } else { u32::MAX };
        let mask = u64::from(mask_high) << 32 | u64::from(mask_low);
        if mask_low == 0 && (!wide || mask_high == 0) {
            return Err(BarError::Absent);
        }
        Ok(Bar::Memory {
            address: u64::from(high) << 32 | u64::from(low & !15),
            length: mask.wrapping_neg(),
            wide,
        })
    }

    /// Maps the device memory of base address register `index`.
    pub fn map(&self, space: &dyn ConfigSpace, index: u8) -> Result<Registers, BarError> {
        match self.bar(space, index)? {
            Bar::Io { .. } => Err(BarError::NotMemory),
            Bar::Memory { address: 0, .. } => Err(BarError::Unassigned),
            Bar::Memory { address, length, .. } => {
                let length = usize::try_from(length).map_err(|_| BarError::Map)?;
                let pointer = io::map_device(address, length).ok_or(BarError::Map)?;
                // SAFETY: just mapped, for good.
                Ok(unsafe { Registers::new(pointer, length) })
            }
        }
    }
}

/// Gives addresses of the window to the memory registers of a function that have none. Returns how many it assigned. A function that
/// masters the bus is left alone: it has what it needs, and may be in use.
pub fn assign(space: &dyn ConfigSpace, function: &Function, window: &mut Window) -> usize {
    if function.is_master(space) {
        return 0;
    }
    let mut assigned = 0;
    let mut index = 0;
    while index < 6 {
        let bar = function.bar(space, index);
        if let Ok(Bar::Memory { address: 0, length, wide }) = bar {
            let start = window.next.checked_next_multiple_of(length);
            if let Some(start) =
                start.filter(|start| start.checked_add(length).is_some_and(|end| end <= window.end))
            {
                let at = register::BAR0 + 4 * u16::from(index);
                space.write(function.address, at, start as u32);
                if wide {
                    space.write(function.address, at + 4, (start >> 32) as u32);
                }
                window.next = start + length;
                assigned += 1;
            }
        }
        index += if matches!(bar, Ok(Bar::Memory { wide: true, .. })) { 2 } else { 1 };
    }
    assigned
}
