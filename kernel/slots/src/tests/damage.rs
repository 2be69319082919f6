//! What somebody else has put there, or time has done.

use super::*;
use proptest::prelude::*;

const RECORD_1: Record = Record { number: 1, start: BLOCK, bytes: 1000, wall: 7, id: [3; 16] };

/// A partition with these records.
fn with(records: &[Record]) -> FakeDisk {
    let mut disk = blank(4);
    for (place, record) in records.iter().enumerate() {
        place_of(&mut disk, place)[..RECORD].copy_from_slice(&record.encode());
    }
    disk
}

fn place_of(disk: &mut FakeDisk, place: usize) -> &mut [u8] {
    &mut disk.bytes[place * PLACE as usize * SECTOR..][..SECTOR]
}

/// Numbers of those that count, and what is wrong with the others.
fn found(disk: &mut FakeDisk) -> (Vec<u64>, Vec<(usize, Fault)>) {
    disk.operations.clear();
    let slots = Slots::open(&mut *disk).unwrap();
    let found = (slots.whole().map(|record| record.number).collect(), slots.faults().to_vec());
    assert!(disk.operations.is_empty());
    found
}

#[test]
fn records_that_make_no_sense_are_named() {
    let end = 5 * BLOCK;
    for (record, field) in [
        (Record { number: 0, ..RECORD_1 }, "number"),
        (Record { start: 0, ..RECORD_1 }, "start"),
        (Record { start: BLOCK - 1, ..RECORD_1 }, "start"),
        (Record { start: end, ..RECORD_1 }, "start"),
        (Record { start: u64::MAX, ..RECORD_1 }, "start"),
        (Record { bytes: 0, ..RECORD_1 }, "bytes"),
        (Record { bytes: (end - BLOCK) * SECTOR as u64 + 1, ..RECORD_1 }, "bytes"),
        (Record { bytes: u64::MAX, ..RECORD_1 }, "bytes"),
        (Record { start: end - 1, ..RECORD_1 }, "bytes"),
    ] {
        assert_eq!(found(&mut with(&[record])), (vec![], vec![(0, Fault::Field(field))]), "{record:?}");
    }
    let most = Record { bytes: (end - BLOCK) * SECTOR as u64, ..RECORD_1 };
    assert_eq!(found(&mut with(&[most])), (vec![1], vec![]));
}

#[test]
fn of_two_in_one_place_the_newer_counts() {
    let newer = Record { number: 2, start: BLOCK + 1, ..RECORD_1 };
    assert_eq!(found(&mut with(&[RECORD_1, newer])), (vec![2], vec![(0, Fault::Overwritten)]));
    let beside = Record { number: 2, start: BLOCK + 2, ..RECORD_1 };
    assert_eq!(found(&mut with(&[RECORD_1, beside])), (vec![2, 1], vec![]));
    let twin = Record { start: 3 * BLOCK, ..RECORD_1 };
    let fault = Fault::Field("number");
    assert_eq!(found(&mut with(&[RECORD_1, twin])), (vec![], vec![(0, fault), (1, fault)]));
}

/// What does not count is struck before anything is overwritten that it may speak of.
#[test]
fn what_is_broken_is_struck_first() {
    let mut disk = with(&[RECORD_1, Record { number: 2, start: 2 * BLOCK, ..RECORD_1 }]);
    place_of(&mut disk, 0)[30] ^= 1;
    assert_eq!(found(&mut disk), (vec![2], vec![(0, Fault::Field("hash"))]));
    let mut unreadable = FakeDisk { unreadable: 8..9, ..disk.clone() };
    assert_eq!(found(&mut unreadable), (vec![], vec![(0, Fault::Field("hash")), (1, Fault::Unreadable)]));
    drop(Slots::open(&mut unreadable).unwrap().begin(1).unwrap());
    unreadable.unreadable = 0..0;
    assert_eq!(found(&mut unreadable), (vec![], vec![]));
    let mut failing = FakeDisk { patience: Some(0), ..disk };
    assert_eq!(Slots::open(&mut failing).unwrap().begin(1).err(), Some(Error::Disk(BlockError::Io)));
}

