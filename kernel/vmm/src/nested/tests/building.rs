//! The identity tree: what it says, that its leaves are the largest possible, and that nothing leaks.

use core::ops::Range;

use super::*;
use proptest::prelude::*;

const NONE: Range<u64> = 0..0;

fn layout(largest: Size) -> Layout {
    Layout {
        largest,
        top: 512 * G1,
        absent: 3 * G1 - 64 * M2 - 3 * K4..3 * G1 - 5 * K4,
        text: 0x20_0000..0x2a_b000,
        constants: 0x2a_b000..0x40_0000,
    }
}

/// As the MTRRs of a PC with 3 GiB below 4 GiB say, and a frame buffer.
fn by_mtrrs(stretch: Range<u64>) -> Option<MemoryType> {
    let ranges = [
        (0..0xa_0000, MemoryType::WriteBack),
        (0xa_0000..0xc_0000, MemoryType::Uncached),
        (0xc_0000..0xc_1000, MemoryType::WriteProtected),
        (0xc_1000..3 * G1, MemoryType::WriteBack),
        (3 * G1..3 * G1 + 8 * M2, MemoryType::WriteCombining),
        (3 * G1 + 8 * M2..4 * G1, MemoryType::Uncached),
        (4 * G1..u64::MAX, MemoryType::WriteBack),
    ];
    let inside = |range: &Range<u64>| range.start <= stretch.start && stretch.end <= range.end;
    ranges.into_iter().find(|(range, _)| inside(range)).map(|(_, kind)| kind)
}

fn built<F: Format>(largest: Size, kinds: fn(Range<u64>) -> Option<MemoryType>) -> Vec<(u64, Leaf)> {
    let layout = layout(largest);
    let needed = tables_needed(&layout, kinds).unwrap();
    assert!(needed <= tables_at_most(layout.top));
    let mut pool = Pool::new(needed as usize);
    let tree = build_identity::<F, _>(&mut pool, &layout, kinds).unwrap();
    assert_eq!(pool.taken(), needed);
    assert_eq!(tree.census(&pool).tables, needed);
    let leaves = leaves(&tree, &pool);
    // If any two tables' worth of leaves could be one, merging would find it.
    assert_eq!(tree.merge(&mut pool), 0);

    let mut expected = 0;
    for &(address, leaf) in &leaves {
        if expected != address {
            assert_eq!(expected..address, layout.absent);
        }
        expected = address + leaf.size.bytes();
        assert_eq!((leaf.address, leaf.watched), (address, false));
        let rights = match address {
            0x20_0000..0x2a_b000 => Rights::READ_EXECUTE,
            0x2a_b000..0x40_0000 => Rights::READ,
            _ => Rights::ALL,
        };
        assert_eq!(leaf.rights, rights, "{address:x}");
        assert_eq!(Some(leaf.kind), kinds(address..expected), "{address:x}");
    }
    assert_eq!(expected, layout.top);
    leaves
}

#[test]
fn all_formats_say_the_same() {
    for largest in [Size::Large, Size::Huge] {
        for kinds in [always_write_back, by_mtrrs] {
            let npt = built::<Npt>(largest, kinds);
            assert_eq!(npt, built::<LongMode>(largest, kinds));
            assert_eq!(npt, built::<Ept>(largest, kinds));
        }
    }
}

/// What a tree of a format says of an address, the rights of its owner and the type included.
fn told<F: Format>(
    layout: &Layout,
    kinds: fn(Range<u64>) -> Option<MemoryType>,
    samples: &[u64],
) -> Vec<Option<(u64, Rights, MemoryType)>> {
    let mut pool = Pool::new(tables_needed(layout, kinds).unwrap() as usize);
    let tree = build_identity::<F, _>(&mut pool, layout, kinds).unwrap();
    let told = samples.iter().map(|&address| {
        let leaf = tree.translate(&pool, address)?;
        Some((leaf.address + (address & (leaf.size.bytes() - 1)), leaf.rights, leaf.kind))
    });
    told.collect()
}

