//! Random sequences of operations against a model that knows pages only: no levels, no tables.

use core::ops::Range;

use proptest::prelude::*;

use super::*;

/// The tree maps below this.
const END: u64 = 3 * G1;

/// A stretch between two neighbouring [`points`], as the model has it. `rights` are those that it has when not watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    frame: u64,
    rights: Rights,
    kind: MemoryType,
    watched: bool,
}

impl Stretch {
    fn view(self, offset: u64) -> View {
        let rights = Rights { write: self.rights.write && !self.watched, ..self.rights };
        View { frame: self.frame + offset, rights, kind: self.kind, watched: self.watched }
    }
}

/// Start of each stretch, and what is there.
type Model = BTreeMap<u64, Option<Stretch>>;

#[derive(Clone, Debug)]
pub(super) enum Operation {
    Map(Range<u64>, Rights, MemoryType),
    MapTo(u64, u64, Rights),
    Unmap(Range<u64>),
    Protect(Range<u64>, Rights),
    Watch(Range<u64>),
    Unwatch(Range<u64>),
    Resolve(u64),
    ResolveLarge(u64),
    ProtectAll,
    Thaw(u32),
    Merge,
}

/// Where ranges start and end: pages about the edges of 2 MiB about the edges of 1 GiB.
fn points() -> Vec<u64> {
    let mut points = Vec::new();
    for huge in 0..END / G1 {
        for large in [0, 1, 2, 510, 511] {
            points.extend([0, 1, 2, 511].map(|page| huge * G1 + large * M2 + page * K4));
        }
        points.push(huge * G1 + 3 * M2);
    }
    points.push(END);
    points.sort_unstable();
    points
}

/// Points that start a stretch of a single page.
fn pages() -> Vec<u64> {
    points().windows(2).filter(|pair| pair[1] - pair[0] == K4).map(|pair| pair[0]).collect()
}

pub(super) fn operation() -> impl Strategy<Value = Operation> {
    let point = || prop::sample::select(points());
    let any_range = move || (point(), point()).prop_map(|(one, other)| one.min(other)..one.max(other));
    // One whole leaf is what callers ask for most.
    let leaf = || {
        (0..END / G1, prop::sample::select(std::vec![0, 1, 2, 510, 511]))
            .prop_map(|(huge, large)| huge * G1 + large * M2)
            .prop_map(|start| start..start + M2)
    };
    let range = move || prop_oneof![3 => any_range(), 1 => leaf()];
    let page = || prop::sample::select(pages());
    let rights = || (any::<bool>(), any::<bool>()).prop_map(|(write, execute)| Rights { write, execute });
    let kind = prop_oneof![3 => Just(MemoryType::WriteBack), 1 => Just(MemoryType::WriteCombining)];
    let at_once = prop_oneof![
        1 => page().prop_map(Operation::ResolveLarge),
        2 => Just(Operation::ProtectAll),
        1 => (LEAST_THAWED..9).prop_map(Operation::Thaw),
    ];
    prop_oneof![
        3 => (range(), rights(), kind).prop_map(|(range, rights, kind)| Operation::Map(range, rights, kind)),
        1 => (page(), 0..END / K4, rights()).prop_map(|(page, n, rights)| Operation::MapTo(page, n * K4, rights)),
        1 => range().prop_map(Operation::Unmap),
        2 => (range(), rights()).prop_map(|(range, rights)| Operation::Protect(range, rights)),
        4 => range().prop_map(Operation::Watch),
        2 => range().prop_map(Operation::Unwatch),
        6 => page().prop_map(Operation::Resolve),
        4 => at_once,
        1 => Just(Operation::Merge),
    ]
}

