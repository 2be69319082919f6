//! The store: 16 databases, and what all connections share.
use crate::bytes::Bytes;
use crate::client::Client;
use crate::config::Config;
use crate::db::{Db, Edit, NEVER};
use crate::failure::Failure;
use crate::hash::{Rng, Seed};
use crate::value::{Kind, Value};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;

/// How many databases SELECT knows.
pub(crate) const DATABASES: usize = 16;

/// Figures for INFO.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    pub started: u64,
    pub connections: u64,
    pub rejected: u64,
    pub commands: u64,
    pub hits: u64,
    pub misses: u64,
    pub expired: u64,
    pub evicted: u64,
    pub errors: u64,
    pub input: u64,
    pub output: u64,
    pub peak: usize,
    pub ops_per_second: u64,
    pub sampled: (u64, u64),
}

/// A database and a key in it.
pub(crate) type Place = (usize, Vec<u8>);

/// All data, and what connections share.
#[derive(Debug)]
pub struct Store {
    pub(crate) dbs: Vec<Db>,
    /// The database of the command being executed.
    pub(crate) current: usize,
    /// Milliseconds since 1970 when it began.
    pub(crate) now: u64,
    pub(crate) seed: Seed,
    pub(crate) random: Rng,
    pub(crate) config: Config,
    pub(crate) stats: Stats,
    /// Counts changes.
    pub(crate) dirty: u64,
    used: usize,
    /// What connections hold in buffers.
    buffers: usize,
    pub(crate) clients: BTreeMap<u64, Rc<Client>>,
    next_client: u64,
    pub(crate) watchers: BTreeMap<Place, Vec<u64>>,
    pub(crate) waiters: BTreeMap<Place, VecDeque<u64>>,
    /// Keys that clients wait for and that were changed.
    pub(crate) ready: Vec<Place>,
    pub(crate) channels: BTreeMap<Vec<u8>, BTreeSet<u64>>,
    pub(crate) patterns: BTreeMap<Vec<u8>, BTreeSet<u64>>,
    pub(crate) run_id: String,
}

impl Store {
    /// An empty store. `seed`, which clients must not know, keys the hashes; `now` is in milliseconds since 1970.
    #[must_use]
    pub fn new(seed: [u64; 2], now: u64) -> Self {
        let mut random = Rng::new(seed[0] ^ seed[1].rotate_left(32));
        let mut run_id = String::new();
        while run_id.len() < 40 {
            run_id.push_str(&alloc::format!("{:08x}", random.next() as u32));
        }
        Self {
            dbs: (0..DATABASES).map(|_| Db::new(seed)).collect(),
            current: 0,
            now,
            seed,
            random,
            config: Config::default(),
            stats: Stats { started: now, ..Stats::default() },
            dirty: 0,
            used: 0,
            buffers: 0,
            clients: BTreeMap::new(),
            next_client: 1,
            watchers: BTreeMap::new(),
            waiters: BTreeMap::new(),
            ready: Vec::new(),
            channels: BTreeMap::new(),
            patterns: BTreeMap::new(),
            run_id,
        }
    }

    /// Bytes that data and connection buffers take.
    pub fn used_memory(&self) -> usize {
        self.used + self.buffers
    }

    /// Bytes that data take.
    pub(crate) fn used_data(&self) -> usize {
        self.used
    }

    /// Keys in all databases.
    pub fn keys(&self) -> usize {
        self.dbs.iter().map(|db| db.table.len()).sum()
    }

    /// Brings the account of a database up to date.
    pub(crate) fn settle(&mut self, number: usize) {
        let db = &mut self.dbs[number];
        let bytes = db.heap_bytes();
        self.used = self.used + bytes - core::mem::replace(&mut db.accounted, bytes);
        self.stats.peak = self.stats.peak.max(self.used + self.buffers);
    }

