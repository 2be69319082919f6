//! Finishes the linked ELF file: checks it, puts the symbol table for backtraces into its last segment, and strips the
//! rest of the symbols and debug information. Who may operate its machines is put in, too, and the key of their checkpoints.

mod checks;
mod inserts;
mod redzone;
mod rewrite;
mod symbols;

pub use inserts::Inserts;
pub use redzone::Below;

use std::fmt;

use object::LittleEndian;
use object::read::elf::{ElfFile64, FileHeader, ProgramHeader};
use serde::Serialize;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ElfError {
    #[error("not an ELF file of 64 bits: {0}")]
    Format(object::Error),
    #[error("not an executable for x86-64")]
    Machine,
    #[error("segment at {address:#x} is both writable and executable")]
    WriteAndExecute { address: u64 },
    #[error("segment {index} reaches outside of the file")]
    Truncated { index: usize },
    #[error("no {door}: the image cannot be booted that way")]
    Door { door: &'static str },
    #[error(
        "the last segment does not hold the mark of the symbol table (section .symbols of the linker script)"
    )]
    NoSymbolSegment,
    #[error("the image reaches beyond 4 GiB, where symbol addresses do not fit")]
    TooHigh,
    #[error("the place {0} is not zero bytes of a segment in the file")]
    Place(&'static str),
    #[error("what belongs there takes more room than the place {0} has")]
    Room(&'static str),
    #[error("functions of ours touch memory below the stack pointer:\n{}", list(.0))]
    RedZone(Vec<Below>),
}

fn list(found: &[Below]) -> String {
    found.iter().map(|below| format!("  {below}")).collect::<Vec<_>>().join("\n")
}

/// What was found in an image. Sizes are bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Size of the finished file.
    pub file: u64,
    /// Executable segments in memory.
    pub code: u64,
    /// Read-only segments in memory, the symbol table included.
    pub read_only: u64,
    /// Writable segments in memory.
    pub writable: u64,
    /// The symbol table.
    pub symbol_table: u64,
    /// Functions in the symbol table.
    pub functions: u64,
    /// Functions of Rust's precompiled crates that use the red zone. They are harmless: every interrupt vector has a stack
    /// of its own.
    pub red_zone: Vec<Below>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kib = |bytes: u64| bytes.div_ceil(1024);
        write!(
            f,
            "{} KiB (code {}, read-only {}, writable {} KiB; {} functions in the symbol table)",
            kib(self.file),
            kib(self.code),
            kib(self.read_only),
            kib(self.writable),
            self.functions
        )
    }
}

/// A finished image.
#[derive(Clone, Debug)]
pub struct Finished {
    pub bytes: Vec<u8>,
    pub report: Report,
    /// Whether a secret is in it: the machines' host key, or the key of their checkpoints.
    pub is_secret: bool,
}

pub(crate) type Elf<'a> = ElfFile64<'a, LittleEndian>;

/// Checks and finishes an image as the linker left it. Nobody may operate its machines, and their checkpoints have no key.
pub fn finish(input: &[u8]) -> Result<Finished, ElfError> {
    finish_with(input, &Inserts::default())
}

/// Checks and finishes an image as the linker left it, and puts what its machines are told into their places.
pub fn finish_with(input: &[u8], inserts: &Inserts<'_>) -> Result<Finished, ElfError> {
    let elf = Elf::parse(input).map_err(ElfError::Format)?;
    if elf.elf_header().e_machine(LittleEndian) != object::elf::EM_X86_64 {
        return Err(ElfError::Machine);
    }
    checks::segments(&elf, input)?;
    checks::doors(&elf, input)?;
    let functions = symbols::functions(&elf);
    let (ours, red_zone): (Vec<_>, Vec<_>) =
        redzone::scan(&elf, &functions).into_iter().partition(|below| !below.is_precompiled());
    if !ours.is_empty() {
        return Err(ElfError::RedZone(ours));
    }
    let table = symbols::encode(&functions)?;
    let mut bytes = rewrite::rewrite(&elf, input, &table)?;
    let is_secret = inserts.put(&elf, &mut bytes)?;
    let mut report = Report {
        file: bytes.len() as u64,
        code: 0,
        read_only: table.len() as u64,
        writable: 0,
        symbol_table: table.len() as u64,
        functions: functions.len() as u64,
        red_zone,
    };
    for segment in checks::loads(&elf) {
        let flags = segment.p_flags(LittleEndian);
        let size = segment.p_memsz(LittleEndian);
        if flags & object::elf::PF_X != 0 {
            report.code += size;
        } else if flags & object::elf::PF_W != 0 {
            report.writable += size;
        } else {
            report.read_only += size;
        }
    }
    Ok(Finished { bytes, report, is_secret })
}
