//! One operation at a time, with the numbers that matter to its callers.

use super::*;

fn benchmark_range<F: Format>() {
    let mut pool = Pool::new(100);
    let tree = identity::<F>(&mut pool, Size::Large, G1);
    let before = pool.taken();
    tree.watch(&mut pool, 4 * M2..5 * M2).unwrap();
    assert_eq!(pool.taken(), before);
    let leaf = tree.translate(&pool, 4 * M2 + 5 * K4).unwrap();
    assert_eq!((leaf.size, leaf.rights.write, leaf.watched), (Size::Large, false, true));

    assert_eq!(tree.resolve_write(&mut pool, 4 * M2 + 5 * K4 + 7), Resolution::Granted { split: true });
    assert_eq!(pool.taken(), before + 1);
    assert_eq!(tree.resolve_write(&mut pool, 4 * M2 + 5 * K4), Resolution::Writable);
    assert_eq!(tree.resolve_write(&mut pool, 4 * M2 + 6 * K4), Resolution::Granted { split: false });
    assert_eq!(tree.resolve_write(&mut pool, 5 * M2), Resolution::Writable);
    assert_eq!(tree.resolve_write(&mut pool, G1), Resolution::Absent);
    assert_eq!(tree.resolve_write(&mut pool, u64::MAX), Resolution::Absent);
    assert_eq!(
        tree.census(&pool),
        Census { tables: before + 1, pages: 512, large: 511, huge: 0, watched: M2 - 2 * K4 }
    );

    tree.unwatch(&mut pool, 4 * M2..5 * M2).unwrap();
    assert_eq!(tree.census(&pool).watched, 0);
    assert_eq!(tree.merge(&mut pool), 1);
    assert_eq!(leaves(&tree, &pool).len(), 512);
    tree.dismantle(&mut pool);
    assert_eq!(pool.taken(), 0);
}

#[test]
fn two_aligned_mebibytes_are_watched_as_one_leaf() {
    benchmark_range::<Npt>();
    benchmark_range::<LongMode>();
    benchmark_range::<Ept>();
}

#[test]
fn a_fault_splits_a_gibibyte_down_to_the_page() {
    let mut pool = Pool::new(100);
    let tree = identity::<Npt>(&mut pool, Size::Huge, 4 * G1);
    assert_eq!(pool.taken(), 2);
    tree.watch(&mut pool, G1..3 * G1).unwrap();
    assert_eq!(pool.taken(), 2);
    assert_eq!(tree.resolve_write(&mut pool, 2 * G1 + 3 * M2), Resolution::Granted { split: true });
    assert_eq!(
        tree.census(&pool),
        Census { tables: 4, pages: 512, large: 511, huge: 3, watched: 2 * G1 - K4 }
    );
}

#[test]
fn a_dry_reserve_grants_the_leaf_that_it_cannot_split() {
    for (left, granted) in [(0, Size::Huge), (1, Size::Large), (2, Size::Page)] {
        let mut pool = Pool::new(100);
        let tree = identity::<Ept>(&mut pool, Size::Huge, 2 * G1);
        tree.watch(&mut pool, 0..2 * G1).unwrap();
        pool.leave(left);
        let address = G1 + 3 * M2 + 9 * K4;
        let answer = tree.resolve_write(&mut pool, address);
        if granted == Size::Page {
            assert_eq!(answer, Resolution::Granted { split: true });
        } else {
            assert_eq!(answer, Resolution::Dry { start: address & !(granted.bytes() - 1), size: granted });
        }
        assert_eq!(tree.census(&pool).watched, 2 * G1 - granted.bytes());
        assert!(tree.translate(&pool, address).unwrap().rights.write);
    }
}

#[test]
fn text_is_not_watched_and_its_fault_goes_elsewhere() {
    let mut pool = Pool::new(100);
    let tree = identity::<Npt>(&mut pool, Size::Large, G1);
    tree.protect(&mut pool, M2..2 * M2, Rights::READ_EXECUTE).unwrap();
    tree.watch(&mut pool, 0..G1).unwrap();
    let leaf = tree.translate(&pool, M2).unwrap();
    assert!(!leaf.watched);
    assert_eq!(tree.resolve_write(&mut pool, M2), Resolution::NotWatched(leaf));
    tree.unwatch(&mut pool, 0..G1).unwrap();
    assert_eq!(tree.translate(&pool, M2).unwrap().rights, Rights::READ_EXECUTE);
    assert_eq!(tree.translate(&pool, 0).unwrap().rights, Rights::ALL);
}

