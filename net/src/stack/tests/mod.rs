//! Two stacks back to back.

pub(crate) mod fake;
mod hostile;
mod life;
mod others;
mod streams;
