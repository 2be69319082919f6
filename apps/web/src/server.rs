//! What all connections share.
use crate::site::Site;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use core::time::Duration;

/// The machine's part of the status.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Since boot.
    pub uptime: Duration,
    /// Memory of the system, in bytes.
    pub memory_bytes: u64,
    /// Memory that is free, in bytes.
    pub free_memory_bytes: u64,
    /// CPUs that run.
    pub cpus: usize,
}

/// The site and the server's counters.
pub struct Server {
    site: Site,
    facts: Box<dyn Fn() -> Facts + Send + Sync>,
    accepted: AtomicU64,
    closed: AtomicU64,
    requests: AtomicU64,
}

impl Server {
    /// A server of this site, on a machine that is asked through `facts`.
    pub fn new(site: Site, facts: Box<dyn Fn() -> Facts + Send + Sync>) -> Self {
        let zero = || AtomicU64::new(0);
        Self { site, facts, accepted: zero(), closed: zero(), requests: zero() }
    }

    /// The pages.
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// Counts a connection that begins.
    pub fn count_accepted(&self) {
        self.accepted.fetch_add(1, Relaxed);
    }

    /// Counts a connection that ends.
    pub fn count_closed(&self) {
        self.closed.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_request(&self) {
        self.requests.fetch_add(1, Relaxed);
    }

    /// The figures of `/status`, as JSON.
    pub fn figures(&self) -> String {
        let Facts { uptime, memory_bytes, free_memory_bytes, cpus } = (self.facts)();
        let (accepted, requests) = (self.accepted.load(Relaxed), self.requests.load(Relaxed));
        let open = accepted.saturating_sub(self.closed.load(Relaxed));
        let (seconds, milliseconds) = (uptime.as_secs(), uptime.subsec_millis());
        format!(
            "{{\"mode\":\"native\",\"uptime_seconds\":{seconds}.{milliseconds:03},\"cpus\":{cpus},\
             \"memory\":{{\"total_bytes\":{memory_bytes},\"free_bytes\":{free_memory_bytes}}},\
             \"connections\":{{\"open\":{open},\"accepted\":{accepted}}},\"requests\":{requests}}}\n"
        )
    }
}
