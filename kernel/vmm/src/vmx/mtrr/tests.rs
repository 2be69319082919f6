extern crate std;

use super::*;
use crate::nested::{Ept, Format, Size};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::vec::Vec;

const K4: u64 = 4 << 10;
const M2: u64 = 2 << 20;
const G1: u64 = 1 << 30;

/// Registers of a machine; all others are zero.
fn machine(registers: &[(u32, u64)]) -> Mtrrs {
    let registers: BTreeMap<u32, u64> = registers.iter().copied().collect();
    Mtrrs::read(true, |number| registers.get(&number).copied().unwrap_or(0))
}

fn at(mtrrs: &Mtrrs, start: u64, bytes: u64) -> Option<MemoryType> {
    mtrrs.memory_type(start..start + bytes)
}

/// As SeaBIOS sets them in QEMU and Bochs: write back by default, 3 GiB to 4 GiB uncached, fixed ranges.
const SEABIOS: [(u32, u64); 15] = [
    (0xfe, 0x508),
    (0x2ff, 0xc06),
    (0x200, 0xc000_0000),
    (0x201, 0xff_c000_0800),
    (0x250, 0x0606_0606_0606_0606),
    (0x258, 0x0606_0606_0606_0606),
    (0x259, 0),
    (0x268, 0x0505_0505_0505_0505),
    (0x269, 0x0505_0505_0505_0505),
    (0x26a, 0x0505_0505_0505_0505),
    (0x26b, 0x0505_0505_0505_0505),
    (0x26c, 0x0505_0505_0505_0505),
    (0x26d, 0x0505_0505_0505_0505),
    (0x26e, 0x0505_0505_0505_0505),
    (0x26f, 0x0505_0505_0505_0605),
];

#[test]
fn a_pc_is_understood() {
    use MemoryType::{Uncached, WriteBack, WriteProtected};
    let mtrrs = machine(&SEABIOS);
    assert_eq!(at(&mtrrs, 0, K4), Some(WriteBack));
    assert_eq!(at(&mtrrs, 0x9_f000, K4), Some(WriteBack));
    assert_eq!(at(&mtrrs, 0xa_0000, K4), Some(Uncached));
    assert_eq!(at(&mtrrs, 0xc_0000, K4), Some(WriteProtected));
    // The last register's second byte.
    assert_eq!(at(&mtrrs, 0xf_9000, K4), Some(WriteBack));
    assert_eq!(at(&mtrrs, 0xf_f000, K4), Some(WriteProtected));
    assert_eq!((at(&mtrrs, 0, M2), at(&mtrrs, 0, G1)), (None, None));
    assert_eq!((at(&mtrrs, M2, M2), at(&mtrrs, G1, G1)), (Some(WriteBack), Some(WriteBack)));
    assert_eq!((at(&mtrrs, 3 * G1, G1), at(&mtrrs, 0xfee0_0000, K4)), (Some(Uncached), Some(Uncached)));
    assert_eq!(at(&mtrrs, 4 * G1, G1), Some(WriteBack));
    // The leaf that follows: local APIC, uncached.
    let kind = at(&mtrrs, 0xfee0_0000, M2).unwrap();
    assert_eq!(
        Ept::memory_type(Ept::leaf(0xfee0_0000, Size::Large, crate::nested::Rights::ALL, kind), Size::Large),
        Uncached
    );
}

#[test]
fn overlaps_follow_the_manual() {
    use MemoryType::{Uncached, WriteBack, WriteThrough};
    // Uncached by default; 0 to 4 GiB write back, the second GiB write through, 64 KiB at 3 GiB uncached.
    let mtrrs = machine(&[
        (0xfe, 3),
        (0x2ff, 0x800),
        (0x200, 6),
        (0x201, 0xff_0000_0800),
        (0x202, G1 | 4),
        (0x203, 0xff_c000_0800),
        (0x204, 3 * G1),
        (0x205, 0xff_ffff_0800),
    ]);
    assert_eq!(at(&mtrrs, 0, G1), Some(WriteBack));
    assert_eq!(at(&mtrrs, G1, G1), Some(WriteThrough));
    assert_eq!((at(&mtrrs, 3 * G1, G1), at(&mtrrs, 3 * G1, M2)), (None, None));
    assert_eq!(at(&mtrrs, 3 * G1 + 0xf000, K4), Some(Uncached));
    assert_eq!(at(&mtrrs, 3 * G1 + 0x1_0000, K4), Some(WriteBack));
    assert_eq!(at(&mtrrs, 4 * G1, G1), Some(Uncached));
}

#[test]
fn without_them_all_is_uncached() {
    let off = machine(&[(0xfe, 0x508), (0x2ff, 0x406)]);
    let many = machine(&[(0xfe, 0x5ff), (0x2ff, 0xc06)]);
    let none = Mtrrs::read(false, |_| panic!("there are no registers"));
    for mtrrs in [off, many, none] {
        assert_eq!(at(&mtrrs, 5 * G1, G1), Some(MemoryType::Uncached));
    }
}

proptest! {
    /// What a long stretch is said to be, each of its pages is.
    #[test]
    fn a_stretch_is_what_its_pages_are(
        ranges in prop::collection::vec((0..16u64, 12..34u32, 0..8u8, any::<bool>()), 0..8),
        default in 0..8u64, stretch in 0..8 * 512u64, huge: bool, pages in prop::collection::vec(any::<u64>(), 1..32),
    ) {
        let mut registers = Vec::from([(0xfe, ranges.len() as u64), (0x2ff, 0x800 | default)]);
        for (index, (place, bits, kind, valid)) in (0..).step_by(2).zip(&ranges) {
            let size = 1u64 << bits;
            registers.push((0x200 + index, (place * size) | u64::from(*kind)));
            registers.push((0x201 + index, (ADDRESS & !(size - 1)) | if *valid { 0x800 } else { 0 }));
        }
        let mtrrs = machine(&registers);
        let (start, bytes) = if huge { (stretch / 512 * G1, G1) } else { (stretch * M2, M2) };
        let whole = at(&mtrrs, start, bytes);
        let edges = [0, bytes - K4, bytes / 2];
        for page in pages.into_iter().map(|page| (page % bytes) & !(K4 - 1)).chain(edges) {
            let page = at(&mtrrs, start + page, K4);
            prop_assert!(page.is_some());
            prop_assert!(whole.is_none() || whole == page, "{:?} {:?}", whole, page);
        }
    }
}
