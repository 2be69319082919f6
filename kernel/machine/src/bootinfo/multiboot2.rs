//! The Multiboot2 door: GRUB's tags.
//!
//! Source: Multiboot2 specification 2.0, 3.6 (boot information format).

use super::{BootError, Reader, boot_params::Writer};

/// What the loader leaves in EAX.
pub const MAGIC: u32 = 0x36d7_6289;
const MAX_BYTES: u32 = 1 << 20;

const COMMAND_LINE: u32 = 1;
const MEMORY_MAP: u32 = 6;
const ACPI_OLD: u32 = 14;
const ACPI_NEW: u32 = 15;

/// Translates the information at `address`.
pub fn translate(reader: &impl Reader, address: u64, page: &mut Writer<'_>) -> Result<(), BootError> {
    let total = reader.word(address).ok_or(BootError::Truncated("information"))?;
    if !(16..=MAX_BYTES).contains(&total) {
        return Err(BootError::Truncated("information"));
    }
    let end = address.checked_add(u64::from(total)).ok_or(BootError::Truncated("information"))?;
    let mut at = address + 8;
    let mut new_rsdp = false;
    while at + 8 <= end {
        let kind = reader.word(at).ok_or(BootError::Truncated("tag"))?;
        let size = u64::from(reader.word(at + 4).ok_or(BootError::Truncated("tag"))?);
        if size < 8 || at + size > end {
            return Err(BootError::Truncated("tag"));
        }
        match kind {
            0 => break,
            COMMAND_LINE => {
                if let Ok(text) = u32::try_from(at + 8) {
                    page.set_command_line(text);
                }
            }
            MEMORY_MAP => memory_map(reader, at, size, page)?,
            // The tag holds a copy of the root pointer; the newer one is preferred.
            ACPI_OLD if !new_rsdp => page.set_rsdp(at + 8),
            ACPI_NEW => {
                page.set_rsdp(at + 8);
                new_rsdp = true;
            }
            _ => {}
        }
        at = (at + size).next_multiple_of(8);
    }
    Ok(())
}

fn memory_map(reader: &impl Reader, tag: u64, size: u64, page: &mut Writer<'_>) -> Result<(), BootError> {
    let entry_size = u64::from(reader.word(tag + 8).ok_or(BootError::Truncated("memory map"))?);
    if entry_size < 24 {
        return Err(BootError::Truncated("memory map entry"));
    }
    let mut at = tag + 16;
    while at + entry_size <= tag + size {
        let field = |offset| reader.long(at + offset).ok_or(BootError::Truncated("memory map"));
        page.add(field(0)?, field(8)?, field(16)? as u32);
        at += entry_size;
    }
    Ok(())
}
