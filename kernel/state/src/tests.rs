extern crate std;

use super::*;
use crate::slot::{Slot, decode, encode};
use alloc::vec;
use alloc::vec::Vec;
use drivers_api::BlockError;
use drivers_api::fake::{FakeDisk, power_cuts};
use gpt::{ALIGNMENT, New, SECTOR};
use proptest::prelude::*;
use std::string::ToString;

const DISK: u64 = ALIGNMENT + SECTORS + 33;
const START: usize = ALIGNMENT as usize * SECTOR;
const KEY: HostKey = HostKey([7; 32]);

/// An entry as large as one likes.
#[derive(Clone, Debug, PartialEq)]
struct Note(Vec<u8>);

impl Entry for Note {
    const KIND: u16 = 0x8000;
    const VERSION: u16 = 3;
    const NAME: &'static str = "note";

    fn encode(&self) -> Vec<u8> {
        self.0.clone()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Self(bytes.to_vec()))
    }
}

fn disk_of(sectors: u64) -> FakeDisk {
    let mut disk = FakeDisk::blank(DISK as usize);
    let new = New { kind: PARTITION, id: PARTITION, name: "Quicksilver state", sectors };
    for (sector, bytes) in gpt::lay_out(DISK, PARTITION, &[new]).unwrap() {
        disk.bytes[sector as usize * SECTOR..][..bytes.len()].copy_from_slice(&bytes);
    }
    disk
}

fn disk() -> FakeDisk {
    disk_of(SECTORS)
}

fn open(disk: &mut FakeDisk) -> Result<Store<'_>, StoreError> {
    let table = gpt::read(disk).unwrap();
    Store::open(table.partitions[0].view(disk))
}

/// What is kept of each type.
fn kept(bytes: &[u8]) -> Result<(Option<HostKey>, Option<Note>), StoreError> {
    let mut disk = FakeDisk::new(bytes.to_vec());
    let store = open(&mut disk)?;
    Ok((store.get()?, store.get()?))
}

fn slot_of(disk: &mut FakeDisk, number: usize) -> &mut [u8] {
    &mut disk.bytes[START + number * SLOT..][..SLOT]
}

#[test]
fn what_is_kept_is_found_by_the_next_boot() {
    let mut disk = disk();
    let mut store = open(&mut disk).unwrap();
    assert_eq!(store.get::<HostKey>(), Ok(None));
    store.put(&KEY).unwrap();
    for number in 0..5 {
        store.put(&Note(vec![number; 1000])).unwrap();
    }
    assert_eq!(store.get(), Ok(Some(KEY)));
    drop(store);
    assert_eq!(kept(&disk.bytes), Ok((Some(KEY), Some(Note(vec![4; 1000])))));
    // The table, and what follows the partition, is untouched.
    let fresh = self::disk();
    assert_eq!(disk.bytes[..START], fresh.bytes[..START]);
    assert_eq!(disk.bytes[START + 2 * SLOT..], fresh.bytes[START + 2 * SLOT..]);
}

#[test]
fn opening_writes_nothing() {
    let mut disk = disk();
    open(&mut disk).unwrap().put(&KEY).unwrap();
    disk.operations.clear();
    drop(open(&mut disk).unwrap());
    assert_eq!(open(&mut disk).unwrap().mend(), Ok(()));
    assert!(disk.operations.is_empty());
}

