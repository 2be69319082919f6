use super::*;
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

struct Fake(Vec<u8>);

impl Reader for Fake {
    fn bytes(&self, address: u64, length: usize) -> Option<&[u8]> {
        let start = usize::try_from(address).ok()?;
        self.0.get(start..start.checked_add(length)?)
    }
}

fn checksum(bytes: &mut [u8], at: usize) {
    bytes[at] = 0;
    bytes[at] = bytes.iter().fold(0u8, |sum, &byte| sum.wrapping_sub(byte));
}

fn build(signature: &[u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 36];
    bytes[..4].copy_from_slice(signature);
    bytes[4..8].copy_from_slice(&(36 + payload.len() as u32).to_le_bytes());
    bytes[10..16].copy_from_slice(b"QSTEST");
    bytes.extend_from_slice(payload);
    checksum(&mut bytes, 9);
    bytes
}

fn device(base: u32, gsi: u32) -> Vec<u8> {
    let mut aml = b"\x5b\x82\x30VR00\x08_HID\x0dLNRO0005\0\x08_CRS\x11\x1a\x0a\x17".to_vec();
    aml.extend([0x86, 9, 0, 1]);
    aml.extend(base.to_le_bytes());
    aml.extend(512u32.to_le_bytes());
    aml.extend([0x89, 6, 0, 1, 1]);
    aml.extend(gsi.to_le_bytes());
    aml
}

fn madt() -> Vec<u8> {
    let mut payload = vec![0; 8];
    payload.extend([0, 8, 0, 0, 1, 0, 0, 0]);
    payload.extend([0, 8, 1, 1, 0, 0, 0, 0]);
    payload.extend([1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0]);
    payload.extend([2, 10, 0, 0, 2, 0, 0, 0, 5, 0]);
    payload.extend([9, 16, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0]);
    payload.extend([0x7f, 0]);
    build(b"APIC", &payload)
}

fn memory() -> Fake {
    let mut bytes = vec![0u8; 0x10_0000];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0x1000, &madt());
    put(
        0x2000,
        &build(b"MCFG", &[&[0; 8][..], &0xb000_0000u64.to_le_bytes(), &[0, 0, 0, 255, 0, 0, 0, 0]].concat()),
    );
    put(0x3000, &build(b"DSDT", &[device(0xfeb0_0000, 16), device(0xfeb0_0200, 17)].concat()));
    let mut fadt = vec![0; 244 - 36];
    fadt[40 - 36..44 - 36].copy_from_slice(&0x3000u32.to_le_bytes());
    fadt[46 - 36] = 9;
    for (at, word) in [(48, 0xb2u32), (56, 0x600), (64, 0x604), (80, 0x620)] {
        fadt[at - 36..at - 32].copy_from_slice(&word.to_le_bytes());
    }
    for (at, byte) in [(52, 2), (88, 4), (89, 2), (92, 16)] {
        fadt[at - 36] = byte;
    }
    fadt[112 - 36..116 - 36].copy_from_slice(&(1u32 << 10).to_le_bytes());
    fadt[116 - 36] = 1;
    fadt[120 - 36..122 - 36].copy_from_slice(&0xcf9u16.to_le_bytes());
    fadt[128 - 36] = 6;
    put(0x4000, &build(b"FACP", &fadt));
    let entries: Vec<u8> =
        [0x1000u32, 0x2000, 0x4000, 0xffff_0000].iter().flat_map(|each| each.to_le_bytes()).collect();
    put(0x5000, &build(b"RSDT", &entries));
    let mut rsdp = b"RSD PTR \0QSTEST\0\0\0\0\0".to_vec();
    rsdp[16..20].copy_from_slice(&0x5000u32.to_le_bytes());
    checksum(&mut rsdp, 8);
    put(0xf_0010, &rsdp);
    Fake(bytes)
}

