//! What operators say to a machine and who they are, as both ends need to know it: command lines ([`request`]), who may give them
//! ([`access`]), whom they are given to ([`host`]), changes that are made once ([`operations`]), what runs in the background
//! ([`jobs`]), and what is said of [`checkpoints`]. The transport is SSH.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod access;
pub mod checkpoints;
pub mod host;
pub mod jobs;
pub mod operations;
pub mod request;

pub use access::Role;
