//! `qs ssh`: the system's ssh, with the right port, key and host key.

use std::os::unix::process::CommandExt;

use crate::arguments::SshOptions;
use image_builder::control::{self, ControlError, Keys};
use image_builder::state::Registry;
use image_builder::tools::{self, Tool};
use image_builder::{Error, ExitCode};

/// Returns only where ssh could not be started. Its exit status is the machine's answer, or 255.
pub fn ssh(options: &SshOptions) -> Result<ExitCode, Error> {
    tools::require(&[Tool::Ssh])?;
    let machines = Registry::of_user()?.list()?;
    let target = control::resolve(Some(&options.target), &machines).map_err(ControlError::from)?;
    let keys = Keys::of_user()?;
    let mut client = control::ssh(&target, &keys)?;
    if !options.words.is_empty() {
        client.arg("--").args(&options.words);
    }
    Err(ControlError::Client(client.exec()).into())
}
