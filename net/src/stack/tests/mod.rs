//! Two stacks back to back.

mod devices;
pub(crate) mod fake;
mod hostile;
mod life;
mod others;
mod streams;
