extern crate std;

mod cuts;
mod damage;

use super::*;
use alloc::vec;
use alloc::vec::Vec;
use checkpoint::{Sink, Source};
use drivers_api::fake::FakeDisk;
use drivers_api::{BlockDevice, BlockError};
use gpt::{ALIGNMENT, New};
use std::string::ToString;

type TestError = Error<BlockError>;

impl Blocks for &mut FakeDisk {
    type Error = BlockError;

    fn sectors(&self) -> u64 {
        self.geometry().sectors
    }

    fn read(&mut self, sector: u64, bytes: &mut [u8]) -> Result<(), BlockError> {
        BlockDevice::read(*self, sector, bytes)
    }

    fn write(&mut self, sector: u64, bytes: &[u8]) -> Result<(), BlockError> {
        BlockDevice::write(*self, sector, bytes)
    }

    fn flush(&mut self) -> Result<(), BlockError> {
        BlockDevice::flush(*self)
    }
}

/// A partition with so many blocks for slots.
fn blank(blocks: u64) -> FakeDisk {
    FakeDisk::blank(((1 + blocks) * BLOCK) as usize)
}

/// What stands for a checkpoint: no two are alike in any sector.
fn contents(id: [u8; 16], bytes: usize) -> Vec<u8> {
    let mut word = u64::from_le_bytes(*id.first_chunk().unwrap()) ^ 0x9e37_79b9_7f4a_7c15;
    let words = core::iter::repeat_with(|| {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        word.to_le_bytes()
    });
    words.take(bytes.div_ceil(8)).flatten().take(bytes).collect()
}

fn id(number: u8) -> [u8; 16] {
    [number; 16]
}

/// Writes one in pieces, and strikes what is too many.
fn put(disk: &mut FakeDisk, keep: usize, id: [u8; 16], bytes: usize) -> Result<Record, TestError> {
    let mut writer = Slots::open(disk)?.begin(keep)?;
    for piece in contents(id, bytes).chunks(50_001) {
        writer.write(piece)?;
    }
    let (mut slots, record) = writer.keep(id, 5)?;
    slots.drop_beyond(keep)?;
    Ok(record)
}

fn read(disk: &mut FakeDisk, number: u64) -> Result<Vec<u8>, TestError> {
    let mut reader = Slots::open(disk)?.read(Which::Number(number))?;
    let (mut bytes, mut piece) = (Vec::new(), [0; 40_000]);
    loop {
        match reader.read(&mut piece).map_err(Error::Disk)? {
            0 => return Ok(bytes),
            count => bytes.extend_from_slice(&piece[..count]),
        }
    }
}

/// Those that are whole, the newest first, after a look at all their bytes.
fn whole(disk: &mut FakeDisk) -> Vec<Record> {
    let records: Vec<Record> = Slots::open(&mut *disk).unwrap().whole().copied().collect();
    for record in &records {
        let expected = contents(record.id, record.bytes as usize);
        assert!(read(disk, record.number) == Ok(expected), "{record:?} is not whole");
    }
    records
}

fn numbers(disk: &mut FakeDisk) -> Vec<u64> {
    whole(disk).iter().map(|record| record.number).collect()
}

#[test]
fn the_last_ones_are_kept() {
    let mut disk = blank(12);
    assert_eq!(numbers(&mut disk), []);
    for number in 1..=9 {
        let bytes = 70_000 * usize::from(number) % (4 * PIECE) + 1;
        let record = put(&mut disk, 2, id(number), bytes).unwrap();
        let expected =
            Record { number: number.into(), id: id(number), bytes: bytes as u64, wall: 5, ..record };
        assert_eq!(record, expected);
        let newest: Vec<u64> = (1..=u64::from(number)).rev().take(2).collect();
        assert_eq!(numbers(&mut disk), newest);
    }
    assert_eq!(read(&mut disk, 7), Err(Error::Missing(Which::Number(7))));
    assert_eq!(Slots::open(&mut disk).unwrap().latest().unwrap().number, 9);
}

#[test]
fn what_is_not_kept_leaves_no_trace() {
    let mut disk = blank(2);
    for number in 1..4 {
        put(&mut disk, 1, id(number), 40_000).unwrap();
        let before = whole(&mut disk);
        let mut writer = Slots::open(&mut disk).unwrap().begin(1).unwrap();
        assert_eq!(writer.capacity(), PIECE as u64);
        writer.write(&[1; PIECE]).unwrap();
        drop(writer);
        assert_eq!(whole(&mut disk), before);
    }
    disk.operations.clear();
    let empty = Slots::open(&mut disk).unwrap().begin(1).unwrap().keep(id(4), 0);
    assert_eq!(empty.err(), Some(Error::Incomplete));
    assert!(disk.operations.is_empty());
}

