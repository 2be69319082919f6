//! The operator of a machine: its commands over the control protocol, and what the answers say. Made for tests: what goes
//! wrong is a panic.

use std::net::SocketAddr;
use std::time::Duration;

use image_builder::control::{self, ControlError};
use serde_json::Value;

use crate::guest::{Guest, PATIENCE, wait_until};

/// Exit statuses of commands.
pub const DONE: u8 = 0;
pub const REFUSED: u8 = 3;
pub const TIMED_OUT: u8 = 6;

/// Somebody with the key to a machine.
#[derive(Clone, Copy, Debug)]
pub struct Operator {
    address: SocketAddr,
}

impl Operator {
    /// The operator of a machine of ours.
    pub fn of(guest: &Guest) -> Self {
        Self { address: guest.at(control::SERVICE) }
    }

    /// A command's status and answer.
    ///
    /// # Panics
    /// When there is none.
    pub fn ask(&self, command: &str) -> (u8, Value) {
        let answer = self.try_ask(command, &control::key().unwrap_or_else(|error| panic!("{error}")));
        let answer = answer.unwrap_or_else(|error| panic!("{command}: {error}"));
        let body = serde_json::from_str(&answer.body);
        (answer.status, body.unwrap_or_else(|error| panic!("{command}: {error}: {}", answer.body)))
    }

    /// A command with some key.
    pub fn try_ask(&self, command: &str, key: &[u8; 32]) -> Result<::control::Answer, ControlError> {
        control::command(&self.address.to_string(), key, command, PATIENCE)
    }

    /// Switches to the other mode and returns the state afterwards.
    ///
    /// # Panics
    /// When it is refused.
    pub fn toggle(&self) -> Value {
        // On a busy host a CPU may be away for long.
        let (status, body) = self.ask("mode toggle deadline=30000");
        assert_eq!(status, DONE, "{body}");
        body
    }

    /// Bytes that the heap has handed out.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn heap(&self) -> u64 {
        self.status()["memory"]["heap"].as_u64().unwrap_or_else(|| panic!("no figure of the heap"))
    }

    /// Waits until the heap has handed out no more than before, when closed connections are forgotten: ours, too, which is
    /// why it is not asked often.
    ///
    /// # Panics
    /// When that takes too long.
    pub fn wait_for_heap(&self, before: u64) {
        const PAUSE: Duration = Duration::from_millis(1000);
        /// The connections of the last asking, and what caches keep.
        const SLACK: u64 = 64 * 1024;
        wait_until("the heap to be as it was", || {
            std::thread::sleep(PAUSE);
            self.heap() <= before + SLACK
        });
    }

    /// The state.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn status(&self) -> Value {
        let (status, body) = self.ask("mode status");
        assert_eq!(status, DONE, "{body}");
        body
    }
}
