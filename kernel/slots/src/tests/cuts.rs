//! The power goes, and the disk fails: what was kept is there, what was to be is whole or absent.

use super::*;
use drivers_api::fake::{Operation, power_cuts};
use proptest::prelude::*;

/// Of what was kept before, the newest are there; what was to come is whole or absent; nothing else is.
fn look(disk: &mut FakeDisk, before: &[Record], keep: usize, new: Option<&Record>) {
    let found = whole(disk);
    let is_new = |record: &&Record| new == Some(*record);
    let old: Vec<Record> = found.iter().filter(|record| !is_new(record)).copied().collect();
    assert!(before.starts_with(&old), "{old:?} of {before:?}");
    // The last of those that are kept goes when there is a new one.
    let promised = if old.len() < found.len() { keep - 1 } else { keep };
    assert!(old.len() >= promised.min(before.len()), "{old:?} of {before:?}");
}

/// At each moment of each write, in each order of those that were not flushed, with torn sectors.
#[test]
fn a_cut_off_write_leaves_those_before() {
    for keep in 1..=2 {
        let mut disk = blank(3);
        for number in 1..=5 {
            let (old, before) = (disk.bytes.clone(), whole(&mut disk));
            disk.operations.clear();
            let record = put(&mut disk, keep, id(number), 1300).unwrap();
            let mut cuts = 0;
            power_cuts(&old, &disk.operations, |bytes| {
                cuts += 1;
                look(&mut FakeDisk::new(bytes.to_vec()), &before, keep, Some(&record));
            });
            assert!(cuts > 500, "{cuts}");
        }
    }
}

#[test]
fn a_disk_that_fails_at_any_write_keeps_those_before() {
    for keep in 1..=2 {
        let mut disk = blank(6);
        for number in 1..=4 {
            put(&mut disk, keep, id(number), 100_000).unwrap();
        }
        let before = whole(&mut disk);
        for patience in 0.. {
            let mut failing = FakeDisk { patience: Some(patience), ..disk.clone() };
            let outcome = put(&mut failing, keep, id(9), 100_000);
            failing.patience = None;
            if outcome.is_ok() {
                assert_eq!(patience, 7);
                break;
            }
            assert_eq!(outcome, Err(Error::Disk(BlockError::Io)));
            let new = whole(&mut failing)[0];
            look(&mut failing, &before, keep, Some(&new).filter(|new| new.id == id(9)));
            // And it can go on.
            put(&mut failing, keep, id(10), 100_000).unwrap();
            assert_eq!(whole(&mut failing).len(), keep);
            assert_eq!(whole(&mut failing)[0].id, id(10));
        }
    }
    let mut disk = FakeDisk { read_only: true, ..blank(2) };
    assert_eq!(put(&mut disk, 1, id(1), 10), Err(Error::Disk(BlockError::ReadOnly)));
}

#[test]
fn a_failed_write_is_not_kept() {
    let mut disk = FakeDisk { patience: Some(1), ..blank(6) };
    let mut writer = Slots::open(&mut disk).unwrap().begin(1).unwrap();
    writer.write(&[1; PIECE]).unwrap();
    assert_eq!(writer.write(&[1; PIECE]), Err(Error::Disk(BlockError::Io)));
    assert_eq!(writer.keep(id(1), 0).err(), Some(Error::Incomplete));
}

/// What a disk may hold whose power goes: all up to a flush, and of what follows up to the next some sectors, some of them torn.
fn cut(before: &[u8], operations: &[Operation], at: usize, fate: &[u8]) -> Vec<u8> {
    let mut bytes = before.to_vec();
    let flushes = operations[..at].iter().rposition(|operation| *operation == Operation::Flush);
    let mut fate = fate.iter().cycle();
    for (number, operation) in operations[..at].iter().enumerate() {
        let Operation::Write(first, written) = operation else { continue };
        let is_durable = flushes.is_some_and(|flush| number < flush);
        for (sector, part) in written.chunks(SECTOR).enumerate() {
            let place = &mut bytes[(*first as usize + sector) * SECTOR..][..SECTOR];
            match fate.next() {
                _ if is_durable => place.copy_from_slice(part),
                Some(fate) if fate % 3 == 0 => place.copy_from_slice(part),
                Some(fate) if fate % 3 == 1 => {
                    let torn = usize::from(*fate) * 2;
                    place[..torn].copy_from_slice(&part[..torn]);
                }
                _ => {}
            }
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Cut off again and again, with any number kept, and sizes up to those of a slot: what is left of one write is there when the next
    /// is cut off.
    #[test]
    fn one_cut_after_another(
        rounds in proptest::collection::vec((1usize..=MAX_KEEP, any::<u64>(), any::<usize>(), any::<[u8; 37]>()), 1..12)
    ) {
        let mut disk = blank(16);
        for (number, (keep, bytes, at, fate)) in rounds.into_iter().enumerate() {
            let (old, before) = (disk.bytes.clone(), whole(&mut disk));
            disk.operations.clear();
            let capacity = Slots::open(&mut disk).unwrap().begin(keep).unwrap().capacity();
            let struck = disk.operations.clone();
            let after_strike = whole(&mut disk);
            // The newest always stays; where all are where slots are now, as many as are kept.
            prop_assert_eq!(before.first(), after_strike.first());
            let slot = 16 / (keep as u64 + 1) * BLOCK;
            let is_in_slot = |record: &Record| {
                (record.start - BLOCK).is_multiple_of(slot) && record.bytes <= slot * SECTOR as u64
            };
            if before.iter().all(is_in_slot) {
                prop_assert!(after_strike.len() >= keep.min(before.len()));
            }
            let bytes = (bytes % capacity + 1) as usize;
            let record = put(&mut disk, keep, id(number as u8), bytes).unwrap();
            disk.operations.splice(..0, struck.iter().cloned()).for_each(drop);
            let end = whole(&mut disk);
            prop_assert_eq!(end.first(), Some(&record));
            prop_assert!(end.len() <= keep);
            let operations = core::mem::take(&mut disk.operations);
            disk.bytes = cut(&old, &operations, at % (operations.len() + 1), &fate);
            let found = whole(&mut disk);
            prop_assert!(found.first() == before.first() || found.first() == Some(&record));
            let is_old = |found: &Record| before.contains(found) || *found == record;
            prop_assert!(found.iter().all(is_old));
        }
    }
}
