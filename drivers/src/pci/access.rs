//! Two ways into configuration space.

use super::Address;
use crate::mmio::Registers;
use machine::io;
use machine::sync::SpinLock;

/// Reads and writes registers of configuration space.
pub trait ConfigSpace: Send + Sync {
    /// The register at `offset`, which is rounded down to a multiple of 4; all ones where nothing answers.
    fn read(&self, address: Address, offset: u16) -> u32;
    /// Writes it.
    fn write(&self, address: Address, offset: u16, value: u32);
    /// Writes the 16-bit register at `offset`, which is rounded down to a multiple of 2, and not its neighbour: where that clears bits
    /// that are written as ones, or takes a write for a command, what was read must not be written back.
    fn write_half(&self, address: Address, offset: u16, value: u16);
    /// The 16-bit register at `offset`, rounded as by [`write_half`](Self::write_half).
    fn read_half(&self, address: Address, offset: u16) -> u16 {
        (self.read(address, offset) >> (8 * (offset & 2))) as u16
    }
}

/// The ports CF8h and CFCh (PCI 3.0, 3.2.2.3.2): the first 256 bytes of each function.
#[derive(Debug)]
pub struct Ports(SpinLock<()>);

impl Ports {
    /// The ports of a PC.
    #[expect(clippy::new_without_default, reason = "there is one pair of ports")]
    pub const fn new() -> Self {
        Self(SpinLock::new(()))
    }

    fn select(address: Address, offset: u16) -> u32 {
        1 << 31
            | u32::from(address.bus) << 16
            | u32::from(address.device & 31) << 11
            | u32::from(address.function & 7) << 8
            | u32::from(offset & 0xfc)
    }
}

impl ConfigSpace for Ports {
    fn read(&self, address: Address, offset: u16) -> u32 {
        if offset > 0xff {
            return u32::MAX;
        }
        let _guard = self.0.lock();
        // SAFETY: the configuration mechanism's ports, used under the lock.
        unsafe {
            io::outl(0xcf8, Self::select(address, offset));
            io::inl(0xcfc)
        }
    }

    fn write(&self, address: Address, offset: u16, value: u32) {
        if offset > 0xff {
            return;
        }
        let _guard = self.0.lock();
        // SAFETY: as for `read`.
        unsafe {
            io::outl(0xcf8, Self::select(address, offset));
            io::outl(0xcfc, value);
        }
    }

    fn write_half(&self, address: Address, offset: u16, value: u16) {
        if offset > 0xff {
            return;
        }
        let _guard = self.0.lock();
        // SAFETY: as for `read`.
        unsafe {
            io::outl(0xcf8, Self::select(address, offset));
            io::outw(0xcfc + (offset & 2), value);
        }
    }
}

/// Memory-mapped configuration space (PCI Express 5.0, 7.2.2).
#[derive(Debug)]
pub struct Ecam {
    registers: Registers,
    first_bus: u8,
}

impl Ecam {
    /// Maps the space of buses `first` to `last`, which begins at `base`; `None` if it can't be mapped.
    pub fn new(base: u64, first: u8, last: u8) -> Option<Self> {
        let length = (usize::from(last.checked_sub(first)?) + 1) << 20;
        let pointer = io::map_device(base.checked_add(u64::from(first) << 20)?, length)?;
        // SAFETY: just mapped, for good.
        Some(Self { registers: unsafe { Registers::new(pointer, length) }, first_bus: first })
    }

    fn offset(&self, address: Address, offset: u16) -> Option<usize> {
        let bus = usize::from(address.bus.checked_sub(self.first_bus)?);
        let (device, function) = (usize::from(address.device & 31), usize::from(address.function & 7));
        Some(bus << 20 | device << 15 | function << 12 | usize::from(offset & 0xffc))
    }
}

impl ConfigSpace for Ecam {
    fn read(&self, address: Address, offset: u16) -> u32 {
        self.offset(address, offset).map_or(u32::MAX, |at| self.registers.read(at))
    }

    fn write(&self, address: Address, offset: u16, value: u32) {
        if let Some(at) = self.offset(address, offset) {
            self.registers.write(at, value);
        }
    }

    fn write_half(&self, address: Address, offset: u16, value: u16) {
        if let Some(at) = self.offset(address, offset) {
            self.registers.write(at | usize::from(offset & 2), value);
        }
    }
}
