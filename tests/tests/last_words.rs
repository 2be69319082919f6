//! What a machine says when it fails, and how it ends: an application that fails on purpose, one machine for each way.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use image_builder::Machine;
use image_builder::machine::End;
use tests::guest::{Guest, PATIENCE, image};

/// Starts the machine that fails in this way and returns how it ended and what it said.
fn fail(way: &str, cpus: u32) -> (End, String) {
    let builder =
        Machine::builder().elf(&image("faults")).cpus(cpus).append(&format!("test={way} panic=exit"));
    let guest = Guest::start(builder);
    let end = guest.wait_exit(PATIENCE).unwrap();
    (end, guest.serial_text())
}

#[test]
fn a_panic_names_its_place_and_the_way_there() {
    let (end, said) = fail("panic", 2);
    assert_eq!(end, End::Panic, "{said}");
    for word in ["last words: panic", "on purpose", "cpu ", "thread 'faults'", "faults::", "lib.rs:"] {
        assert!(said.contains(word), "{word:?} in:\n{said}");
    }
}

#[test]
fn a_stack_overflow_is_told_from_other_faults() {
    let (end, said) = fail("overflow", 1);
    assert_eq!(end, End::DoubleFault, "{said}");
    for word in ["last words: stack overflow", "thread 'faults'", "overflow", "rip", "rsp"] {
        assert!(said.to_lowercase().contains(word), "{word:?} in:\n{said}");
    }
}

#[test]
fn page_zero_is_not_there() {
    let (end, said) = fail("null", 1);
    assert_eq!(end, End::Panic, "{said}");
    assert!(said.contains("page fault: read of unmapped address 0x8"), "{said}");
}

#[test]
fn text_is_not_writable() {
    let (end, said) = fail("text", 1);
    assert_eq!(end, End::Panic, "{said}");
    assert!(said.contains("page fault: write to protected address"), "{said}");
}

#[test]
fn data_is_not_executable() {
    let (end, said) = fail("execute", 1);
    assert_eq!(end, End::Panic, "{said}");
    assert!(said.contains("page fault: fetch from protected address"), "{said}");
}

#[test]
fn running_out_of_memory_is_survived() {
    let builder = Machine::builder().elf(&image("faults")).append("test=memory");
    let guest = Guest::start(builder);
    guest.wait_for_line("out of memory was survived", PATIENCE).unwrap();
    assert!(guest.is_running());
}

#[test]
fn a_triple_fault_in_guest_mode_is_told() {
    let (end, said) = fail("triple", 2);
    assert_eq!(end, End::Panic, "{said}");
    assert!(said.contains("a triple fault"), "{said}");
}
