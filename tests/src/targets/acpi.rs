//! The firmware's tables.

use machine::acpi;

use super::boot::Memory;

/// The input is taken as memory; then as the contents of tables, to which headers with right checksums are added, since
/// hardly any mutation hits those.
pub fn acpi(input: &[u8]) {
    read(input, 0);
    let (memory, root) = tables(input);
    read(&memory, root);
}

fn read(memory: &[u8], root: u64) {
    let reader = Memory { base: 0, bytes: memory };
    let root = acpi::find_rsdp(&reader).unwrap_or(root);
    if let Ok(found) = acpi::read(&reader, root) {
        assert!(found.virtio_mmio.as_slice().len() <= 32);
    }
}

/// Memory with an XSDT whose tables are the pieces of the input: four bytes of signature, one of length, contents.
fn tables(mut input: &[u8]) -> (Vec<u8>, u64) {
    // The first 64 bytes stay empty: a table at 0 would be none.
    let mut memory = vec![0; 64];
    let mut addresses = Vec::new();
    while input.len() > 5 && addresses.len() < 32 {
        let (head, rest) = input.split_at(5);
        let (payload, rest) = rest.split_at(usize::from(head[4]).min(rest.len()));
        let mut payload = payload.to_vec();
        if head.starts_with(b"FACP") {
            // It points to the piece before it, as to the DSDT: 32 bits at offset 40, 64 bits at 140.
            let dsdt: u64 = addresses.last().copied().unwrap_or(0);
            payload.resize(244 - 36, 0);
            payload[4..8].copy_from_slice(&(dsdt as u32).to_le_bytes());
            payload[104..112].copy_from_slice(&dsdt.to_le_bytes());
        }
        addresses.push(append(&mut memory, &head[..4], &payload));
        input = rest;
    }
    let pointers: Vec<u8> = addresses.iter().flat_map(|address| address.to_le_bytes()).collect();
    let xsdt = append(&mut memory, b"XSDT", &pointers);

    let root = memory.len().next_multiple_of(16);
    memory.resize(root, 0);
    let mut pointer = b"RSD PTR \0QSFUZZ\x02".to_vec();
    pointer.extend([0; 4]);
    pointer.extend(36_u32.to_le_bytes());
    pointer.extend(xsdt.to_le_bytes());
    pointer.extend([0; 4]);
    pointer[8] = complement(&pointer[..20]);
    pointer[32] = complement(&pointer);
    memory.extend(pointer);
    (memory, root as u64)
}

/// Adds a table with its header and returns its address.
fn append(memory: &mut Vec<u8>, signature: &[u8], payload: &[u8]) -> u64 {
    let start = memory.len();
    memory.extend(signature);
    memory.extend((36 + payload.len() as u32).to_le_bytes());
    memory.extend([2, 0]);
    memory.extend([b'q'; 26]);
    memory.extend(payload);
    memory[start + 9] = complement(&memory[start..]);
    start as u64
}

/// The byte that makes the sum 0.
fn complement(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum: u8, byte| sum.wrapping_sub(*byte))
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let piece = |signature: &[u8], payload: &[u8]| {
        [signature, &[u8::try_from(payload.len()).expect("seeds are small")], payload].concat()
    };
    let madt = [
        &[0, 0, 0xe0, 0xfe, 1, 0, 0, 0][..],
        &[0, 8, 0, 0, 1, 0, 0, 0],
        &[0, 8, 1, 1, 1, 0, 0, 0],
        &[1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0],
        &[2, 10, 0, 9, 9, 0, 0, 0, 13, 0],
        &[5, 12, 0, 0, 0, 0, 0xe0, 0xfe, 0, 0, 0, 0],
        &[9, 16, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0],
    ]
    .concat();
    let mcfg = [&[0; 8][..], &0xb000_0000_u64.to_le_bytes(), &[0, 0, 0, 255, 0, 0, 0, 0]].concat();
    let mut aml = b"\x5b\x82\x30VR00\x08_HID\x0dLNRO0005\0\x08_CRS\x11\x1a\x0a\x17".to_vec();
    aml.extend([0x86, 9, 0, 1, 0, 0, 0xb0, 0xfe, 0, 2, 0, 0]);
    aml.extend([0x89, 6, 0, 1, 1, 16, 0, 0, 0]);
    let hpet = [&[1, 0xa2, 0x86, 0x80, 0, 64, 0, 0][..], &0xfed0_0000_u64.to_le_bytes(), &[0; 4]].concat();
    let parts = [
        piece(b"APIC", &madt),
        piece(b"MCFG", &mcfg),
        piece(b"DSDT", &aml),
        piece(b"FACP", &[0; 80]),
        piece(b"HPET", &hpet),
        piece(b"SSDT", &aml),
    ];
    let mut seeds = parts.to_vec();
    seeds.push(parts.concat());
    seeds.push(tables(&parts.concat()).0);
    seeds
}
