//! Linux's `boot_params` page ("zero page"): the one form in which memory map and ACPI root pointer reach us.
//!
//! Source: Linux, Documentation/arch/x86/zero-page.rst and boot.rst.

use super::{Boot, BootError, CommandLine, Reader, kind_of_type};

const RSDP: usize = 0x70;
const E820_COUNT: usize = 0x1e8;
const COMMAND_LINE: usize = 0x228;
const E820: usize = 0x2d0;
const E820_MAX: usize = 128;
const ENTRY: usize = 20;

/// The page's size in bytes.
pub const SIZE: usize = 4096;

/// Writes a `boot_params` page.
pub struct Writer<'a>(&'a mut [u8; SIZE]);

impl<'a> Writer<'a> {
    /// An empty page.
    pub fn new(page: &'a mut [u8; SIZE]) -> Self {
        page.fill(0);
        Self(page)
    }

    /// Adds a region with its E820 type. Beyond 128 the rest is dropped.
    pub fn add(&mut self, start: u64, length: u64, kind: u32) {
        let count = usize::from(self.0[E820_COUNT]);
        if count < E820_MAX {
            let at = E820 + count * ENTRY;
            self.0[at..at + 8].copy_from_slice(&start.to_le_bytes());
            self.0[at + 8..at + 16].copy_from_slice(&length.to_le_bytes());
            self.0[at + 16..at + 20].copy_from_slice(&kind.to_le_bytes());
            self.0[E820_COUNT] += 1;
        }
    }

    /// Sets the address of the ACPI root pointer.
    pub fn set_rsdp(&mut self, address: u64) {
        self.0[RSDP..RSDP + 8].copy_from_slice(&address.to_le_bytes());
    }

    /// Sets the address of the NUL-terminated command line.
    pub fn set_command_line(&mut self, address: u32) {
        self.0[COMMAND_LINE..COMMAND_LINE + 4].copy_from_slice(&address.to_le_bytes());
    }
}

/// Reads a page at `address` into `boot`.
pub(super) fn read(reader: &impl Reader, address: u64, boot: &mut Boot) -> Result<(), BootError> {
    let page = reader.bytes(address, SIZE).ok_or(BootError::Truncated("boot_params"))?;
    let long = |at: usize| u64::from_le_bytes(page[at..at + 8].try_into().expect("eight bytes"));
    let word = |at: usize| u32::from_le_bytes(page[at..at + 4].try_into().expect("four bytes"));
    for index in 0..usize::from(page[E820_COUNT]).min(E820_MAX) {
        let at = E820 + index * ENTRY;
        boot.map.insert(long(at), long(at + 8), kind_of_type(word(at + 16)));
    }
    boot.rsdp = Some(long(RSDP)).filter(|&rsdp| rsdp != 0);
    let command_line = word(COMMAND_LINE);
    if command_line != 0 {
        boot.command_line = CommandLine::read(reader, u64::from(command_line));
    }
    Ok(())
}
