//! The table of function names in the image, by which the kernel's last words name what was running.
//!
//! Format, all little-endian: `QS_SYM1\0`, number of entries (u32), size of the names (u32); for each function, by
//! ascending address, its address (u32) and the offset of its name among the names (u32); then the names, mangled,
//! each ended by a NUL.

use object::read::elf::FileHeader;
use object::{LittleEndian, Object, ObjectSymbol, SymbolKind};

use super::{Elf, ElfError};

pub(super) const MAGIC: [u8; 8] = *b"QS_SYM1\0";

/// Size of the table's header, which the linker script leaves as a placeholder.
pub(super) const HEADER_SIZE: usize = 16;

/// A function of the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Function {
    pub address: u64,
    /// Bytes; 0 for hand-written assembly that does not say.
    pub size: u64,
    /// Mangled.
    pub name: String,
}

/// The functions by ascending address, one name for each address.
pub(super) fn functions(elf: &Elf<'_>) -> Vec<Function> {
    let executable: Vec<_> = elf
        .elf_header()
        .section_headers(LittleEndian, elf.data())
        .unwrap_or_default()
        .iter()
        .map(|section| section.sh_flags.get(LittleEndian) & u64::from(object::elf::SHF_EXECINSTR) != 0)
        .collect();
    let mut functions: Vec<Function> = elf
        .symbols()
        .filter(|symbol| {
            let in_code = symbol.section_index().is_some_and(|index| executable.get(index.0) == Some(&true));
            // Assembly labels have no type.
            in_code && matches!(symbol.kind(), SymbolKind::Text | SymbolKind::Label | SymbolKind::Unknown)
        })
        .filter_map(|symbol| {
            let name = symbol.name().ok().filter(|name| !name.is_empty() && !name.starts_with('.'))?;
            Some(Function { address: symbol.address(), size: symbol.size(), name: name.to_owned() })
        })
        .collect();
    // Of several names for an address, one with a size says most.
    functions.sort_by(|a, b| (a.address, b.size, &a.name).cmp(&(b.address, a.size, &b.name)));
    functions.dedup_by_key(|function| function.address);
    functions
}

/// The table in its format.
pub(super) fn encode(functions: &[Function]) -> Result<Vec<u8>, ElfError> {
    let mut entries = Vec::new();
    let mut names = Vec::new();
    for function in functions {
        let address = u32::try_from(function.address).map_err(|_| ElfError::TooHigh)?;
        entries.extend_from_slice(&address.to_le_bytes());
        entries.extend_from_slice(&(names.len() as u32).to_le_bytes());
        names.extend_from_slice(function.name.as_bytes());
        names.push(0);
    }
    let mut table = MAGIC.to_vec();
    table.extend_from_slice(&(functions.len() as u32).to_le_bytes());
    table.extend_from_slice(&(names.len() as u32).to_le_bytes());
    debug_assert_eq!(table.len(), HEADER_SIZE);
    table.append(&mut entries);
    table.append(&mut names);
    Ok(table)
}
