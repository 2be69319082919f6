//! Plans against a model: sets of pages.

extern crate std;

use super::*;
use crate::frozen::tests::Ram;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::vec;
use std::vec::Vec;

const HEAD: u64 = 0x40_0000;
const FACTS: Range<u64> = 0x60_000..0x61_000;
/// Memory ends here but for the plan; the page at 0 is none.
const END: u64 = 0x80_000;

const fn is_memory(span: Span) -> bool {
    span.start >= PAGE && span.end <= END || span.start >= HEAD
}

/// A plan in memory, with a page of entries for each `chunk` of them.
fn laid(ram: &mut Ram, states: &[u64], entries: &[(u64, Option<u64>, u64)]) {
    let mut words = vec![0; 8 * WORDS];
    let mut writer = Writer::new(&mut words, HEAD, states).unwrap();
    entries.iter().for_each(|(to, from, count)| writer.push(*to, *from, *count).unwrap());
    for (at, word) in words.into_iter().enumerate().filter(|(_, word)| *word != 0) {
        ram.set_word(HEAD + 8 * at as u64, word);
    }
}

fn checked(ram: &Ram, cpus: usize) -> Option<Plan> {
    Plan::check(ram, HEAD, cpus, &FACTS, is_memory)
}

#[test]
fn a_plan_is_carried_out() {
    let mut ram = Ram::default();
    for page in 1..128 {
        ram.set_word(page * PAGE, page);
    }
    laid(
        &mut ram,
        &[0x7f_000],
        &[(0x2000, Some(0x10_000), 3), (0x8000, None, 2), (0x20_000, Some(0x30_000), 1)],
    );
    let plan = checked(&ram, 1).unwrap();
    assert_eq!(plan.state(&ram, 0), 0x7f_000);
    plan.carry_out(&mut ram);
    let words = [0x1, 0x2, 0x3, 0x4, 0x5, 0x8, 0x9, 0xa, 0x20, 0x21].map(|page| ram.word(page * PAGE));
    assert_eq!(words, [1, 0x10, 0x11, 0x12, 5, 0, 0, 0xa, 0x30, 0x21]);
}

#[test]
fn entries_fill_pages() {
    let mut ram = Ram::default();
    // More than a page of entries: one page each, from far away.
    let entries: Vec<_> = (0..2 * MOST_ENTRIES + 1)
        .map(|at| (HEAD + 0x10_0000 + at * PAGE, Some(HEAD + 0x40_0000 + 2 * at * PAGE), 1))
        .collect();
    laid(&mut ram, &[0x1000], &entries);
    let plan = checked(&ram, 1).unwrap();
    assert_eq!((plan.lists(&ram).count(), plan.entries(&ram).count()), (3, entries.len()));
    let mut words = vec![0; 2 * WORDS];
    assert!(Writer::new(&mut words[1..WORDS], HEAD, &[]).is_none());
    let mut writer = Writer::new(&mut words, HEAD, &[]).unwrap();
    assert_eq!((0..).take_while(|_| writer.push(0, None, 1).is_some()).count() as u64, MOST_ENTRIES);
}

