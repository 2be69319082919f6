use super::*;
use alloc::format;
use std::collections::{HashMap, HashSet};

fn key(i: u64) -> Bytes {
    Bytes::new(format!("key:{i:012}").as_bytes()).unwrap()
}

#[test]
fn behaves_like_a_map() {
    let mut table = Table::new([3, 4]);
    let mut model = HashMap::new();
    let mut random = crate::hash::Rng::new(7);
    for step in 0..60_000u64 {
        let range = if step < 30_000 { 5_000 } else { 300 };
        let k = random.next() % range;
        if random.next().is_multiple_of(3) {
            assert_eq!(table.remove(&key(k)).map(|entry| entry.value), model.remove(&k));
        } else if let Some(index) = table.find(&key(k)) {
            table.entry_mut(index).value = step;
            assert!(model.insert(k, step).is_some());
        } else {
            table.insert_new(key(k), step).unwrap();
            assert!(model.insert(k, step).is_none());
        }
        assert_eq!(table.len(), model.len());
    }
    for (k, v) in &model {
        assert_eq!(table.value(&key(*k)), Some(v));
    }
    assert_eq!(table.iter().count(), model.len());
    for k in 0..5_000 {
        table.remove(&key(k));
    }
    assert_eq!((table.len(), table.buckets()), (0, MIN_BUCKETS));
    assert_eq!(table.key_bytes, 0);
}

#[test]
fn a_scan_misses_nothing_that_stays() {
    for (start, grow_to, shrink_to) in [(10, 3_000, 10), (3_000, 3_000, 20), (500, 5_000, 400), (1, 64, 1)] {
        let mut table = Table::new([1, start]);
        for k in 0..start {
            table.insert_new(key(k), k).unwrap();
        }
        let (mut cursor, mut seen, mut next, mut steps) = (0, HashSet::new(), start, 0);
        loop {
            cursor = table.scan(cursor, |entry| {
                seen.insert(entry.value);
            });
            if cursor == 0 {
                break;
            }
            steps += 1;
            for _ in 0..5 {
                if next < grow_to && steps % 50 < 25 {
                    table.insert_new(key(next), next).unwrap();
                    next += 1;
                } else if next > shrink_to.max(start) {
                    next -= 1;
                    table.remove(&key(next));
                }
            }
        }
        assert!((0..start).all(|k| seen.contains(&k)), "{start} {grow_to} {shrink_to}");
    }
}

#[test]
fn a_scan_of_a_table_at_rest_returns_each_once() {
    let mut table = Table::new([1, 2]);
    for k in 0..1_000 {
        table.insert_new(key(k), k).unwrap();
        if k % 37 == 0 {
            let (mut cursor, mut seen) = (0, 0);
            loop {
                cursor = table.scan(cursor, |_| seen += 1);
                if cursor == 0 {
                    break;
                }
            }
            assert_eq!(seen, k + 1);
        }
    }
}