#[test]
fn edges_split_only_as_far_as_they_demand() {
    let mut pool = Pool::new(100);
    let tree = identity::<Npt>(&mut pool, Size::Huge, 2 * G1);
    tree.watch(&mut pool, 3 * M2..G1 + M2).unwrap();
    assert_eq!(
        tree.census(&pool),
        Census { tables: 4, large: 1024, watched: G1 - 2 * M2, ..Census::default() }
    );
    // What would not change is not split.
    tree.unwatch(&mut pool, K4..2 * K4).unwrap();
    tree.watch(&mut pool, 3 * M2 + K4..4 * M2).unwrap();
    assert_eq!(pool.taken(), 4);
    tree.unwatch(&mut pool, 3 * M2 + K4..4 * M2).unwrap();
    assert_eq!(pool.taken(), 5);
    assert_eq!(tree.census(&pool).watched, G1 - 3 * M2 + K4);
}

#[test]
fn a_page_goes_to_a_sink_and_the_reserve_is_absent() {
    let mut pool = Pool::new(100);
    let tree = identity::<Npt>(&mut pool, Size::Huge, 2 * G1);
    let sink = 7 * G1 + K4;
    tree.map_to(&mut pool, 0xfee0_0000 & (G1 - 1), sink, Rights::READ_WRITE, MemoryType::WriteBack).unwrap();
    let there = view(&tree, &pool, (0xfee0_0000 & (G1 - 1)) + 5).unwrap();
    assert_eq!((there.frame, there.rights), (sink + 5, Rights::READ_WRITE));
    tree.unmap(&mut pool, G1 + K4..G1 + 2 * M2).unwrap();
    assert!(tree.translate(&pool, G1 + K4 - 1).is_some() && tree.translate(&pool, G1 + K4).is_none());
    assert!(tree.translate(&pool, G1 + 2 * M2 - 1).is_none() && tree.translate(&pool, G1 + 2 * M2).is_some());
    assert_eq!(pool.taken(), tree.census(&pool).tables);
}

#[test]
fn ranges_that_make_no_sense_are_refused() {
    let mut pool = Pool::new(100);
    let tree = identity::<Npt>(&mut pool, Size::Huge, G1);
    let before = leaves(&tree, &pool);
    #[expect(clippy::reversed_empty_ranges, reason = "that is what is refused")]
    for range in [1..K4, 0..K4 + 1, 2 * K4..K4, 0..ADDRESS_END + K4, ADDRESS_END..!0xfff] {
        let kind = MemoryType::WriteBack;
        assert_eq!(tree.map(&mut pool, range.clone(), Rights::ALL, kind), Err(MapError::Range));
        assert_eq!(tree.unmap(&mut pool, range.clone()), Err(MapError::Range));
        assert_eq!(tree.watch(&mut pool, range), Err(MapError::Range));
    }
    for (page, frame) in [(1, 0), (0, 1), (ADDRESS_END, 0), (!0xfff, 0)] {
        let answer = tree.map_to(&mut pool, page, frame, Rights::ALL, MemoryType::WriteBack);
        assert_eq!(answer, Err(MapError::Range));
    }
    tree.unmap(&mut pool, K4..K4).unwrap();
    assert_eq!(leaves(&tree, &pool), before);
}

#[test]
fn the_whole_address_space_can_be_mapped() {
    let mut pool = Pool::new(600);
    let tree = identity::<LongMode>(&mut pool, Size::Huge, ADDRESS_END);
    assert_eq!(tree.census(&pool).huge, ADDRESS_END / G1);
    let last = tree.translate(&pool, ADDRESS_END - 1).unwrap();
    assert_eq!(last.address, ADDRESS_END - G1);
}

#[test]
fn merging_keeps_what_differs() {
    let mut pool = Pool::new(100);
    let tree = identity::<Npt>(&mut pool, Size::Large, G1);
    // One page elsewhere, one with other rights, a run that is shifted by a page, and an emptied table.
    tree.map_to(&mut pool, 5 * K4, 9 * K4, Rights::ALL, MemoryType::WriteBack).unwrap();
    tree.protect(&mut pool, M2..M2 + K4, Rights::READ).unwrap();
    for page in (2 * M2..3 * M2).step_by(K4 as usize) {
        tree.map_to(&mut pool, page, page + K4, Rights::ALL, MemoryType::WriteBack).unwrap();
    }
    tree.unmap(&mut pool, 3 * M2..3 * M2 + K4).unwrap();
    tree.unmap(&mut pool, 3 * M2..4 * M2).unwrap();
    let before = leaves(&tree, &pool);
    assert_eq!(pool.taken(), 7);
    assert_eq!(tree.merge(&mut pool), 1);
    assert_eq!(leaves(&tree, &pool), before);
    assert_eq!(pool.taken(), 6);
}
