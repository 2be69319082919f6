//! The place of the operators' key in an image: the kernel's static `CONTROL_KEY`, zeros until it is finished.

use control::Key;
use object::LittleEndian;
use object::read::elf::ProgramHeader;
use object::{Object, ObjectSymbol};

use super::checks;
use super::{Elf, ElfError};

const SYMBOL: &str = "CONTROL_KEY";

/// Address and size in bytes of the key's place, if the image has one.
pub(super) fn place(elf: &Elf<'_>) -> Option<(u64, u64)> {
    let symbol = elf.symbols().find(|symbol| symbol.is_definition() && symbol.name() == Ok(SYMBOL))?;
    Some((symbol.address(), symbol.size()))
}

/// Puts the key into the finished bytes of an image. What is loaded is at the same offsets there as in the file that the
/// linker made.
pub(super) fn put(
    elf: &Elf<'_>,
    bytes: &mut [u8],
    (address, size): (u64, u64),
    key: &Key,
) -> Result<(), ElfError> {
    let offset = checks::loads(elf).find_map(|segment| {
        let within = address.checked_sub(segment.p_vaddr(LittleEndian))?;
        let after = within.checked_add(size)?;
        // Beyond the size in the file is what the loader fills with zeros.
        (after <= segment.p_filesz(LittleEndian)).then(|| segment.p_offset(LittleEndian) + within)
    });
    let start = offset.and_then(|offset| usize::try_from(offset).ok()).ok_or(ElfError::KeyPlace)?;
    let place = start.checked_add(key.len()).and_then(|end| bytes.get_mut(start..end));
    match place {
        Some(place) if size == key.len() as u64 && place.iter().all(|byte| *byte == 0) => {
            place.copy_from_slice(key);
            Ok(())
        }
        _ => Err(ElfError::KeyPlace),
    }
}
