//! How long a machine takes to go on from a checkpoint, beside the time in which it reads the same bytes.

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::Error;
use crate::control::{self, Keys, Target, ssh};

use super::BenchError;
use super::modes::KV;
use super::row::{Goal, Row};
use super::system::{System, timed};

/// How many times the time of reading the restore may take.
const MOST_TIMES: f64 = 1.5;
/// Until a restored store answers, once it goes on.
const PATIENCE: Duration = Duration::from_secs(60);

/// Of a checkpoint of so many bytes.
pub(super) fn row(data: usize) -> Row {
    let what = format!("first answer after a restore, the same bytes read, {} MB", data / 1_000_000);
    Row::new("checkpoint", what, "s", Goal::TimesAtMost(MOST_TIMES)).between(["restored", "read"])
}

/// Has a machine go on from a checkpoint of itself. Returns the seconds until its store answers with what it had then, and those in which
/// all but the last byte was read and checked: so it was refused.
pub(super) fn measure(system: &System, from: &Path) -> Result<(f64, f64), BenchError> {
    const SET: &str = "*3\r\n$3\r\nSET\r\n$5\r\nlater\r\n$1\r\nx\r\n";
    const EXISTS: &str = "*2\r\n$6\r\nEXISTS\r\n$5\r\nlater\r\n";
    let keys = Keys::of_user().map_err(Error::from)?;
    let less = from.with_extension("less");
    fs::copy(from, &less)?;
    let file = OpenOptions::new().read(true).write(true).open(&less)?;
    file.set_len(file.metadata()?.len() - 1)?;
    let target = Target { address: system.address(22)?.to_string(), serial: None };
    let read = timed(|| {
        let mut client = ssh(&target, &keys).map_err(Error::from)?;
        let client = client.args(["--", "restore"]).stdin(file.try_clone()?).stdout(Stdio::null());
        let output = client.stderr(Stdio::piped()).spawn()?.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        if said.contains("before its last chunk does") {
            Ok(())
        } else {
            Err(BenchError::Inside(said.into()))
        }
    })?;
    fs::remove_file(&less)?;
    system.wait_until(KV, SET, "+OK\r\n", Instant::now() + PATIENCE)?;
    let restored = timed(|| {
        control::restore(system.machine(), &keys, from, false)?;
        system.wait_until(KV, EXISTS, ":0\r\n", Instant::now() + PATIENCE)
    })?;
    Ok((restored.as_secs_f64(), read.as_secs_f64()))
}
