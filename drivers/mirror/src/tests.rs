extern crate std;

mod waiting;

use super::*;
use bytemuck::{bytes_of, pod_read_unaligned};
use drivers_api::fake::{FakeDisk, Operation, power_cuts};
use drivers_api::{BlockDevice, BlockError};
use gpt::{GptError, Guid, New, SECTOR, guid};
use gpt_disk_types::crc::Crc;
use gpt_disk_types::{Crc32, GptHeader, GptPartitionEntry, LbaLe, U32Le};
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

const KIND: Guid = guid!("11111111-2222-4333-8444-555555555555");
/// Sectors of a table at the start, and of what is at the end.
const HEAD: u64 = 34;
const TAIL: u64 = 33;
/// Sectors of the partition, right behind the table; some more are nobody's.
const PARTITION: u64 = 600;
const SECTORS: u64 = HEAD + PARTITION + 8 + TAIL;

/// A disk with one partition of so many sectors, filled with what is different everywhere.
fn disk_of(sectors: u64, partition: u64) -> FakeDisk {
    let large = 3 * gpt::ALIGNMENT;
    let new = New { kind: KIND, id: KIND, name: "it", sectors: 1 };
    let mut written = FakeDisk::blank(large as usize);
    for (sector, bytes) in gpt::lay_out(large, KIND, &[new]).unwrap() {
        written.write(sector, &bytes).unwrap();
    }
    // Partitions that are laid out begin later than a small disk ends.
    let mut entry: GptPartitionEntry = pod_read_unaligned(&written.bytes[2 * SECTOR..][..128]);
    (entry.starting_lba, entry.ending_lba) = (LbaLe::from_u64(HEAD), LbaLe::from_u64(HEAD + partition - 1));
    let mut array = written.bytes[2 * SECTOR..HEAD as usize * SECTOR].to_vec();
    array[..128].copy_from_slice(bytes_of(&entry));
    let mut header: GptHeader = pod_read_unaligned(&written.bytes[SECTOR..][..92]);
    header.partition_entry_array_crc32 =
        Crc32(U32Le::from_u32(Crc::<u32>::new(&Crc32::ALGORITHM).checksum(&array)));
    header.last_usable_lba = LbaLe::from_u64(sectors - TAIL - 1);
    let mut disk = FakeDisk::blank(sectors as usize);
    disk.bytes[..SECTOR].copy_from_slice(&written.bytes[..SECTOR]);
    for (my, other, entries) in [(1, sectors - 1, 2), (sectors - 1, 1, sectors - TAIL)] {
        (header.my_lba, header.alternate_lba) = (LbaLe::from_u64(my), LbaLe::from_u64(other));
        header.partition_entry_lba = LbaLe::from_u64(entries);
        header.update_header_crc32();
        disk.bytes[my as usize * SECTOR..][..92].copy_from_slice(bytes_of(&header));
        disk.bytes[entries as usize * SECTOR..][..array.len()].copy_from_slice(&array);
    }
    for sector in HEAD..sectors - TAIL {
        let bytes = &mut disk.bytes[sector as usize * SECTOR..][..SECTOR];
        bytes.fill(sector as u8);
        bytes[..8].copy_from_slice(&sector.to_le_bytes());
    }
    disk
}

fn old() -> FakeDisk {
    let mut disk = disk_of(SECTORS, PARTITION);
    assert_eq!(gpt::read(&mut disk).unwrap().fault, None);
    disk
}

fn blank(sectors: u64) -> FakeDisk {
    FakeDisk::new(vec![0xa5; sectors as usize * SECTOR])
}

/// The bytes of the partition.
fn content(disk: &[u8]) -> &[u8] {
    &disk[HEAD as usize * SECTOR..(HEAD + PARTITION) as usize * SECTOR]
}

/// What could be taken for the disk at a boot.
fn is_taken(disk: &[u8]) -> bool {
    let table = match gpt::read(&mut FakeDisk::new(disk.to_vec())) {
        Ok(table) => table,
        Err(_) => return false,
    };
    !table.is_replaced && table.partitions.iter().any(|partition| partition.kind == KIND)
}

/// What a user does between two steps.
#[derive(Clone, Debug)]
enum Deed {
    Write(u64, u64, u8),
    Flush,
}

