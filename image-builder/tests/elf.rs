//! What becomes of an ELF file, and which files are refused.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod stub;

use checkpoint::Key;
use control::access::{Access, Operator, PublicKey, Role};
use image_builder::elf::{self, ElfError, Finished, Inserts};
use object::read::elf::ProgramHeader;
use object::{LittleEndian, Object, ObjectSection};

type Elf<'a> = object::read::elf::ElfFile64<'a, LittleEndian>;

fn unfinished() -> Vec<u8> {
    std::fs::read(stub::unfinished()).unwrap()
}

/// Offset in the file of a section of the stub.
fn section(bytes: &[u8], name: &str) -> usize {
    Elf::parse(bytes).unwrap().section_by_name(name).unwrap().file_range().unwrap().0 as usize
}

#[test]
fn the_symbol_table_is_the_last_segment_and_all_else_is_stripped() {
    let input = unfinished();
    let finished = elf::finish(&input).unwrap();
    let before = Elf::parse(&*input).unwrap();
    let after = Elf::parse(&*finished.bytes).unwrap();
    assert_eq!((after.sections().count(), after.symbols().count()), (0, 0));
    assert_eq!(after.entry(), before.entry());

    let loads = |elf: &Elf<'_>| -> Vec<_> {
        let headers = elf.elf_program_headers().iter();
        headers.filter(|header| header.p_type(LittleEndian) == object::elf::PT_LOAD).copied().collect()
    };
    let (loads_before, loads_after) = (loads(&before), loads(&after));
    let (symbols, others) = loads_after.split_last().unwrap();
    for (old, new) in loads_before.iter().zip(others) {
        assert_eq!(old.data(LittleEndian, &*input), new.data(LittleEndian, &*finished.bytes));
        assert_eq!(old.p_vaddr(LittleEndian), new.p_vaddr(LittleEndian));
    }
    assert_eq!(symbols.p_offset(LittleEndian) % 4096, symbols.p_vaddr(LittleEndian) % 4096);
    assert_eq!(symbols.p_filesz(LittleEndian), symbols.p_memsz(LittleEndian));

    let table = symbols.data(LittleEndian, &*finished.bytes).unwrap();
    let word = |at: usize| u32::from_le_bytes(table[at..at + 4].try_into().unwrap());
    assert_eq!(&table[..8], b"QS_SYM1\0");
    let (count, names_size) = (word(8) as usize, word(12) as usize);
    assert_eq!(table.len(), 16 + count * 8 + names_size);
    let entries: Vec<(u32, &str)> = (0..count)
        .map(|index| {
            let name = &table[16 + count * 8 + word(16 + index * 8 + 4) as usize..];
            let end = name.iter().position(|byte| *byte == 0).unwrap();
            (word(16 + index * 8), std::str::from_utf8(&name[..end]).unwrap())
        })
        .collect();
    assert!(entries.is_sorted());
    assert!(entries.iter().any(|(address, name)| *name == "_start" && u64::from(*address) == after.entry()));
    assert!(entries.iter().any(|(_, name)| *name == "put"));
}

#[test]
fn a_finished_image_is_not_finished_twice() {
    let once = elf::finish(&unfinished()).unwrap().bytes;
    let twice = elf::finish(&once).unwrap();
    assert_eq!(twice.report.functions, 0, "its symbols are gone");
}

