//! The place in an image for who may operate its machines: the kernel's static `ACCESS`, zeros until it is finished.

use object::LittleEndian;
use object::read::elf::ProgramHeader;
use object::{Object, ObjectSymbol};

use super::checks;
use super::{Elf, ElfError};

const SYMBOL: &str = "ACCESS";

/// Address and size in bytes of the place, if the image has one.
pub(super) fn place(elf: &Elf<'_>) -> Option<(u64, u64)> {
    let symbol = elf.symbols().find(|symbol| symbol.is_definition() && symbol.name() == Ok(SYMBOL))?;
    Some((symbol.address(), symbol.size()))
}

/// Puts a text into the finished bytes of an image. What is loaded is at the same offsets there as in the file that the
/// linker made.
pub(super) fn put(
    elf: &Elf<'_>,
    bytes: &mut [u8],
    (address, size): (u64, u64),
    text: &str,
) -> Result<(), ElfError> {
    let offset = checks::loads(elf).find_map(|segment| {
        let within = address.checked_sub(segment.p_vaddr(LittleEndian))?;
        let after = within.checked_add(size)?;
        // Beyond the size in the file is what the loader fills with zeros.
        (after <= segment.p_filesz(LittleEndian)).then(|| segment.p_offset(LittleEndian) + within)
    });
    let start = offset.and_then(|offset| usize::try_from(offset).ok()).ok_or(ElfError::AccessPlace)?;
    let place = usize::try_from(size).ok().and_then(|size| bytes.get_mut(start..start.checked_add(size)?));
    match place {
        Some(place) if place.iter().all(|byte| *byte == 0) => {
            // The text ends where the zeros begin.
            let room = place.get_mut(..text.len()).filter(|_| (text.len() as u64) < size);
            room.ok_or(ElfError::AccessSize)?.copy_from_slice(text.as_bytes());
            Ok(())
        }
        _ => Err(ElfError::AccessPlace),
    }
}
