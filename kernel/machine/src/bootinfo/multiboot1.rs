//! Multiboot 1 information, as the Hermit loader passes it on.
//!
//! Source: Multiboot specification 0.6.96, 3.3.

use super::{Boot, BootError, Reader, kind_of_type};

const MAX_BYTES: u32 = 1 << 16;

/// Reads the memory map of the information at `address` into `boot`.
pub(super) fn read(reader: &impl Reader, address: u64, boot: &mut Boot) -> Result<(), BootError> {
    let field = |offset: u64| {
        let at = address.checked_add(offset).ok_or(BootError::Truncated("information"))?;
        reader.word(at).ok_or(BootError::Truncated("information"))
    };
    if field(0)? & 1 << 6 == 0 {
        return Err(BootError::NoMemoryMap);
    }
    let (length, start) = (field(44)?.min(MAX_BYTES), u64::from(field(48)?));
    let end = start + u64::from(length);
    let mut at = start;
    while at + 24 <= end {
        let read = |offset| reader.long(at + offset).ok_or(BootError::Truncated("memory map"));
        // The size field does not count itself.
        let size = u64::from(read(0)? as u32) + 4;
        let kind = reader.word(at + 20).ok_or(BootError::Truncated("memory map"))?;
        boot.map.insert(read(4)?, read(12)?, kind_of_type(kind));
        at += size.max(24);
    }
    Ok(())
}
