//! Copies a serial log to the standard output, for an emulator that cannot write to both.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Mutex;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::{SerialLog, lock};
use crate::process::Identity;

/// How often the log is looked at.
const PERIOD: Duration = Duration::from_millis(10);

/// The copying, which ends with the machine.
#[derive(Debug)]
pub(super) struct Echo(Mutex<Option<JoinHandle<()>>>);

impl Echo {
    /// Nothing is copied.
    pub(super) fn none() -> Self {
        Self(Mutex::new(None))
    }

    /// Copies what is written to the log while the process lives.
    pub(super) fn start(path: &Path, process: Identity) -> Self {
        let mut log = SerialLog::new(path);
        let copy = move || {
            loop {
                // Looked at before the log: what an ended machine has said is then all there.
                let alive = process.is_alive();
                let Ok(news) = log.read() else { break };
                let mut stdout = io::stdout().lock();
                if stdout.write_all(news).and_then(|()| stdout.flush()).is_err() || !alive {
                    break;
                }
                drop(stdout);
                thread::sleep(PERIOD);
            }
        };
        Self(Mutex::new(Some(thread::spawn(copy))))
    }

    /// Waits until everything is copied; the process has ended.
    pub(super) fn finish(&self) {
        if let Some(thread) = lock(&self.0).take() {
            // A copy that panicked has said so.
            drop(thread.join());
        }
    }
}