fn write(mirror: &mut Mirror, old: &mut FakeDisk, new: &mut FakeDisk, deed: &Deed) -> Result<(), BlockError> {
    let mut unflushed = Unflushed::default();
    let mut both = Used { disk: old, unflushed: &mut unflushed, new: Some((mirror, new)) };
    match *deed {
        Deed::Write(sector, sectors, byte) => both.write(sector, &vec![byte; sectors as usize * SECTOR]),
        Deed::Flush => both.flush(),
    }
}

/// Mirrors and switches, with a deed before each step while there are some.
fn run(old: &mut FakeDisk, new: &mut FakeDisk, deeds: &[Deed]) -> Result<Switched, End> {
    let plan = Plan::new(old, new).unwrap();
    let mut mirror = Mirror::begin(plan, new)?;
    let mut deeds = deeds.iter();
    loop {
        if let Some(deed) = deeds.next() {
            // Errors of the old disk are the user's.
            let _ = write(&mut mirror, old, new, deed);
        }
        if mirror.step(old, new)? == Progress::Equal {
            break;
        }
    }
    for deed in deeds {
        let _ = write(&mut mirror, old, new, deed);
    }
    while mirror.step(old, new)? != Progress::Equal {}
    mirror.switch(old, new)
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let one = prop_oneof![
        5 => (0..PARTITION, 1..300_u64, any::<u8>())
            .prop_map(|(first, sectors, byte)| Deed::Write(HEAD + first, sectors.min(PARTITION - first), byte)),
        1 => Just(Deed::Flush),
    ];
    proptest::collection::vec(one, 0..12)
}

/// All that was asked of a disk, without the mark at the end.
fn by_users(disk: &FakeDisk) -> &[Operation] {
    match &disk.operations[..] {
        [before @ .., Operation::Write(0, _), Operation::Flush] => before,
        all => all,
    }
}

#[test]
fn the_new_disk_is_the_same_byte_by_byte() {
    let (mut old, mut new) = (old(), blank(SECTORS));
    let before = old.bytes.clone();
    assert_eq!(run(&mut old, &mut new, &[]), Ok(Switched { unmarked: None }));
    assert!(new.bytes == before && is_taken(&new.bytes));
    assert!(!is_taken(&old.bytes) && old.bytes[SECTOR..] == before[SECTOR..]);
}

#[test]
fn disks_of_other_sizes_are_adapted_to_or_refused() {
    let least = HEAD + PARTITION + TAIL;
    for (sectors, adapted) in
        [(SECTORS, Adapted::Nothing), (SECTORS + 99, Adapted::Larger(99)), (least, Adapted::Smaller(8))]
    {
        let (mut old, mut new) = (old(), blank(sectors));
        assert_eq!(Plan::new(&mut old, &mut new).unwrap().adapted(), adapted);
        run(&mut old, &mut new, &[Deed::Write(HEAD + 3, 7, 9)]).unwrap();
        let table = gpt::read(&mut new).unwrap();
        assert_eq!((table.fault, table.partitions), (None, gpt::read(&mut old).unwrap().partitions));
        assert!(content(&new.bytes) == content(&old.bytes) && is_taken(&new.bytes), "{sectors}");
    }
    let refused = |old: &mut FakeDisk, new: &mut FakeDisk| {
        let before = new.clone();
        let refused = Plan::new(old, new).unwrap_err();
        assert!(new.bytes == before.bytes && old.operations.is_empty());
        refused
    };
    let small = Refused::TooSmall { has: least - 1, needed: least };
    assert_eq!(refused(&mut old(), &mut blank(least - 1)), small);
    assert_eq!(refused(&mut old(), &mut old()), Refused::Used);
    let read_only = &mut FakeDisk { read_only: true, ..blank(SECTORS) };
    assert_eq!(refused(&mut old(), read_only), Refused::ReadOnly);
    let unreadable = &mut FakeDisk { unreadable: 0..1, ..blank(SECTORS) };
    assert_eq!(refused(&mut old(), unreadable), Refused::New(BlockError::Io));
    let mut doubtful = old();
    doubtful.bytes[SECTOR] ^= 1;
    assert!(matches!(refused(&mut doubtful, &mut blank(SECTORS)), Refused::Table(GptError::Header(..))));
    assert!(matches!(refused(&mut blank(9), &mut blank(8)), Refused::TooSmall { has: 8, needed: 9 }));
    assert!(matches!(refused(&mut blank(1), &mut blank(2)), Refused::TooSmall { has: 2, needed: 3 }));
}

