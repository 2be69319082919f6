//! A clock of a thousand ticks a second on each CPU, beside whatever else the machine does: `bench=ticks`.
//!
//! Each tick has a moment of its own, and each is a timer interrupt that the scheduler waits for: it sets the timer again when the
//! interrupt comes, not before. So a tick may come late, but where an interrupt is lost, that CPU's ticks are over, and the number
//! of moments that have passed without one grows for ever. Each second a line says what was counted on all CPUs together.

use alloc::vec::Vec;
use app::thread::{self, Builder, CpuSet, Priority};
use app::time::{Duration, Instant};
use core::sync::atomic::{AtomicU64, Ordering};

const PERIOD: Duration = Duration::from_millis(1);

/// What one CPU counts.
#[derive(Default)]
struct Clock {
    ticks: AtomicU64,
    /// Those that came a period or more after their moment: where nothing keeps the moments, they would be lost.
    late: AtomicU64,
    /// The moment of the next, in nanoseconds since boot.
    next: AtomicU64,
    /// The latest of them since the last line, in microseconds.
    worst: AtomicU64,
}

impl Clock {
    fn run(&self) -> ! {
        let mut due = Instant::now();
        loop {
            due = due.saturating_add(PERIOD);
            self.next.store(due.as_nanos(), Ordering::Relaxed);
            thread::sleep(due.saturating_since(Instant::now()));
            let late = due.elapsed();
            self.ticks.fetch_add(1, Ordering::Relaxed);
            self.late.fetch_add(u64::from(late >= PERIOD), Ordering::Relaxed);
            self.worst.fetch_max(late.as_micros() as u64, Ordering::Relaxed);
        }
    }

    /// Moments that have passed without a tick.
    fn missing(&self) -> u64 {
        let passed = Instant::now().saturating_since(Instant::from_nanos(self.next.load(Ordering::Relaxed)));
        (passed.as_nanos() / PERIOD.as_nanos()) as u64
    }
}

/// Ticks until the machine ends.
pub fn run(cpus: usize) {
    let clocks: &'static [Clock] = (0..cpus).map(|_| Clock::default()).collect::<Vec<_>>().leak();
    let on = |cpu: usize| Builder::new("ticker").affinity(CpuSet(1 << cpu)).priority(Priority::Realtime);
    let now = Instant::now().as_nanos();
    clocks.iter().for_each(|clock| clock.next.store(now, Ordering::Relaxed));
    let tickers: Result<Vec<_>, _> =
        clocks.iter().enumerate().map(|(cpu, clock)| on(cpu).spawn(|| clock.run())).collect();
    if let Err(error) = tickers {
        log::error!("no thread to tick on: {error:?}");
        return;
    }
    loop {
        thread::sleep(Duration::from_secs(1));
        let sum = |of: fn(&Clock) -> &AtomicU64| -> u64 {
            clocks.iter().map(|clock| of(clock).load(Ordering::Relaxed)).sum()
        };
        let missing = clocks.iter().map(Clock::missing).max().unwrap_or(0);
        let worst = clocks.iter().map(|clock| clock.worst.swap(0, Ordering::Relaxed)).max().unwrap_or(0);
        log::info!(
            r#"{{"ticks":{},"missing":{missing},"late":{},"worst_us":{worst}}}"#,
            sum(|clock| &clock.ticks),
            sum(|clock| &clock.late)
        );
    }
}
