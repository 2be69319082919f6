//! Operates running machines: the keys that let us in and that machines are known by, and OpenSSH's client set up with them.

mod client;
pub(crate) mod keys;
mod restore;
mod session;
mod target;

pub use client::{Answer, CONNECT, ControlError, SSH_FAILED, command, ssh};
pub use keys::{KeyError, Keys, operators};
pub use restore::{RestoreError, at_boot, restore, wait_restored};
pub use session::Session;
pub use target::{SERVICE, Target, TargetError, resolve};
