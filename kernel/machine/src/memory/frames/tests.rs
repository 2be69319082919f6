use super::*;
use crate::memory::map::RegionKind;
use proptest::prelude::*;
use std::collections::{BTreeSet, HashMap};
use std::vec;
use std::vec::Vec;

#[derive(Default)]
struct Fake(HashMap<u64, u64>);

impl PhysicalWords for Fake {
    fn read(&self, address: u64) -> u64 {
        self.0[&address]
    }
    fn write(&mut self, address: u64, value: u64) {
        self.0.insert(address, value);
    }
}

fn map() -> MemoryMap {
    let mut map = MemoryMap::new();
    map.insert(0, 0x9_f000, RegionKind::Usable);
    map.insert(0x10_0000, 5 << 20, RegionKind::Usable);
    map.insert(0x20_0000, 0x3_3000, RegionKind::Kernel);
    map.insert(LOW_END, 3 << 20, RegionKind::Usable);
    map
}

#[test]
fn high_memory_is_preferred_and_low_memory_can_be_asked_for() {
    let map = map();
    let mut state = vec![0; state_bytes(&map)];
    let mut frames = Frames::new(Fake::default(), &mut state);
    frames.add(&map, 0..LOW_END);
    frames.add(&map, LOW_END..u64::MAX);
    assert!(frames.allocate(0, Place::Any).unwrap() >= LOW_END);
    assert!(frames.allocate(0, Place::Low).unwrap() < LOW_END);
    assert!(frames.allocate(0, Place::Near).unwrap() < NEAR_END);
    assert_eq!(frames.allocate(MAX_ORDER + 1, Place::Any), None);
    assert_eq!(frames.allocate(MAX_ORDER, Place::Any), None);
}

/// The first GiB is for those that ask for it, as long as there is other memory.
#[test]
fn what_is_near_is_taken_last() {
    let mut map = MemoryMap::new();
    for start in [NEAR_END - 4 * PAGE, NEAR_END, LOW_END] {
        map.insert(start, 2 * PAGE, RegionKind::Usable);
    }
    let mut state = vec![0; state_bytes(&map)];
    let mut frames = Frames::new(Fake::default(), &mut state);
    frames.add(&map, 0..u64::MAX);
    let order = [Place::Near, Place::Low, Place::Any, Place::Any, Place::Any, Place::Near];
    let zones = order.map(|place| frames.allocate(0, place).map(zone));
    assert_eq!(zones, [0, 1, 2, 2, 1, 0].map(Some));
    assert_eq!(frames.allocate(0, Place::Near), None);
}

#[test]
fn what_was_not_taken_is_not_freed() {
    let map = map();
    let mut state = vec![0; state_bytes(&map)];
    let mut frames = Frames::new(Fake::default(), &mut state);
    frames.add(&map, 0..LOW_END);
    frames.add(&map, LOW_END..u64::MAX);
    let block = frames.allocate(2, Place::Any).unwrap();
    assert_eq!(frames.free(block, 1), Err(FreeError::NotTaken));
    assert_eq!(frames.free(block + PAGE, 0), Err(FreeError::NotTaken));
    assert_eq!(frames.free(0x20_0000, 0), Err(FreeError::NotTaken));
    assert_eq!(frames.free(!4095, 0), Err(FreeError::NotTaken));
    assert_eq!(frames.free(block, 2), Ok(()));
    assert_eq!(frames.free(block, 2), Err(FreeError::NotTaken));
}

proptest! {
    #[test]
    fn blocks_never_overlap_and_all_comes_back(
        operations in proptest::collection::vec((0u64..40, any::<bool>(), any::<prop::sample::Index>()), 1..300),
    ) {
        let map = map();
        let mut state = vec![0; state_bytes(&map)];
        let mut frames = Frames::new(Fake::default(), &mut state);
    frames.add(&map, 0..LOW_END);
    frames.add(&map, LOW_END..u64::MAX);
        let before = frames.lists;
        let statistics = frames.statistics();
        prop_assert_eq!(statistics.total, statistics.free);
        let mut taken: Vec<(u64, u64)> = Vec::new();
        for (pages, take, index) in operations {
            if take {
                if pages == 0 { continue; }
                if let Some(start) = frames.allocate_pages(pages) {
                    let end = start + pages * PAGE;
                    prop_assert!(map.usable().any(|region| region.start <= start && end <= region.end));
                    prop_assert!(taken.iter().all(|&(other, count)| end <= other || other + count * PAGE <= start));
                    taken.push((start, pages));
                }
            } else if !taken.is_empty() {
                let (start, pages) = taken.swap_remove(index.index(taken.len()));
                prop_assert_eq!(frames.free_pages(start, pages), Ok(()));
            }
            let used: u64 = taken.iter().map(|each| each.1).sum();
            prop_assert_eq!(frames.statistics().free, statistics.free - used);
        }
        for (start, pages) in taken {
            prop_assert_eq!(frames.free_pages(start, pages), Ok(()));
        }
        // The same largest blocks are whole again (the order within a list is not).
        for (zone, lists) in before.iter().enumerate() {
            for (order, head) in lists.iter().enumerate() {
                prop_assert_eq!(*head == NIL, frames.lists[zone][order] == NIL, "order {}", order);
            }
        }
    }
}

#[test]
fn the_cache_moves_frames_by_halves() {
    let mut cache = FrameCache::new();
    let mut next = 0;
    let frame = cache.take(|| {
        next += 1;
        Some(next * PAGE)
    });
    assert_eq!((frame, next, cache.len()), (Some(32 * PAGE), 32, 31));
    let mut drained = 0;
    for frame in 100..200 {
        cache.give(frame * PAGE, |_| drained += 1);
    }
    assert_eq!(cache.len() + drained, 131);
    assert!(cache.len() <= FrameCache::CAPACITY);
    let mut empty = FrameCache::new();
    assert_eq!(empty.take(|| None), None);
}

