//! Tests that need a network of their own: they run themselves again in a network namespace. Made for tests: what goes wrong is a panic.

use crate::guest::skip;
use crate::namespace::{self, NamespaceError};

/// Where a test is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Apart {
    /// In a namespace, whose loopback device is up: it goes on.
    Inside,
    /// Outside, and has passed inside.
    Over,
    /// Outside, and can't be had inside: that it is skipped was said.
    Refused,
}

/// Runs the test of this name again inside a namespace, if this is not one; `what` is skipped where that can't be had. What needs another network
/// has to be done before.
///
/// # Panics
/// When the test has failed inside.
pub fn enter(test: &str, what: &str) -> Apart {
    if namespace::inside() {
        namespace::set_up().unwrap_or_else(|error| panic!("{error}"));
        return Apart::Inside;
    }
    match namespace::again(&["--exact", test, "--nocapture"].map(String::from)) {
        Ok(status) => {
            assert!(status.success(), "{status}");
            Apart::Over
        }
        Err(error @ NamespaceError::Refused(_)) => {
            skip(what, &error);
            Apart::Refused
        }
        Err(error) => panic!("{error}"),
    }
}