#[test]
fn a_full_slot_is_full() {
    let mut disk = blank(4);
    put(&mut disk, 1, id(1), 2 * PIECE).unwrap();
    let mut writer = Slots::open(&mut disk).unwrap().begin(1).unwrap();
    writer.write(&vec![1; 2 * PIECE - 1]).unwrap();
    assert_eq!(writer.write(&[1; 2]), Err(Error::Full(2 * PIECE as u64)));
    assert_eq!(writer.keep(id(2), 0).err(), Some(Error::Incomplete));
    assert_eq!(put(&mut disk, 1, id(2), 2 * PIECE + 1), Err(Error::Full(2 * PIECE as u64)));
    assert_eq!(numbers(&mut disk), [1]);
    put(&mut disk, 1, id(2), 2 * PIECE).unwrap();
    assert_eq!(numbers(&mut disk), [2]);
}

#[test]
fn small_partitions_are_refused() {
    for blocks in 0..2 {
        let error = Slots::open(&mut blank(blocks)).err();
        assert_eq!(error, Some(Error::TooSmall((1 + blocks) * BLOCK)));
    }
    let mut disk = blank(7);
    let slots = Slots::open(&mut disk).unwrap();
    assert_eq!(slots.capacity(6), Ok(PIECE as u64));
    assert_eq!(slots.capacity(7), Err(Error::TooSmall(8 * BLOCK)));
    let error = slots.begin(7).unwrap_err();
    assert_eq!(error.to_string(), "a partition of 512 KiB has no room for so many checkpoints");
    assert!(Slots::open(&mut FakeDisk::blank(0)).is_err());
}

/// The newest lies in the middle third, and then half of the partition is asked for.
#[test]
fn room_is_found_beside_a_newest_that_lies_across_all_slots() {
    let mut disk = blank(6);
    put(&mut disk, 2, id(1), 2 * PIECE).unwrap();
    put(&mut disk, 2, id(2), 2 * PIECE).unwrap();
    let third = put(&mut disk, 1, id(3), 2 * PIECE).unwrap();
    assert_eq!(numbers(&mut disk), [3]);
    assert!(third.start == BLOCK || third.start == 5 * BLOCK, "{third:?}");
    put(&mut disk, 1, id(4), 3 * PIECE).unwrap();
    assert_eq!(numbers(&mut disk), [4]);
}

#[test]
fn nothing_is_written_beside_the_partition() {
    let sectors = 3 * BLOCK;
    let all = ALIGNMENT + sectors + 33;
    let mut disk = FakeDisk::blank(all as usize);
    let new = New { kind: PARTITION, id: PARTITION, name: "Quicksilver checkpoints", sectors };
    for (sector, bytes) in gpt::lay_out(all, PARTITION, &[new]).unwrap() {
        disk.bytes[sector as usize * SECTOR..][..bytes.len()].copy_from_slice(&bytes);
    }
    let fresh = disk.clone();
    let table = gpt::read(&mut disk).unwrap();
    for number in 1..4 {
        let slots = Slots::open(table.partitions[0].view(&mut disk)).unwrap();
        let mut writer = slots.begin(1).unwrap();
        writer.write(&contents(id(number), PIECE)).unwrap();
        writer.keep(id(number), 0).unwrap().0.drop_beyond(1).unwrap();
    }
    let (start, end) = (ALIGNMENT as usize * SECTOR, (ALIGNMENT + sectors) as usize * SECTOR);
    assert!(disk.bytes[..start] == fresh.bytes[..start] && disk.bytes[end..] == fresh.bytes[end..]);
    assert_eq!(Slots::open(table.partitions[0].view(&mut disk)).unwrap().latest().unwrap().id, id(3));
}

#[test]
fn one_is_named_by_number_or_id() {
    let mut disk = blank(12);
    for number in 1..=3 {
        put(&mut disk, 3, id(number), 10).unwrap();
    }
    let slots = Slots::open(&mut disk).unwrap();
    let number = |name: &str| slots.find(name.parse().unwrap()).map(|record| record.number);
    assert_eq!((number("latest"), number("2"), number("4")), (Some(3), Some(2), None));
    assert_eq!(number("01010101010101010101010101010101"), Some(1));
    let name = "0123456789abcdef0123456789ABCDEF";
    let Ok(which @ Which::Id(_)) = name.parse::<Which>() else { panic!("{name} is an ID") };
    assert_eq!(which.to_string(), name.to_lowercase());
    for name in [
        "",
        "0",
        "+1",
        "-1",
        "Latest",
        "0123456789abcdef0123456789abcdeg",
        "\u{e9}123456789abcdef0123456789abcde",
    ] {
        assert_eq!(name.parse::<Which>(), Err(WhichError), "{name}");
    }
    let mut empty = blank(2);
    let missing = Slots::open(&mut empty).unwrap().read(Which::Latest).unwrap_err();
    assert_eq!(missing.to_string(), "there is no checkpoint");
}
