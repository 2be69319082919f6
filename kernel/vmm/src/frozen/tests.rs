//! The snapshot over a memory in a map.

extern crate std;

use super::*;
use proptest::prelude::*;
use std::boxed::Box;
use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;

/// Physical memory. Pages that nobody has written are zero.
#[derive(Debug, Default)]
pub(crate) struct Ram {
    words: BTreeMap<u64, u64>,
    /// States that were put somewhere.
    pub states: BTreeMap<u64, CpuState>,
}

impl Pages for Ram {
    fn copy_page(&mut self, from: u64, to: u64) {
        assert!(from != to && (from | to).is_multiple_of(PAGE));
        let words: Vec<_> =
            self.words.range(from..from + PAGE).map(|(at, word)| (at - from, *word)).collect();
        self.clear(to);
        self.words.extend(words.into_iter().map(|(at, word)| (to + at, word)));
    }
    fn clear(&mut self, page: u64) {
        self.words.retain(|at, _| !(page..page + PAGE).contains(at));
    }
    fn fill(&mut self, page: u64, word: u64) {
        (page..page + PAGE).step_by(8).for_each(|at| self.set_word(at, word));
    }
    fn word(&self, address: u64) -> u64 {
        assert!(address.is_multiple_of(8));
        self.words.get(&address).copied().unwrap_or(0)
    }
    fn set_word(&mut self, address: u64, value: u64) {
        assert!(address.is_multiple_of(8));
        self.words.insert(address, value);
    }
    fn put_state(&mut self, page: u64, state: &CpuState) {
        self.states.insert(page, *state);
    }
    fn state(&self, page: u64) -> CpuState {
        self.states.get(&page).copied().unwrap_or_default()
    }
}

fn list(count: usize) -> &'static mut [Span] {
    Box::leak(std::vec![Span::default(); count].into_boxed_slice())
}

const fn span(start: u64, pages: u64) -> Span {
    Span { start, end: start + pages * PAGE }
}

const OWN: Span = span(0x7000_0000, 8);
const DONATED: u64 = 0x5000_0000;
const BUFFER: Span = span(0x600_0000, 512);

/// A snapshot that has just begun, with room for 8 pages and `donated` more.
fn frozen(donated: u64) -> Frozen {
    let mut frozen = Frozen::new(list(4), list(4), 1 << 39);
    frozen.arena.set_own(OWN);
    if donated > 0 {
        frozen.arena.donated.insert(span(DONATED, donated)).unwrap();
    }
    frozen.exempt.insert(BUFFER).unwrap();
    frozen.begin();
    frozen
}

fn fetched(frozen: &Frozen, ram: &mut Ram, frame: u64) -> Result<u64, FrozenError> {
    frozen.fetch(ram, span(frame, 1), BUFFER.start)?;
    Ok(ram.word(BUFFER.start + 8))
}

#[test]
fn what_is_kept_is_what_was_there() {
    let (mut frozen, mut ram) = (frozen(0), Ram::default());
    ram.set_word(0x10_0008, 1);
    ram.set_word(0x10_1008, 2);
    assert_eq!(frozen.keep(&mut ram, 0x10_0234, false), Size::Page);
    ram.set_word(0x10_0008, 7);
    assert_eq!(fetched(&frozen, &mut ram, 0x10_0000), Ok(1));
    assert_eq!(fetched(&frozen, &mut ram, 0x10_1000), Ok(2));
    // Both at once.
    frozen.fetch(&mut ram, span(0x10_0000, 2), BUFFER.start + PAGE).unwrap();
    assert_eq!([PAGE, 2 * PAGE].map(|at| ram.word(BUFFER.start + at + 8)), [1, 2]);
    frozen.end();
    assert_eq!(frozen.keep(&mut ram, 0x10_1000, false), Size::Huge);
    assert_eq!(fetched(&frozen, &mut ram, 0x10_0000), Err(FrozenError::Stage));
}

