//! What a machine keeps from boot to boot: typed, versioned entries on a partition of its disk that has our type ([`PARTITION`]).
//!
//! A write that is cut off leaves what was there before: there are two slots, the older one is written, and a slot counts when
//! its hash is right. What follows from that, and from damage, is in
//! `kernel/doc/state.md`.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod entries;
mod host_key;
mod slot;
mod store;

pub use entries::{Entries, Entry, EntryError};
pub use host_key::{HostKey, HostKeyError, Keeping, host_key};
pub use slot::{Fault, HEADER, MAGIC, MAX_PAYLOAD, SLOT, VERSION};
pub use store::{SECTORS, Store, StoreError};

use gpt::{Guid, guid};

/// The type of our partitions. On one with another type nothing is read or written.
pub const PARTITION: Guid = guid!("78baf778-79b6-496b-a127-cec318b7f587");

#[cfg(test)]
mod tests;
