//! Commands that read or write files, by OpenSSH's own client. Made for tests: what goes wrong is a panic.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};

use image_builder::control::{self, Keys, SERVICE, Target};

use crate::guest::Guest;

/// A file of a test's own, gone with it.
#[derive(Debug)]
pub struct Place(pub PathBuf);

impl Place {
    /// None yet.
    pub fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("qs-{name}-{}.qsc", std::process::id())))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}

fn start(guest: &Guest, line: &str, from: Stdio, to: Stdio) -> Child {
    let target = Target { address: guest.at(SERVICE).to_string(), serial: None };
    let command = Keys::of_user().and_then(|keys| control::ssh(&target, &keys));
    let mut command = command.unwrap_or_else(|error| panic!("{error}"));
    let child = command.args(["--", line]).stdin(from).stdout(to).stderr(Stdio::piped()).spawn();
    child.unwrap_or_else(|error| panic!("ssh: {error}"))
}

/// The client with a command, which reads nothing.
///
/// # Panics
/// When there is none.
pub fn client(guest: &Guest, line: &str, to: Stdio) -> Child {
    start(guest, line, Stdio::null(), to)
}

fn told(output: std::io::Result<Output>) -> (Option<i32>, String) {
    let output = output.unwrap_or_else(|error| panic!("ssh: {error}"));
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The exit status of `checkpoint`, and what it says.
///
/// # Panics
/// When there is no client, or no such file.
pub fn checkpoint(guest: &Guest, line: &str, to: &Path) -> (Option<i32>, String) {
    let file = File::create(to).unwrap_or_else(|error| panic!("{}: {error}", to.display()));
    told(client(guest, line, file.into()).wait_with_output())
}

/// The exit status of `restore`, and what it says.
///
/// # Panics
/// When there is no client, or no such file.
pub fn restore(guest: &Guest, from: &Path) -> (Option<i32>, String) {
    let file = File::open(from).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
    told(start(guest, "restore", file.into(), Stdio::null()).wait_with_output())
}