/// The power goes at each moment of each write: the next boot finds what was kept before or what was to be, and can go on.
#[test]
fn a_cut_off_write_leaves_the_one_before() {
    let mut disk = disk();
    let mut before = (None, None);
    for round in 0..4u8 {
        let old = disk.bytes.clone();
        disk.operations.clear();
        let note = Note(vec![round; 100 + 700 * usize::from(round % 3)]);
        let mut store = open(&mut disk).unwrap();
        let after = match round {
            0 => {
                store.put(&KEY).unwrap();
                (Some(KEY), None)
            }
            _ => {
                store.put(&note).unwrap();
                (Some(KEY), Some(note))
            }
        };
        drop(store);
        let mut cuts = 0;
        power_cuts(&old, &disk.operations, |bytes| {
            cuts += 1;
            let found = kept(bytes).unwrap_or_else(|error| panic!("round {round}: {error}"));
            assert!(found == before || found == after, "round {round}: {found:?}");
            let mut next = FakeDisk::new(bytes.to_vec());
            let mut store = open(&mut next).unwrap();
            store.mend().unwrap();
            store.put(&HostKey([9; 32])).unwrap();
            assert_eq!(kept(&next.bytes), Ok((Some(HostKey([9; 32])), found.1)));
        });
        assert!(cuts > 70, "{cuts}");
        assert_eq!(kept(&disk.bytes).as_ref(), Ok(&after));
        before = after;
    }
}

/// Cut off again and again: whatever is left of one write is there when the next is cut off.
#[test]
fn one_cut_after_another() {
    let mut disk = disk();
    open(&mut disk).unwrap().put(&KEY).unwrap();
    for round in 0..50u8 {
        let old = disk.bytes.clone();
        let before = kept(&old).unwrap();
        disk.operations.clear();
        let note = Note(vec![round; 600]);
        open(&mut disk).unwrap().put(&note).unwrap();
        let mut cuts = 0;
        power_cuts(&old, &disk.operations, |bytes| {
            if cuts == usize::from(round) * 37 % 150 {
                disk.bytes.copy_from_slice(bytes);
            }
            cuts += 1;
        });
        assert!(cuts >= 150, "{cuts}");
        let found = kept(&disk.bytes).unwrap();
        assert!(found == before || found == (Some(KEY), Some(note)), "round {round}");
    }
}

#[test]
fn a_damaged_slot_is_made_up_for_by_the_other() {
    let mut disk = disk();
    let mut store = open(&mut disk).unwrap();
    store.put(&KEY).unwrap();
    store.put(&HostKey([8; 32])).unwrap();
    drop(store);
    // The first write filled both; the second went to A.
    for (number, expected) in [(0, KEY), (1, HostKey([8; 32]))] {
        let mut disk = disk.clone();
        slot_of(&mut disk, number)[70] ^= 1;
        let mut store = open(&mut disk).unwrap();
        assert_eq!((store.get(), store.fault()), (Ok(Some(expected.clone())), Some(Fault::Field("hash"))));
        store.mend().unwrap();
        assert_eq!(store.fault(), None);
        drop(store);
        slot_of(&mut disk, 1 - number)[70] ^= 1;
        assert_eq!(open(&mut disk).unwrap().get(), Ok(Some(expected)));
    }
    disk.unreadable = ALIGNMENT..ALIGNMENT + 1;
    let store = open(&mut disk).unwrap();
    assert_eq!((store.get(), store.fault()), (Ok(Some(KEY)), Some(Fault::Unreadable(BlockError::Io))));
}

#[test]
fn damage_to_both_is_no_empty_store() {
    let mut disk = disk();
    open(&mut disk).unwrap().put(&KEY).unwrap();
    let hash = Fault::Field("hash");
    let refused = |disk: &FakeDisk| {
        let mut disk = disk.clone();
        disk.operations.clear();
        let error = open(&mut disk).err();
        assert!(disk.operations.is_empty());
        error
    };
    let mut both = disk.clone();
    slot_of(&mut both, 0)[64] ^= 1;
    slot_of(&mut both, 1)[64] ^= 1;
    assert_eq!(refused(&both), Some(StoreError::Damaged([hash, hash])));
    slot_of(&mut both, 0).fill(0);
    assert_eq!(refused(&both), Some(StoreError::Damaged([Fault::Blank, hash])));
    let lost = FakeDisk { unreadable: ALIGNMENT..ALIGNMENT + SECTORS, ..disk.clone() };
    let unreadable = Fault::Unreadable(BlockError::Io);
    assert_eq!(refused(&lost), Some(StoreError::Damaged([unreadable, unreadable])));
    // Both whole, but not of one history.
    let mut copied = disk.clone();
    let a = slot_of(&mut copied, 0).to_vec();
    slot_of(&mut copied, 1).copy_from_slice(&a);
    assert_eq!(refused(&copied), Some(StoreError::Damaged([Fault::Field("sequence"); 2])));
    assert_eq!(refused(&both).unwrap().to_string(), "damaged (slot A blank; slot B broken: hash)");
}

