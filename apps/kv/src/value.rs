//! What keys hold.
use crate::bytes::{Bytes, allocation};
use crate::failure::Failure;
use crate::hash::Seed;
use crate::number::parse_i64;
use crate::order::Order;
use crate::table::Table;
use alloc::boxed::Box;
use alloc::collections::VecDeque;

/// The value of a key.
#[derive(Debug)]
pub(crate) enum Value {
    String(Bytes),
    List(Box<List>),
    Hash(Box<Hash>),
    Set(Box<Set>),
    Sorted(Box<Sorted>),
}

/// Up to so many elements Redis keeps hashes, sets and sorted sets in its compact encodings.
const COMPACT_LEN: usize = 128;
const COMPACT_ELEMENT: usize = 64;
const INTSET_LEN: usize = 512;

impl Value {
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::String(bytes) => bytes.heap_bytes(),
            Self::List(list) => {
                allocation(size_of::<List>()) + list.items.capacity() * size_of::<Bytes>() + list.heap
            }
            Self::Hash(hash) => allocation(size_of::<Hash>()) + hash.table.heap_bytes() + hash.heap,
            Self::Set(set) => allocation(size_of::<Set>()) + set.table.heap_bytes(),
            Self::Sorted(sorted) => {
                allocation(size_of::<Sorted>())
                    + sorted.table.heap_bytes()
                    + sorted.order.heap_bytes()
                    + sorted.heap
            }
        }
    }

    pub fn type_name(&self) -> &'static str {
        match self {
            Self::String(_) => "string",
            Self::List(_) => "list",
            Self::Hash(_) => "hash",
            Self::Set(_) => "set",
            Self::Sorted(_) => "zset",
        }
    }

    /// The encoding Redis would use for this value.
    pub fn encoding(&self) -> &'static str {
        match self {
            Self::String(bytes) if parse_i64(bytes).is_some() => "int",
            Self::String(bytes) if bytes.len() <= 44 => "embstr",
            Self::String(_) => "raw",
            Self::Hash(hash) if hash.large => "hashtable",
            Self::Sorted(sorted) if sorted.large => "skiplist",
            Self::Set(set) if !set.words && set.table.len() <= INTSET_LEN => "intset",
            Self::Set(_) => "hashtable",
            Self::List(_) => "quicklist",
            Self::Hash(_) | Self::Sorted(_) => "listpack",
        }
    }

    /// A collection without elements, which must not stay.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::String(_) => false,
            Self::List(list) => list.items.is_empty(),
            Self::Hash(hash) => hash.table.is_empty(),
            Self::Set(set) => set.table.is_empty(),
            Self::Sorted(sorted) => sorted.table.is_empty(),
        }
    }

    /// A copy, for COPY.
    pub fn duplicate(&self, seed: Seed) -> Result<Self, Failure> {
        Ok(match self {
            Self::String(bytes) => Self::String(Bytes::new(bytes)?),
            Self::List(list) => {
                let mut copy = List::default();
                for item in &list.items {
                    copy.push(item, false)?;
                }
                Self::List(Box::new(copy))
            }
            Self::Hash(hash) => {
                let mut copy = Hash::fresh(seed);
                for entry in hash.table.iter() {
                    copy.set(&entry.key, Bytes::new(&entry.value)?)?;
                }
                Self::Hash(Box::new(copy))
            }
            Self::Set(set) => {
                let mut copy = Set::fresh(seed);
                for entry in set.table.iter() {
                    copy.add(&entry.key)?;
                }
                Self::Set(Box::new(copy))
            }
            Self::Sorted(sorted) => {
                let mut copy = Sorted::fresh(seed);
                for entry in sorted.table.iter() {
                    copy.set(&entry.key, entry.value)?;
                }
                Self::Sorted(Box::new(copy))
            }
        })
    }
}

/// A type of value, for lookups that fail with WRONGTYPE.
pub(crate) trait Kind: Sized {
    fn of(value: &Value) -> Option<&Self>;
    fn of_mut(value: &mut Value) -> Option<&mut Self>;
    /// An empty value of the type.
    fn fresh(seed: Seed) -> Self;
    fn wrap(self) -> Value;
}

macro_rules! kind {
    ($type:ty, $variant:ident, |$seed:ident| $fresh:expr, |$value:ident| $wrapped:expr) => {
        impl Kind for $type {
            fn of(value: &Value) -> Option<&Self> {
                if let Value::$variant(inner) = value { Some(inner) } else { None }
            }
            fn of_mut(value: &mut Value) -> Option<&mut Self> {
                if let Value::$variant(inner) = value { Some(inner) } else { None }
            }
            fn fresh($seed: Seed) -> Self {
                $fresh
            }
            fn wrap(self) -> Value {
                let $value = self;
                Value::$variant($wrapped)
            }
        }
    };
}

kind!(Bytes, String, |_seed| Bytes::empty(), |value| value);
kind!(List, List, |_seed| List::default(), |value| Box::new(value));
kind!(Hash, Hash, |seed| Hash { table: Table::new(seed), heap: 0, large: false }, |value| Box::new(value));
kind!(Set, Set, |seed| Set { table: Table::new(seed), words: false }, |value| Box::new(value));
kind!(
    Sorted,
    Sorted,
    |seed| Sorted { table: Table::new(seed), order: Order::default(), heap: 0, large: false },
    |value| Box::new(value)
);

