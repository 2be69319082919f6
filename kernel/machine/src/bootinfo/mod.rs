//! Boot information: three doors, one form.
//!
//! The PVH and Multiboot2 doors translate what they were given into a Linux `boot_params` page; Hermit loaders pass that
//! or Multiboot 1. All end in hermit-entry's `BootInfo`, which [`Boot::read`] reads.

pub mod boot_params;
pub mod multiboot1;
pub mod multiboot2;
pub mod pvh;

use crate::memory::map::{MemoryMap, RegionKind};
use hermit_entry::boot_info::{BootInfo, PlatformInfo};

/// Physical memory as the parsers see it: any address may be nonsense.
pub trait Reader {
    /// The bytes from `address` on, or `None` if any of them is out of reach.
    fn bytes(&self, address: u64, length: usize) -> Option<&[u8]>;

    /// A little-endian 32-bit word.
    fn word(&self, address: u64) -> Option<u32> {
        Some(u32::from_le_bytes(self.bytes(address, 4)?.try_into().ok()?))
    }

    /// A little-endian 64-bit word.
    fn long(&self, address: u64) -> Option<u64> {
        Some(u64::from_le_bytes(self.bytes(address, 8)?.try_into().ok()?))
    }
}

/// Longest command line kept, in bytes.
pub const COMMAND_LINE: usize = 2048;

/// A command line, cut to [`COMMAND_LINE`] bytes and to valid UTF-8.
#[derive(Clone)]
pub struct CommandLine {
    bytes: [u8; COMMAND_LINE],
    length: usize,
}

impl CommandLine {
    /// Empty.
    pub const fn new() -> Self {
        Self { bytes: [0; COMMAND_LINE], length: 0 }
    }

    /// From text.
    pub fn from_text(text: &str) -> Self {
        Self::from_bytes(text.as_bytes())
    }

    /// From bytes up to the first NUL.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let bytes = bytes.split(|&byte| byte == 0).next().unwrap_or(&[]);
        let bytes = &bytes[..bytes.len().min(COMMAND_LINE)];
        let valid = match core::str::from_utf8(bytes) {
            Ok(text) => text.len(),
            Err(error) => error.valid_up_to(),
        };
        let mut line = Self::new();
        line.bytes[..valid].copy_from_slice(&bytes[..valid]);
        line.length = valid;
        line
    }

    /// A NUL-terminated string somewhere in memory.
    pub fn read(reader: &impl Reader, address: u64) -> Self {
        let mut line = Self::new();
        let mut length = 0;
        while length < COMMAND_LINE {
            match reader.bytes(address.wrapping_add(length as u64), 1) {
                Some(&[byte]) if byte != 0 => line.bytes[length] = byte,
                _ => break,
            }
            length += 1;
        }
        Self::from_bytes(&line.bytes[..length])
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.bytes[..self.length]).unwrap_or("")
    }
}

impl Default for CommandLine {
    fn default() -> Self {
        Self::new()
    }
}

/// The value of `key=value` on a command line; the last one counts.
pub fn setting<'a>(command_line: &'a str, key: &str) -> Option<&'a str> {
    let words = command_line.split_ascii_whitespace().rev();
    words.filter_map(|word| word.split_once('=')).find(|(name, _)| *name == key).map(|(_, value)| value)
}

/// Why boot information can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootError {
    /// The structure's magic number is wrong.
    Magic,
    /// The named part lies out of reach or is cut short.
    Truncated(&'static str),
    /// There is no memory map.
    NoMemoryMap,
    /// The loader's platform is not one we know.
    Platform,
}

/// What the system starts from.
pub struct Boot {
    /// Physical memory, as firmware says.
    pub map: MemoryMap,
    /// The kernel command line.
    pub command_line: CommandLine,
    /// Address of the ACPI root pointer, if the loader knew it.
    pub rsdp: Option<u64>,
}

impl Boot {
    /// Reads hermit-entry's boot information.
    pub fn read(info: &BootInfo, reader: &impl Reader) -> Result<Self, BootError> {
        let mut boot = Self { map: MemoryMap::new(), command_line: CommandLine::new(), rsdp: None };
        match &info.platform_info {
            PlatformInfo::LinuxBootParams { command_line, boot_params_addr } => {
                boot_params::read(reader, boot_params_addr.get(), &mut boot)?;
                if let Some(text) = command_line {
                    boot.command_line = CommandLine::from_text(text);
                }
            }
            PlatformInfo::Multiboot { command_line, multiboot_info_addr } => {
                multiboot1::read(reader, multiboot_info_addr.get(), &mut boot)?;
                if let Some(text) = command_line {
                    boot.command_line = CommandLine::from_text(text);
                }
            }
            _ => return Err(BootError::Platform),
        }
        if boot.map.total(RegionKind::Usable) == 0 {
            return Err(BootError::NoMemoryMap);
        }
        Ok(boot)
    }
}

/// Kind of a region by its E820 type (ACPI 6.5, table 15.4).
fn kind_of_type(number: u32) -> RegionKind {
    match number {
        1 => RegionKind::Usable,
        3 => RegionKind::AcpiReclaim,
        4 => RegionKind::AcpiNvs,
        5 => RegionKind::Unusable,
        _ => RegionKind::Reserved,
    }
}

#[cfg(test)]
mod tests;
