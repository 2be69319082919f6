//! The line to the emulator: what can be asked of it, and what it tells about the end.

use std::fs;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::End;
use crate::qmp::{Qmp, QmpError};

/// How an emulator is asked.
#[derive(Debug)]
pub(super) enum Control {
    /// QEMU answers.
    Qmp(Qmp),
    /// Bochs only writes its log.
    BochsLog(PathBuf),
}

impl Control {
    /// The line to QEMU.
    pub(super) fn qmp(&mut self) -> Result<&mut Qmp, QmpError> {
        match self {
            Self::Qmp(qmp) => Ok(qmp),
            Self::BochsLog(_) => Err(QmpError::Absent),
        }
    }

    pub(super) fn execute(&mut self, command: &str, arguments: Value) -> Result<Value, QmpError> {
        self.qmp()?.execute(command, arguments)
    }

    pub(super) fn event(&mut self, is_it: impl Fn(&Value) -> bool, deadline: Instant) -> Option<Value> {
        self.qmp().ok()?.event(is_it, deadline)
    }

    /// The emulator has ended: its last QMP event or its log says why.
    pub(super) fn end(&mut self, status: ExitStatus) -> End {
        match self {
            Self::Qmp(qmp) => {
                let reason = qmp.shutdown_reason(Instant::now() + Duration::from_secs(1));
                End::of_qemu(status, reason.as_deref())
            }
            Self::BochsLog(path) => {
                // Without its log, Bochs has its status left to say something.
                let log = fs::read(path).unwrap_or_default();
                End::of_bochs(status, &String::from_utf8_lossy(&log))
            }
        }
    }
}
