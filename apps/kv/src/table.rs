//! A hash table with byte-string keys: entries stored densely, buckets that grow one at a time (linear hashing).
//!
//! - No operation moves everything: growth splits one bucket, and entries live in chunks that are never copied (but for
//!   the first, while it is small).
//! - Entries are numbered 0..len, so a random one is found at once. Removing one moves the last into its place.
//! - A scan goes through the buckets in the order of bit-reversed hashes. A bucket is an interval in that order, however
//!   far the table has grown or shrunk, so a cursor stays valid: what is there all the time is returned at least once.
use crate::bytes::{Bytes, allocation};
use crate::failure::Failure;
use crate::hash::{Seed, hash};
use alloc::vec::Vec;

const CHUNK_SHIFT: u32 = 9;
const CHUNK: usize = 1 << CHUNK_SHIFT;
const NONE: u32 = u32::MAX;
const MIN_BUCKETS: usize = 4;

/// A key and its value.
#[derive(Debug)]
pub(crate) struct Entry<V> {
    pub key: Bytes,
    pub value: V,
    hash: u32,
    next: u32,
}

/// A map from byte strings to `V`.
#[derive(Debug)]
pub(crate) struct Table<V> {
    seed: Seed,
    /// The first entry of each bucket.
    heads: Vec<u32>,
    /// A power of two minus 1, at least `heads.len() - 1` and less than twice as much.
    mask: u32,
    chunks: Vec<Vec<Entry<V>>>,
    len: usize,
    key_bytes: usize,
}

impl<V> Table<V> {
    pub const fn new(seed: Seed) -> Self {
        Self { seed, heads: Vec::new(), mask: 0, chunks: Vec::new(), len: 0, key_bytes: 0 }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[cfg(test)]
    pub fn buckets(&self) -> usize {
        self.heads.len()
    }

    /// Bytes on the heap, apart from those the values point to.
    pub fn heap_bytes(&self) -> usize {
        let entries = match self.chunks.len() {
            0 => 0,
            1 => self.chunks[0].capacity(),
            chunks => chunks * CHUNK,
        };
        allocation(self.heads.capacity() * 4)
            + allocation(self.chunks.capacity() * size_of::<Vec<Entry<V>>>())
            + entries * size_of::<Entry<V>>()
            + self.key_bytes
    }

    pub fn entry(&self, index: usize) -> &Entry<V> {
        &self.chunks[index >> CHUNK_SHIFT][index & (CHUNK - 1)]
    }

    pub fn entry_mut(&mut self, index: usize) -> &mut Entry<V> {
        &mut self.chunks[index >> CHUNK_SHIFT][index & (CHUNK - 1)]
    }

    /// All entries, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = &Entry<V>> {
        self.chunks.iter().flatten()
    }

    #[inline]
    fn bucket(&self, hash: u32) -> usize {
        let index = (hash & self.mask) as usize;
        if index < self.heads.len() { index } else { index & (self.mask >> 1) as usize }
    }

    /// The number of the entry with this key.
    #[inline]
    pub fn find(&self, key: &[u8]) -> Option<usize> {
        if self.len == 0 {
            return None;
        }
        let hash = hash(&self.seed, key);
        let mut at = self.heads[self.bucket(hash)];
        while at != NONE {
            let entry = self.entry(at as usize);
            if entry.hash == hash && *entry.key == *key {
                return Some(at as usize);
            }
            at = entry.next;
        }
        None
    }

    pub fn contains(&self, key: &[u8]) -> bool {
        self.find(key).is_some()
    }

    pub fn value(&self, key: &[u8]) -> Option<&V> {
        self.find(key).map(|index| &self.entry(index).value)
    }

    /// Adds an entry with a key that is not there, and returns its number.
    pub fn insert_new(&mut self, key: Bytes, value: V) -> Result<usize, Failure> {
        if self.len >= NONE as usize - 1 {
            return Err(Failure::OutOfMemory);
        }
        self.reserve_place()?;
        let hash = hash(&self.seed, &key);
        if self.len >= self.heads.len() {
            self.grow()?;
        }
        let bucket = self.bucket(hash);
        let index = self.len;
        self.key_bytes += key.heap_bytes();
        let entry = Entry { key, value, hash, next: self.heads[bucket] };
        self.heads[bucket] = index as u32;
        self.chunks[index >> CHUNK_SHIFT].push(entry);
        self.len += 1;
        Ok(index)
    }