    /// Whether connections may hold `more` bytes in buffers; if so, they are accounted for. A quarter of the memory limit
    /// is set aside for that.
    pub(crate) fn lend(&mut self, client: &Client, bytes: usize) -> bool {
        let before = client.buffered.get();
        let limit =
            if self.config.maxmemory == 0 { usize::MAX } else { (self.config.maxmemory / 4).max(1 << 20) };
        if bytes > before && self.buffers + bytes - before > limit {
            return false;
        }
        self.buffers = self.buffers + bytes - before;
        client.buffered.set(bytes);
        true
    }

    /// Whether there are as many connections as there may be. Counts one that is turned away for that.
    pub(crate) fn is_full(&mut self) -> bool {
        let full = self.clients.len() >= self.config.max_clients;
        self.stats.rejected += u64::from(full);
        full
    }

    /// Adds a connection.
    pub(crate) fn join(&mut self, address: String, now: u64) -> Rc<Client> {
        let client = Client::new(self.next_client, address, now, self.config.password.is_empty());
        self.next_client += 1;
        self.stats.connections += 1;
        self.clients.insert(client.id, client.clone());
        client
    }

    /// Forgets a connection.
    pub(crate) fn leave(&mut self, client: &Client) {
        self.lend(client, 0);
        self.unwatch(client.id);
        self.unblock(client);
        crate::commands::pubsub::leave(self, client);
        self.clients.remove(&client.id);
    }

    /// Nobody's keys are watched for this client any more.
    pub(crate) fn unwatch(&mut self, id: u64) {
        if !self.watchers.is_empty() {
            self.watchers.retain(|_, ids| {
                ids.retain(|other| *other != id);
                !ids.is_empty()
            });
        }
    }

    pub(crate) fn db(&mut self) -> &mut Db {
        &mut self.dbs[self.current]
    }

    /// The number of a key's entry in the current database. A key whose time is over is removed instead.
    pub(crate) fn find(&mut self, key: &[u8]) -> Option<usize> {
        let (now, db) = (self.now, &mut self.dbs[self.current]);
        let index = db.table.find(key)?;
        if db.table.entry(index).value.expire > now {
            return Some(index);
        }
        self.remove_expired(self.current, index);
        None
    }

    fn remove_expired(&mut self, number: usize, index: usize) {
        self.dbs[number].remove_at(index);
        self.settle(number);
        self.stats.expired += 1;
        self.dirty += 1;
    }

    /// The value of a key, for reading.
    pub(crate) fn read<K: Kind>(&mut self, key: &[u8]) -> Result<Option<&K>, Failure> {
        let Some(index) = self.find(key) else {
            self.stats.misses += 1;
            return Ok(None);
        };
        self.stats.hits += 1;
        let slot = &mut self.dbs[self.current].table.entry_mut(index).value;
        slot.access = (self.now / 1000) as u32;
        K::of(&slot.value).map(Some).ok_or(Failure::WrongType)
    }

    /// The same without any effect; expired keys must have been removed (by `find`).
    pub(crate) fn peek<K: Kind>(&self, key: &[u8]) -> Result<Option<&K>, Failure> {
        let db = &self.dbs[self.current];
        let Some(index) = db.table.find(key) else { return Ok(None) };
        K::of(&db.table.entry(index).value.value).map(Some).ok_or(Failure::WrongType)
    }

