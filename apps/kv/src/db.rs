//! A database: keys, values, expiry.
use crate::bytes::{Bytes, allocation};
use crate::failure::Failure;
use crate::hash::Seed;
use crate::table::{Entry, Table};
use crate::value::{Kind, Value};
use alloc::collections::BTreeSet;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

/// The expiry of keys that have none.
pub(crate) const NEVER: u64 = u64::MAX;

/// What a key stands for.
#[derive(Debug)]
pub(crate) struct Slot {
    pub value: Value,
    /// Milliseconds since 1970, or [`NEVER`]. Kept equal to what `Db::expires` says.
    pub expire: u64,
    /// Second of the last access.
    pub access: u32,
}

impl Slot {
    pub fn expire(&self) -> Option<u64> {
        (self.expire != NEVER).then_some(self.expire)
    }

    pub fn access(&self) -> u32 {
        self.access
    }
}

/// One database.
#[derive(Debug)]
pub(crate) struct Db {
    pub table: Table<Slot>,
    /// When which entry expires.
    pub expires: BTreeSet<(u64, u32)>,
    /// What the values have on the heap.
    pub values: usize,
    /// What `Store::used` holds of this database.
    pub accounted: usize,
}

/// What an element of a B-tree set costs.
const EXPIRE_BYTES: usize = 32;

impl Db {
    pub fn new(seed: Seed) -> Self {
        Self { table: Table::new(seed), expires: BTreeSet::new(), values: 0, accounted: 0 }
    }

    pub fn heap_bytes(&self) -> usize {
        self.table.heap_bytes() + self.values + self.expires.len() * EXPIRE_BYTES
    }

    pub fn volatile(&self) -> usize {
        self.expires.len()
    }

    pub fn set_expire(&mut self, index: usize, when: u64) {
        let slot = &mut self.table.entry_mut(index).value;
        let old = core::mem::replace(&mut slot.expire, when);
        if old != NEVER {
            self.expires.remove(&(old, index as u32));
        }
        if when != NEVER {
            self.expires.insert((when, index as u32));
        }
    }

    pub fn remove_at(&mut self, index: usize) -> Entry<Slot> {
        let expire = self.table.entry(index).value.expire;
        self.set_expire(index, NEVER);
        let (mut entry, moved) = self.table.remove_at(index);
        if let Some(from) = moved
            && let Some(when) = self.table.entry(index).value.expire()
        {
            self.expires.remove(&(when, from as u32));
            self.expires.insert((when, index as u32));
        }
        entry.value.expire = expire;
        self.values -= entry.value.value.heap_bytes();
        entry
    }

    pub fn insert(&mut self, key: Bytes, value: Value, now: u64) -> Result<usize, Failure> {
        let bytes = value.heap_bytes();
        let index = self.table.insert_new(key, Slot { value, expire: NEVER, access: (now / 1000) as u32 })?;
        self.values += bytes;
        Ok(index)
    }

    /// The value of entry `index`, to be changed.
    pub fn edit<K: Kind>(&mut self, index: usize) -> Result<Edit<'_, K>, Failure> {
        let slot = &mut self.table.entry_mut(index).value;
        if K::of(&slot.value).is_none() {
            return Err(Failure::WrongType);
        }
        let before = slot.value.heap_bytes();
        Ok(Edit { value: &mut slot.value, values: &mut self.values, before, kind: PhantomData })
    }
}

/// A value being changed; the bytes it takes are accounted for at the end.
pub(crate) struct Edit<'a, K> {
    value: &'a mut Value,
    values: &'a mut usize,
    before: usize,
    kind: PhantomData<K>,
}

impl<K: Kind> Deref for Edit<'_, K> {
    type Target = K;
    fn deref(&self) -> &K {
        K::of(self.value).expect("the type was checked when the edit began")
    }
}

impl<K: Kind> DerefMut for Edit<'_, K> {
    fn deref_mut(&mut self) -> &mut K {
        K::of_mut(self.value).expect("the type was checked when the edit began")
    }
}

impl<K> Drop for Edit<'_, K> {
    fn drop(&mut self) {
        *self.values = *self.values + self.value.heap_bytes() - self.before;
    }
}

/// What a value of this key costs, for MEMORY USAGE.
pub(crate) fn entry_bytes(entry: &Entry<Slot>) -> usize {
    size_of::<Entry<Slot>>() + entry.key.heap_bytes() + entry.value.value.heap_bytes() + allocation(4)
}
