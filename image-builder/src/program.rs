//! Host programs, each with a deadline.

use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    #[error("{program}: {error}")]
    Start { program: String, error: io::Error },
    #[error("{program}: not done within {} s; it said: {said}", .patience.as_secs())]
    Late { program: String, patience: Duration, said: String },
    #[error("{program}: {status}; it said: {said}")]
    Failed { program: String, status: std::process::ExitStatus, said: String },
    #[error("{program}: printed what is not understood: {said}")]
    Unintelligible { program: String, said: String },
}

/// What coreutils' `timeout` exits with when the deadline has passed.
const TIMED_OUT: i32 = 124;

/// A program that is ended when `patience` (whole seconds, at least one) has passed, even where this process is gone by
/// then. Its standard input is empty.
pub fn command(program: &str, patience: Duration) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=2", &patience.as_secs().max(1).to_string(), program]);
    command.stdin(Stdio::null());
    command
}

/// Runs a program to its end, whatever its exit code, and returns what it printed.
pub fn output<I>(program: &str, patience: Duration, arguments: I) -> Result<Output, ProgramError>
where
    I: IntoIterator<Item: AsRef<OsStr>>,
{
    let output = command(program, patience)
        .args(arguments)
        .output()
        .map_err(|error| ProgramError::Start { program: program.to_owned(), error })?;
    if output.status.code() == Some(TIMED_OUT) {
        return Err(ProgramError::Late { program: program.to_owned(), patience, said: said(&output) });
    }
    Ok(output)
}

/// Runs a program that must succeed and returns its standard output.
pub fn run<I>(program: &str, patience: Duration, arguments: I) -> Result<String, ProgramError>
where
    I: IntoIterator<Item: AsRef<OsStr>>,
{
    let output = output(program, patience, arguments)?;
    if !output.status.success() {
        return Err(ProgramError::Failed {
            program: program.to_owned(),
            status: output.status,
            said: said(&output),
        });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Where a program is, if it is in `PATH` or among the system's.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(system)
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    format!("{}\n{}", text(&output.stdout), text(&output.stderr)).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_succeeds_fails_or_is_late() {
        let second = Duration::from_secs(1);
        assert_eq!(run("echo", second, ["a", "b"]).unwrap(), "a b\n");
        assert!(matches!(run("false", second, [""; 0]), Err(ProgramError::Failed { .. })));
        assert!(matches!(run("sleep", second, ["30"]), Err(ProgramError::Late { .. })));
        assert!(find("sh").is_some() && find("no-such-program").is_none());
    }
}
