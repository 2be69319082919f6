//! AMD SVM: the control block of a CPU filled from its state, read back, and its exits put into neutral words.
//!
//! Source: AMD64 APM vol. 2, revision 3.42, chapter 15.

pub mod checks;
mod guest;
mod state;

pub use guest::Guest;
pub use state::{Maps, load, set_up, store};