#[test]
fn a_missing_door_is_named() {
    for (name, offset, part) in [
        (".notes", 8, "PVH"),
        (".text", 0, "Multiboot2"),
        // The third word of Multiboot2's header is its length, which the checksum covers.
        (".text", 8, "Multiboot2"),
    ] {
        let mut bytes = unfinished();
        let at = section(&bytes, name) + offset;
        bytes[at] ^= 0x40;
        match elf::finish(&bytes).map(|finished| finished.report) {
            Err(ElfError::Door { door }) => assert!(door.contains(part), "{door}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn writable_code_is_refused() {
    let mut bytes = unfinished();
    let flags = program_header(&bytes, 0) + 4;
    bytes[flags] = 7;
    assert!(matches!(elf::finish(&bytes), Err(ElfError::WriteAndExecute { .. })));
}

#[test]
fn a_missing_mark_is_refused() {
    let mut bytes = unfinished();
    let at = section(&bytes, ".symbols");
    bytes[at] ^= 1;
    assert_eq!(elf::finish(&bytes).unwrap_err(), ElfError::NoSymbolSegment);
}

#[test]
fn broken_files_are_refused() {
    let bytes = unfinished();
    assert!(matches!(elf::finish(b""), Err(ElfError::Format(_))));
    assert!(matches!(elf::finish(b"#!/bin/sh\n"), Err(ElfError::Format(_))));
    let mut other_machine = bytes.clone();
    other_machine[18] = 0xb7; // AArch64
    assert_eq!(elf::finish(&other_machine).unwrap_err(), ElfError::Machine);
    for length in (0..bytes.len()).step_by(97) {
        // No panic; all that is missing at most is what gets stripped.
        drop(elf::finish(&bytes[..length]));
    }
    let mut far = bytes.clone();
    let size = program_header(&bytes, 1) + 32;
    far[size..size + 8].fill(0xff);
    assert!(matches!(elf::finish(&far), Err(ElfError::Truncated { index: 1 })));
}

#[test]
fn our_own_use_of_the_red_zone_is_refused() {
    let mut bytes = unfinished();
    let at = {
        let file = Elf::parse(&*bytes).unwrap();
        let text = file.section_by_name(".text").unwrap();
        section(&bytes, ".text") + (file.entry() - text.address()) as usize
    };
    bytes[at..at + 5].copy_from_slice(&[0x48, 0x89, 0x44, 0x24, 0xf8]); // mov [rsp-8], rax
    match elf::finish(&bytes).map(|finished| finished.report) {
        Err(ElfError::RedZone(found)) => {
            assert_eq!((found.len(), found[0].function.as_str()), (1, "_start"));
            assert!(found[0].to_string().starts_with("_start at 0x"));
        }
        other => panic!("{other:?}"),
    }
}

/// Offset of a place, of 512 bytes for `access:`, of 32 for `checkpoint key:`.
fn place(bytes: &[u8], mark: &str) -> usize {
    let mark = mark.as_bytes();
    bytes.windows(mark.len()).position(|window| window == mark).unwrap() + mark.len()
}

/// The machine's key, and an operator whose name has so many letters.
fn access(letters: usize) -> Access {
    let operator = Operator { role: Role::Observe, key: PublicKey([3; 32]), comment: "x".repeat(letters) };
    Access { host_key: Some([0xa5; 32]), operators: vec![operator] }
}

fn finish(input: &[u8], access: Option<&Access>, checkpoint_key: Option<&Key>) -> Result<Finished, ElfError> {
    elf::finish_with(input, &Inserts { access, checkpoint_key })
}

#[test]
fn what_machines_are_told_arrives_in_its_place_and_changes_nothing_else() {
    let (input, key) = (unfinished(), Key::new([0x5a; 32]));
    let without = elf::finish(&input).unwrap();
    let with = finish(&input, Some(&access(4)), Some(&key)).unwrap();
    let (at, text) = (place(&without.bytes, "access:"), access(4).to_string());
    let mut expected = without.bytes.clone();
    expected[at..at + text.len()].copy_from_slice(text.as_bytes());
    let at = place(&without.bytes, "checkpoint key:");
    expected[at..at + 32].copy_from_slice(key.bytes());
    assert_eq!(with.bytes, expected);
    assert!(matches!(finish(&input, Some(&access(512)), None), Err(ElfError::Room("ACCESS"))));
}

#[test]
fn each_key_makes_an_image_secret() {
    let (input, key) = (unfinished(), Key::new([0x5a; 32]));
    let known = access(4);
    let public = Access { host_key: None, ..access(4) };
    let is_secret = |access, key| finish(&input, access, key).unwrap().is_secret;
    assert!(!is_secret(None, None) && !is_secret(Some(&public), None));
    assert!(is_secret(Some(&known), None) && is_secret(Some(&public), Some(&key)));
}

#[test]
fn a_place_that_is_taken_is_no_place() {
    let mut input = unfinished();
    let at = place(&input, "access:");
    input[at + 31] = 1;
    assert!(elf::finish(&input).is_ok());
    assert!(matches!(finish(&input, Some(&access(4)), None), Err(ElfError::Place("ACCESS"))));
    let at = place(&input, "checkpoint key:");
    input[at + 31] = 1;
    let key = Key::new([0x5a; 32]);
    assert!(matches!(finish(&input, None, Some(&key)), Err(ElfError::Place("CHECKPOINT_KEY"))));
}

/// Offset of a program header.
fn program_header(bytes: &[u8], index: usize) -> usize {
    u64::from_le_bytes(bytes[32..40].try_into().unwrap()) as usize + index * 56
}