#[test]
fn what_a_newer_system_has_kept_is_left_alone() {
    let mut disk = with(&[RECORD_1]);
    let mut newer = Record { number: 2, start: 2 * BLOCK, ..RECORD_1 }.encode();
    newer[8] = 2;
    let hash = blake3::hash(&newer[..64]);
    newer[64..].copy_from_slice(hash.as_bytes());
    place_of(&mut disk, 1)[..RECORD].copy_from_slice(&newer);
    assert_eq!(found(&mut disk), (vec![1], vec![(1, Fault::Newer(2))]));
    assert_eq!(Slots::open(&mut disk).unwrap().begin(1).err(), Some(Error::Newer(2)));
    assert!(disk.operations.is_empty());
    // Without a right hash it is a broken one, and nothing else.
    place_of(&mut disk, 1)[70] ^= 1;
    assert!(Slots::open(&mut disk).unwrap().begin(1).is_ok());
}

#[test]
fn after_the_last_number_nothing_is_written() {
    let mut disk = with(&[Record { number: u64::MAX, ..RECORD_1 }]);
    assert_eq!(Slots::open(&mut disk).unwrap().begin(1).err(), Some(Error::Number));
    assert!(disk.operations.is_empty());
}

#[test]
fn a_checkpoint_that_the_disk_does_not_give_is_an_error() {
    let mut disk = blank(6);
    put(&mut disk, 1, id(1), 3 * PIECE).unwrap();
    disk.unreadable = 3 * BLOCK..3 * BLOCK + 1;
    assert_eq!(super::read(&mut disk, 1), Err(Error::Disk(BlockError::Io)));
}

proptest! {
    #[test]
    fn records_go_round(number in 1u64.., start in BLOCK..1 << 40, bytes in 1..1u64 << 40, wall: u64, id: [u8; 16]) {
        let record = Record { number, start, bytes, wall, id };
        prop_assert_eq!(Record::decode(&record.encode(), u64::MAX), Ok(record));
    }

    #[test]
    fn any_change_is_noticed(at in 0..RECORD, change in 1..=u8::MAX) {
        let mut bytes = RECORD_1.encode();
        bytes[at] = bytes[at].wrapping_add(change);
        prop_assert!(Record::decode(&bytes, 5 * BLOCK).is_err());
    }

    #[test]
    fn noise_is_nothing(mut noise: [[u8; 32]; 3], with_magic: bool) {
        if with_magic {
            noise[0][..8].copy_from_slice(&MAGIC);
        }
        let noise: &[u8; RECORD] = noise.as_flattened().first_chunk().unwrap();
        prop_assert!(Record::decode(noise, u64::MAX).is_err());
    }
}

/// A disk that is pulled out after so many reads.
struct Pulled(FakeDisk, usize);

impl Blocks for &mut Pulled {
    type Error = BlockError;

    fn is_out(error: &BlockError) -> bool {
        crate::is_out(error)
    }

    fn sectors(&self) -> u64 {
        self.0.geometry().sectors
    }

    fn read(&mut self, sector: u64, bytes: &mut [u8]) -> Result<(), BlockError> {
        self.1 = self.1.checked_sub(1).ok_or(BlockError::Gone)?;
        BlockDevice::read(&mut self.0, sector, bytes)
    }

    fn write(&mut self, _: u64, _: &[u8]) -> Result<(), BlockError> {
        Err(BlockError::Gone)
    }

    fn flush(&mut self) -> Result<(), BlockError> {
        Err(BlockError::Gone)
    }
}

/// Else its records would be struck on its return.
#[test]
fn of_a_disk_that_is_gone_nothing_is_known() {
    for reads in 0..PLACES {
        let opened = Slots::open(&mut Pulled(with(&[RECORD_1]), reads)).map(drop);
        assert_eq!(opened.err(), Some(Error::Disk(BlockError::Gone)), "{reads}");
    }
    assert_eq!(Slots::open(&mut Pulled(with(&[RECORD_1]), PLACES)).unwrap().whole().count(), 1);
}
