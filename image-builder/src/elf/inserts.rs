//! What is put into a finished image for its machines: each into a static of the kernel's, zeros until then.

use checkpoint::Key;
use control::access::Access;
use object::LittleEndian;
use object::read::elf::ProgramHeader;
use object::{Object, ObjectSymbol};

use super::checks;
use super::{Elf, ElfError};

const ACCESS: &str = "ACCESS";
const CHECKPOINT_KEY: &str = "CHECKPOINT_KEY";

/// What an image is told of its machines. Where the kernel has no place for something, it stays without.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inserts<'a> {
    /// Who may operate them, and their host key.
    pub access: Option<&'a Access>,
    /// What their checkpoints are made with, and have to have been made with.
    pub checkpoint_key: Option<&'a Key>,
}

impl Inserts<'_> {
    /// Puts all into the finished bytes of an image. Says whether there are secrets among it.
    pub(super) fn put(&self, elf: &Elf<'_>, bytes: &mut [u8]) -> Result<bool, ElfError> {
        let mut is_secret = false;
        if let Some(access) = self.access {
            // It ends where the zeros begin: one there has to be.
            let text = format!("{access}\0");
            is_secret |= put(elf, bytes, ACCESS, text.as_bytes())? && access.host_key.is_some();
        }
        if let Some(key) = self.checkpoint_key {
            is_secret |= put(elf, bytes, CHECKPOINT_KEY, key.bytes())?;
        }
        Ok(is_secret)
    }
}

/// Puts something into its place, if the image has one. What is loaded is at the same offsets in finished bytes as in the file that
/// the linker made.
fn put(elf: &Elf<'_>, bytes: &mut [u8], name: &'static str, content: &[u8]) -> Result<bool, ElfError> {
    let Some(symbol) = elf.symbols().find(|symbol| symbol.is_definition() && symbol.name() == Ok(name))
    else {
        return Ok(false);
    };
    let (address, size) = (symbol.address(), symbol.size());
    let offset = checks::loads(elf).find_map(|segment| {
        let within = address.checked_sub(segment.p_vaddr(LittleEndian))?;
        let after = within.checked_add(size)?;
        // Beyond the size in the file is what the loader fills with zeros.
        (after <= segment.p_filesz(LittleEndian)).then(|| segment.p_offset(LittleEndian) + within)
    });
    let start = offset.and_then(|offset| usize::try_from(offset).ok()).ok_or(ElfError::Place(name))?;
    let place = usize::try_from(size).ok().and_then(|size| bytes.get_mut(start..start.checked_add(size)?));
    match place {
        Some(place) if place.iter().all(|byte| *byte == 0) => {
            place.get_mut(..content.len()).ok_or(ElfError::Room(name))?.copy_from_slice(content);
            Ok(true)
        }
        _ => Err(ElfError::Place(name)),
    }
}