    /// Makes room for one entry more, so that pushing it doesn't allocate.
    fn reserve_place(&mut self) -> Result<(), Failure> {
        let chunk = self.len >> CHUNK_SHIFT;
        if chunk == self.chunks.len() {
            self.chunks.try_reserve(1)?;
            let mut fresh = Vec::new();
            fresh.try_reserve_exact(if chunk == 0 { MIN_BUCKETS } else { CHUNK })?;
            self.chunks.push(fresh);
        } else if self.chunks[chunk].len() == self.chunks[chunk].capacity() {
            let len = self.chunks[chunk].len();
            self.chunks[chunk].try_reserve_exact(len.max(MIN_BUCKETS).min(CHUNK - len))?;
        }
        Ok(())
    }

    /// Adds a bucket: the half of another's entries that belongs there.
    fn grow(&mut self) -> Result<(), Failure> {
        if self.heads.is_empty() {
            self.heads.try_reserve(MIN_BUCKETS)?;
            self.heads.resize(MIN_BUCKETS, NONE);
            self.mask = MIN_BUCKETS as u32 - 1;
            return Ok(());
        }
        self.heads.try_reserve(1)?;
        let fresh = self.heads.len();
        if fresh as u32 > self.mask {
            self.mask = self.mask * 2 + 1;
        }
        let source = fresh & (self.mask >> 1) as usize;
        let (mut kept, mut moved) = (NONE, NONE);
        let mut at = self.heads[source];
        let mask = self.mask;
        while at != NONE {
            let entry = self.entry_mut(at as usize);
            let side = if (entry.hash & mask) as usize == fresh { &mut moved } else { &mut kept };
            let next = core::mem::replace(&mut entry.next, *side);
            *side = at;
            at = next;
        }
        self.heads[source] = kept;
        self.heads.push(moved);
        Ok(())
    }

    /// Gives the last bucket's entries back to the one they came from.
    fn shrink(&mut self) {
        let last = self.heads.len() - 1;
        let Some(mut at) = self.heads.pop() else { return };
        let target = last & (self.mask >> 1) as usize;
        while at != NONE {
            let head = self.heads[target];
            let entry = self.entry_mut(at as usize);
            let next = core::mem::replace(&mut entry.next, head);
            self.heads[target] = at;
            at = next;
        }
        if last as u32 == self.mask.div_ceil(2) {
            self.mask >>= 1;
        }
        if self.heads.capacity() > 8 * self.heads.len() {
            self.heads.shrink_to(2 * self.heads.len());
        }
    }

    /// Lets whatever points to entry `from` point to `to`: the link before it, in its chain.
    fn relink(&mut self, from: usize, to: u32) {
        let bucket = self.bucket(self.entry(from).hash);
        let mut at = self.heads[bucket];
        if at as usize == from {
            self.heads[bucket] = to;
            return;
        }
        while at != NONE {
            let entry = self.entry_mut(at as usize);
            if entry.next as usize == from {
                entry.next = to;
                return;
            }
            at = entry.next;
        }
    }

    /// Takes entry `index` out. The last entry takes its number, and is what the second value says: its old number.
    pub fn remove_at(&mut self, index: usize) -> (Entry<V>, Option<usize>) {
        let next = self.entry(index).next;
        self.relink(index, next);
        let last = self.len - 1;
        if index != last {
            self.relink(last, index as u32);
        }
        let chunk = last >> CHUNK_SHIFT;
        let tail = self.chunks[chunk].pop().expect("the last chunk is not empty");
        if chunk > 0 && self.chunks[chunk].is_empty() {
            self.chunks.pop();
        }
        self.len = last;
        let removed = if index == last { tail } else { core::mem::replace(self.entry_mut(index), tail) };
        self.key_bytes -= removed.key.heap_bytes();
        // Four at a time would do to be done when the last entry goes.
        for _ in 0..5 {
            if self.heads.len() > MIN_BUCKETS && self.len * 4 < self.heads.len() {
                self.shrink();
            }
        }
        (removed, (index != last).then_some(last))
    }

    /// Takes the entry with this key out.
    pub fn remove(&mut self, key: &[u8]) -> Option<Entry<V>> {
        self.find(key).map(|index| self.remove_at(index).0)
    }

    /// Visits the bucket at `cursor` (0 to start) and returns the cursor of the next, 0 after the last.
    pub fn scan(&self, cursor: u32, mut visit: impl FnMut(&Entry<V>)) -> u32 {
        if self.len == 0 {
            return 0;
        }
        let half = self.mask >> 1;
        let low = cursor & half;
        let level = if (low + half + 1) as usize >= self.heads.len() { half } else { self.mask };
        let mut at = self.heads[(cursor & level) as usize];
        while at != NONE {
            let entry = self.entry(at as usize);
            visit(entry);
            at = entry.next;
        }
        (cursor | !level).reverse_bits().wrapping_add(1).reverse_bits()
    }
}

#[cfg(test)]
mod tests;