/// A list.
#[derive(Debug, Default)]
pub(crate) struct List {
    pub items: VecDeque<Bytes>,
    /// What the items have on the heap.
    heap: usize,
}

impl List {
    pub fn push(&mut self, item: &[u8], front: bool) -> Result<(), Failure> {
        let item = Bytes::new(item)?;
        self.items.try_reserve(1)?;
        self.gain(&item);
        if front {
            self.items.push_front(item)
        } else {
            self.items.push_back(item)
        }
        Ok(())
    }

    pub fn pop(&mut self, front: bool) -> Option<Bytes> {
        let item = if front { self.items.pop_front() } else { self.items.pop_back() }?;
        self.lose(&item);
        if self.items.capacity() > 64 && self.items.len() * 8 < self.items.capacity() {
            self.items.shrink_to(self.items.len() * 2);
        }
        Some(item)
    }

    pub fn insert(&mut self, index: usize, item: &[u8]) -> Result<(), Failure> {
        let item = Bytes::new(item)?;
        self.items.try_reserve(1)?;
        self.gain(&item);
        self.items.insert(index, item);
        Ok(())
    }

    pub fn remove(&mut self, index: usize) {
        if let Some(item) = self.items.remove(index) {
            self.lose(&item);
        }
    }

    pub fn replace(&mut self, index: usize, item: &[u8]) -> Result<(), Failure> {
        let item = Bytes::new(item)?;
        self.gain(&item);
        let old = core::mem::replace(&mut self.items[index], item);
        self.lose(&old);
        Ok(())
    }

    fn gain(&mut self, item: &Bytes) {
        self.heap += item.heap_bytes();
    }

    fn lose(&mut self, item: &Bytes) {
        self.heap -= item.heap_bytes();
    }
}

/// A hash: fields and their values.
#[derive(Debug)]
pub(crate) struct Hash {
    pub table: Table<Bytes>,
    heap: usize,
    large: bool,
}

impl Hash {
    /// Sets a field; true if it is new.
    pub fn set(&mut self, field: &[u8], value: Bytes) -> Result<bool, Failure> {
        self.large |= field.len() > COMPACT_ELEMENT || value.len() > COMPACT_ELEMENT;
        self.heap += value.heap_bytes();
        if let Some(index) = self.table.find(field) {
            let old = core::mem::replace(&mut self.table.entry_mut(index).value, value);
            self.heap -= old.heap_bytes();
            return Ok(false);
        }
        let gained = value.heap_bytes();
        let added = Bytes::new(field).and_then(|field| self.table.insert_new(field, value));
        if added.is_err() {
            self.heap -= gained;
        }
        added?;
        self.large |= self.table.len() > COMPACT_LEN;
        Ok(true)
    }

    pub fn remove(&mut self, field: &[u8]) -> bool {
        let Some(entry) = self.table.remove(field) else { return false };
        self.heap -= entry.value.heap_bytes();
        true
    }
}

/// A set.
#[derive(Debug)]
pub(crate) struct Set {
    pub table: Table<()>,
    /// It has, or had, members that are no integers.
    words: bool,
}

impl Set {
    /// Adds a member; true if it is new.
    pub fn add(&mut self, member: &[u8]) -> Result<bool, Failure> {
        if self.table.contains(member) {
            return Ok(false);
        }
        self.words |= parse_i64(member).is_none();
        self.table.insert_new(Bytes::new(member)?, ())?;
        self.words |= self.table.len() > INTSET_LEN;
        Ok(true)
    }
}

/// A sorted set.
#[derive(Debug)]
pub(crate) struct Sorted {
    pub table: Table<f64>,
    pub order: Order,
    /// What the members in `order` have on the heap.
    heap: usize,
    large: bool,
}

impl Sorted {
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        self.table.value(member).copied()
    }

    /// Gives a member its score; true if it is new.
    pub fn set(&mut self, member: &[u8], score: f64) -> Result<bool, Failure> {
        if let Some(index) = self.table.find(member) {
            let old = self.table.entry(index).value;
            if old != score {
                let moved = self.order.remove(old, member);
                self.table.entry_mut(index).value = score;
                let member = moved.map_or_else(|| Bytes::new(member), |(_, member)| Ok(member))?;
                self.order.insert(score, member)?;
            }
            return Ok(false);
        }
        let (key, copy) = (Bytes::new(member)?, Bytes::new(member)?);
        let gained = copy.heap_bytes();
        let index = self.table.insert_new(key, score)?;
        if let Err(failure) = self.order.insert(score, copy) {
            self.table.remove_at(index);
            return Err(failure);
        }
        self.heap += gained;
        self.large |= member.len() > COMPACT_ELEMENT || self.table.len() > COMPACT_LEN;
        Ok(true)
    }

    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let score = self.table.remove(member)?.value;
        if let Some((_, member)) = self.order.remove(score, member) {
            self.heap -= member.heap_bytes();
        }
        Some(score)
    }
}
