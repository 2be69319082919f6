//! Sockets: what applications see of `net`, and the one thing the executor needs of it.
pub use net::*;

/// Sends what tasks have written since the last time.
pub(crate) fn flush() {}
