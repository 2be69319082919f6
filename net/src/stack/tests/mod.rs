//! Two stacks back to back.

mod fake;
mod hostile;
mod life;
mod others;
mod streams;
