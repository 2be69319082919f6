//! Everything protected at once: what it costs, and what stays as it is.

use super::*;

/// Counts the stores' worth of accesses to tables in use.
fn accesses(pool: &mut Pool, f: impl FnOnce(&mut Pool)) -> u64 {
    let count = Rc::new(Cell::new(0));
    let counter = count.clone();
    pool.spy = Some(Rc::new(move |_| counter.set(counter.get() + 1)));
    f(pool);
    pool.spy = None;
    count.get()
}

fn thaw<F: Format>(tree: &Tree<F>, pool: &mut Pool) -> u64 {
    let (mut from, mut calls) = (Some(0), 0);
    while let Some(at) = from {
        from = tree.thaw(pool, at, LEAST_THAWED);
        calls += 1;
    }
    calls
}

fn protects_as_watching_does<F: Format>(largest: Size) {
    let mut pool = Pool::new(600);
    let tree = identity::<F>(&mut pool, largest, 4 * G1);
    tree.protect(&mut pool, M2..M2 + 2 * K4, Rights::READ_EXECUTE).unwrap();
    let (before, tables) = (leaves(&tree, &pool), pool.taken());
    // One look at the root, however much is mapped, and no table.
    assert_eq!(accesses(&mut pool, |pool| tree.protect_all(pool)), 1);
    assert_eq!(pool.taken(), tables);
    for (address, leaf) in leaves(&tree, &pool) {
        assert_eq!((leaf.rights.write, leaf.watched), (false, address != M2 && address != M2 + K4));
    }
    assert_eq!(tree.census(&pool).watched, 4 * G1 - 2 * K4);
    // What could not be written before can't be now, and is not given back.
    let text = tree.translate(&pool, M2).unwrap();
    assert_eq!(tree.resolve_write(&mut pool, M2), Resolution::NotWatched(text));
    for address in [M2 + 2 * K4, 3 * M2, 2 * G1, 2 * G1 + K4] {
        assert!(matches!(tree.resolve_write(&mut pool, address), Resolution::Granted { .. }));
        assert_eq!(tree.resolve_write(&mut pool, address), Resolution::Writable);
    }
    assert_eq!(tree.census(&pool).watched, 4 * G1 - 6 * K4);
    // A second time, on what is opened half.
    tree.protect_all(&mut pool);
    assert_eq!(tree.census(&pool).watched, 4 * G1 - 2 * K4);
    assert!(thaw(&tree, &mut pool) > 1);
    assert_eq!(tree.census(&pool).watched, 0);
    tree.merge(&mut pool);
    assert_eq!((leaves(&tree, &pool), pool.taken()), (before, tables));
}

#[test]
fn everything_is_protected_at_once_and_given_back() {
    for largest in [Size::Large, Size::Huge] {
        protects_as_watching_does::<Npt>(largest);
        protects_as_watching_does::<LongMode>(largest);
        protects_as_watching_does::<Ept>(largest);
    }
}

/// Device memory, and what no snapshot holds, is given back whole.
#[test]
fn a_block_is_given_back_as_it_is() {
    let mut pool = Pool::new(100);
    let tree = identity::<Ept>(&mut pool, Size::Huge, 4 * G1);
    tree.protect_all(&mut pool);
    let tables = pool.taken();
    assert_eq!(tree.resolve_block(&mut pool, G1 + 5, |_| Size::Huge), Resolution::Granted { split: false });
    assert_eq!(pool.taken(), tables);
    assert_eq!(tree.resolve_block(&mut pool, 3 * M2, |_| Size::Large), Resolution::Granted { split: true });
    assert_eq!((pool.taken(), tree.census(&pool).watched), (tables + 1, 3 * G1 - M2));
    // Split already: page by page.
    assert_eq!(tree.resolve_write(&mut pool, 4 * M2), Resolution::Granted { split: true });
    assert_eq!(
        tree.resolve_block(&mut pool, 4 * M2 + K4, |_| Size::Large),
        Resolution::Granted { split: false }
    );
    assert_eq!(tree.census(&pool).watched, 3 * G1 - M2 - 2 * K4);
    pool.leave(0);
    let all = Resolution::Dry { start: 2 * G1, size: Size::Huge };
    assert_eq!(tree.resolve_block(&mut pool, 2 * G1, |_| Size::Large), all);
}

#[test]
fn a_hole_is_known_by_its_size() {
    let mut pool = Pool::new(100);
    let tree = identity::<LongMode>(&mut pool, Size::Huge, 2 * G1);
    tree.unmap(&mut pool, M2 + K4..M2 + 2 * K4).unwrap();
    tree.unmap(&mut pool, 4 * M2..5 * M2).unwrap();
    let holes = [0, M2 + K4, 4 * M2 + 7, 2 * G1, 1 << 45].map(|address| tree.hole(&pool, address));
    assert_eq!(holes, [None, Some(Size::Page), Some(Size::Large), Some(Size::Huge), Some(Size::Huge)]);
}
