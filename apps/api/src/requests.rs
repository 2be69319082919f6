//! How many requests applications have answered, and how long that took.
//!
//! A request's latency is the time from when its bytes were taken from the network until its answer was queued for sending.
//! A server reads the clock once when it has taken input and once when it has queued the answers, however many requests came
//! together: each of them is counted with the time that all of them took. Waiting in the network before that, and on the
//! way, is not in it.

use alloc::sync::Arc;
use alloc::vec::Vec;
use machine::histogram::{Counter, Histogram, Tally};
use machine::sync::Mutex;
use machine::time::Instant;

/// The meters there are: the application's name, and what it counts.
static METERS: Mutex<Vec<(&'static str, Arc<Tally>)>> = Mutex::new(Vec::new());

/// Counts an application's requests. Each thread that serves has one of its own, so that counting waits for nobody.
#[derive(Debug)]
pub struct Meter(Counter);

impl Meter {
    /// A meter for the application of this name. Its counts stay when it is dropped.
    pub fn new(app: &'static str) -> Self {
        let counter = Counter::new();
        METERS.lock().push((app, counter.tally()));
        Self(counter)
    }

    /// Counts requests whose bytes were taken from the network together at `taken`, and whose answers are queued now.
    #[inline]
    pub fn answered(&self, requests: u64, taken: Instant) {
        if requests > 0 {
            self.0.add(Instant::now().as_nanos().saturating_sub(taken.as_nanos()), requests);
        }
    }
}

/// What was counted since boot: each application that counts, with the latencies of its requests.
pub fn all() -> Vec<(&'static str, Histogram)> {
    let mut apps: Vec<(&'static str, Histogram)> = Vec::new();
    for (app, tally) in METERS.lock().iter() {
        match apps.iter_mut().find(|(name, _)| name == app) {
            Some((_, histogram)) => histogram.merge(&tally.read()),
            None => apps.push((app, tally.read())),
        }
    }
    apps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_application_has_the_requests_of_all_its_threads() {
        let meters = [Meter::new("test"), Meter::new("test")];
        let taken = Instant::now();
        meters[0].answered(3, taken);
        meters[1].answered(0, taken);
        meters[1].answered(2, taken);
        let all = all();
        let tests: Vec<_> = all.iter().filter(|(app, _)| *app == "test").collect();
        assert_eq!((tests.len(), tests[0].1.count()), (1, 5));
    }
}
