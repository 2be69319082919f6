extern crate std;

use super::*;
use drivers_api::BlockDevice;
use drivers_api::fake::{FakeDisk, Operation};
use proptest::prelude::*;
use std::format;
use std::string::ToString;
use std::vec;

const OURS: Guid = guid!("11111111-2222-4333-8444-555555555555");
const OTHERS: Guid = guid!("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7");
const SECTORS: u64 = 3 * ALIGNMENT;

fn new(kind: Guid, sectors: u64) -> New<'static> {
    New { kind, id: OTHERS, name: "a partition", sectors }
}

fn disk(partitions: &[New<'_>]) -> FakeDisk {
    let mut disk = FakeDisk::blank(SECTORS as usize);
    for (sector, bytes) in lay_out(SECTORS, OURS, partitions).unwrap() {
        disk.bytes[sector as usize * SECTOR..][..bytes.len()].copy_from_slice(&bytes);
    }
    disk
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| crc >> 1 ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

/// Changes bytes of a header and mends its checksum.
fn change(disk: &mut FakeDisk, sector: u64, at: usize, bytes: &[u8]) {
    let header = &mut disk.bytes[sector as usize * SECTOR..][..SECTOR];
    header[at..at + bytes.len()].copy_from_slice(bytes);
    let size = u32::from_le_bytes(header[12..16].try_into().unwrap()) as usize;
    header[16..20].fill(0);
    let sum = crc32(&header[..size.min(SECTOR)]);
    header[16..20].copy_from_slice(&sum.to_le_bytes());
}

/// Changes bytes of the arrays of entries, and mends all checksums.
fn change_entries(disk: &mut FakeDisk, at: usize, bytes: &[u8]) {
    for (array, header) in [(2, 1), (SECTORS - 33, SECTORS - 1)] {
        let entries = &mut disk.bytes[array as usize * SECTOR..][..32 * SECTOR];
        entries[at..at + bytes.len()].copy_from_slice(bytes);
        let sum = crc32(entries);
        change(disk, header, 88, &sum.to_le_bytes());
    }
}

#[test]
fn what_is_laid_out_is_found() {
    let mut disk = disk(&[new(OTHERS, 100), new(OURS, 2000)]);
    let table = read(&mut disk).unwrap();
    assert_eq!(table.fault, None);
    let [first, second] = &table.partitions[..] else { panic!("{table:?}") };
    assert_eq!((first.kind, first.first, first.sectors), (OTHERS, ALIGNMENT, 100));
    assert_eq!((second.kind, second.first, second.sectors), (OURS, 2 * ALIGNMENT, 2000));
    assert!(disk.operations.is_empty());
}

#[test]
fn what_does_not_fit_is_not_laid_out() {
    let room = SECTORS - ALIGNMENT - 33;
    assert!(lay_out(SECTORS, OURS, &[new(OURS, room)]).is_ok());
    for (sectors, size) in [(SECTORS, room + 1), (SECTORS, 0), (SECTORS, u64::MAX), (33, 1), (0, 1)] {
        assert_eq!(lay_out(sectors, OURS, &[new(OURS, size)]), Err(LayoutError::TooSmall));
    }
    assert_eq!(lay_out(1 << 30, OURS, &[new(OURS, 1); 129]), Err(LayoutError::TooMany));
    let long = New { name: "a name that is longer than an entry has room for", ..new(OURS, 1) };
    assert_eq!(lay_out(SECTORS, OURS, &[long]), Err(LayoutError::Name));
}

#[test]
fn a_disk_without_a_protective_record_has_no_table() {
    let whole = disk(&[new(OURS, 1)]);
    for (at, byte) in [(510, 0), (511, 0), (446 + 4, 0x83)] {
        let mut disk = whole.clone();
        disk.bytes[at] = byte;
        assert_eq!(read(&mut disk), Err(GptError::NoTable));
    }
    for sectors in 0..4 {
        assert_eq!(read(&mut FakeDisk::blank(sectors)), Err(GptError::NoTable));
    }
    assert_eq!(
        read(&mut FakeDisk { unreadable: 0..1, ..whole }).unwrap_err().to_string(),
        "its GPT can't be read: the disk reports an error"
    );
}

/// A copy that is bad, at each of its fields: the other is read, and the field is named.
#[test]
fn a_bad_header_is_named_and_the_other_is_read() {
    let whole = disk(&[new(OURS, 1)]);
    let expected: Vec<Partition> = read(&mut whole.clone())
        .unwrap()
        .partitions
        .iter()
        .map(|p| Partition { writable: false, ..*p })
        .collect();
    let last = SECTORS - 1;
    let long = |number: u64| number.to_le_bytes().to_vec();
    for (at, bytes, field) in [
        (0, b"EFI PARD".to_vec(), "Signature"),
        (8, vec![1, 0, 1, 0], "Revision"),
        (12, vec![91, 0, 0, 0], "HeaderSize"),
        (12, vec![1, 2, 0, 0], "HeaderSize"),
        (20, vec![1], "Reserved"),
        (24, long(3), "MyLBA"),
        (32, long(2), "AlternateLBA"),
        (32, long(SECTORS), "AlternateLBA"),
        (40, long(1), "FirstUsableLBA"),
        (40, long(SECTORS), "FirstUsableLBA"),
        (48, long(SECTORS), "LastUsableLBA"),
        (72, long(1), "PartitionEntryLBA"),
        (72, long(40), "PartitionEntryLBA"),
        (72, long(u64::MAX), "PartitionEntryLBA"),
        (80, vec![0; 4], "NumberOfPartitionEntries"),
        (80, vec![1, 4, 0, 0], "NumberOfPartitionEntries"),
        (80, vec![255; 4], "NumberOfPartitionEntries"),
        (84, vec![64, 0, 0, 0], "SizeOfPartitionEntry"),
        (84, vec![129, 0, 0, 0], "SizeOfPartitionEntry"),
        (88, vec![0; 4], "PartitionEntryArrayCRC32"),
    ] {
        for (which, sector) in [(Which::Primary, 1), (Which::Backup, last)] {
            let mut disk = whole.clone();
            change(&mut disk, sector, at, &bytes);
            let table = read(&mut disk).unwrap_or_else(|error| panic!("{field}: {error}"));
            assert_eq!(table.fault, Some(GptError::Header(which, field)));
            assert_eq!(table.partitions, expected);
        }
        let mut disk = whole.clone();
        change(&mut disk, 1, at, &bytes);
        change(&mut disk, last, at, &bytes);
        assert_eq!(read(&mut disk), Err(GptError::Header(Which::Primary, field)));
    }
    let mut unsummed = whole.clone();
    unsummed.bytes[SECTOR + 56] ^= 1;
    assert_eq!(read(&mut unsummed).unwrap().fault, Some(GptError::Header(Which::Primary, "HeaderCRC32")));
    let mut lost = FakeDisk { unreadable: 1..2, ..whole.clone() };
    assert_eq!(read(&mut lost).unwrap().fault, Some(GptError::Disk(BlockError::Io)));
    // Sound both, but not of one table.
    let mut differing = whole;
    change(&mut differing, last, 56, &[1]);
    assert_eq!(read(&mut differing).unwrap().fault, Some(GptError::Differ("DiskGUID")));
}

#[test]
fn a_bad_entry_spoils_the_table() {
    let whole = disk(&[new(OTHERS, 100), new(OURS, 10)]);
    let long = |number: u64| number.to_le_bytes().to_vec();
    for (at, bytes, field) in [
        (128 + 32, long(33), "StartingLBA"),
        (128 + 32, long(SECTORS), "StartingLBA"),
        // Overlaps the one before.
        (128 + 32, long(ALIGNMENT + 99), "StartingLBA"),
        (128 + 40, long(SECTORS - 33), "EndingLBA"),
        (128 + 40, long(ALIGNMENT), "EndingLBA"),
        (128 + 40, long(u64::MAX), "EndingLBA"),
    ] {
        let mut disk = whole.clone();
        change_entries(&mut disk, at, &bytes);
        assert_eq!(read(&mut disk), Err(GptError::Entry(Which::Primary, 1, field)));
    }
    let mut neighbours = whole.clone();
    change_entries(&mut neighbours, 128 + 32, &long(ALIGNMENT + 100));
    assert!(read(&mut neighbours).is_ok());
}

#[test]
fn a_view_ends_where_its_partition_ends() {
    let mut disk = disk(&[new(OTHERS, 100), new(OURS, 4)]);
    let before = disk.bytes.clone();
    let partition = read(&mut disk).unwrap().partitions[1];
    let mut view = partition.view(&mut disk);
    assert_eq!(view.sectors(), 4);
    let mut bytes = vec![7; 3 * SECTOR];
    view.write(1, &bytes).unwrap();
    view.flush().unwrap();
    view.read(0, &mut bytes).unwrap();
    assert!(bytes[..SECTOR].iter().all(|byte| *byte == 0) && bytes[SECTOR..].iter().all(|byte| *byte == 7));
    for (sector, length) in [(2, 3 * SECTOR), (4, SECTOR), (u64::MAX, SECTOR), (0, 1)] {
        assert_eq!(view.write(sector, &vec![0; length]), Err(BlockError::OutOfRange));
        assert_eq!(view.read(sector, &mut vec![0; length]), Err(BlockError::OutOfRange));
    }
    assert_eq!(disk.operations, [Operation::Write(2 * ALIGNMENT + 1, vec![7; 3 * SECTOR]), Operation::Flush]);
    let (start, end) = ((2 * ALIGNMENT as usize + 1) * SECTOR, (2 * ALIGNMENT as usize + 4) * SECTOR);
    assert!(disk.bytes[..start] == before[..start] && disk.bytes[end..] == before[end..]);
}

#[test]
fn where_the_table_is_in_doubt_nothing_is_written() {
    let mut disk = disk(&[new(OURS, 4)]);
    change(&mut disk, SECTORS - 1, 56, &[1]);
    let table = read(&mut disk).unwrap();
    let mut view = table.partitions[0].view(&mut disk);
    assert_eq!(view.read(0, &mut [0; SECTOR]), Ok(()));
    assert_eq!(view.write(0, &[0; SECTOR]), Err(BlockError::ReadOnly));
    assert!(disk.operations.is_empty());
}

proptest! {
    #[test]
    fn partitions_go_round(sizes in proptest::collection::vec(1u64..5000, 0..12), more in 0u64..1000) {
        let news: Vec<New<'_>> = sizes.iter().map(|size| new(OURS, *size)).collect();
        let need: u64 = ALIGNMENT + sizes.iter().map(|size| size.next_multiple_of(ALIGNMENT)).sum::<u64>();
        let sectors = need + 34 + more;
        let mut disk = FakeDisk::blank(sectors as usize);
        for (sector, bytes) in lay_out(sectors, OURS, &news).unwrap() {
            disk.bytes[sector as usize * SECTOR..][..bytes.len()].copy_from_slice(&bytes);
        }
        let table = read(&mut disk).unwrap();
        prop_assert_eq!(table.fault, None);
        prop_assert_eq!(table.partitions.iter().map(|p| p.sectors).collect::<Vec<_>>(), sizes);
        prop_assert!(table.partitions.iter().all(|p| p.first % ALIGNMENT == 0 && p.writable));
    }

    /// Whatever single byte of either copy is changed: the partitions are the same, or there are none.
    #[test]
    fn any_change_is_noticed(copy in 0u64..4, at in 0usize..16384, change in 1u8..=255) {
        let mut disk = disk(&[new(OTHERS, 100), new(OURS, 10)]);
        let whole = read(&mut disk).unwrap();
        let (sector, length) = [(1, 92), (2, 16384), (SECTORS - 33, 16384), (SECTORS - 1, 92)][copy as usize];
        let place = sector as usize * SECTOR + at % length;
        disk.bytes[place] = disk.bytes[place].wrapping_add(change);
        let table = read(&mut disk).unwrap();
        prop_assert!(table.fault.is_some(), "{}", format!("{place}"));
        let same = |(one, other): (&Partition, &Partition)| (one.first, one.sectors) == (other.first, other.sectors);
        prop_assert!(table.partitions.iter().zip(&whole.partitions).all(same));
        prop_assert!(table.partitions.iter().all(|partition| !partition.writable));
    }

    #[test]
    fn noise_is_no_table(noise in proptest::collection::vec(any::<u8>(), 0..8192)) {
        let mut disk = FakeDisk::new(noise);
        prop_assert!(read(&mut disk).is_err());
        prop_assert!(disk.operations.is_empty() && disk.geometry().sectors < 17);
    }
}

/// What `moved` says, written to a blank disk.
fn moved_to(disk: &mut FakeDisk, sectors: u64) -> FakeDisk {
    let Moved { head, body, tail, end } = moved(disk, sectors).unwrap();
    let mut other = FakeDisk::blank(sectors as usize);
    let carried = body.start as usize * SECTOR..body.end as usize * SECTOR;
    other.bytes[..head.len()].copy_from_slice(&head);
    other.bytes[carried.clone()].copy_from_slice(&disk.bytes[carried]);
    other.bytes[tail as usize * SECTOR..].copy_from_slice(&end);
    other
}

#[test]
fn a_table_moves_to_disks_of_other_sizes() {
    let mut disk = disk(&[new(OTHERS, 100), new(OURS, 200)]);
    let before = read(&mut disk).unwrap();
    let smallest = 2 * ALIGNMENT + 200 + 33;
    for sectors in [smallest, SECTORS - 1, SECTORS + 1, 9 * SECTORS] {
        let mut other = moved_to(&mut disk, sectors);
        assert_eq!(read(&mut other).unwrap(), before, "{sectors}");
        assert_eq!(other.bytes[446 + 12..][..4], (sectors as u32 - 1).to_le_bytes());
        // There and back it is the same.
        assert_eq!(moved_to(&mut other, SECTORS).bytes, disk.bytes, "{sectors}");
    }
    assert_eq!(moved_to(&mut disk, SECTORS).bytes, disk.bytes);
    assert_eq!(moved(&mut disk, smallest - 1), Err(MoveError::TooSmall(smallest)));
    assert_eq!(moved(&mut FakeDisk::blank(100), 100), Err(MoveError::Table(GptError::NoTable)));
    disk.bytes[(SECTORS as usize - 1) * SECTOR] ^= 1;
    let error = moved(&mut disk, SECTORS).unwrap_err();
    assert_eq!(error, MoveError::Table(GptError::Header(Which::Backup, "Signature")));
}

#[test]
fn a_disk_that_was_replaced_says_so_and_keeps_all_it_had() {
    let mut marked = disk(&[new(OURS, 2000)]);
    let before = marked.clone();
    mark_replaced(&mut marked).unwrap();
    let table = read(&mut marked).unwrap();
    assert!(table.is_replaced);
    assert_eq!(table, Table { is_replaced: true, ..read(&mut before.clone()).unwrap() });
    let [Operation::Write(0, _), Operation::Flush] = &marked.operations[..] else {
        panic!("{:?}", marked.operations)
    };
    drivers_api::fake::power_cuts(&before.bytes, &marked.operations, |bytes| {
        let table = read(&mut FakeDisk::new(bytes.to_vec())).unwrap();
        assert_eq!((table.fault, table.partitions.len()), (None, 1));
    });
    marked.bytes[440..444].fill(0);
    assert_eq!(marked.bytes, before.bytes);
}
