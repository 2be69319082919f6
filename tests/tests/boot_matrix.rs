//! Boots on each machine type, in each way, with each network card, and with various numbers of CPUs and sizes of memory:
//! every pair of values that matters once, not all combinations. Real clients look whether it serves.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use image_builder::disk::{self, DiskSize};
use image_builder::{Boot, Machine, MachineType, Medium, Memory, Nic};
use tests::guest::{self, Guest, echo};

use Boot::{Bios, Direct, Uefi};
use MachineType::{Microvm, Pc, Q35};
use Nic::{E1000, E1000e, Virtio};

fn boots(machine: MachineType, boot: (Boot, Medium), nic: Nic, cpus: u32, memory: Memory) {
    let builder = guest::machine().machine(machine).boot(boot.0).medium(boot.1).nic(nic);
    let guest = Guest::serving(builder.cpus(cpus).memory(memory));

    assert_eq!(guest.redis_cli(&["PING"]), "PONG");
    assert_eq!(guest.redis_cli(&["SET", "greeting", "hello"]), "OK");
    assert_eq!(guest.redis_cli(&["GET", "greeting"]), "hello");
    let page = guest.curl(&[], "/");
    assert!(page.contains("<html") || page.contains("<!doctype"), "{page}");
    let large: Vec<u8> = (0..100_000_u32).map(|index| index as u8).collect();
    assert_eq!(echo(guest.connect("echo"), &large[..32_768]), &large[..32_768]);

    let status: serde_json::Value = serde_json::from_str(&guest.curl(&[], "/status")).unwrap();
    assert_eq!(status["cpus"], cpus, "{status}");
    let total = status["memory"]["total_bytes"].as_u64().unwrap();
    // Firmware keeps some for itself.
    assert!(
        total <= memory.bytes() && total + (6 << 20) + memory.bytes() / 100 >= memory.bytes(),
        "{status}"
    );
    assert!(guest.serial_text().contains("VMM reserve"), "{}", guest.serial_text());
    guest.assert_well();
}

macro_rules! matrix {
    ($($name:ident: $machine:expr, $boot:expr, $medium:ident, $nic:expr, $cpus:literal, $memory:expr;)*) => {
        $(#[test]
        fn $name() {
            boots($machine, ($boot, Medium::$medium), $nic, $cpus, $memory);
        })*
    };
}

const SMALLEST: Memory = Memory::MINIMUM;
const USUAL: Memory = Memory::mebibytes(512);
const LARGE: Memory = Memory::gibibytes(4);
const LARGEST: Memory = Memory::gibibytes(16);

matrix! {
    q35_direct_virtio: Q35, Direct, Cdrom, Virtio, 1, USUAL;
    q35_direct_virtio_8_cpus_smallest: Q35, Direct, Cdrom, Virtio, 8, SMALLEST;
    q35_direct_e1000e_2_cpus_largest: Q35, Direct, Cdrom, E1000e, 2, LARGEST;
    q35_bios_e1000_4_cpus: Q35, Bios, Cdrom, E1000, 4, USUAL;
    q35_bios_usb_virtio: Q35, Bios, Usb, Virtio, 2, LARGE;
    q35_uefi_virtio_2_cpus: Q35, Uefi, Cdrom, Virtio, 2, USUAL;
    q35_uefi_usb_e1000e_large: Q35, Uefi, Usb, E1000e, 1, LARGE;
    pc_direct_virtio_4_cpus_large: Pc, Direct, Cdrom, Virtio, 4, LARGE;
    pc_direct_e1000_smallest: Pc, Direct, Cdrom, E1000, 1, SMALLEST;
    pc_bios_e1000e_2_cpus: Pc, Bios, Cdrom, E1000e, 2, USUAL;
    pc_bios_disk_virtio_smallest: Pc, Bios, Disk, Virtio, 1, SMALLEST;
    pc_uefi_disk_e1000_8_cpus_large: Pc, Uefi, Disk, E1000, 8, LARGE;
    microvm_virtio_smallest: Microvm, Direct, Cdrom, Virtio, 1, SMALLEST;
    microvm_virtio_4_cpus_largest: Microvm, Direct, Cdrom, Virtio, 4, LARGEST;
}

/// Each address that a device is given is looked up in the pool, as it is with assertions: a machine with all devices serves, and is well.
fn devices_are_told_of_the_pool_alone(machine: MachineType, nic: Nic) {
    let path = std::env::temp_dir().join(format!("qs-pool-{}-{nic}.img", std::process::id()));
    disk::create(&path, DiskSize::mebibytes(4), None).unwrap();
    let image = guest::checked_image_without_host_key(guest::ALL);
    let builder = Machine::builder().elf(&image).forward(7).machine(machine).nic(nic).disk(&path);
    let guest = Guest::serving(builder.cpus(2));
    guest.wait_for_line("made now, kept on", guest::PATIENCE).unwrap();
    guest.redis_cli(&["SET", "large", &"x".repeat(100_000)]);
    assert_eq!(guest.redis_cli(&["GET", "large"]).len(), 100_000);
    guest.assert_well();
    drop(guest);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn devices_are_told_of_the_pool_alone_virtio() {
    devices_are_told_of_the_pool_alone(MachineType::Q35, Nic::Virtio);
}

#[test]
fn devices_are_told_of_the_pool_alone_virtio_without_pci() {
    devices_are_told_of_the_pool_alone(MachineType::Microvm, Nic::Virtio);
}

#[test]
fn devices_are_told_of_the_pool_alone_e1000() {
    devices_are_told_of_the_pool_alone(MachineType::Pc, Nic::E1000);
}

#[test]
fn devices_are_told_of_the_pool_alone_e1000e() {
    devices_are_told_of_the_pool_alone(MachineType::Q35, Nic::E1000e);
}
