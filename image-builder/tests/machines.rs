//! Machines of every kind, started with a kernel of a few instructions.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod stub;

use std::time::Duration;

use image_builder::machine::{Builder, End, MachineError, SERVING};
use image_builder::{Boot, Error, Machine, MachineType, Medium, Nic, image};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(120);

fn stub() -> Builder {
    Machine::builder().elf(stub::finished())
}

fn boots(builder: Builder) {
    let machine = builder.spawn().unwrap();
    machine.wait_ready("ssh").unwrap();
    let line = machine.wait_for_line(SERVING, PATIENCE).unwrap();
    assert!(line.ends_with("1 ms"), "{line}");
}

#[test]
fn every_machine_type_boots_directly() {
    for machine in [MachineType::Q35, MachineType::Pc, MachineType::Microvm] {
        boots(stub().machine(machine).cpus(2));
        boots(stub().machine(machine).control_nic());
    }
    boots(stub().nic(Nic::E1000).icount());
    boots(stub().nic(Nic::E1000e));
}

#[test]
fn bios_boots_from_every_medium() {
    for medium in [Medium::Cdrom, Medium::Disk, Medium::Usb] {
        boots(stub().boot(Boot::Bios).medium(medium));
    }
    boots(stub().boot(Boot::Bios).machine(MachineType::Pc));
}

#[test]
fn uefi_boots_from_every_medium() {
    for medium in [Medium::Cdrom, Medium::Disk, Medium::Usb] {
        boots(stub().boot(Boot::Uefi).medium(medium));
    }
}

#[test]
fn ends_are_told_apart() {
    for (command_line, end) in [("c", End::Shutdown), ("p", End::Panic), ("f", End::Reset)] {
        for machine in [MachineType::Q35, MachineType::Microvm] {
            let machine = stub().machine(machine).append(command_line).spawn().unwrap();
            assert_eq!(machine.wait_exit(PATIENCE).unwrap(), end, "{command_line}");
        }
    }
}

#[test]
fn an_early_end_is_reported_with_the_last_lines() {
    let machine = stub().append("p").spawn().unwrap();
    match machine.wait_for_line("something else", PATIENCE) {
        Err(MachineError::Ended { end: End::Panic, last_lines, .. }) => assert!(last_lines.contains(SERVING)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn qmp_talks_to_the_machine_and_a_quit_is_no_failure() {
    let machine = stub().spawn().unwrap();
    machine.wait_ready("ssh").unwrap();
    assert_eq!(machine.qmp("query-status", Value::Null).unwrap()["status"], "running");
    assert!(machine.qmp("no-such-command", Value::Null).is_err());
    let mut other = image_builder::qmp::Qmp::connect(machine.qmp_socket().unwrap(), PATIENCE).unwrap();
    drop(other.execute("quit", Value::Null));
    assert_eq!(machine.wait_exit(PATIENCE).unwrap(), End::Stopped);
}

#[test]
fn a_dropped_machine_leaves_nothing() {
    let machine = stub().spawn().unwrap();
    let (process, directory) = (machine.process(), machine.serial_path().parent().unwrap().to_owned());
    assert!(process.is_alive() && directory.exists());
    drop(machine);
    assert!(!process.is_alive() && !directory.exists());
}

#[test]
fn a_machine_outlives_the_thread_that_started_it() {
    let machine = std::thread::spawn(|| stub().spawn().unwrap()).join().unwrap();
    machine.wait_ready("ssh").unwrap();
    assert!(machine.is_running());
}

#[test]
fn qemu_s_own_words_explain_a_failed_start() {
    match stub().qemu_arg("-no-such-option").spawn() {
        Err(Error::Machine(MachineError::Start { message, .. })) => {
            assert!(message.contains("no-such-option"), "{message}")
        }
        other => panic!("{other:?}"),
    }
    match stub().disk("/nonexistent/disk".as_ref()).spawn() {
        Err(Error::Machine(MachineError::Io { what, .. })) => assert_eq!(what, "disk /nonexistent/disk"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn equal_inputs_give_equal_isos() {
    let directory = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let paths = ["a.iso", "b.iso"].map(|name| directory.join(name));
    for path in &paths {
        image::iso(stub::finished(), "log=debug", path).unwrap();
    }
    let [a, b] = paths.map(|path| std::fs::read(path).unwrap());
    assert!(a == b, "{} and {} bytes", a.len(), b.len());
}

#[test]
fn disk_images_boot_as_disks() {
    let directory = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (raw, qcow2) = (directory.join("disk.img"), directory.join("disk.qcow2"));
    image::raw(stub::finished(), "", &raw).unwrap();
    image::qcow2(stub::finished(), "", &qcow2).unwrap();
    assert_eq!(std::fs::metadata(&raw).unwrap().len() % (1 << 20), 0);
    for boot in [Boot::Bios, Boot::Uefi] {
        boots(Machine::builder().boot_image(&raw).boot(boot).medium(Medium::Disk));
    }
    boots(Machine::builder().boot_image(&qcow2).boot(Boot::Bios).medium(Medium::Disk));
    assert!(raw.exists() && qcow2.exists());
}