proptest! {
    /// Read in pieces of any size, the table has what was handed out and nothing else.
    #[test]
    fn the_table_tells_what_is_taken(
        orders in proptest::collection::vec((0u32..6, any::<bool>()), 0..60),
        piece in 1usize..5000,
    ) {
        let map = map();
        let mut state = vec![0; state_bytes(&map)];
        let mut frames = Frames::new(Fake::default(), &mut state);
        frames.add(&map, 0..LOW_END);
        frames.add(&map, LOW_END..u64::MAX);
        let mut held = Vec::new();
        for (order, is_kept) in orders {
            if let Some(block) = frames.allocate(order, if is_kept { Place::Low } else { Place::Any }) {
                held.push((block, order));
            }
            if !is_kept && let Some((block, order)) = held.pop() {
                frames.free(block, order).unwrap();
            }
        }
        held.sort_unstable();
        let mut taken = Taken::default();
        let mut read = Vec::new();
        for (number, states) in state.chunks(piece).enumerate() {
            read.extend(taken.read((number * piece) as u64, states));
        }
        prop_assert_eq!(read, held);
    }
}

proptest! {
    #[test]
    fn free_frames_of_a_span_are_claimed_and_no_others(
        asked in prop::collection::vec(0u32..4, 0..200),
        freed in prop::collection::vec(any::<bool>(), 200),
        first in 0u64..1600,
        count in 1u64..500,
    ) {
        let map = map();
        let mut state = vec![0; state_bytes(&map)];
        let mut frames = Frames::new(Fake::default(), &mut state);
        frames.add(&map, 0..LOW_END);
        let blocks: Vec<_> = asked.iter().map_while(|&order| Some((frames.allocate(order, Place::Low)?, order))).collect();
        let mut taken = Vec::new();
        for (&(block, order), &is_freed) in blocks.iter().zip(&freed) {
            if is_freed {
                frames.free(block, order).unwrap();
            } else {
                taken.extend((0..1 << order).map(|page| block + page * PAGE));
            }
        }
        let before = frames.statistics();
        let span = first * PAGE..(first + count) * PAGE;
        let is_usable = |at| map.usable().any(|region| (region.start.max(PAGE)..region.end).contains(&at));
        let expected: Vec<_> = span
            .clone()
            .step_by(PAGE as usize)
            .filter(|at| is_usable(*at) && !taken.contains(at))
            .collect();
        let (mut claimed, mut at) = (Vec::new(), span.start);
        while let Some((start, pages)) = frames.claim(at..span.end) {
            claimed.push((start, pages));
            at = start + pages * PAGE;
        }
        let pages = claimed.iter().flat_map(|&(start, pages)| (0..pages).map(move |page| start + page * PAGE));
        prop_assert_eq!(pages.collect::<Vec<_>>(), expected);
        // None is handed out twice, and all come back.
        while let Some(frame) = frames.allocate(0, Place::Any) {
            prop_assert!(!taken.contains(&frame) && !span.contains(&frame));
            taken.push(frame);
        }
        prop_assert_eq!(frames.statistics().free, 0);
        claimed.iter().for_each(|&(start, pages)| frames.free_pages(start, pages).unwrap());
        prop_assert_eq!(frames.statistics().free, claimed.iter().map(|(_, pages)| pages).sum::<u64>());
        prop_assert_eq!(frames.statistics().total, before.total);
    }

    #[test]
    fn links_are_made_anew_where_there_is_memory(
        asked in prop::collection::vec(0u32..6, 0..100),
        end in 0u64..1600,
    ) {
        let map = map();
        let mut state = vec![0; state_bytes(&map)];
        let mut frames = Frames::new(Fake::default(), &mut state);
        frames.add(&map, 0..LOW_END);
        let blocks: Vec<_> = asked.iter().map_while(|&order| Some((frames.allocate(order, Place::Low)?, order))).collect();
        let all = frames.statistics();
        frames.memory.0.clear();
        let end = end * PAGE;
        let memory = [0..end, LOW_END..1 << 46];
        frames.relink(&memory);
        let is_taken =
            |at| blocks.iter().any(|&(block, order)| (block..block + (PAGE << order)).contains(&at));
        let usable = map.usable().flat_map(|region| (region.start.max(PAGE)..region.end).step_by(PAGE as usize));
        let expected: Vec<_> = usable.filter(|&at| at < end && !is_taken(at)).collect();
        prop_assert_eq!(frames.statistics().free, expected.len() as u64);
        prop_assert_eq!(frames.statistics().total, all.total - all.free + expected.len() as u64);
        let mut handed_out: Vec<_> = core::iter::from_fn(|| frames.allocate(0, Place::Any)).collect();
        handed_out.sort_unstable();
        prop_assert_eq!(&handed_out, &expected);
        // Nor is more of what was taken.
        for &(block, order) in &blocks {
            frames.free_here(block, order, &memory).unwrap();
            prop_assert_eq!(frames.free_here(block, order, &memory), Err(FreeError::NotTaken));
        }
        let mut handed_out: Vec<_> = core::iter::from_fn(|| frames.allocate(0, Place::Any)).collect();
        handed_out.sort_unstable();
        let kept: Vec<_> = { blocks.iter() }
            .flat_map(|&(block, order)| (block..block + (PAGE << order)).step_by(PAGE as usize))
            .filter(|at| *at < end)
            .collect();
        prop_assert!(handed_out.iter().eq(BTreeSet::from_iter(&kept)));
        prop_assert_eq!(frames.statistics(), FrameStatistics { total: (expected.len() + kept.len()) as u64, free: 0 });
    }
}
