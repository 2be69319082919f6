//! The members of a sorted set in order: chunks of a sorted array. Everything is found by rank.
use crate::bytes::{Bytes, allocation};
use crate::failure::Failure;
use alloc::vec::Vec;
use core::cmp::Ordering;

const MAX_CHUNK: usize = 256;

/// A member and its score.
pub(crate) type Scored = (f64, Bytes);

/// Scores in order (never NaN), equal ones by the bytes of the members.
#[derive(Debug, Default)]
pub(crate) struct Order {
    chunks: Vec<Vec<Scored>>,
    len: usize,
    capacity: usize,
}

fn compare(element: &Scored, score: f64, member: &[u8]) -> Ordering {
    element.0.partial_cmp(&score).unwrap_or(Ordering::Equal).then_with(|| (*element.1).cmp(member))
}

impl Order {
    pub fn len(&self) -> usize {
        self.len
    }

    /// Bytes on the heap, apart from those of long members.
    pub fn heap_bytes(&self) -> usize {
        self.capacity * size_of::<Scored>() + allocation(self.chunks.capacity() * size_of::<Vec<Scored>>())
    }

    /// Chunk and place in it of the first element that is not `before`.
    fn locate(&self, before: impl Fn(&Scored) -> bool) -> (usize, usize) {
        let chunk = self.chunks.partition_point(|chunk| chunk.last().is_some_and(&before));
        (chunk, self.chunks.get(chunk).map_or(0, |chunk| chunk.partition_point(before)))
    }

    /// How many elements are `before`, which is true for a first part of the order.
    pub fn rank_by(&self, before: impl Fn(&Scored) -> bool) -> usize {
        let (chunk, place) = self.locate(before);
        self.chunks[..chunk].iter().map(Vec::len).sum::<usize>() + place
    }

    /// How many elements come before this one.
    pub fn rank(&self, score: f64, member: &[u8]) -> usize {
        self.rank_by(|element| compare(element, score, member).is_lt())
    }

    /// Adds a member that is not there.
    pub fn insert(&mut self, score: f64, member: Bytes) -> Result<(), Failure> {
        let (mut chunk, mut place) = self.locate(|element| compare(element, score, &member).is_lt());
        if chunk == self.chunks.len() {
            if chunk > 0 {
                chunk -= 1;
                place = self.chunks[chunk].len();
            } else {
                self.chunks.try_reserve(1)?;
                self.chunks.push(Vec::new());
            }
        }
        if self.chunks[chunk].len() >= MAX_CHUNK {
            self.chunks.try_reserve(1)?;
            // Members that come in order fill chunks to the brim; others split them in halves.
            let at_end = place == MAX_CHUNK && chunk + 1 == self.chunks.len();
            let cut = if at_end { MAX_CHUNK } else { MAX_CHUNK / 2 };
            let mut upper = Vec::new();
            upper.try_reserve_exact(MAX_CHUNK)?;
            upper.extend(self.chunks[chunk].drain(cut..));
            self.capacity += upper.capacity();
            self.chunks.insert(chunk + 1, upper);
            if place > cut || at_end {
                chunk += 1;
                place -= cut;
            }
        }
        let target = &mut self.chunks[chunk];
        let before = target.capacity();
        target.try_reserve(1)?;
        self.capacity += target.capacity() - before;
        target.insert(place, (score, member));
        self.len += 1;
        Ok(())
    }

    /// Takes a member out.
    pub fn remove(&mut self, score: f64, member: &[u8]) -> Option<Scored> {
        let (chunk, place) = self.locate(|element| compare(element, score, member).is_lt());
        let found = self.chunks.get(chunk).and_then(|chunk| chunk.get(place))?;
        if compare(found, score, member).is_ne() {
            return None;
        }
        let removed = self.chunks[chunk].remove(place);
        if self.chunks[chunk].is_empty() {
            self.capacity -= self.chunks[chunk].capacity();
            self.chunks.remove(chunk);
        }
        self.len -= 1;
        Some(removed)
    }

    /// The element of this rank.
    pub fn at(&self, rank: usize) -> Option<&Scored> {
        let (chunk, place) = self.place(rank)?;
        self.chunks[chunk].get(place)
    }

    fn place(&self, mut rank: usize) -> Option<(usize, usize)> {
        for (number, chunk) in self.chunks.iter().enumerate() {
            if rank < chunk.len() {
                return Some((number, rank));
            }
            rank -= chunk.len();
        }
        None
    }

    /// `count` elements from `rank` on, upwards or (in `reverse`) downwards.
    pub fn walk(&self, rank: usize, count: usize, reverse: bool) -> impl Iterator<Item = &Scored> {
        let mut at = self.place(rank);
        core::iter::from_fn(move || {
            let (chunk, place) = at?;
            let element = self.chunks.get(chunk)?.get(place)?;
            at = if reverse {
                match (chunk, place) {
                    (0, 0) => None,
                    (_, 0) => Some((chunk - 1, self.chunks[chunk - 1].len() - 1)),
                    _ => Some((chunk, place - 1)),
                }
            } else if place + 1 < self.chunks[chunk].len() {
                Some((chunk, place + 1))
            } else {
                Some((chunk + 1, 0))
            };
            Some(element)
        })
        .take(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::Rng;

    #[test]
    fn behaves_like_a_sorted_array() {
        let mut order = Order::default();
        let mut model: Vec<(i64, alloc::string::String)> = Vec::new();
        let mut random = Rng::new(5);
        for _ in 0..8_000 {
            let score = random.below(900) as i64;
            let member = alloc::format!("m{}", random.below(3));
            let at = model.binary_search(&(score, member.clone()));
            match at {
                Ok(at) if random.below(3) == 0 => {
                    model.remove(at);
                    assert!(order.remove(score as f64, member.as_bytes()).is_some());
                }
                Ok(at) => assert_eq!(order.rank(score as f64, member.as_bytes()), at),
                Err(at) => {
                    assert!(order.remove(score as f64, member.as_bytes()).is_none());
                    order.insert(score as f64, Bytes::new(member.as_bytes()).unwrap()).unwrap();
                    model.insert(at, (score, member));
                }
            }
        }
        assert_eq!(order.len(), model.len());
        let flat = |(score, member): &Scored| {
            (*score as i64, alloc::string::String::from_utf8(member.to_vec()).unwrap())
        };
        let walked: Vec<_> = order.walk(0, usize::MAX, false).map(flat).collect();
        assert_eq!(walked, model);
        let back: Vec<_> = order.walk(model.len() - 1, usize::MAX, true).map(flat).collect();
        assert!(back.iter().rev().eq(model.iter()));
        assert_eq!(order.at(17).map(flat).as_ref(), model.get(17));
        assert_eq!(order.rank_by(|element| element.0 < 450.0), model.partition_point(|m| m.0 < 450));
        for (score, member) in model {
            assert!(order.remove(score as f64, member.as_bytes()).is_some());
        }
        assert_eq!((order.len(), order.capacity), (0, 0));
    }
}