#[test]
fn what_a_newer_system_has_kept_is_left_alone() {
    let mut disk = disk();
    open(&mut disk).unwrap().put(&KEY).unwrap();
    let mut newer = encode(3, b"in another way");
    newer[8] = 2;
    let hash = blake3::Hasher::new().update(&newer[..32]).update(b"in another way").finalize();
    newer[32..64].copy_from_slice(hash.as_bytes());
    slot_of(&mut disk, 0)[..newer.len()].copy_from_slice(&newer);
    assert_eq!(open(&mut disk).err(), Some(StoreError::Newer(2)));
    // The same without a right hash is a broken slot and nothing else.
    slot_of(&mut disk, 0)[40] ^= 1;
    assert_eq!(open(&mut disk).unwrap().get(), Ok(Some(KEY)));
}

#[test]
fn small_partitions_and_long_payloads_are_refused() {
    assert_eq!(open(&mut disk_of(SECTORS - 1)).err(), Some(StoreError::TooSmall(SECTORS - 1)));
    let mut disk = disk();
    let mut store = open(&mut disk).unwrap();
    assert_eq!(store.put(&Note(vec![1; MAX_PAYLOAD - 7])), Err(StoreError::Full));
    let longest = Note(vec![1; MAX_PAYLOAD - 8]);
    store.put(&longest).unwrap();
    drop(store);
    assert_eq!(kept(&disk.bytes), Ok((None, Some(longest))));
}

#[test]
fn a_disk_that_takes_no_writes_says_so() {
    let mut disk = FakeDisk { read_only: true, ..disk() };
    let keep = |disk: &mut FakeDisk| open(disk).unwrap().put(&KEY);
    assert_eq!(keep(&mut disk), Err(StoreError::Disk(BlockError::ReadOnly)));
    for patience in 0..4 {
        let mut disk = FakeDisk { patience: Some(patience), ..self::disk() };
        assert_eq!(keep(&mut disk), Err(StoreError::Disk(BlockError::Io)));
        disk.patience = None;
        assert!(kept(&disk.bytes).is_ok());
        assert_eq!(keep(&mut disk), Ok(()));
        assert_eq!(kept(&disk.bytes), Ok((Some(KEY), None)));
    }
}

fn make(bytes: &mut [u8]) {
    bytes.fill(7);
}

#[test]
fn a_key_is_made_once() {
    let mut disk = disk();
    assert_eq!(host_key(open(&mut disk).ok().as_mut(), true, make), Ok((KEY, Keeping::Made)));
    let unused = |_: &mut [u8]| panic!("there is a key");
    // One that is there needs no entropy.
    assert_eq!(host_key(open(&mut disk).ok().as_mut(), false, unused), Ok((KEY, Keeping::Kept)));
    assert_eq!(host_key(None, true, make), Ok((KEY, Keeping::Nowhere)));
    disk = FakeDisk { read_only: true, ..self::disk() };
    let not_kept = Keeping::NotKept(StoreError::Disk(BlockError::ReadOnly));
    assert_eq!(host_key(open(&mut disk).ok().as_mut(), true, make), Ok((KEY, not_kept)));
}

