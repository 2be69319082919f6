//! A checkpoint for a machine that goes on from it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::{io, time::Duration};

use ::control::checkpoints::{AFRESH, RESTORED};
use slots::Which;

use super::{Keys, SERVICE, SSH_FAILED, Target, ssh};
use crate::machine::MachineError;
use crate::{Error, ExitCode, Machine};

/// How long a machine may take to go on, once all has come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why a machine did not go on from a checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error("{}: {error}", path.display())]
    File { path: PathBuf, error: io::Error },
    #[error("the machine has no control server that can be reached")]
    NoServer,
    #[error("ssh: {0}")]
    Client(io::Error),
    /// It has said why.
    #[error("the machine did not go on from {}", path.display())]
    Refused { path: PathBuf, status: i32 },
    /// What the machine has said.
    #[error("{0}")]
    Afresh(String),
}

impl RestoreError {
    pub const fn exit_code(&self) -> ExitCode {
        match self {
            Self::Refused { status: SSH_FAILED, .. } => ExitCode::Unknown,
            Self::Refused { status, .. } => ExitCode::of_answer(*status as u8),
            _ => ExitCode::Failed,
        }
    }
}

/// Gives a machine a checkpoint, and waits until it goes on as the one that was frozen, or with its own addresses and host key as
/// another host. What it says goes to the standard error.
pub fn restore(machine: &Machine, keys: &Keys, path: &Path, new_identity: bool) -> Result<(), Error> {
    let file = File::open(path).map_err(|error| RestoreError::File { path: path.to_owned(), error })?;
    let address = machine.address().zip(machine.port(SERVICE)).ok_or(RestoreError::NoServer)?;
    let target = Target {
        address: format!("{}:{}", address.0, address.1),
        serial: Some(machine.serial_path().to_owned()),
    };
    let before = machine.count_lines(RESTORED)?;
    let mut client = ssh(&target, keys)?;
    let line = if new_identity { "restore --new-identity" } else { "restore" };
    client.args(["--", line]).stdin(file).stdout(Stdio::null());
    let status = client.status().map_err(RestoreError::Client)?;
    if !status.success() {
        let status = status.code().unwrap_or(SSH_FAILED);
        return Err(RestoreError::Refused { path: path.to_owned(), status }.into());
    }
    machine.wait_for_another_line(&[RESTORED], before, PATIENCE).map(drop).map_err(MachineError::into)
}

/// The settings of a machine that goes on from a checkpoint on its own disk at boot.
pub fn at_boot(which: Which, new_identity: bool) -> String {
    let identity = if new_identity { " restore.identity=new" } else { "" };
    format!("restore=disk:{which}{identity}")
}

/// Waits until a machine with such settings goes on as the one that was frozen.
pub fn wait_restored(machine: &Machine) -> Result<(), Error> {
    let patience = machine.boot_patience() + PATIENCE;
    let line = machine.wait_for_another_line(&[RESTORED, AFRESH], 0, patience)?;
    if line.contains(RESTORED) { Ok(()) } else { Err(RestoreError::Afresh(line).into()) }
}