#[test]
fn what_is_exempt_or_sent_is_not_kept() {
    let (mut frozen, mut ram) = (frozen(8), Ram::default());
    assert_eq!(frozen.keep(&mut ram, BUFFER.start + 5, false), Size::Large);
    for absent in [BUFFER.start, DONATED, DONATED + 7 * PAGE] {
        assert_eq!(fetched(&frozen, &mut ram, absent), Err(FrozenError::Absent));
    }
    for to in [BUFFER.start - PAGE, BUFFER.end, 0, u64::MAX - 2 * PAGE + 1] {
        assert_eq!(frozen.fetch(&mut ram, span(0x10_0000, 1), to), Err(FrozenError::Absent));
    }
    assert_eq!(frozen.fetch(&mut ram, span(0x10_0000, 2), BUFFER.end - PAGE), Err(FrozenError::Absent));
    assert_eq!(frozen.pass(&mut ram, 0x30_1000), Ok(0x30_1000));
    assert_eq!(fetched(&frozen, &mut ram, 0x30_0000), Err(FrozenError::Absent));
    assert_eq!(frozen.keep(&mut ram, 0x1f_ffff, false), Size::Large);
    assert_eq!(frozen.keep(&mut ram, 0x30_0fff, false), Size::Page);
    assert_eq!(frozen.pass(&mut ram, 0x30_0000), Err(FrozenError::Absent));
    assert_eq!(fetched(&frozen, &mut ram, 0x30_1000), Ok(0));
}

#[test]
fn without_room_it_is_spoilt_and_nothing_is_touched_any_more() {
    let (mut frozen, mut ram) = (frozen(0), Ram::default());
    // Three pages of index, five copies.
    for page in 0..5 {
        assert_eq!(frozen.keep(&mut ram, page * PAGE, false), Size::Page);
    }
    assert_eq!(frozen.check(), Ok(()));
    assert_eq!(frozen.keep(&mut ram, 6 * PAGE, false), Size::Huge);
    let before = ram.words.clone();
    assert_eq!(frozen.keep(&mut ram, 7 * PAGE, false), Size::Huge);
    assert_eq!(fetched(&frozen, &mut ram, 0), Err(FrozenError::Spoilt));
    assert_eq!(frozen.pass(&mut ram, PAGE), Err(FrozenError::Spoilt));
    assert_eq!(ram.words, before);
    // The next one has all the room again.
    frozen.end();
    frozen.over();
    frozen.begin();
    assert!((0..5).all(|page| frozen.keep(&mut ram, page * PAGE, false) == Size::Page));
}

/// What was sent makes room: more is written than there is room for at once.
#[test]
fn copies_that_were_sent_are_used_again() {
    let (mut frozen, mut ram) = (frozen(0), Ram::default());
    for page in 0..2000 {
        ram.set_word(page * PAGE + 8, page);
        assert_eq!(frozen.keep(&mut ram, page * PAGE, false), Size::Page);
        ram.set_word(page * PAGE + 8, !0);
        assert_eq!(fetched(&frozen, &mut ram, page * PAGE), Ok(page));
        assert_eq!(frozen.pass(&mut ram, (page + 1) * PAGE), Ok((page + 1) * PAGE));
    }
    // A call passes so much and no more.
    for block in 0..2 {
        frozen.keep(&mut ram, 0x100_0000 + block * BLOCK, false);
    }
    let (mut calls, mut mark) = (0, 0);
    while mark < 1 << 39 {
        mark = frozen.pass(&mut ram, 1 << 39).unwrap();
        calls += 1;
    }
    assert!(calls > 1 && frozen.check().is_ok());
}

/// Cleared pages wait for the next freeze; none is used twice, and all of the room is used.
#[test]
fn pages_are_cleared_before_the_freeze() {
    let mut ram = Ram::default();
    let own = span(OWN.start, 40);
    (own.start..own.end).step_by(8).for_each(|at| ram.set_word(at, !0));
    let mut arena = Arena::new(Spans::new(list(1)));
    arena.set_own(own);
    for stocked in [true, false, true] {
        if stocked {
            arena.stock_up(&mut ram);
        }
        arena.start();
        let mut taken = BTreeSet::new();
        for round in 0.. {
            let clear = round % 2 == 0;
            let page = if clear { arena.take_clear(&mut ram) } else { arena.take(&ram) };
            let Some(page) = page else { break };
            assert!(taken.insert(page) && (own.start..own.end).contains(&page));
            assert!(!clear || (page..page + PAGE).step_by(8).all(|at| ram.word(at) == 0));
            ram.set_word(page + 16, !0);
        }
        assert!(taken.len() > 30);
    }
}

