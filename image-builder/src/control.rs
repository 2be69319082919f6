//! Operates a running machine: sends it one command over TCP and brings back its answer. How both ends speak is the
//! package `control`'s business; the key that lets us in is [`key()`].

mod client;
mod key;
mod target;

pub use client::{CONNECT, ControlError, command};
pub use key::{KeyError, key, key_at, key_path};
pub use target::{SERVICE, TargetError, resolve};