#[test]
fn everything_is_found_from_the_bios_area() {
    let memory = memory();
    let rsdp = find_rsdp(&memory).unwrap();
    assert_eq!(rsdp, 0xf_0010);
    let acpi = read(&memory, rsdp).unwrap();
    assert_eq!(&acpi.oem, b"QSTEST");
    let madt = acpi.madt.unwrap();
    let cpus: Vec<_> = madt.cpus().map(|cpu| (cpu.apic_id, cpu.enabled)).collect();
    assert_eq!(cpus, [(0, true), (1, false), (256, true)]);
    assert_eq!(madt.io_apics().next(), Some(&IoApicEntry { address: 0xfec0_0000, gsi_base: 0 }));
    assert_eq!(madt.overrides().next(), Some(&Override { source: 0, gsi: 2, flags: 5 }));
    assert_eq!(acpi.ecam.as_slice(), [Ecam { base: 0xb000_0000, segment: 0, buses: (0, 255) }]);
    let fadt = acpi.fadt.unwrap();
    assert_eq!(fadt.reset, Some((0xcf9, 6)));
    assert_eq!((fadt.sci, fadt.enable, fadt.pm_timer), (9, Some((0xb2, 2)), None));
    assert_eq!(fadt.pm1_event, Some(Block { port: 0x600, length: 4 }));
    assert_eq!(fadt.pm1_control, Some(Block { port: 0x604, length: 2 }));
    assert_eq!(fadt.gpe0, Some(Block { port: 0x620, length: 16 }));
    assert_eq!(
        acpi.virtio_mmio.as_slice(),
        [
            VirtioMmio { base: 0xfeb0_0000, length: 512, gsi: 16 },
            VirtioMmio { base: 0xfeb0_0200, length: 512, gsi: 17 }
        ]
    );
}

#[test]
fn buses_that_acpi_tells_of_are_numbered() {
    // The first bus; bridges at 00:02.0 and 00:03.1; a number that is none.
    let aml = b"\x10PCI0\x08BSEL\x00..S10_\x08_ADR\x0c\x00\x00\x02\x00\x08BSEL\x0a\x02..\x08_ADR\x0c\x01\x00\x03\x00\x08BSEL\x01..\x08BSEL\x0d3\x00";
    let found: Vec<_> = slot_buses(aml).as_slice().iter().map(|bus| (bus.bridge, bus.selector)).collect();
    assert_eq!(found, [(None, 0), (Some(0x2_0000), 2), (Some(0x3_0001), 1)]);
    // Cut short at any place.
    for length in 0..aml.len() {
        assert!(slot_buses(&aml[..length]).as_slice().len() <= 3);
    }
}

#[test]
fn a_wrong_checksum_hides_a_table() {
    let mut memory = memory();
    memory.0[0x1030] ^= 1;
    assert!(read(&memory, 0xf_0010).unwrap().madt.is_none());
    memory.0[0x5004] = 0xff;
    assert_eq!(read(&memory, 0xf_0010).unwrap_err(), AcpiError::Damaged);
    memory.0[0xf_0010] = 0;
    assert_eq!(find_rsdp(&memory), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn damage_does_no_harm(flips in proptest::collection::vec((0usize..0x5100, any::<u8>()), 0..200), noise: Vec<u8>) {
        let mut memory = memory();
        for (at, value) in flips {
            memory.0[at] = value;
        }
        // Make checksums right again, so that damage gets past them.
        for at in [0x1000, 0x2000, 0x3000, 0x4000, 0x5000] {
            let length = u32::from_le_bytes(memory.0[at + 4..at + 8].try_into().unwrap()) as usize;
            if (36..0x1000).contains(&length) {
                checksum(&mut memory.0[at..at + length], 9);
            }
        }
        let _ = read(&memory, 0xf_0010);
        let _ = virtio_mmio(&noise);
        let _ = slot_buses(&noise);
        let _ = madt::read(&noise);
    }
}
