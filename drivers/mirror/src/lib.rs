//! A disk takes another's place while that is used.
//!
//! [`Plan`] says whether the new one can, and what differs. A [`Mirror`] then copies in small [steps](Mirror::step) whose turns are
//! between those of the users, who read and write through [`Used`]. What is before the copy's position is the same on both
//! disks: writes there go to the old one, then to the new one. Writes behind it go to the old one alone, for the copy is still to
//! come there. When all is copied, both are compared; then the new one gets its table of partitions, the protective MBR
//! last of all, and the old one the mark that it was replaced.
//!
//! Until that MBR is durable the old disk is complete and the new one is none that anybody would take for it. Between it and the mark
//! both are complete, and either may be taken. Whatever goes wrong with the new disk ends the mirror, and not the
//! users' requests; what goes wrong with the old disk is told to them as ever.
//!
//! A disk that was pulled out has an [`Identity`], by which it is known when it is back, and what was [`Unflushed`], which may be lost.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod plan;
mod run;
mod used;
mod wait;

pub use plan::{Adapted, Plan, Refused};
pub use run::{End, Mirror, Progress, Switched};
pub use used::Used;
pub use wait::{Identity, Stranger, Unflushed};

#[cfg(test)]
mod tests;
