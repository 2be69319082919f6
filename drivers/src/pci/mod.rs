//! PCI: configuration space, enumeration through bridges, base addresses, capabilities, MSI and MSI-X.
//!
//! Sources: PCI Local Bus Specification 3.0, chapter 6; PCI Express Base Specification 5.0, 7.2 (ECAM).

mod access;
mod bar;
mod message;
mod reach;

pub use access::{ConfigSpace, Ecam, Ports};
pub use bar::{Bar, BarError, Window, assign};
pub use message::{MessageError, Msix, enable_msi};
pub use reach::Reach;

use alloc::vec::Vec;

/// Where a function is: segment 0, `bus:device.function`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// 0 to 255.
    pub bus: u8,
    /// 0 to 31.
    pub device: u8,
    /// 0 to 7.
    pub function: u8,
}

impl Address {
    /// Whether it is a function of this device.
    pub fn is_of(self, bus: u8, device: u8) -> bool {
        (self.bus, self.device) == (bus, device)
    }
}

impl core::fmt::Display for Address {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:02x}:{:02x}.{}", self.bus, self.device, self.function)
    }
}

/// Registers of the common header.
pub(crate) mod register {
    pub const ID: u16 = 0x00;
    pub const COMMAND: u16 = 0x04;
    pub const CLASS: u16 = 0x08;
    pub const HEADER: u16 = 0x0c;
    pub const BAR0: u16 = 0x10;
    pub const BUSES: u16 = 0x18;
    pub const MEMORY: u16 = 0x20;
    pub const CAPABILITIES: u16 = 0x34;
    pub const INTERRUPT: u16 = 0x3c;
}

const COMMAND_IO: u32 = 1;
const COMMAND_MEMORY: u32 = 1 << 1;
const COMMAND_MASTER: u32 = 1 << 2;
const COMMAND_INTX_OFF: u32 = 1 << 10;

/// A function that answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function {
    /// Where it is.
    pub address: Address,
    /// Vendor ID.
    pub vendor: u16,
    /// Device ID.
    pub device: u16,
    /// Class, subclass and programming interface.
    pub class: [u8; 3],
    /// I/O APIC input or legacy line, as firmware wrote it; 255 = none.
    pub line: u8,
    /// INTA# to INTD# as 1 to 4; 0 = none.
    pub pin: u8,
}

impl Function {
    fn command(&self, space: &dyn ConfigSpace, set: u32, clear: u32) {
        // The upper half is status, whose bits are cleared by writing ones: write zeros.
        let command = space.read(self.address, register::COMMAND) & 0xffff;
        space.write(self.address, register::COMMAND, (command | set) & !clear);
    }

    /// Lets the function answer in memory and I/O space and read and write memory itself.
    pub fn enable(&self, space: &dyn ConfigSpace) {
        self.command(space, COMMAND_IO | COMMAND_MEMORY | COMMAND_MASTER, 0);
    }

    /// Keeps the function from reading and writing memory, and so from sending messages (PCI 3.0, 6.2.2: bus master).
    pub fn silence(&self, space: &dyn ConfigSpace) {
        self.command(space, 0, COMMAND_MASTER);
    }

    /// Whether it may read and write memory.
    pub fn is_master(&self, space: &dyn ConfigSpace) -> bool {
        space.read(self.address, register::COMMAND) & COMMAND_MASTER != 0
    }

    /// Whether it is a bridge, behind which others are.
    pub fn is_bridge(&self) -> bool {
        self.class[0] == 6
    }

    /// Whether its header is that of a bridge to another bus (PCI 3.0, 6.1: type 1).
    pub fn leads_on(&self, space: &dyn ConfigSpace) -> bool {
        space.read(self.address, register::HEADER) >> 16 & 0x7f == 1
    }

    /// Whether what answers there is still it.
    pub fn is_there(&self, space: &dyn ConfigSpace) -> bool {
        let id = u32::from(self.device) << 16 | u32::from(self.vendor);
        space.read(self.address, register::ID) == id
    }

    /// Forbids the function's line interrupt, as is due with MSI.
    pub fn disable_line(&self, space: &dyn ConfigSpace) {
        self.command(space, COMMAND_INTX_OFF, 0);
    }

    /// Offsets of the capabilities with this ID. A list that loops or leaves configuration space ends there.
    pub fn capabilities(&self, space: &dyn ConfigSpace, id: u8) -> Vec<u16> {
        let mut found = Vec::new();
        if space.read(self.address, register::COMMAND) >> 16 & 1 << 4 == 0 {
            return found;
        }
        let mut at = space.read(self.address, register::CAPABILITIES) as u16 & 0xfc;
        for _ in 0..48 {
            if at < 0x40 {
                break;
            }
            let header = space.read(self.address, at);
            if header as u8 == id {
                found.push(at);
            }
            at = (header >> 8) as u16 & 0xfc;
        }
        found
    }
}

/// Every function that answers, in the order of buses; bridges are followed once.
pub fn enumerate(space: &dyn ConfigSpace) -> Vec<Function> {
    let mut found = Vec::new();
    let mut seen = [false; 256];
    let mut buses = Vec::from([0u8]);
    seen[0] = true;
    while let Some(bus) = buses.pop() {
        for device in 0..32 {
            for function in functions_at(space, bus, device) {
                found.push(function);
                if function.leads_on(space) {
                    let secondary = (space.read(function.address, register::BUSES) >> 8) as u8;
                    if !core::mem::replace(&mut seen[secondary as usize], true) {
                        buses.push(secondary);
                    }
                }
            }
        }
    }
    found.sort_by_key(|function| function.address);
    found
}

/// The functions of a device that answer.
pub fn functions_at(space: &dyn ConfigSpace, bus: u8, device: u8) -> Vec<Function> {
    let mut found = Vec::new();
    for function in 0..8 {
        let address = Address { bus, device, function };
        let id = space.read(address, register::ID);
        if id as u16 == 0xffff || id == 0 {
            if function == 0 {
                break;
            }
            continue;
        }
        let class = space.read(address, register::CLASS).to_be_bytes();
        let interrupt = space.read(address, register::INTERRUPT).to_le_bytes();
        found.push(Function {
            address,
            vendor: id as u16,
            device: (id >> 16) as u16,
            class: [class[0], class[1], class[2]],
            line: interrupt[0],
            pin: interrupt[1],
        });
        if function == 0 && space.read(address, register::HEADER) >> 16 & 0x80 == 0 {
            break;
        }
    }
    found
}

#[cfg(test)]
pub(crate) mod tests;
