//! Settings that clients can read and change with CONFIG.
use crate::number::parse_i64;
use crate::store::{DATABASES, Store};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// What to remove when the memory limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    NoEviction,
    AllKeysLru,
    AllKeysRandom,
    VolatileTtl,
}

const POLICIES: [(&str, Policy); 4] = [
    ("noeviction", Policy::NoEviction),
    ("allkeys-lru", Policy::AllKeysLru),
    ("allkeys-random", Policy::AllKeysRandom),
    ("volatile-ttl", Policy::VolatileTtl),
];

#[derive(Debug)]
pub(crate) struct Config {
    /// Bytes of data; 0: no limit.
    pub maxmemory: usize,
    pub policy: Policy,
    pub password: Vec<u8>,
    pub max_clients: usize,
    /// Bytes of a request.
    pub query_limit: usize,
    /// Bytes of replies that a client has not taken.
    pub output_limit: usize,
}

/// What the requests of one transaction may take.
const MAX_TRANSACTION: usize = 256 << 20;

impl Default for Config {
    fn default() -> Self {
        Self {
            maxmemory: 0,
            policy: Policy::NoEviction,
            password: Vec::new(),
            max_clients: 10_000,
            query_limit: 1 << 30,
            output_limit: 1 << 30,
        }
    }
}

/// Settings that say what is so and cannot be changed.
const FIXED: [(&str, &str); 12] = [
    ("save", ""),
    ("appendonly", "no"),
    ("databases", "16"),
    ("proto-max-bulk-len", "536870912"),
    ("list-max-listpack-size", "-2"),
    ("hash-max-listpack-entries", "128"),
    ("hash-max-listpack-value", "64"),
    ("set-max-intset-entries", "512"),
    ("zset-max-listpack-entries", "128"),
    ("zset-max-listpack-value", "64"),
    ("notify-keyspace-events", ""),
    ("timeout", "0"),
];

const CHANGEABLE: [&str; 6] = [
    "maxmemory",
    "maxmemory-policy",
    "requirepass",
    "maxclients",
    "client-query-buffer-limit",
    "client-output-buffer-limit",
];

impl Config {
    /// All settings and their values.
    pub fn entries(&self) -> impl Iterator<Item = (&'static str, Vec<u8>)> + '_ {
        let fixed = FIXED.iter().map(|(name, value)| (*name, value.as_bytes().to_vec()));
        fixed.chain(CHANGEABLE.iter().map(|name| (*name, self.value(name))))
    }

    fn value(&self, name: &str) -> Vec<u8> {
        match name {
            "maxmemory" => self.maxmemory.to_string().into_bytes(),
            "maxmemory-policy" => self.policy_name().as_bytes().to_vec(),
            "requirepass" => self.password.clone(),
            "maxclients" => self.max_clients.to_string().into_bytes(),
            "client-query-buffer-limit" => self.query_limit.to_string().into_bytes(),
            _ => self.output_limit.to_string().into_bytes(),
        }
    }

    /// Bytes of replies to one client: half of the memory for data at most.
    pub fn output_bound(&self) -> usize {
        if self.maxmemory == 0 {
            self.output_limit
        } else {
            self.output_limit.min((self.maxmemory / 2).max(1 << 20))
        }
    }

    /// Bytes of one client's requests between MULTI and EXEC: an eighth of the memory for data at most.
    pub fn transaction_bound(&self) -> usize {
        if self.maxmemory == 0 {
            MAX_TRANSACTION
        } else {
            MAX_TRANSACTION.min((self.maxmemory / 8).max(1 << 16))
        }
    }

    pub fn policy_name(&self) -> &'static str {
        POLICIES.iter().find(|(_, policy)| *policy == self.policy).map_or("noeviction", |(name, _)| name)
    }

    /// Changes a setting. `Err(None)`: there is no such setting; otherwise the text says what is wrong.
    pub fn set(&mut self, name: &[u8], value: &[u8]) -> Result<(), Option<String>> {
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        let bytes = || parse_memory(value).ok_or_else(|| Some("argument must be a memory value".to_string()));
        match name.as_str() {
            "maxmemory" => self.maxmemory = bytes()?,
            "client-query-buffer-limit" => self.query_limit = bytes()?.clamp(1 << 20, 1 << 31),
            "client-output-buffer-limit" => self.output_limit = bytes()?.max(1 << 16),
            "requirepass" => self.password = value.to_vec(),
            "maxclients" => {
                let number = parse_i64(value).and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
                self.max_clients =
                    number.ok_or_else(|| Some("argument couldn't be parsed into an integer".to_string()))?;
            }
            "maxmemory-policy" => {
                let known = POLICIES.iter().find(|(name, _)| value.eq_ignore_ascii_case(name.as_bytes()));
                let names: Vec<&str> = POLICIES.iter().map(|(name, _)| *name).collect();
                self.policy = known.map(|(_, policy)| *policy).ok_or_else(|| {
                    Some(alloc::format!("argument(s) must be one of the following: {}", names.join(", ")))
                })?;
            }
            _ => match FIXED.iter().find(|(fixed, _)| *fixed == name) {
                // Setting what is so already does no harm: clients do it to be sure.
                Some((_, fixed)) if fixed.as_bytes() == value => {}
                Some(_) => return Err(Some("can't set immutable config".to_string())),
                None => return Err(None),
            },
        }
        Ok(())
    }
}

/// A number of bytes, such as `100`, `64mb` or `1G`: `k`, `m`, `g` are powers of 1000, `kb`, `mb`, `gb` of 1024.
pub fn parse_memory(text: &[u8]) -> Option<usize> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let unit = match text[digits..].to_ascii_lowercase().as_slice() {
        b"" | b"b" => 1,
        b"k" => 1000,
        b"kb" => 1 << 10,
        b"m" => 1_000_000,
        b"mb" => 1 << 20,
        b"g" => 1_000_000_000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    let number = core::str::from_utf8(&text[..digits]).ok()?.parse::<usize>().ok()?;
    number.checked_mul(unit)
}

/// How many keys are looked at to find one that was not used for long.
const SAMPLES: usize = 5;

/// The next key to evict: its database and number.
pub(crate) fn victim(store: &mut Store) -> Option<(usize, usize)> {
    let policy = store.config.policy;
    if policy == Policy::NoEviction {
        return None;
    }
    if policy == Policy::VolatileTtl {
        let first = |number| store.first_to_expire(number).map(|(when, index)| (when, number, index));
        return (0..DATABASES).filter_map(first).min().map(|(_, number, index)| (number, index));
    }
    let keys = store.keys();
    if keys == 0 {
        return None;
    }
    let samples = if policy == Policy::AllKeysLru { SAMPLES } else { 1 };
    let mut best = None;
    for _ in 0..samples {
        let mut at = store.random.below(keys);
        for (number, db) in store.dbs.iter().enumerate() {
            if at < db.table.len() {
                let candidate = (db.table.entry(at).value.access(), number, at);
                best = Some(best.map_or(candidate, |old| candidate.min(old)));
                break;
            }
            at -= db.table.len();
        }
    }
    best.map(|(_, number, index)| (number, index))
}