#[test]
fn no_key_is_made_where_it_should_not_be() {
    let unused = |_: &mut [u8]| panic!("no key is to be made");
    let mut disk = disk();
    assert_eq!(host_key(None, false, unused), Err(HostKeyError::Entropy));
    assert_eq!(host_key(open(&mut disk).ok().as_mut(), false, unused), Err(HostKeyError::Entropy));
    assert!(disk.operations.is_empty());
    // One is there, and not understood.
    for (payload, error) in [
        (&[1, 0, 2, 0, 0, 0, 0, 0][..], EntryError::Version("host key", 2)),
        (&[1, 0, 1, 0, 1, 0, 0, 0, 5], EntryError::Malformed("host key")),
    ] {
        let bytes = encode(1, payload);
        slot_of(&mut disk, 0)[..bytes.len()].copy_from_slice(&bytes);
        let refused = host_key(open(&mut disk).ok().as_mut(), true, unused);
        assert_eq!(refused, Err(HostKeyError::Kept(StoreError::Entry(error))));
    }
}

#[test]
fn secrets_are_not_shown() {
    let mut entries = Entries::default();
    entries.set(&HostKey([0x5a; 32]));
    let shown = std::format!("{entries:?} {:?}", HostKey([0x5a; 32]));
    assert_eq!(shown, "[(1, 1, 32)] HostKey");
}

prop_compose! {
    fn payload()(entries in proptest::collection::btree_map(any::<u16>(), (any::<u16>(), any::<Vec<u8>>()), 0..8)) -> Vec<u8> {
        let bytes = |(kind, (version, value)): (u16, (u16, Vec<u8>))| {
            [&kind.to_le_bytes()[..], &version.to_le_bytes(), &(value.len() as u32).to_le_bytes(), &value].concat()
        };
        entries.into_iter().flat_map(bytes).collect()
    }
}

#[test]
fn after_the_last_sequence_number_nothing_is_written() {
    let mut disk = disk();
    let slot = encode(u64::MAX, &Entries::default().encode());
    slot_of(&mut disk, 0)[..slot.len()].copy_from_slice(&slot);
    assert_eq!(open(&mut disk).unwrap().put(&KEY), Err(StoreError::Sequence));
    assert!(disk.operations.is_empty());
}

proptest! {
    #[test]
    fn payloads_go_round(payload in payload()) {
        prop_assert_eq!(Entries::decode(&payload).unwrap().encode(), payload);
    }

    /// Kinds of other systems stay as they are when ours are changed.
    #[test]
    fn foreign_entries_are_kept(payload in payload()) {
        let mut entries = Entries::decode(&payload).unwrap();
        let before = entries.clone();
        let had = before.get::<HostKey>();
        entries.set(&KEY);
        prop_assert_eq!(entries.get(), Ok(Some(KEY)));
        if had == Ok(None) {
            prop_assert_eq!(entries.encode().len(), payload.len() + 40);
        }
    }

    #[test]
    fn slots_go_round(sequence in 1..=u64::MAX, payload: Vec<u8>) {
        let bytes = encode(sequence, &payload);
        prop_assert_eq!(bytes.len() % SECTOR, 0);
        prop_assert_eq!(decode(&bytes), Slot::Whole { sequence, payload: &payload });
    }

    #[test]
    fn any_change_is_noticed(at in 0usize..164, change in 1u8..=255, payload in proptest::collection::vec(any::<u8>(), 100)) {
        let mut bytes = encode(3, &payload);
        bytes[at] = bytes[at].wrapping_add(change);
        prop_assert!(matches!(decode(&bytes), Slot::Void(_)));
    }

    #[test]
    fn noise_is_nothing(mut noise: Vec<u8>, with_magic: bool) {
        if with_magic && noise.len() >= 8 {
            noise[..8].copy_from_slice(&MAGIC);
        }
        prop_assert!(matches!(decode(&noise), Slot::Void(_)));
        let _ = Entries::decode(&noise);
    }
}