prop_compose! {
    /// Page-aligned, within the first 8 GiB, and often empty.
    fn range()(start in 0..8 * G1 / K4, pages in prop_oneof![Just(0), 1..1024u64, 1..G1 / K4]) -> Range<u64> {
        start * K4..(start + pages) * K4
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn any_map_is_the_same_in_all_formats(
        absent in range(), text in range(), constants in range(), large: bool, by_type: bool,
        samples in prop::collection::vec(0..10 * G1, 0..64),
    ) {
        let largest = if large { Size::Large } else { Size::Huge };
        let kinds = if by_type { by_mtrrs } else { always_write_back };
        let edges = [&absent, &text, &constants]
            .map(|range| [range.start.saturating_sub(1), range.start, range.end.saturating_sub(1), range.end]);
        let samples = [samples, edges.concat()].concat();
        let layout = Layout { largest, top: 9 * G1, absent, text, constants };
        let npt = told::<Npt>(&layout, kinds, &samples);
        prop_assert_eq!(&npt, &told::<Ept>(&layout, kinds, &samples));
        prop_assert_eq!(&npt, &told::<LongMode>(&layout, kinds, &samples));
        for (address, answer) in samples.into_iter().zip(npt) {
            let mapped = address < layout.top && !layout.absent.contains(&address);
            prop_assert_eq!(answer.map(|(to, ..)| to), mapped.then_some(address));
        }
    }
}

#[test]
fn a_plain_map_is_of_huge_leaves_and_costs_two_tables() {
    let plain = Layout { absent: NONE, text: NONE, constants: NONE, ..layout(Size::Huge) };
    assert_eq!(tables_needed(&plain, always_write_back), Ok(2));
    let large = Layout { largest: Size::Large, ..plain.clone() };
    assert_eq!(tables_needed(&large, always_write_back), Ok(2 + 512));
    let pages = Layout { largest: Size::Page, top: 2 * G1, ..plain };
    assert_eq!(tables_needed(&pages, always_write_back), Ok(tables_at_most(2 * G1)));
}

#[test]
fn a_dry_reserve_gets_everything_back() {
    let layout = Layout { top: 4 * G1, ..layout(Size::Huge) };
    let needed = tables_needed(&layout, by_mtrrs).unwrap() as usize;
    for limit in 0..needed {
        let mut pool = Pool::new(limit);
        assert!(matches!(build_identity::<Npt, _>(&mut pool, &layout, by_mtrrs), Err(MapError::Dry)));
        assert_eq!(pool.taken(), 0);
    }
}

#[test]
fn a_page_of_several_types_is_uncached() {
    let kinds = |stretch: Range<u64>| (!stretch.contains(&0x5000)).then_some(MemoryType::WriteBack);
    let layout = Layout { top: G1, absent: NONE, text: NONE, constants: NONE, largest: Size::Huge };
    let mut pool = Pool::new(10);
    let tree = build_identity::<Ept, _>(&mut pool, &layout, kinds).unwrap();
    assert_eq!(tree.translate(&pool, 0x5123).unwrap().kind, MemoryType::Uncached);
    assert_eq!(tree.census(&pool), Census { tables: 4, pages: 512, large: 511, ..Census::default() });
}

#[test]
fn a_layout_that_makes_no_sense_is_refused() {
    for wrong in [
        Layout { top: G1 + M2, ..layout(Size::Huge) },
        Layout { top: 2 * ADDRESS_END, ..layout(Size::Huge) },
        Layout { text: 5..K4, ..layout(Size::Huge) },
    ] {
        assert_eq!(tables_needed(&wrong, always_write_back), Err(MapError::Range));
        let mut pool = Pool::new(10);
        assert!(build_identity::<Npt, _>(&mut pool, &wrong, always_write_back).is_err());
        assert_eq!(pool.taken(), 0);
    }
}
