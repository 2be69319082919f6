//! What a program needs to be linked into an image: the [`App`] trait, its [`Env`], [`task`]s, sockets, files, log, and a
//! meter for its [`requests`].
//!
//! An application runs on a thread of its own and may start others. It serves sockets either with blocking calls (one
//! thread per connection, `blocking`) or as tasks of a [`task::Executor`] (one thread, many connections).
//! `kernel/doc/apps.md` says how to write one and where to register it.
#![no_std]
extern crate alloc;
#[cfg(test)]
extern crate std;

mod env;
mod error;
pub mod requests;
pub mod task;

pub use env::{Env, File};
pub use error::AppError;
pub use log;
pub use machine::{sync, thread, time};
pub use net::*;

/// A program of the image. The kernel's table of applications holds one `static` of each (`kernel/src/apps.rs`).
pub trait App: Sync {
    /// The name in the log and of the application's thread, and the prefix of its settings (`name.key=value`).
    fn name(&self) -> &'static str;

    /// How many times [`Env::ready`] is called before the application is up.
    fn listeners(&self) -> usize {
        1
    }

    /// Runs the application, on its own thread of normal priority. Servers don't return; a program that is done
    /// returns `Ok`. An error is logged, and the other applications run on.
    fn run(&self, env: &'static Env) -> Result<(), AppError>;
}