#[test]
fn each_broken_rule_is_seen() {
    let good = [(0x2000, Some(0x10_000), 2), (0x8000, None, 1)];
    let plan = |states: &[u64], entries: &[_], cpus, breaks: &[(u64, u64)]| {
        let mut ram = Ram::default();
        laid(&mut ram, states, entries);
        breaks.iter().for_each(|(at, word)| ram.set_word(HEAD + at, *word));
        checked(&ram, cpus).is_some()
    };
    assert!(plan(&[0x7f_000], &good, 1, &[]));
    assert!(plan(&[0x7f_000], &[], 1, &[]));
    // CPUs too many and too few; states nowhere, and where something goes to.
    assert!(!plan(&[0x7f_000], &good, 2, &[]) && !plan(&[0x7f_000, 0x7e_000], &good, 1, &[]));
    for state in [0, 0x7f_008, END, 0x3000, 0x8000, !0xfff] {
        assert!(!plan(&[state], &good, 1, &[]), "{state:#x}");
    }
    // Links: beside a page, nowhere, in a circle, to a destination; counts.
    for (at, word) in [(0, HEAD + 0x1008), (0, END), (0, 0x2000), (0x1000, HEAD + 0x1000), (0x1000, HEAD)] {
        assert!(!plan(&[0x7f_000], &good, 1, &[(at, word)]), "{at:#x} {word:#x}");
    }
    for count in [0, MOST_ENTRIES, MOST_ENTRIES + 1, u64::MAX] {
        assert!(!plan(&[0x7f_000], &good, 1, &[(0x1008, count)]), "{count}");
    }
    // The head is a destination, or none of memory.
    assert!(!plan(&[0x7f_000], &[(HEAD, None, 1)], 1, &[]));
    assert!(Plan::check(&Ram::default(), END, 0, &FACTS, is_memory).is_none());
    for entry in [
        (0x2000, None, 0),
        (0x2000, None, u64::MAX),
        (0x2008, None, 1),
        (0x2000, Some(0x10_008), 1),
        (0x2000, Some(0x2000), 1),
        (0x2000, Some(0x3000), 2),
        (0, None, 1),
        (0x2000, Some(0), 1),
        (END - PAGE, None, 2),
        (0x2000, Some(END - PAGE), 2),
        (FACTS.start, None, 1),
        (FACTS.start - PAGE, None, 3),
        (!0xfff, None, 1),
    ] {
        assert!(!plan(&[0x7f_000], &[entry], 1, &[]), "{entry:x?}");
    }
    for (first, second) in [
        ((0x8000, None, 1), (0x2000, None, 1)),
        ((0x2000, None, 2), (0x3000, None, 1)),
        ((0x2000, Some(0x20_000), 1), (0x8000, Some(0x10_000), 1)),
        ((0x2000, Some(0x20_000), 2), (0x8000, Some(0x21_000), 1)),
        ((0x2000, Some(0x8000), 1), (0x8000, None, 1)),
    ] {
        assert!(!plan(&[0x7f_000], &[first, second], 1, &[]), "{first:x?} {second:x?}");
    }
}

fn pages(start: u64, count: u64) -> impl Iterator<Item = u64> {
    (0..count).map(move |page| start + page * PAGE)
}

proptest! {
    /// Any entries: accepted exactly if they keep the rules, as sets of pages tell; and then each page is where it belongs.
    #[test]
    fn plans_agree_with_a_model(
        state in 1u64..0x80,
        gaps in prop::collection::vec((0u64..5, 0u64..5, 1u64..4, any::<bool>()), 1..12),
        bases in (1u64..0x40, 1u64..0x60),
        swapped in prop::option::weighted(0.2, (0usize..12, 0usize..12)),
    ) {
        let (mut to, mut from) = (bases.0, bases.1);
        let mut entries: Vec<(u64, Option<u64>, u64)> = gaps.iter().map(|&(skip, leave, count, zero)| {
            (to, from) = (to + skip, from + leave);
            let entry = (to * PAGE, (!zero).then_some(from * PAGE), count);
            (to, from) = (to + count, from + if zero { 0 } else { count });
            entry
        }).collect();
        if let Some((one, other)) = swapped {
            let count = entries.len();
            entries.swap(one % count, other % count);
        }
        let mut ram = Ram::default();
        for page in 0..0x80 {
            ram.set_word(page * PAGE, page + 1);
        }
        laid(&mut ram, &[state * PAGE], &entries);
        let to: Vec<u64> = entries.iter().flat_map(|entry| pages(entry.0, entry.2)).collect();
        let from: Vec<u64> = entries.iter().filter_map(|entry| Some(pages(entry.1?, entry.2))).flatten().collect();
        let ascends = |pages: &[u64]| pages.is_sorted_by(|one, next| one < next);
        let used: BTreeSet<u64> = from.iter().copied().chain([state * PAGE]).collect();
        let good = ascends(&to) && ascends(&from)
            && to.iter().chain(&from).all(|page| (PAGE..END).contains(page))
            && to.iter().all(|page| !used.contains(page) && !FACTS.contains(page));
        let plan = checked(&ram, 1);
        prop_assert_eq!(plan.is_some(), good);
        let Some(plan) = plan else { return Ok(()) };
        let mut model: BTreeMap<u64, u64> = (0..0x80).map(|page| (page * PAGE, page + 1)).collect();
        for (to, from, count) in entries {
            for (at, place) in pages(to, count).enumerate() {
                let word = from.map_or(0, |from| (from + at as u64 * PAGE) / PAGE + 1);
                model.insert(place, word);
            }
        }
        plan.carry_out(&mut ram);
        for (page, word) in model {
            prop_assert_eq!(ram.word(page), word, "{:#x}", page);
        }
    }
}
