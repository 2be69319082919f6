//! A clock of a thousand ticks a second on each CPU, beside whatever else the machine does: `bench=ticks`.
//!
//! A tick has a moment of its own, so none is lost: it comes late. Each second a line says how many of all CPUs did.

use alloc::vec::Vec;
use app::thread::{self, Builder, CpuSet, Priority};
use app::time::{Duration, Instant};
use core::sync::atomic::{AtomicU64, Ordering};

const PERIOD: Duration = Duration::from_millis(1);

/// Ticks of all CPUs.
static COUNT: AtomicU64 = AtomicU64::new(0);
/// Those that came a period or more after their moment: where nothing keeps the moments, they would be lost.
static LATE: AtomicU64 = AtomicU64::new(0);
/// The latest of them since the last line, in microseconds.
static WORST: AtomicU64 = AtomicU64::new(0);

/// Ticks until the machine ends.
pub fn run(cpus: usize) {
    let ticker = || {
        let mut due = Instant::now();
        loop {
            due = due.saturating_add(PERIOD);
            thread::sleep(due.saturating_since(Instant::now()));
            let late = due.elapsed();
            COUNT.fetch_add(1, Ordering::Relaxed);
            LATE.fetch_add(u64::from(late >= PERIOD), Ordering::Relaxed);
            WORST.fetch_max(late.as_micros() as u64, Ordering::Relaxed);
        }
    };
    let on = |cpu: usize| Builder::new("ticker").affinity(CpuSet(1 << cpu)).priority(Priority::Realtime);
    let tickers: Result<Vec<_>, _> = (0..cpus).map(|cpu| on(cpu).spawn(ticker)).collect();
    if let Err(error) = tickers {
        log::error!("no thread to tick on: {error:?}");
        return;
    }
    let start = Instant::now();
    loop {
        thread::sleep(Duration::from_secs(1));
        let (count, late) = (COUNT.load(Ordering::Relaxed), LATE.load(Ordering::Relaxed));
        let due = start.elapsed().as_millis() as u64 * cpus as u64;
        log::info!(
            r#"{{"ticks":{count},"due":{due},"late":{late},"worst_us":{}}}"#,
            WORST.swap(0, Ordering::Relaxed)
        );
    }
}
