//! Writes the finished file: everything that is loaded stays where it is, the symbol table follows as the last segment,
//! and sections, symbols and debug information are gone.

use std::mem::offset_of;

use object::LittleEndian;
use object::elf::{FileHeader64, PT_LOAD, ProgramHeader64};
use object::read::elf::{FileHeader, ProgramHeader};

use super::symbols::{HEADER_SIZE, MAGIC};
use super::{Elf, ElfError};

type Header = FileHeader64<LittleEndian>;
type Segment = ProgramHeader64<LittleEndian>;

pub(super) fn rewrite(elf: &Elf<'_>, input: &[u8], table: &[u8]) -> Result<Vec<u8>, ElfError> {
    let segments = elf.elf_program_headers();
    let last = symbol_segment(segments, input)?;

    let headers_end = elf.elf_header().e_phoff(LittleEndian) + size_of_val(segments) as u64;
    let others = segments.iter().enumerate().filter(|(index, _)| *index != last);
    let loaded_end =
        others.map(|(_, segment)| segment.p_offset(LittleEndian) + segment.p_filesz(LittleEndian)).max();
    let mut output = input[..loaded_end.unwrap_or(0).max(headers_end) as usize].to_vec();

    // Offset and address have to agree modulo the alignment.
    let alignment = segments[last].p_align(LittleEndian).max(1);
    let offset =
        (output.len() as u64).next_multiple_of(alignment) + segments[last].p_vaddr(LittleEndian) % alignment;
    output.resize(offset as usize, 0);
    output.extend_from_slice(table);

    let header = elf.elf_header().e_phoff(LittleEndian) as usize + last * size_of::<Segment>();
    put(&mut output, header + offset_of!(Segment, p_offset), &offset.to_le_bytes());
    put(&mut output, header + offset_of!(Segment, p_filesz), &(table.len() as u64).to_le_bytes());
    put(&mut output, header + offset_of!(Segment, p_memsz), &(table.len() as u64).to_le_bytes());
    put(&mut output, offset_of!(Header, e_shoff), &[0; 8]);
    put(&mut output, offset_of!(Header, e_shnum), &[0; 2]);
    put(&mut output, offset_of!(Header, e_shstrndx), &[0; 2]);
    Ok(output)
}

/// The segment with the mark: the one with the highest address, so that it can grow.
fn symbol_segment(segments: &[Segment], input: &[u8]) -> Result<usize, ElfError> {
    let loads = segments.iter().enumerate().filter(|(_, segment)| segment.p_type(LittleEndian) == PT_LOAD);
    let (index, segment) =
        loads.max_by_key(|(_, segment)| segment.p_vaddr(LittleEndian)).ok_or(ElfError::NoSymbolSegment)?;
    let data = segment.data(LittleEndian, input).map_err(|()| ElfError::Truncated { index })?;
    if data.len() >= HEADER_SIZE && data.starts_with(&MAGIC) {
        Ok(index)
    } else {
        Err(ElfError::NoSymbolSegment)
    }
}

fn put(output: &mut [u8], offset: usize, bytes: &[u8]) {
    output[offset..offset + bytes.len()].copy_from_slice(bytes);
}