    /// The value of a key, to be changed.
    pub(crate) fn edit<K: Kind>(&mut self, key: &[u8]) -> Result<Option<Edit<'_, K>>, Failure> {
        let Some(index) = self.find(key) else { return Ok(None) };
        let second = (self.now / 1000) as u32;
        let db = self.db();
        db.table.entry_mut(index).value.access = second;
        db.edit(index).map(Some)
    }

    /// The value of a key, to be changed; an empty one if there is no such key. `reap` must follow if nothing is added.
    pub(crate) fn edit_or_create<K: Kind>(&mut self, key: &[u8]) -> Result<Edit<'_, K>, Failure> {
        let index = match self.find(key) {
            Some(index) => index,
            None => {
                let (seed, now) = (self.seed, self.now);
                self.db().insert(Bytes::new(key)?, K::fresh(seed).wrap(), now)?
            }
        };
        self.db().edit(index)
    }

    /// Removes a collection that has become empty.
    pub(crate) fn reap(&mut self, key: &[u8]) {
        if let Some(index) = self.db().table.find(key)
            && self.db().table.entry(index).value.value.is_empty()
        {
            self.db().remove_at(index);
        }
    }

    /// Gives a key a value, in place of whatever it had, and without expiry.
    pub(crate) fn put(&mut self, key: &[u8], value: Value) -> Result<usize, Failure> {
        let now = self.now;
        let db = &mut self.dbs[self.current];
        let Some(index) = db.table.find(key) else { return db.insert(Bytes::new(key)?, value, now) };
        db.set_expire(index, NEVER);
        let slot = &mut db.table.entry_mut(index).value;
        slot.access = (now / 1000) as u32;
        let gained = value.heap_bytes();
        let lost = core::mem::replace(&mut slot.value, value).heap_bytes();
        db.values = db.values + gained - lost;
        Ok(index)
    }

    /// Removes a key; true if it was there.
    pub(crate) fn remove(&mut self, key: &[u8]) -> bool {
        let Some(index) = self.find(key) else { return false };
        self.db().remove_at(index);
        true
    }

    /// Empties a database.
    pub(crate) fn flush(&mut self, number: usize) {
        self.dirty += 1;
        self.dbs[number] = Db { accounted: self.dbs[number].accounted, ..Db::new(self.seed) };
        self.settle(number);
        for ((db, _), ids) in &self.watchers {
            if *db == number {
                ids.iter().filter_map(|id| self.clients.get(id)).for_each(|client| client.stale.set(true));
            }
        }
    }

    /// Notes that a key was changed: for those that watch it or wait for it.
    pub(crate) fn changed(&mut self, number: usize, key: &[u8]) {
        if self.watchers.is_empty() && self.waiters.is_empty() {
            return;
        }
        let place = (number, key.to_vec());
        if let Some(ids) = self.watchers.get(&place) {
            ids.iter().filter_map(|id| self.clients.get(id)).for_each(|client| client.stale.set(true));
        }
        if self.waiters.contains_key(&place) && !self.ready.contains(&place) {
            self.ready.push(place);
        }
    }

    /// Removes keys whose time is over by `now`, at most `budget` of them. Returns how many it removed.
    pub fn expire_cycle(&mut self, now: u64, budget: usize) -> usize {
        self.now = now.max(self.now);
        let mut removed = 0;
        for number in 0..DATABASES {
            while removed < budget {
                let Some((when, index)) = self.dbs[number].expires.first().copied() else { break };
                if when > self.now {
                    break;
                }
                self.remove_expired(number, index as usize);
                removed += 1;
            }
        }
        removed
    }

    /// Updates figures that are measured over time; called a few times a second.
    pub fn tick(&mut self, now: u64) {
        let (then, count) = self.stats.sampled;
        if now >= then + 1000 {
            self.stats.ops_per_second = (self.stats.commands - count) * 1000 / (now - then).max(1);
            self.stats.sampled = (now, self.stats.commands);
        }
    }

    /// Sets the memory limit in bytes (0: none).
    pub fn set_maxmemory(&mut self, bytes: usize) {
        self.config.maxmemory = bytes;
    }

    /// Sets the password that clients must say (empty: none).
    pub fn set_password(&mut self, password: &[u8]) {
        self.config.password = password.to_vec();
    }

    /// Whether a command that needs memory may run; evicts keys if the policy says so.
    pub(crate) fn has_memory(&mut self) -> bool {
        let limit = self.config.maxmemory;
        while limit != 0 && self.used > limit {
            let Some((number, index)) = crate::config::victim(self) else { return false };
            let entry = self.dbs[number].remove_at(index);
            self.settle(number);
            self.stats.evicted += 1;
            self.changed(number, &entry.key);
        }
        true
    }

    /// The first key to expire in a database.
    pub(crate) fn first_to_expire(&self, number: usize) -> Option<(u64, usize)> {
        self.dbs[number].expires.first().map(|(when, index)| (*when, *index as usize))
    }
}