pub(super) fn apply<F: Format>(
    tree: &Tree<F>,
    pool: &mut Pool,
    operation: &Operation,
) -> Result<Option<Resolution>, MapError> {
    match operation.clone() {
        Operation::Map(range, rights, kind) => tree.map(pool, range, rights, kind)?,
        Operation::MapTo(page, frame, rights) => {
            tree.map_to(pool, page, frame, rights, MemoryType::WriteBack)?;
        }
        Operation::Unmap(range) => tree.unmap(pool, range)?,
        Operation::Protect(range, rights) => tree.protect(pool, range, rights)?,
        Operation::Watch(range) => tree.watch(pool, range)?,
        Operation::Unwatch(range) => tree.unwatch(pool, range)?,
        Operation::Resolve(page) => return Ok(Some(tree.resolve_write(pool, page))),
        Operation::ResolveLarge(page) => return Ok(Some(tree.resolve_block(pool, page, |_| Size::Large))),
        Operation::ProtectAll => tree.protect_all(pool),
        Operation::Thaw(most) => {
            let mut from = Some(0);
            while let Some(at) = from {
                from = tree.thaw(pool, at, most);
                assert!(from.is_none_or(|next| next > at), "it gets on");
            }
        }
        Operation::Merge => {
            tree.merge(pool);
        }
    }
    Ok(None)
}

/// What each stretch becomes if an operation succeeds.
fn expected(model: &Model, operation: &Operation) -> Model {
    let mut model = model.clone();
    let mut change = |range: &Range<u64>, change: &dyn Fn(u64, Option<Stretch>) -> Option<Stretch>| {
        for (&start, stretch) in model.range_mut(range.clone()) {
            *stretch = change(start, *stretch);
        }
    };
    match operation {
        Operation::Map(range, rights, kind) => {
            change(range, &|frame, _| Some(Stretch { frame, rights: *rights, kind: *kind, watched: false }))
        }
        Operation::MapTo(page, frame, rights) => change(&(*page..page + K4), &|_, _| {
            Some(Stretch { frame: *frame, rights: *rights, kind: MemoryType::WriteBack, watched: false })
        }),
        Operation::Unmap(range) => change(range, &|_, _| None),
        Operation::Protect(range, rights) => change(range, &|_, stretch| {
            stretch.map(|old| Stretch { rights: *rights, watched: old.watched && rights.write, ..old })
        }),
        Operation::Watch(range) => {
            change(range, &|_, stretch| stretch.map(|old| Stretch { watched: old.rights.write, ..old }))
        }
        Operation::Unwatch(range) => {
            change(range, &|_, stretch| stretch.map(|old| Stretch { watched: false, ..old }));
        }
        Operation::Resolve(page) => {
            change(&(*page..page + K4), &|_, stretch| stretch.map(|old| Stretch { watched: false, ..old }));
        }
        Operation::ResolveLarge(_) | Operation::Merge => {}
        Operation::ProtectAll => return expected(&model, &Operation::Watch(0..END)),
        Operation::Thaw(_) => return expected(&model, &Operation::Unwatch(0..END)),
    }
    model
}

/// Compares every byte that the tree maps with the model, and the ledger of tables.
fn agree<F: Format>(tree: &Tree<F>, pool: &Pool, model: &Model) {
    let ends = model.keys().copied().skip(1).chain([END]);
    let mut stretches = model.iter().map(|(start, stretch)| (*start, *stretch)).zip(ends);
    let mut current = stretches.next();
    let mut at = 0;
    let skip_to = |at: &mut u64,
                   to: u64,
                   current: &mut Option<((u64, Option<Stretch>), u64)>,
                   stretches: &mut dyn Iterator<Item = ((u64, Option<Stretch>), u64)>| {
        while *at < to {
            let ((start, stretch), end) = current.expect("nothing is mapped beyond the model");
            assert_eq!(stretch, None, "stretch at {start:x} is mapped in the model only");
            *at = end.min(to);
            if *at == end {
                *current = stretches.next();
            }
        }
    };
    for (address, leaf) in leaves(tree, pool) {
        assert!(leaf.size <= tree.largest && address % leaf.size.bytes() == 0);
        skip_to(&mut at, address, &mut current, &mut stretches);
        while at < address + leaf.size.bytes() {
            let ((start, stretch), end) = current.expect("nothing is mapped beyond the model");
            let wanted = stretch.map(|stretch| stretch.view(at - start));
            let frame = leaf.address + (at - address);
            let found = View { frame, rights: leaf.rights, kind: leaf.kind, watched: leaf.watched };
            assert_eq!(Some(found), wanted, "at {at:x}");
            at = end.min(address + leaf.size.bytes());
            if at == end {
                current = stretches.next();
            }
        }
    }
    skip_to(&mut at, END, &mut current, &mut stretches);
    for (&start, stretch) in model {
        assert_eq!(view(tree, pool, start + 7), stretch.map(|stretch| stretch.view(7)));
    }
    assert_eq!(tree.census(pool).tables, pool.taken());
}

