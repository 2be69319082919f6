//! What was written between two turns: told by the tree alone.

use core::ops::Range;
use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// Pages that are written: neighbours, of other large leaves, of other huge ones.
fn pages() -> Vec<u64> {
    let bases = [0, 3 * M2, G1, G1 + 511 * M2, 2 * G1];
    bases.into_iter().flat_map(|base| (0..4).map(move |page| base + page * K4)).collect()
}

/// All that the tree tells of, in a range.
fn told<F: Format>(tree: &Tree<F>, pool: &Pool, range: Range<u64>) -> Vec<Range<u64>> {
    let mut told = Vec::new();
    tree.written(pool, &range, &mut |address, size| {
        told.push(address.max(range.start)..range.end.min(address + size.bytes()));
    });
    assert!(told.is_sorted_by(|one, next| one.end <= next.start));
    told
}

fn has_all(told: &[Range<u64>], pages: &BTreeSet<u64>) -> bool {
    pages.iter().all(|page| told.iter().any(|range| range.contains(page)))
}

#[derive(Clone, Debug)]
enum Step {
    Write(u64),
    /// All of a large leaf may be written from here on.
    WriteLarge(u64),
    Watch(u64),
    Unwatch(u64),
    /// Taken and given back, as donated memory is.
    Lend(u64),
    Turn(bool),
    /// Write permission is given back and nothing recorded any more.
    Forget,
}

fn step() -> impl Strategy<Value = Step> {
    let page = || prop::sample::select(pages());
    prop_oneof![
        8 => page().prop_map(Step::Write),
        1 => page().prop_map(Step::WriteLarge),
        1 => page().prop_map(Step::Watch),
        1 => page().prop_map(Step::Unwatch),
        1 => page().prop_map(Step::Lend),
        4 => prop::bool::weighted(0.8).prop_map(Step::Turn),
        1 => Just(Step::Forget),
    ]
}

fn block(page: u64) -> Range<u64> {
    page & !(M2 - 1)..(page & !(M2 - 1)) + M2
}

/// A write, as often as it faults; whether it went through.
fn write<F: Format>(tree: &Tree<F>, pool: &mut Pool, page: u64, most: Size) {
    if !view(tree, pool, page).unwrap().rights.write {
        let answer = tree.resolve_block(pool, page, |_| most);
        assert!(matches!(answer, Resolution::Granted { .. } | Resolution::Dry { .. }), "{answer:?}");
    }
    assert!(view(tree, pool, page).unwrap().rights.write);
}

fn run<F: Format>(largest: Size, limit: usize, steps: &[Step]) {
    let mut pool = Pool::new(1000);
    let mut tree = identity::<F>(&mut pool, largest, 3 * G1);
    let (before, tables) = (leaves(&tree, &pool), pool.taken());
    pool.leave(limit);
    // What was written, and what may count as written, since the last turn; if that is recorded.
    let (mut now, mut most, mut recorded) = (BTreeSet::new(), BTreeSet::new(), false);
    let all = |range: Range<u64>| range.step_by(K4 as usize);
    let mut granted = BTreeSet::new();
    for step in steps {
        match step.clone() {
            Step::Write(page) => {
                write(&tree, &mut pool, page, Size::Page);
                now.insert(page);
                most.insert(page);
            }
            Step::WriteLarge(page) => {
                write(&tree, &mut pool, page, Size::Large);
                now.insert(page);
                most.extend(all(block(page)));
            }
            Step::Watch(page) => drop(tree.watch(&mut pool, page..page + K4)),
            Step::Unwatch(page) => {
                if tree.unwatch(&mut pool, page..page + K4).is_ok() {
                    most.insert(page);
                }
            }
            Step::Lend(page) => {
                if tree.protect(&mut pool, page..page + K4, Rights::READ).is_ok() {
                    tree.protect(&mut pool, page..page + K4, Rights::ALL).unwrap();
                    most.insert(page);
                }
            }
            Step::Turn(record) => {
                tree.turn(record);
                tree.protect_all(&mut pool);
                granted = core::mem::take(&mut now);
                let allowed = core::mem::take(&mut most);
                assert_eq!(tree.can_tell(), recorded);
                if recorded {
                    let told = told(&tree, &pool, 0..4 * G1);
                    assert!(has_all(&told, &granted));
                    assert!(limit < 40 || told.into_iter().flat_map(all).all(|page| allowed.contains(&page)));
                }
                recorded = record;
                continue;
            }
            Step::Forget => {
                let could_tell = tree.can_tell();
                assert_eq!(tree.forget(), recorded || could_tell);
                let mut from = Some(0);
                while let Some(at) = from {
                    from = tree.thaw(&mut pool, at, LEAST_THAWED);
                }
                tree.merge(&mut pool);
                assert_eq!((leaves(&tree, &pool), pool.taken()), (before.clone(), tables));
                recorded = false;
            }
        }
        assert_eq!(tree.is_recording(), recorded);
        // What was told stays so, whatever is written on.
        if tree.can_tell() {
            let told = told(&tree, &pool, 0..4 * G1);
            assert!(has_all(&told, &granted));
            // By parts, too.
            let part = M2 - K4..G1 + 2 * K4;
            let clamped = told.into_iter().map(|range| range.start.max(part.start)..range.end.min(part.end));
            let clamped: Vec<_> = clamped.filter(|range| !range.is_empty()).collect();
            assert_eq!(self::told(&tree, &pool, part), clamped);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever is written between two turns is told, and where there are tables nothing else is; and nothing is left behind.
    #[test]
    fn what_was_written_is_told(
        steps in prop::collection::vec(step(), 1..60),
        largest in prop::sample::select(std::vec![Size::Large, Size::Huge]),
        limit in prop_oneof![1 => 0usize..8, 2 => Just(40)],
    ) {
        run::<Npt>(largest, limit, &steps);
        run::<Ept>(largest, limit, &steps);
    }
}

/// A freeze is as many looks at tables with a record as without, and so is what follows.
#[test]
fn a_record_costs_no_look_at_a_table() {
    let looks = |record: bool| {
        let mut pool = Pool::new(100);
        let mut tree = identity::<Npt>(&mut pool, Size::Huge, 2 * G1);
        let count = Rc::new(Cell::new(0));
        let counter = count.clone();
        pool.spy = Some(Rc::new(move |_| counter.set(counter.get() + 1)));
        for _ in 0..3 {
            tree.turn(record);
            tree.protect_all(&mut pool);
            for page in pages().into_iter().filter(|page| *page < 2 * G1) {
                tree.resolve_write(&mut pool, page);
            }
        }
        count.get()
    };
    assert_eq!(looks(true), looks(false));
}
