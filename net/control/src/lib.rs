//! What operators say to a machine and who they are, as both ends need to know it: command lines ([`request`]), who may give them
//! ([`access`]), and changes that are made once ([`operations`]). The transport is SSH.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod access;
pub mod operations;
pub mod request;

pub use access::Role;
