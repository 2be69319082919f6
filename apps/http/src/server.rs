//! What all connections share.
use crate::site::Site;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Makes a [`Live`] resource. The number is what a request's query `from=NUMBER` names, 0 without one: for resources that grow.
pub type Make = dyn Fn(&Server, u64) -> String + Send + Sync;

/// A resource that is made anew for each request.
pub struct Live {
    /// Its path without the first slash.
    pub path: &'static str,
    /// Its media type, as `Content-Type` has it.
    pub media_type: &'static str,
    /// Makes it.
    pub make: Box<Make>,
}

/// The site, the live resources, and the server's counters.
pub struct Server {
    site: Site,
    live: Vec<Live>,
    accepted: AtomicU64,
    closed: AtomicU64,
    requests: AtomicU64,
}

impl Server {
    /// A server of this site. Live resources come before files of the same path.
    pub fn new(site: Site, live: Vec<Live>) -> Self {
        let zero = || AtomicU64::new(0);
        Self { site, live, accepted: zero(), closed: zero(), requests: zero() }
    }

    /// The pages.
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// The live resource of a path, without its first slash.
    pub(crate) fn find_live(&self, path: &[u8]) -> Option<usize> {
        self.live.iter().position(|live| live.path.as_bytes() == path)
    }

    pub(crate) fn live(&self, number: usize) -> &Live {
        &self.live[number]
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

    /// Connections that began.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Relaxed)
    }

    /// Connections there are.
    pub fn open(&self) -> u64 {
        self.accepted().saturating_sub(self.closed.load(Relaxed))
    }

    /// Requests that were answered, or are being answered.
    pub fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }
}