#[test]
fn a_disk_without_a_table_goes_over_whole() {
    let (mut old, mut new) = (FakeDisk::new(vec![7; 700 * SECTOR]), blank(701));
    assert_eq!(Plan::new(&mut old, &mut new).unwrap().adapted(), Adapted::Unused(1));
    run(&mut old, &mut new, &[Deed::Write(0, 2, 8), Deed::Write(690, 10, 9)]).unwrap();
    assert!(new.bytes[..700 * SECTOR] == old.bytes);
}

#[test]
fn who_writes_outside_the_partitions_ends_it() {
    for sector in [0, HEAD - 1, SECTORS - TAIL - 1, SECTORS - 1] {
        let (mut old, mut new) = (old(), blank(SECTORS));
        let sectors = 2.min(SECTORS - sector);
        let ended = run(&mut old, &mut new, &[Deed::Write(sector, sectors, 1)]);
        assert_eq!(ended, Err(End::Outside(sector)));
        assert!(old.bytes[sector as usize * SECTOR] == 1 && !is_taken(&new.bytes));
    }
    // What is refused changes nothing, and ends nothing.
    let (mut old, mut new) = (old(), blank(SECTORS));
    run(&mut old, &mut new, &[Deed::Write(SECTORS, 1, 1), Deed::Write(u64::MAX, 1, 1)]).unwrap();
}

#[test]
fn a_new_disk_that_lies_is_found_out() {
    let (mut old, mut new) = (old(), blank(SECTORS));
    let mut mirror = Mirror::begin(Plan::new(&mut old, &mut new).unwrap(), &mut new).unwrap();
    while matches!(mirror.step(&mut old, &mut new), Ok(Progress::Copied(_))) {}
    new.bytes[(SECTORS - TAIL - 1) as usize * SECTOR] ^= 1;
    let end = loop {
        if let Err(end) = mirror.step(&mut old, &mut new) {
            break end;
        }
    };
    assert_eq!(end, End::Differs(HEAD + 512));
    assert_eq!(mirror.switch(&mut old, &mut new), Err(end));
    assert!(is_taken(&old.bytes) && !is_taken(&new.bytes));
}

#[test]
fn there_is_no_switch_before_all_is_compared() {
    let (mut old, mut new) = (old(), blank(SECTORS));
    let mut mirror = Mirror::begin(Plan::new(&mut old, &mut new).unwrap(), &mut new).unwrap();
    mirror.step(&mut old, &mut new).unwrap();
    assert_eq!(mirror.switch(&mut old, &mut new), Err(End::NotEqual));
    assert!(is_taken(&old.bytes) && !is_taken(&new.bytes));
}

/// A write that fails on the old disk leaves there nobody knows what: here, what was asked for.
#[test]
fn where_the_old_disk_failed_both_are_the_same_afterwards() {
    let (mut old, mut new) = (old(), blank(SECTORS));
    let mut mirror = Mirror::begin(Plan::new(&mut old, &mut new).unwrap(), &mut new).unwrap();
    while mirror.step(&mut old, &mut new) != Ok(Progress::Equal) {}
    old.patience = Some(0);
    let written = write(&mut mirror, &mut old, &mut new, &Deed::Write(HEAD + 5, 400, 1));
    assert_eq!(written, Err(BlockError::Io));
    old.patience = None;
    old.bytes[(HEAD + 5) as usize * SECTOR..][..300 * SECTOR].fill(1);
    assert!(matches!(mirror.progress(), Progress::Copied(_)));
    while mirror.step(&mut old, &mut new) != Ok(Progress::Equal) {}
    mirror.switch(&mut old, &mut new).unwrap();
    assert!(content(&new.bytes) == content(&old.bytes));
}

#[test]
fn an_unreadable_sector_of_the_old_disk_ends_it() {
    let (mut old, mut new) = (old(), blank(SECTORS));
    old.unreadable = HEAD + 300..HEAD + 301;
    assert_eq!(run(&mut old, &mut new, &[]), Err(End::Old(HEAD + 256, BlockError::Io)));
    assert!(is_taken(&old.bytes) && !is_taken(&new.bytes) && old.operations.is_empty());
}

