//! Merged checkpoints say what a full one would.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::string::ToString;

type Failure = MergeError<Infallible, Infallible>;

fn merged(parts: &[Vec<u8>], key: Option<&Key>) -> Result<Vec<u8>, Failure> {
    merge(parts.iter().map(|part| &part[..]), Vec::new(), key, MIN_CHUNK).map(|(bytes, _)| bytes)
}

/// What changes between two checkpoints: pages by frame that are written, allocated, or given back.
type Change = BTreeMap<u64, Option<u8>>;

fn frame_numbers() -> impl Strategy<Value = u64> {
    prop_oneof![1u64..0x20, UPPER..UPPER + 0x20]
}

/// An incremental checkpoint of `memory`, of which `changed` were written since the one before.
fn increment(number: u8, memory: &Memory, changed: &BTreeSet<u64>, key: Option<&Key>) -> Vec<u8> {
    let ranges = memory.iter().map(|(frame, page)| {
        let kind = match (changed.contains(frame), page) {
            (false, _) => FrameKind::Base,
            // Zero pages are elided in either way.
            (true, 0) if frame % 2 == 0 => FrameKind::Zero,
            (true, _) => FrameKind::Here,
        };
        (*frame, 1, kind)
    });
    let mut manifest = manifest(frames(&ranges.collect::<Vec<_>>()));
    manifest.header.id = [number + 1; 16];
    manifest.header.base = Some([number; 16]);
    manifest.header.monotonic += u64::from(number);
    manifest.cpus[0][0] = number;
    write(manifest, memory, key)
}

/// All pages of a checkpoint, zero ones too.
fn contents(found: &Found) -> BTreeMap<u64, Vec<u8>> {
    let ranges = found.manifest.frames.ranges().iter();
    let zero =
        ranges.filter(|range| range.kind == FrameKind::Zero).flat_map(|range| range.first..range.end());
    zero.map(|frame| (frame, page(0))).chain(found.pages.clone()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn merged_is_as_if_full(
        base in proptest::collection::btree_map(frame_numbers(), 0u8..6, 0..40),
        changes in proptest::collection::vec(
            proptest::collection::btree_map(frame_numbers(), proptest::option::weighted(0.8, 0u8..6), 0..20), 0..4),
        is_keyed: bool,
    ) {
        let key = is_keyed.then_some(sample_key());
        let mut memory: Memory = base;
        let mut parts = vec![write(manifest(listed(&memory)), &memory, key.as_ref())];
        for (number, change) in changes.iter().enumerate() {
            let change: &Change = change;
            let changed = change.keys().copied().collect();
            for (frame, page) in change {
                match page {
                    Some(page) => drop(memory.insert(*frame, *page)),
                    None => drop(memory.remove(frame)),
                }
            }
            parts.push(increment(number as u8 + 1, &memory, &changed, key.as_ref()));
        }
        let all = read(&merged(&parts, key.as_ref()).unwrap(), key.clone(), 5000).unwrap();
        let model = memory.iter().map(|(frame, number)| (*frame, page(*number))).collect::<BTreeMap<_, _>>();
        prop_assert_eq!(&contents(&all), &model);
        let last = parts.last().unwrap();
        let mut last = read(last, key.clone(), last.len()).unwrap().manifest;
        last.header.base = None;
        last.frames = all.manifest.frames.clone();
        prop_assert_eq!(&all.manifest, &last);
        // In two steps it is the same.
        if parts.len() > 2 {
            let first = merged(&parts[..2], key.as_ref()).unwrap();
            let rest = [&[first], &parts[2..]].concat();
            let again = read(&merged(&rest, key.as_ref()).unwrap(), key, 5000).unwrap();
            prop_assert_eq!(contents(&again), model);
        }
    }
}

fn three() -> Vec<Vec<u8>> {
    let mut memory: Memory = (2..12).map(|frame| (frame, frame as u8)).collect();
    let base = write(manifest(listed(&memory)), &memory, None);
    memory.insert(3, 1);
    let one = increment(1, &memory, &[3].into(), None);
    memory.insert(20, 5);
    vec![base, one, increment(2, &memory, &[20].into(), None)]
}

#[test]
fn each_has_to_build_on_the_one_before() {
    let parts = three();
    assert!(merged(&parts, None).is_ok());
    let refused = |order: &[usize]| {
        merged(&order.iter().map(|&at| parts[at].clone()).collect::<Vec<_>>(), None).unwrap_err()
    };
    assert_eq!(refused(&[]), MergeError::Count);
    assert_eq!(refused(&[1]), MergeError::NoBase);
    assert_eq!(refused(&[1, 2]), MergeError::NoBase);
    assert_eq!(refused(&[0, 2]), MergeError::Order(1));
    assert_eq!(refused(&[0, 0]), MergeError::Order(1));
    assert_eq!(refused(&[0, 1, 1]), MergeError::Order(2));
    // One alone is written anew.
    let alone = read(&merged(&parts[..1], None).unwrap(), None, 5000).unwrap();
    assert_eq!(alone, read(&parts[0], None, 5000).unwrap());
}

#[test]
fn what_is_wrong_with_one_is_wrong_with_all() {
    for at in 0..3 {
        let mut parts = three();
        let end = parts[at].len();
        parts[at].truncate(end - 1);
        let error = merged(&parts, None).unwrap_err();
        assert_eq!(error, MergeError::Input(at, Error::Truncated(end as u64 - 1).into()));
        assert!(error.to_string().starts_with(&std::format!("checkpoint {at}: it ends after")), "{error}");
        let mut parts = three();
        parts[at].push(0);
        assert_eq!(merged(&parts, None).unwrap_err(), MergeError::Input(at, Error::Trailing.into()));
    }
    let key = Error::KeyUnwanted.into();
    assert_eq!(merged(&three(), Some(&sample_key())).unwrap_err(), MergeError::Input(0, key));
}

#[test]
fn what_is_left_to_the_base_has_to_be_there() {
    let memory: Memory = [(2, 1), (4, 1)].into();
    let base = write(manifest(listed(&memory)), &memory, None);
    for (frame, at) in [(1, 1), (3, 3), (5, 5)] {
        let memory: Memory = memory.clone().into_iter().chain([(frame, 1)]).collect();
        let part = increment(1, &memory, &BTreeSet::new(), None);
        let error = Error::Frame(at, FrameFault::NotInBase).into();
        assert_eq!(merged(&[base.clone(), part], None).unwrap_err(), MergeError::Input(1, error));
    }
}

#[test]
fn too_many_are_not_merged() {
    let memory: Memory = [(2, 1)].into();
    let base = write(manifest(listed(&memory)), &memory, None);
    let rest = (1..=MAX_LAYERS as u8).map(|number| increment(number, &memory, &BTreeSet::new(), None));
    let mut parts: Vec<_> = [base].into_iter().chain(rest).collect();
    assert_eq!(merged(&parts, None).unwrap_err(), MergeError::Count);
    parts.pop();
    assert!(merged(&parts, None).is_ok());
}
