//! Tests on tables in a map, with a walker that may look between any two accesses.

extern crate std;

mod between;
mod building;
mod formats;
mod model;
mod protecting;
mod recording;
mod single;

use core::cell::{Cell, OnceCell};
use core::sync::atomic::{AtomicU64, Ordering};
use std::boxed::Box;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::vec::Vec;

use super::*;

const K4: u64 = 4 << 10;
const M2: u64 = 2 << 20;
const G1: u64 = 1 << 30;

/// What a table holds when it is taken: present in every format, and wrong.
const GARBAGE: u64 = 0x8dea_dbee_fbad_0fff;

/// Called before every access to a table in use.
type Spy = Rc<dyn Fn(&Pool)>;

/// A table, filled by plain stores until the first look at it as one in use.
struct Slot {
    fresh: Box<[u64; ENTRIES]>,
    live: OnceCell<Box<[AtomicU64; ENTRIES]>>,
}

/// A reserve of `limit` tables.
struct Pool {
    slots: BTreeMap<u64, Slot>,
    next: u64,
    limit: usize,
    spy: Option<Spy>,
    spying: Cell<bool>,
}

impl Pool {
    fn new(limit: usize) -> Self {
        Self { slots: BTreeMap::new(), next: 0x7_0000_0000, limit, spy: None, spying: Cell::new(false) }
    }

    fn taken(&self) -> u64 {
        self.slots.len() as u64
    }

    /// Leaves `left` tables in the reserve.
    fn leave(&mut self, left: usize) {
        self.limit = self.slots.len() + left;
    }

    fn live(&self, table: u64) -> &[AtomicU64; ENTRIES] {
        let slot = self.slots.get(&table).expect("only tables that were taken are used");
        slot.live.get_or_init(|| Box::new(slot.fresh.map(AtomicU64::new)))
    }
}

impl Clone for Pool {
    fn clone(&self) -> Self {
        let mut slots = BTreeMap::new();
        for &table in self.slots.keys() {
            let mut fresh = Box::new([0; ENTRIES]);
            for (copy, entry) in fresh.iter_mut().zip(self.live(table)) {
                *copy = entry.load(Ordering::Relaxed);
            }
            slots.insert(table, Slot { fresh, live: OnceCell::new() });
        }
        Self { slots, next: self.next, limit: self.limit, spy: None, spying: Cell::new(false) }
    }
}

impl Tables for Pool {
    fn entry(&self, table: u64, index: usize) -> &AtomicU64 {
        if let Some(spy) = &self.spy
            && !self.spying.replace(true)
        {
            spy(self);
            self.spying.set(false);
        }
        &self.live(table)[index]
    }

    fn entries(&self, table: u64) -> &[AtomicU64; ENTRIES] {
        self.entry(table, 0);
        self.live(table)
    }

    fn take(&mut self) -> Option<(u64, &mut [u64; ENTRIES])> {
        if self.slots.len() >= self.limit {
            return None;
        }
        let table = self.next;
        self.next += K4;
        let slot = Slot { fresh: Box::new([GARBAGE; ENTRIES]), live: OnceCell::new() };
        Some((table, &mut self.slots.entry(table).or_insert(slot).fresh))
    }

    fn give_back(&mut self, table: u64) {
        assert!(self.slots.remove(&table).is_some(), "given back once, and taken before");
    }
}

/// What a guest sees of a page, whatever the size of the leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct View {
    frame: u64,
    rights: Rights,
    kind: MemoryType,
    watched: bool,
}

fn view<F: Format>(tree: &Tree<F>, pool: &Pool, address: u64) -> Option<View> {
    let leaf = tree.translate(pool, address)?;
    let frame = leaf.address + (address & (leaf.size.bytes() - 1));
    Some(View { frame, rights: leaf.rights, kind: leaf.kind, watched: leaf.watched })
}

fn leaves<F: Format>(tree: &Tree<F>, pool: &Pool) -> Vec<(u64, Leaf)> {
    let mut leaves = Vec::new();
    tree.visit(pool, |address, leaf| leaves.push((address, leaf)));
    leaves
}

/// An identity tree over the first `bytes`, all rights, write back.
fn identity<F: Format>(pool: &mut Pool, largest: Size, bytes: u64) -> Tree<F> {
    let tree = Tree::new(pool, largest).unwrap();
    tree.map(pool, 0..bytes, Rights::ALL, MemoryType::WriteBack).unwrap();
    tree
}