/// The new disk fails at each of its writes and flushes: users notice nothing, and the old disk has all they wrote.
#[test]
fn whatever_the_new_disk_does_the_old_one_is_complete() {
    let deeds = [Deed::Write(HEAD, 300, 1), Deed::Flush, Deed::Write(HEAD + 100, 400, 2), Deed::Flush];
    let mut doubts = 0;
    for patience in 0.. {
        let (mut old, mut new) = (old(), blank(SECTORS));
        new.patience = Some(patience);
        let before = old.bytes.clone();
        let ended = run(&mut old, &mut new, &deeds);
        let Err(end) = ended else {
            assert!(patience > 10 && is_taken(&new.bytes));
            break;
        };
        assert!(is_taken(&old.bytes), "{patience}");
        assert!(!is_taken(&new.bytes) || matches!(end, End::NewInDoubt(_)), "{patience}");
        doubts += usize::from(matches!(end, End::NewInDoubt(_)));
        let mut replayed = FakeDisk::new(before);
        for operation in &old.operations {
            if let Operation::Write(sector, bytes) = operation {
                replayed.write(*sector, bytes).unwrap();
            }
        }
        assert!(replayed.bytes == old.bytes);
    }
    // The write of the first sector, and the flush after it: a disk that fails for good can't be cleared.
    assert_eq!(doubts, 2);
}

/// The same with the old one: what it does not take is the user's to know, and the mark's failure is told.
#[test]
fn what_the_old_disk_refuses_is_told() {
    let deeds = [Deed::Write(HEAD, 300, 1), Deed::Flush];
    // A write, its flush, the mark, and the flush after that.
    for patience in 0..=4 {
        let (mut old, mut new) = (old(), blank(SECTORS));
        old.patience = Some(patience);
        let unmarked = (patience < 4).then_some(BlockError::Io);
        assert_eq!(run(&mut old, &mut new, &deeds), Ok(Switched { unmarked }), "{patience}");
        assert!(is_taken(&new.bytes) && content(&new.bytes) == content(&old.bytes));
        assert_eq!(is_taken(&old.bytes), patience < 3);
    }
}

/// The power goes at each write: what is left of the new disk is taken only if it is complete, and the old one always has all.
#[test]
fn a_power_cut_leaves_a_complete_disk() {
    const PART: u64 = 6;
    let small = HEAD + PART + TAIL;
    for sectors in [small, small + 5] {
        let (mut old, mut new) = (disk_of(small, PART), blank(sectors));
        let (first, blank) = (old.bytes.clone(), new.bytes.clone());
        let deeds = [Deed::Write(HEAD, 2, 1), Deed::Flush, Deed::Write(HEAD + 3, 3, 2)];
        run(&mut old, &mut new, &deeds).unwrap();
        let part = HEAD as usize * SECTOR..(HEAD + PART) as usize * SECTOR;
        let mut taken = 0;
        power_cuts(&blank, &new.operations, |bytes| {
            if is_taken(bytes) {
                taken += 1;
                assert!(bytes[part.clone()] == old.bytes[part.clone()]);
            }
        });
        assert!(taken > 0);
        // The mark comes once the new one is complete: up to there the old one is taken, and is what its users made it.
        power_cuts(&first, by_users(&old), |bytes| assert!(is_taken(bytes)));
        assert_eq!(old.operations.len(), deeds.len() + 2);
        assert_eq!(new.operations.last(), Some(&Operation::Flush));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is written, and whenever, both have it; the old one has been asked for nothing but what users asked for.
    #[test]
    fn random_writes_are_on_both(deeds in deeds(), more in 0..99_u64) {
        let (mut old, mut new) = (old(), blank(SECTORS + more));
        let mut alone = old.clone();
        for deed in &deeds {
            match *deed {
                Deed::Write(sector, sectors, byte) => {
                    alone.write(sector, &vec![byte; sectors as usize * SECTOR]).unwrap();
                }
                Deed::Flush => alone.flush().unwrap(),
            }
        }
        run(&mut old, &mut new, &deeds).unwrap();
        prop_assert!(by_users(&old) == &alone.operations[..]);
        prop_assert!(content(&new.bytes) == content(&alone.bytes));
        prop_assert!(is_taken(&new.bytes) && !is_taken(&old.bytes));
    }

    /// The same with errors of the new disk at any moment.
    #[test]
    fn random_failures_end_it_and_nothing_else(deeds in deeds(), patience in 0..30_usize) {
        let (mut old, mut new) = (old(), blank(SECTORS));
        new.patience = Some(patience);
        if run(&mut old, &mut new, &deeds).is_err() {
            prop_assert!(is_taken(&old.bytes));
        } else {
            prop_assert!(content(&new.bytes) == content(&old.bytes) && is_taken(&new.bytes));
        }
    }
}
