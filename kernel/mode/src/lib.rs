//! Native and guest mode: the states a machine goes through, and what may hold it back. The switch itself is not built yet;
//! the machine stays [`Phase::Native`].
#![no_std]
#![forbid(unsafe_code)]

mod phase;
mod pins;

pub use phase::{Event, Phase, Refused};
pub use pins::{Pin, Pins};
