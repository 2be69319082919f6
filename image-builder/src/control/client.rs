//! OpenSSH's client, and one command to one machine.

use std::io::{self, Read};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::keys::HOST_ALIAS;
use super::{KeyError, Keys, Target, TargetError};
use crate::process::POLL;

/// How long a machine may take to accept a connection.
pub const CONNECT: Duration = Duration::from_secs(10);

/// What ssh ends with when it is ssh that failed.
pub const SSH_FAILED: i32 = 255;

/// Why a machine was not, or may not have been, operated.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// It is not clear which machine is meant.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// There are no keys.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The client can't be started.
    #[error("ssh: {0}")]
    Client(io::Error),
    /// No connection, or not let in: nothing was sent.
    #[error("{address}: {said}")]
    Refused {
        /// Host and port.
        address: String,
        /// What the client says.
        said: String,
    },
    /// The connection was lost after the command may have been sent.
    #[error("{address}: {said}; whether the command was carried out is not known")]
    Lost {
        /// Host and port.
        address: String,
        /// What the client says.
        said: String,
    },
    /// No answer in time.
    #[error(
        "{address}: no answer within {} s; whether the command was carried out is not known", .patience.as_secs()
    )]
    NoAnswer {
        /// Host and port.
        address: String,
        /// How long it was waited for.
        patience: Duration,
    },
}

impl ControlError {
    /// Whether the command may have been carried out.
    pub const fn is_outcome_unknown(&self) -> bool {
        matches!(self, Self::Lost { .. } | Self::NoAnswer { .. })
    }
}

/// What a machine answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Exit status.
    pub status: u8,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// Host and port of `HOST:PORT` or `[HOST]:PORT`.
fn split(address: &str) -> (&str, &str) {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, "22"));
    (host.trim_start_matches('[').trim_end_matches(']'), port)
}

/// The system's ssh, set up for a machine: it takes our key and no other, knows the machine by the host key alone, and asks
/// nobody anything. What follows is the command's.
pub fn ssh(target: &Target, keys: &Keys) -> Result<Command, KeyError> {
    let (host, port) = split(&target.address);
    let known_hosts = keys.known_hosts_of(target)?;
    let mut command = Command::new("ssh");
    command.args(["-F", "none", "-T", "-p", port, "-i"]).arg(keys.identity());
    let mut option = |text: String| {
        command.arg("-o").arg(text);
    };
    option(format!("UserKnownHostsFile=\"{}\"", known_hosts.display()));
    option(format!("HostKeyAlias={HOST_ALIAS}"));
    option(format!("ConnectTimeout={}", CONNECT.as_secs()));
    for fixed in [
        "GlobalKnownHostsFile=/dev/null",
        "StrictHostKeyChecking=yes",
        "UpdateHostKeys=no",
        "IdentitiesOnly=yes",
        "IdentityAgent=none",
        "BatchMode=yes",
        "LogLevel=ERROR",
    ] {
        option(fixed.to_owned());
    }
    command.arg(format!("admin@{host}"));
    Ok(command)
}

/// What the client says when nothing was sent.
const NOTHING_SENT: &[&str] = &[
    "Permission denied",
    "Connection refused",
    "No route to host",
    "Could not resolve",
    "Host key verification failed",
    "REMOTE HOST IDENTIFICATION HAS CHANGED",
    "Connection timed out",
    "banner exchange",
    "kex_exchange_identification",
    "Unable to negotiate",
];

/// Has a machine carry out a command, by a client as [`ssh`] makes it. `patience` is for all of it.
pub fn command(
    client: Command,
    address: &str,
    line: &str,
    patience: Duration,
) -> Result<Answer, ControlError> {
    let mut client = client;
    client.arg("--").arg(line).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = client.spawn().map_err(ControlError::Client)?;
    let reader = |pipe: Option<Box<dyn Read + Send>>| {
        thread::spawn(move || {
            let mut said = Vec::new();
            if let Some(mut pipe) = pipe {
                // What was read before an error counts.
                drop(pipe.read_to_end(&mut said));
            }
            String::from_utf8_lossy(&said).into_owned()
        })
    };
    let out = reader(child.stdout.take().map(|pipe| Box::new(pipe) as _));
    let err = reader(child.stderr.take().map(|pipe| Box::new(pipe) as _));
    let deadline = Instant::now() + patience;
    let status = loop {
        match child.try_wait().map_err(ControlError::Client)? {
            Some(status) => break status,
            None if Instant::now() >= deadline => {
                drop(child.kill().and_then(|()| child.wait()));
                return Err(ControlError::NoAnswer { address: address.to_owned(), patience });
            }
            None => thread::sleep(POLL),
        }
    };
    let said = |reader: thread::JoinHandle<String>| reader.join().unwrap_or_default();
    let (out, err) = (said(out), said(err));
    match status.code().filter(|code| *code != SSH_FAILED).and_then(|code| u8::try_from(code).ok()) {
        Some(status) => Ok(Answer { status, out, err }),
        None => {
            let (address, said) = (address.to_owned(), err.trim().to_owned());
            let nothing_sent = NOTHING_SENT.iter().any(|words| said.contains(words));
            Err(if nothing_sent {
                ControlError::Refused { address, said }
            } else {
                ControlError::Lost { address, said }
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_host_and_a_port() {
        assert_eq!(split("127.0.0.1:2222"), ("127.0.0.1", "2222"));
        assert_eq!(split("[::1]:22"), ("::1", "22"));
        assert_eq!(split("box"), ("box", "22"));
    }

    #[test]
    fn answers_and_failures_are_told_apart() {
        let shell = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            command
        };
        let told = |script| command(shell(script), "box:1", "x", Duration::from_secs(5));
        let answer = Answer { status: 3, out: "out\n".into(), err: "err\n".into() };
        assert_eq!(told("echo out; echo err >&2; exit 3").unwrap(), answer);
        let refused = told("echo 'admin@box: Permission denied (publickey).' >&2; exit 255").unwrap_err();
        assert!(!refused.is_outcome_unknown(), "{refused}");
        assert_eq!(refused.to_string(), "box:1: admin@box: Permission denied (publickey).");
        assert!(told("echo 'Connection reset' >&2; exit 255").unwrap_err().is_outcome_unknown());
        assert!(told("kill -9 $$").unwrap_err().is_outcome_unknown());
        let late = command(shell("sleep 60"), "box:1", "x", Duration::from_millis(50)).unwrap_err();
        assert!(matches!(late, ControlError::NoAnswer { .. }), "{late}");
    }
}
