//! What is on a disk that somebody else may have written: partition tables, what a machine keeps, and records of checkpoints.
//!
//! Checksums are made right first: what they protect is what a forger can choose.

use ::checkpoint::{Sink, Source};
use ::slots::{BLOCK, PLACE, PLACES, RECORD, Record, Slots, Which};
use ::state::{HEADER, HostKey, MAGIC, PARTITION, SECTORS, SLOT, Store};
use blake3::Hasher;
use drivers_api::fake::{FakeDisk, Operation};
use drivers_api::{BlockDevice, BlockError};
use gpt::{ALIGNMENT, New, SECTOR, Table};
use gpt_disk_types::{Crc32, crc::Crc};

/// Room for one partition of ours, and the tables at both ends.
const DISK: usize = ALIGNMENT as usize + SECTORS as usize + TABLE - 1;
/// Sectors of a table with its MBR; the one at the end has none.
const TABLE: usize = 34;

fn disk() -> FakeDisk {
    let mut disk = FakeDisk::blank(DISK);
    let new = New { kind: PARTITION, id: PARTITION, name: "Quicksilver state", sectors: SECTORS };
    for (sector, bytes) in gpt::lay_out(DISK as u64, PARTITION, &[new]).expect("one partition fits") {
        disk.bytes[sector as usize * SECTOR..][..bytes.len()].copy_from_slice(&bytes);
    }
    disk
}

fn word(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize
}

/// Makes the checksums of a table right, as far as it says where they are.
fn seal(bytes: &mut [u8], sector: usize) {
    const CRC: Crc<u32> = Crc::<u32>::new(&Crc32::ALGORITHM);
    let at = sector * SECTOR;
    let header = &bytes[at..at + SECTOR];
    // SizeOfPartitionEntry, NumberOfPartitionEntries, PartitionEntryLBA, of which the upper half has to be zero.
    let length = word(header, 84).saturating_mul(word(header, 80));
    let start = word(header, 72).saturating_mul(SECTOR);
    if let Some(array) = bytes.get(start..start.saturating_add(length)) {
        let sum = CRC.checksum(array);
        bytes[at + 88..at + 92].copy_from_slice(&sum.to_le_bytes());
    }
    let header = &mut bytes[at..at + SECTOR];
    let size = word(header, 12).min(SECTOR);
    header[16..20].fill(0);
    let sum = CRC.checksum(&header[..size]);
    header[16..20].copy_from_slice(&sum.to_le_bytes());
}

/// A partition table: half of the input is the beginning of the disk, the other its end. What is found is within the disk and
/// apart, and nothing is written.
pub fn gpt(input: &[u8]) {
    let (front, back) = input.split_at(input.len() / 2);
    let (front, back) = (&front[..front.len().min(TABLE * SECTOR)], &back[..back.len().min(TABLE * SECTOR)]);
    let mut disk = FakeDisk::blank(DISK);
    disk.bytes[..front.len()].copy_from_slice(front);
    let behind = disk.bytes.len() - back.len();
    disk.bytes[behind..].copy_from_slice(back);
    look(&mut disk);
    seal(&mut disk.bytes, 1);
    look(&mut disk);
    seal(&mut disk.bytes, DISK - 1);
    look(&mut disk);
}

fn look(disk: &mut FakeDisk) {
    let Ok(Table { mut partitions, fault, .. }) = gpt::read(disk) else { return };
    partitions.sort_by_key(|partition| partition.first);
    let mut free = 2;
    for partition in partitions {
        assert!(partition.first >= free && partition.sectors > 0);
        free = partition.first + partition.sectors;
        assert!(free < DISK as u64);
        let mut view = partition.view(disk);
        let mut last = [0; SECTOR];
        assert_eq!(view.read(partition.sectors - 1, &mut last), Ok(()));
        assert!(view.read(partition.sectors, &mut last).is_err());
        if fault.is_some() {
            assert!(view.write(0, &last).is_err());
        }
    }
    assert!(disk.operations.is_empty());
}

/// What a machine keeps: half of the input is the beginning of one slot, the other of the other. What can be opened can be added
/// to, is then whole, and nothing beyond the partition is written.
pub fn state(input: &[u8]) {
    let mut disk = disk();
    let place = ALIGNMENT as usize * SECTOR;
    let (a, b) = input.split_at(input.len() / 2);
    for (slot, bytes) in [a, b].into_iter().enumerate() {
        let bytes = &bytes[..bytes.len().min(SLOT)];
        disk.bytes[place + slot * SLOT..][..bytes.len()].copy_from_slice(bytes);
    }
    keep(disk.clone());
    for slot in 0..2 {
        let slot = &mut disk.bytes[place + slot * SLOT..][..SLOT];
        let length = word(slot, 12);
        if slot.starts_with(&MAGIC) && length <= SLOT - HEADER {
            let hash = *Hasher::new()
                .update(&slot[..32])
                .update(&slot[HEADER..HEADER + length])
                .finalize()
                .as_bytes();
            slot[32..HEADER].copy_from_slice(&hash);
        }
    }
    keep(disk);
}

