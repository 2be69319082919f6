//! The control plane's SSH server: authenticates an operator by key, and hands over one command line after another.
//!
//! The protocol itself is `zssh`'s: curve25519-sha256 with strict key exchange, Ed25519 host and user keys,
//! chacha20-poly1305. There is no password, no shell, no terminal, no forwarding, and no more than one command at a time in a
//! connection.
//!
//! What bounds a session: the buffer of one packet ([`PACKET`]), [`TRIES`] keys, and the patience of the stream, which is told
//! what the session is waiting for ([`Phase`]).
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod output;
mod session;

pub use output::{AtEnd, Gone, Output};
pub use session::{End, serve};

use alloc::string::String;
use alloc::vec::Vec;
use control::Role;
use control::request::Request;
use core::cell::Cell;
use spin::Mutex;
use zssh::SecretKey;
use zssh::ed25519_dalek::SigningKey;

/// Bytes of the longest packet, its header and code included (RFC 4253, 6.1, wants 35,000).
pub const PACKET: usize = 36 * 1024;
/// Keys that a client may offer.
pub const TRIES: u32 = 8;

/// Exit statuses.
pub mod exit {
    /// Done.
    pub const DONE: u8 = 0;
    /// Failed, nothing changed.
    pub const FAILED: u8 = 1;
    /// Nobody understood it.
    pub const USAGE: u8 = 2;
    /// Refused: state, precondition, role.
    pub const REFUSED: u8 = 3;
    /// Not in time, and undone.
    pub const TIMED_OUT: u8 = 6;
    /// Nobody knows: look.
    pub const UNKNOWN: u8 = 7;
}

/// What a session is waiting for: how long its stream waits depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// A stranger who says who they are.
    Login,
    /// An operator's next command.
    Idle,
    /// An operator who reads, or writes what a command wants.
    Command,
    /// Nobody: reading and writing fail.
    Over,
}

/// The connection of a session.
pub struct Line<'a, S> {
    /// Reads and writes, blocking, for as long as the phase allows.
    pub stream: S,
    /// What the session is waiting for. The stream looks, the session sets it.
    pub phase: &'a Cell<Phase>,
    /// Whether the peer has hung up: for commands that only speak.
    pub is_gone: &'a dyn Fn() -> bool,
}

/// A key that may log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Ed25519.
    pub public: [u8; 32],
    /// What its owner may do.
    pub role: Role,
    /// What it is told by: its fingerprint, and perhaps a name.
    pub name: String,
}

/// Who is who: the machine and its operators.
#[derive(Debug)]
pub struct Identities {
    /// Ed25519.
    host: Mutex<SigningKey>,
    keys: Vec<Key>,
}

/// Unpredictable bytes.
pub type Random = fn(&mut [u8]);

impl Identities {
    /// The machine by the seed of its Ed25519 key, and who may operate it.
    pub fn new(host: &[u8; 32], keys: Vec<Key>) -> Self {
        Self { host: Mutex::new(SigningKey::from_bytes(host)), keys }
    }

    /// The public half of the machine's key.
    pub fn host_key(&self) -> [u8; 32] {
        self.host.lock().verifying_key().to_bytes()
    }

    /// Gives the machine another key, by its seed: for the connections to come.
    pub fn set_host_key(&self, seed: &[u8; 32]) {
        *self.host.lock() = SigningKey::from_bytes(seed);
    }

    pub(crate) fn host(&self) -> SecretKey {
        SecretKey::Ed25519 { secret_key: self.host.lock().clone() }
    }
}

/// Somebody who has proved to have a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// What they may do: what their key allows, or less where they logged in as less.
    pub role: Role,
    /// Of the key.
    pub name: String,
}

/// Carries out commands. Several at a time, each on its session's thread.
pub trait Operator: Sync {
    /// Carries out a command that the caller may give, and returns its exit status.
    fn execute(&self, caller: &Caller, request: &Request, output: &mut dyn Output) -> u8;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_takes_on_another_key() {
        let identities = Identities::new(&[1; 32], Vec::new());
        let before = identities.host_key();
        identities.set_host_key(&[2; 32]);
        assert_ne!(identities.host_key(), before);
        assert_eq!(identities.host_key(), Identities::new(&[2; 32], Vec::new()).host_key());
    }
}