/// Carries out an operation, and changes the model by what may have come of it.
fn step<F: Format>(tree: &Tree<F>, pool: &mut Pool, model: &mut Model, operation: &Operation) {
    let wanted = expected(model, operation);
    let page = match operation {
        Operation::Resolve(page) | Operation::ResolveLarge(page) => *page,
        _ => 0,
    };
    let block = page & !(M2 - 1)..(page & !(M2 - 1)) + M2;
    let (leaf, old) = (tree.translate(pool, page), model[&page]);
    match apply(tree, pool, operation) {
        Ok(None) => *model = wanted,
        Ok(Some(resolution)) => match (resolution, old) {
            (Resolution::Absent, None) => {}
            (Resolution::NotWatched(found), Some(old)) => {
                assert!(!old.rights.write && Some(found) == leaf);
            }
            (Resolution::Writable, Some(old)) => assert!(old.rights.write && !old.watched),
            (Resolution::Granted { split }, Some(old)) if matches!(operation, Operation::ResolveLarge(_)) => {
                assert!(old.watched && split == leaf.is_some_and(|leaf| leaf.size > Size::Large));
                // All of the block, where it was one leaf.
                let pages = leaf.is_some_and(|leaf| leaf.size == Size::Page);
                *model = expected(
                    model,
                    &if pages { Operation::Resolve(page) } else { Operation::Unwatch(block) },
                );
            }
            (Resolution::Granted { split }, Some(old)) => {
                assert!(old.watched && split == leaf.is_some_and(|leaf| leaf.size > Size::Page));
                *model = wanted;
            }
            (Resolution::Dry { start, size }, Some(old)) => {
                assert!(old.watched && pool.taken() == pool.limit as u64);
                assert!(leaf.is_some_and(|leaf| size <= leaf.size) && size > Size::Page);
                assert!((start..start + size.bytes()).contains(&page));
                *model = expected(model, &Operation::Unwatch(start..start + size.bytes()));
            }
            (resolution, old) => panic!("{resolution:?} of {old:?}"),
        },
        Err(error) => {
            assert_eq!(error, MapError::Dry);
            assert_eq!(pool.taken(), pool.limit as u64);
            if let Operation::Map(..) = operation {
                // Each page is as before or as asked.
                for (start, stretch) in model.iter_mut() {
                    if view(tree, pool, *start) == wanted[start].map(|wanted| wanted.view(0)) {
                        *stretch = wanted[start];
                    }
                }
            }
        }
    }
}

fn run<F: Format>(largest: Size, limit: usize, operations: &[Operation]) -> Vec<(u64, Leaf)> {
    let mut pool = Pool::new(limit);
    let tree = Tree::<F>::new(&mut pool, largest).unwrap();
    let mut model = points().into_iter().filter(|point| *point < END).map(|point| (point, None)).collect();
    for operation in operations {
        step(&tree, &mut pool, &mut model, operation);
        agree(&tree, &pool, &model);
    }
    let leaves = leaves(&tree, &pool);
    tree.dismantle(&mut pool);
    assert_eq!(pool.taken(), 0);
    leaves
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    // Something has to be there first, else most of the rest meets nothing.
    prop::collection::vec(operation(), 1..24).prop_map(|mut operations| {
        operations.insert(0, Operation::Map(0..END, Rights::ALL, MemoryType::WriteBack));
        operations
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_format_does_as_the_model(
        operations in operations(),
        largest in prop::sample::select(std::vec![Size::Large, Size::Huge]),
        limit in prop_oneof![2 => 1usize..30, 1 => Just(1000)],
    ) {
        let npt = run::<Npt>(largest, limit, &operations);
        prop_assert_eq!(&npt, &run::<LongMode>(largest, limit, &operations));
        prop_assert_eq!(&npt, &run::<Ept>(largest, limit, &operations));
    }
}