fn keep(mut disk: FakeDisk) {
    let key = HostKey([7; 32]);
    let partition = gpt::read(&mut disk).expect("a table of ours").partitions[0];
    let Ok(mut store) = Store::open(partition.view(&mut disk)) else {
        return assert!(disk.operations.is_empty());
    };
    // What others have put there may leave no room.
    let is_kept = store.mend().is_ok() && store.put(&key).is_ok();
    let again = Store::open(partition.view(&mut disk)).expect("what was opened can be opened again");
    if is_kept {
        assert_eq!((again.fault(), again.get()), (None, Ok(Some(key))));
    }
    let ours = partition.first..partition.first + partition.sectors;
    for operation in &disk.operations {
        let Operation::Write(sector, bytes) = operation else { continue };
        assert!(ours.contains(sector) && sector + (bytes.len() / SECTOR) as u64 <= ours.end);
    }
}

/// Records of checkpoints, one after another. What counts is on the partition and apart, and can be read; whatever the others say, one
/// can be added and is whole then, and the newest stays until it is.
pub fn slots(input: &[u8]) {
    let mut disk = partition();
    for (place, bytes) in input.chunks(RECORD).take(PLACES).enumerate() {
        disk.bytes[place * PLACE as usize * SECTOR..][..bytes.len()].copy_from_slice(bytes);
    }
    add(disk.clone());
    for place in 0..PLACES {
        let record = &mut disk.bytes[place * PLACE as usize * SECTOR..][..RECORD];
        let hash = *Hasher::new().update(&record[..64]).finalize().as_bytes();
        record[64..].copy_from_slice(&hash);
    }
    add(disk);
}

/// A disk that is all partition.
fn partition() -> FakeDisk {
    FakeDisk::blank(5 * BLOCK as usize)
}

fn open(disk: &mut FakeDisk) -> Slots<Whole<'_>> {
    Slots::open(Whole(disk)).expect("it is large enough")
}

fn add(mut disk: FakeDisk) {
    let sectors = 5 * BLOCK;
    let whole: Vec<Record> = open(&mut disk).whole().copied().collect();
    assert!(whole.len() + open(&mut disk).faults().len() <= PLACES && disk.operations.is_empty());
    let mut places: Vec<_> = whole.iter().map(Record::sectors).collect();
    places.sort_by_key(|place| place.start);
    assert!(places.iter().all(|place| BLOCK <= place.start && place.start < place.end));
    assert!(places.windows(2).all(|pair| pair[0].end <= pair[1].start));
    assert!(places.last().is_none_or(|place| place.end <= sectors));
    for record in &whole {
        let mut reader = open(&mut disk).read(Which::Number(record.number)).expect("it is whole");
        let (mut bytes, mut piece) = (0, [0; 10_000]);
        while let count @ 1.. = reader.read(&mut piece).expect("it is on the disk") {
            bytes += count as u64;
        }
        assert_eq!(bytes, record.bytes);
    }
    let newest = whole.first().copied();
    let Ok(mut writer) = open(&mut disk).begin(1) else { return };
    assert_eq!(writer.write(&[1; 700]), Ok(()));
    drop(writer);
    assert_eq!(open(&mut disk).latest().copied(), newest);
    let mut writer = open(&mut disk).begin(1).expect("it could be begun before");
    assert_eq!(writer.write(&[1; 700]), Ok(()));
    let (_, record) = writer.keep([1; 16], 0).expect("the disk takes it");
    assert!(newest.is_none_or(|newest| newest.number < record.number));
    assert_eq!(open(&mut disk).latest(), Some(&record));
}

/// A disk as a partition of its own.
struct Whole<'d>(&'d mut FakeDisk);

impl ::slots::Blocks for Whole<'_> {
    type Error = BlockError;

    fn sectors(&self) -> u64 {
        self.0.geometry().sectors
    }

    fn read(&mut self, sector: u64, bytes: &mut [u8]) -> Result<(), BlockError> {
        self.0.read(sector, bytes)
    }

    fn write(&mut self, sector: u64, bytes: &[u8]) -> Result<(), BlockError> {
        self.0.write(sector, bytes)
    }

    fn flush(&mut self) -> Result<(), BlockError> {
        self.0.flush()
    }
}

pub fn tables() -> Vec<Vec<u8>> {
    let bytes = disk().bytes;
    vec![[&bytes[..TABLE * SECTOR], &bytes[bytes.len() - TABLE * SECTOR..]].concat()]
}

pub fn states() -> Vec<Vec<u8>> {
    let mut disk = disk();
    let partition = gpt::read(&mut disk).expect("a table of ours").partitions[0];
    let mut store = Store::open(partition.view(&mut disk)).expect("it is blank");
    store.put(&HostKey([1; 32])).expect("there is room");
    let place = ALIGNMENT as usize * SECTOR;
    let slots = [0, SLOT].map(|slot| &disk.bytes[place + slot..][..SECTOR]);
    vec![slots.concat(), [slots[0], &[0; SECTOR]].concat()]
}

pub fn records() -> Vec<Vec<u8>> {
    let record =
        |number, start, bytes| Record { number, start, bytes, wall: 5, id: [number as u8; 16] }.encode();
    let [a, b, c] = [record(1, BLOCK, 5000), record(2, 2 * BLOCK, 1), record(3, 3 * BLOCK, 2 * 65536)];
    vec![[a, b].concat(), [c, a, b].concat(), [record(7, 2 * BLOCK + 64, 65536)].concat()]
}
