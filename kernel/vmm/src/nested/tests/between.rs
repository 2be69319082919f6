//! A walker may look at any moment: between any two accesses to tables in use, each page is as before the operation or as
//! after it, whether the reserve suffices or not.

use core::sync::atomic::AtomicBool;
use std::sync::Arc;

use proptest::prelude::*;

use super::model::{Operation, apply, operation};
use super::*;

/// Pages that the walker looks at: about the edges that operations have, and inside of leaves.
fn samples() -> Vec<u64> {
    let mut samples = Vec::new();
    for base in [0, G1, 2 * G1] {
        for offset in [0, K4, 2 * K4, M2 - K4, M2, 2 * M2 + K4, 300 * M2 + 77 * K4, G1 - M2, G1 - K4] {
            samples.push(base + offset);
        }
    }
    samples
}

fn look<F: Format>(root: u64, largest: Size, pool: &Pool) -> Vec<Option<View>> {
    let tree = Tree::<F>::from_root(root, largest);
    samples().into_iter().map(|address| view(&tree, pool, address)).collect()
}

/// Carries out `operation` twice: once to know what comes of it, once with a walker that looks all the time.
fn watched_step<F: Format + 'static>(tree: &Tree<F>, pool: &mut Pool, operation: &Operation) {
    let (root, largest) = (tree.root, tree.largest);
    let before = look::<F>(root, largest, pool);
    let mut rehearsal = pool.clone();
    let first = apply(tree, &mut rehearsal, operation);
    let after = look::<F>(root, largest, &rehearsal);

    let looked = Arc::new(AtomicBool::new(false));
    let (seen, then) = (Arc::clone(&looked), after.clone());
    pool.spy = Some(Rc::new(move |pool| {
        seen.store(true, Ordering::Relaxed);
        for ((now, before), after) in look::<F>(root, largest, pool).iter().zip(&before).zip(&then) {
            assert!(now == before || now == after, "{now:?}, not {before:?} or {after:?}");
        }
    }));
    assert_eq!(apply(tree, pool, operation), first);
    pool.spy = None;
    assert_eq!(look::<F>(root, largest, pool), after);
    assert!(looked.load(Ordering::Relaxed) || !matches!(operation, Operation::Resolve(_)));
}

fn run<F: Format + 'static>(largest: Size, left: usize, operations: &[Operation]) {
    let mut pool = Pool::new(1000);
    let tree = identity::<F>(&mut pool, largest, 3 * G1);
    pool.leave(left);
    for operation in operations {
        // Merging is for stopped CPUs, and thawing is more than one operation.
        if !matches!(operation, Operation::Merge | Operation::Thaw(_)) {
            watched_step(&tree, &mut pool, operation);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_walker_sees_old_or_new(
        operations in prop::collection::vec(operation(), 1..6),
        left in prop_oneof![0usize..8, Just(500)],
    ) {
        run::<Npt>(Size::Huge, left, &operations);
        run::<Ept>(Size::Huge, left, &operations);
    }
}

#[test]
fn a_walker_sees_a_split_whole_or_not_at_all() {
    for largest in [Size::Large, Size::Huge] {
        for left in 0..4 {
            let operations = [
                Operation::Watch(0..3 * G1),
                Operation::Resolve(G1 + M2),
                Operation::Resolve(G1 + M2 + K4),
                Operation::Resolve(0),
                Operation::ProtectAll,
                Operation::Resolve(G1 + M2),
                Operation::Resolve(G1 + 2 * M2),
                Operation::Watch(G1 + M2..G1 + 2 * M2),
            ];
            run::<Npt>(largest, left, &operations);
            run::<LongMode>(largest, left, &operations);
            run::<Ept>(largest, left, &operations);
        }
    }
}
