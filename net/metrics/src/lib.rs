//! What a machine says about itself to whoever watches it: the kernel fills a [`Snapshot`], and it is told here.
//!
//! | module | what |
//! |---|---|
//! | [`snapshot`] | everything that is measured, at one moment |
//! | [`exposition`] | a snapshot as Prometheus reads it: `/metrics` |
//! | [`text`] | the format of that (Prometheus's text format, version 0.0.4) |
//! | [`history`] | the last ten minutes, a sample a second |
//! | [`json`] | snapshot and history as JSON: `/api/now`, `/api/history` |
//! | [`page`] | the dashboard: `/` |
//!
//! `kernel/doc/metrics.md` lists each metric.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod exposition;
pub mod history;
pub mod json;
pub mod page;
pub mod snapshot;
#[cfg(test)]
mod tests;
pub mod text;

pub use history::{History, Sample};
pub use snapshot::Snapshot;
