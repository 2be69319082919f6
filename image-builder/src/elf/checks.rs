//! Checks of segments and boot doors.

use object::LittleEndian;
use object::elf::{PF_W, PF_X, PT_LOAD, ProgramHeader64};
use object::read::elf::{FileHeader, ProgramHeader};

use super::{Elf, ElfError};

/// Xen's note type of the 32-bit PVH entry point.
const XEN_ELFNOTE_PHYS32_ENTRY: u32 = 18;

/// hermit-entry's note type of the entry version.
const NT_HERMIT_ENTRY_VERSION: u32 = 0x5a00;

/// `NT_GNU_ABI_TAG`: by it a Hermit loader knows the operating system.
const NT_GNU_ABI_TAG: u32 = 1;

const MULTIBOOT2_MAGIC: u32 = 0xe852_50d6;

/// Where a Multiboot2 loader looks for the header (Multiboot2 specification, 3.1).
const MULTIBOOT2_SEARCH: usize = 32 * 1024;

pub(super) fn loads<'a>(elf: &Elf<'a>) -> impl Iterator<Item = &'a ProgramHeader64<LittleEndian>> {
    elf.elf_program_headers().iter().filter(|segment| segment.p_type(LittleEndian) == PT_LOAD)
}

/// Every segment lies within the file; none is both writable and executable.
pub(super) fn segments(elf: &Elf<'_>, input: &[u8]) -> Result<(), ElfError> {
    for (index, segment) in elf.elf_program_headers().iter().enumerate() {
        segment.data(LittleEndian, input).map_err(|()| ElfError::Truncated { index })?;
    }
    match loads(elf).find(|segment| segment.p_flags(LittleEndian) & (PF_W | PF_X) == PF_W | PF_X) {
        Some(segment) => Err(ElfError::WriteAndExecute { address: segment.p_vaddr(LittleEndian) }),
        None => Ok(()),
    }
}

/// The image has all three doors: PVH, Multiboot2 and Hermit.
pub(super) fn doors(elf: &Elf<'_>, input: &[u8]) -> Result<(), ElfError> {
    let executable = |address: u64| {
        loads(elf).any(|segment| {
            let start = segment.p_vaddr(LittleEndian);
            segment.p_flags(LittleEndian) & PF_X != 0
                && (start..start.saturating_add(segment.p_filesz(LittleEndian))).contains(&address)
        })
    };
    let pvh = note(elf, input, b"Xen", XEN_ELFNOTE_PHYS32_ENTRY);
    let entry =
        pvh.and_then(|descriptor| descriptor.first_chunk::<8>()).map(|bytes| u64::from_le_bytes(*bytes));
    if !entry.is_some_and(executable) {
        return Err(ElfError::Door { door: "PVH note with an entry in an executable segment" });
    }
    if note(elf, input, b"HERMIT", NT_HERMIT_ENTRY_VERSION).is_none() {
        return Err(ElfError::Door { door: "Hermit entry version note" });
    }
    if note(elf, input, b"GNU", NT_GNU_ABI_TAG).is_none() {
        return Err(ElfError::Door { door: "ABI tag note (Hermit loaders ask for it)" });
    }
    if !executable(elf.elf_header().e_entry(LittleEndian)) {
        return Err(ElfError::Door { door: "Hermit entry point in an executable segment" });
    }
    if !has_multiboot2_header(input) {
        return Err(ElfError::Door { door: "Multiboot2 header in the first 32 KiB of the file" });
    }
    Ok(())
}

/// The descriptor of a note.
fn note<'a>(elf: &Elf<'a>, input: &'a [u8], name: &[u8], kind: u32) -> Option<&'a [u8]> {
    for segment in elf.elf_program_headers() {
        let Ok(Some(mut notes)) = segment.notes(LittleEndian, input) else { continue };
        while let Ok(Some(note)) = notes.next() {
            if note.name() == name && note.n_type(LittleEndian) == kind {
                return Some(note.desc());
            }
        }
    }
    None
}

/// A header counts with a right checksum: the sum of magic, architecture, length and checksum is zero.
fn has_multiboot2_header(input: &[u8]) -> bool {
    let search = &input[..input.len().min(MULTIBOOT2_SEARCH)];
    search.chunks_exact(8).enumerate().any(|(index, _)| {
        let Some(header) = search.get(index * 8..index * 8 + 16) else { return false };
        let words: Vec<u32> = header
            .chunks_exact(4)
            .map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
            .collect();
        words[0] == MULTIBOOT2_MAGIC && words.iter().fold(0_u32, |sum, word| sum.wrapping_add(*word)) == 0
    })
}
