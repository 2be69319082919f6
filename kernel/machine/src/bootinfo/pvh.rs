//! The PVH door: Xen's `hvm_start_info`, as QEMU fills it in.
//!
//! Source: Xen, public/arch-x86/hvm/start_info.h.

use super::{BootError, Reader, boot_params::Writer};

/// First word of the structure.
pub const MAGIC: u32 = 0x336e_c578;
const MAX_ENTRIES: u64 = 512;

/// Translates the structure at `address`. Version 0 has no memory map and is refused.
pub fn translate(reader: &impl Reader, address: u64, page: &mut Writer<'_>) -> Result<(), BootError> {
    if reader.word(address).ok_or(BootError::Truncated("start_info"))? != MAGIC {
        return Err(BootError::Magic);
    }
    let fixed = reader.bytes(address, 56).ok_or(BootError::Truncated("start_info"))?;
    let long = |at: usize| u64::from_le_bytes(fixed[at..at + 8].try_into().expect("eight bytes"));
    let word = |at: usize| u32::from_le_bytes(fixed[at..at + 4].try_into().expect("four bytes"));
    if word(4) < 1 {
        return Err(BootError::NoMemoryMap);
    }
    if let Ok(command_line) = u32::try_from(long(24)) {
        page.set_command_line(command_line);
    }
    page.set_rsdp(long(32));
    let (map, entries) = (long(40), u64::from(word(48)).min(MAX_ENTRIES));
    for index in 0..entries {
        let entry = map.checked_add(index * 24).and_then(|at| reader.bytes(at, 24));
        let entry = entry.ok_or(BootError::Truncated("memory map"))?;
        let field = |at: usize| u64::from_le_bytes(entry[at..at + 8].try_into().expect("eight bytes"));
        page.add(field(0), field(8), field(16) as u32);
    }
    Ok(())
}
