//! A Redis-compatible store: what Redis 7.0 does, in memory only.
//!
//! The core is pure: a [`Store`] holds the data, a [`Session`] per connection turns bytes into replies. [`Server`] serves
//! them on TCP port 6379 of an image. From the outside in: `session` (buffers), `resp` (requests), `commands` (one file
//! for each type of value), `store` (keys, expiry, memory account), `value`, `table` and `order` (structures).
//!
//! What differs from Redis on purpose: INCRBYFLOAT adds decimals exactly where Redis rounds to 64 bits, deleting from a
//! small hash or set may change the order of the others, and there is no persistence (SAVE and the like are unknown).
#![no_std]
extern crate alloc;
#[cfg(test)]
extern crate std;

mod bytes;
mod client;
mod commands;
mod config;
mod db;
mod failure;
mod glob;
mod hash;
mod number;
mod order;
mod reply;
mod resp;
mod server;
mod session;
mod store;
mod table;
mod value;

pub use client::Client;
pub use config::parse_memory;
pub use server::Server;
pub use session::{Fed, Session, Status};
pub use store::Store;