#[test]
fn spans_are_kept_in_order() {
    let mut spans = Spans::new(list(3));
    for start in [0x20_0000, 0x60_0000, 0x40_0000] {
        spans.insert(span(start, 512)).unwrap();
    }
    assert_eq!(spans.insert(span(0x80_0000, 1)), Err(SpanError::Full));
    assert_eq!(spans.insert(span(0x3f_f000, 2)), Err(SpanError::Overlap));
    let starts: Vec<_> = spans.as_slice().iter().map(|span| span.start).collect();
    assert_eq!(starts, [0x20_0000, 0x40_0000, 0x60_0000]);
    assert!(spans.contains(span(0x40_1000, 3)) && !spans.contains(span(0x3f_f000, 2)));
    assert!(spans.overlaps(span(0x7f_f000, 9)) && !spans.overlaps(span(0x80_0000, 9)));
    assert!(!spans.overlaps(span(0x1f_f000, 1)) && spans.overlaps(span(0, 1 << 20)));
    spans.remove(span(0x40_0000, 512));
    assert!(!spans.contains(span(0x40_1000, 3)) && spans.contains(span(0x60_1000, 3)));
    assert_eq!(spans.pop(), Some(span(0x60_0000, 512)));
}

/// Frames that tests write: neighbours, of other blocks, of another GiB, of beyond the first 512 GiB.
fn frames() -> Vec<u64> {
    let bases = [0, BLOCK, 5 * BLOCK, 1 << 30, (1 << 39) + BLOCK];
    bases.into_iter().flat_map(|base| (1..4).map(move |page| base + page * PAGE)).collect()
}

proptest! {
    /// Whatever is written and sent in whatever order: what is fetched is what was there at the freeze, or the snapshot says that it
    /// is lost; and no page is used for two things.
    #[test]
    fn the_past_stays_as_it_was(
        donated in 0u64..40,
        steps in prop::collection::vec((0usize..15, 0u32..4), 1..120),
    ) {
        let mut frozen = Frozen::new(list(4), list(4), 1 << 40);
        frozen.arena.set_own(OWN);
        if donated > 0 {
            frozen.arena.donated.insert(span(DONATED, donated)).unwrap();
        }
        frozen.exempt.insert(BUFFER).unwrap();
        let (frames, mut ram) = (frames(), Ram::default());
        for frame in &frames {
            ram.set_word(frame + 8, frame | 1);
        }
        frozen.begin();
        let mut written = BTreeSet::new();
        let mut mark = 0;
        for (place, what) in steps {
            let frame = frames[place];
            match what {
                0 | 1 if written.insert(frame) => {
                    let block = frozen.keep(&mut ram, frame, false);
                    prop_assert!(block == Size::Page || frame < mark || frozen.check().is_err());
                    ram.set_word(frame + 8, 7);
                }
                3 if place % 4 == 0 => match frozen.pass(&mut ram, frame.max(mark)) {
                    Ok(now) => mark = now,
                    Err(error) => prop_assert_eq!(error, FrozenError::Spoilt),
                },
                _ => match fetched(&frozen, &mut ram, frame) {
                    Ok(word) => prop_assert_eq!(word, frame | 1),
                    Err(FrozenError::Absent) => prop_assert!(frame < mark),
                    Err(error) => prop_assert_eq!(error, FrozenError::Spoilt),
                },
            }
        }
        // The system's own words are what it wrote.
        for frame in &frames {
            let now = if written.contains(frame) { 7 } else { frame | 1 };
            prop_assert_eq!(ram.word(frame + 8), now);
        }
        let ours = |at: &u64| [OWN, BUFFER, span(DONATED, donated)].iter().any(|s| (s.start..s.end).contains(at));
        prop_assert!(ram.words.keys().all(|at| ours(at) || frames.contains(&(at & !(PAGE - 1)))));
    }
}
