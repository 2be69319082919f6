//! The last ten minutes, a sample a second. A sample says what happened since the one before.

use crate::snapshot::Snapshot;
use alloc::vec::Vec;
use machine::histogram::Histogram;

/// Samples that are kept.
pub const LENGTH: usize = 600;
/// From one to the next, in milliseconds; a busy machine may be late.
pub const INTERVAL: u64 = 1000;
/// CPUs that a sample has room for.
const CPUS: usize = 64;

/// What happened in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Counts from 0.
    pub number: u64,
    /// When it was taken, in milliseconds since boot.
    pub at: u64,
    /// Since the one before, in milliseconds.
    pub length: u64,
    /// Requests answered.
    pub requests: u64,
    /// Half of them took no longer than this, in nanoseconds; 0 where there were none.
    pub median: u64,
    /// 99 of 100 took no longer than this, in nanoseconds; 0 where there were none.
    pub p99: u64,
    /// Of a thousand parts of the time, those in guest mode.
    pub guest: u64,
    /// Switches carried out.
    pub switches: u64,
    /// Bytes received.
    pub received: u64,
    /// Bytes sent.
    pub sent: u64,
    /// Bytes of memory free.
    pub free: u64,
    /// Bytes that the heap has handed out.
    pub heap: u64,
    /// Of a hundred parts of the time, those in which each CPU had something to do.
    busy: [u8; CPUS],
    cpus: u8,
}

impl Sample {
    /// Of a hundred parts of the time, those in which each CPU had something to do.
    pub fn busy(&self) -> &[u8] {
        &self.busy[..usize::from(self.cpus)]
    }

    /// What happened between two snapshots.
    pub fn between(number: u64, before: &Totals, now: &Totals) -> Self {
        let nanos = now.nanos.saturating_sub(before.nanos).max(1);
        let share = |part: u64, of: u64| (u128::from(part) * u128::from(of) / u128::from(nanos)) as u64;
        let requests = now.requests.since(&before.requests);
        let mut busy = [0; CPUS];
        let cpus = now.idle.len().min(CPUS);
        for (busy, (now, before)) in busy.iter_mut().zip(now.idle.iter().zip(&before.idle)) {
            *busy = 100 - share(now.saturating_sub(*before), 100).min(100) as u8;
        }
        Self {
            number,
            at: now.nanos / 1_000_000,
            length: nanos / 1_000_000,
            requests: requests.count(),
            median: requests.quantile(500).unwrap_or(0),
            p99: requests.quantile(990).unwrap_or(0),
            guest: share(now.guest.saturating_sub(before.guest), 1000).min(1000),
            switches: now.switches - before.switches,
            received: now.received - before.received,
            sent: now.sent - before.sent,
            free: now.free,
            heap: now.heap,
            busy,
            cpus: cpus as u8,
        }
    }
}

/// What grows, as of one moment.
#[derive(Clone, Debug)]
pub struct Totals {
    nanos: u64,
    requests: Histogram,
    guest: u64,
    switches: u64,
    received: u64,
    sent: u64,
    free: u64,
    heap: u64,
    idle: Vec<u64>,
}

impl Totals {
    /// Those of a snapshot.
    pub fn of(snapshot: &Snapshot) -> Self {
        let (received, sent) = snapshot.traffic();
        Self {
            nanos: snapshot.uptime,
            requests: snapshot.all_requests(),
            guest: snapshot.modes.as_ref().map_or(0, |modes| modes.guest_nanos),
            switches: snapshot.switches(),
            received,
            sent,
            free: snapshot.memory.free,
            heap: snapshot.memory.heap,
            idle: snapshot.cpus.iter().map(|cpu| cpu.idle_nanos).collect(),
        }
    }
}

/// The last [`LENGTH`] samples.
#[derive(Debug, Default)]
pub struct History {
    next: u64,
    samples: Vec<Sample>,
}

impl History {
    /// No samples, and no room for any: see [`History::reserve`].
    pub const fn new() -> Self {
        Self { next: 0, samples: Vec::new() }
    }

    /// Makes room for all samples there will ever be. False if there is no memory.
    pub fn reserve(&mut self) -> bool {
        self.samples.try_reserve_exact(LENGTH).is_ok()
    }

    /// Keeps a sample, in the place of the oldest; there is room for it.
    pub fn push(&mut self, sample: Sample) {
        let place = (sample.number % LENGTH as u64) as usize;
        match self.samples.get_mut(place) {
            Some(oldest) => *oldest = sample,
            None => self.samples.push(sample),
        }
        self.next = sample.number + 1;
    }

    /// The number that the next sample will have.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The oldest sample there is with this number or a higher one.
    pub fn read(&self, from: u64) -> Option<Sample> {
        let number = from.max(self.next.saturating_sub(LENGTH as u64));
        (number < self.next).then(|| self.samples[(number % LENGTH as u64) as usize])
    }
}
