//! One command to one machine.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use control::{Answer, Key, MAX_ANSWER, ProtocolError};

use super::TargetError;
use super::key::{KeyError, random};

/// How long a machine may take to accept a connection, and to say which protocol it speaks.
pub const CONNECT: Duration = Duration::from_secs(5);

/// Longest line from a machine, in bytes: code, status and answer.
const LONGEST: usize = MAX_ANSWER + 128;

/// A command that changes nothing: a machine that has our key answers it.
const HARMLESS: &str = "mode status";

/// Why a machine was not, or may not have been, operated.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// It is not clear which machine is meant.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The key can't be read.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Nobody has built an image yet.
    #[error(
        "no control key in {0}: it is made when an image is built; copy it from where this one was built"
    )]
    NoKey(std::path::PathBuf),
    /// No connection.
    #[error("{address}: {error}")]
    Connect {
        /// Host and port.
        address: String,
        /// What the system says.
        error: io::Error,
    },
    /// Connected, but there is no control server, or it is busy with others.
    #[error(
        "{address}: no control server answers there (the machine may still be booting, or its image has no key)"
    )]
    NoServer {
        /// Host and port.
        address: String,
    },
    /// What came or was to be sent before the command is not of the protocol. Nothing was sent.
    #[error("{address}: {error}")]
    Protocol {
        /// Host and port.
        address: String,
        /// What is wrong.
        error: ProtocolError,
    },
    /// The machine hung up on every command.
    #[error("{address}: the machine refused our key: its image was built with another one")]
    KeyRefused {
        /// Host and port.
        address: String,
    },
    /// The connection was lost after the command had been sent.
    #[error(
        "{address}: the connection was lost before the answer; whether the command was carried out is not known"
    )]
    Lost {
        /// Host and port.
        address: String,
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
    /// The answer is not the machine's.
    #[error(
        "{address}: the answer is not to be trusted: {error}; whether the command was carried out is not known"
    )]
    Answer {
        /// Host and port.
        address: String,
        /// What is wrong with it.
        error: ProtocolError,
    },
}

impl ControlError {
    /// Whether the command may have been carried out.
    pub const fn is_outcome_unknown(&self) -> bool {
        matches!(self, Self::Lost { .. } | Self::NoAnswer { .. } | Self::Answer { .. })
    }
}

/// Has a machine carry out a command. The address is host and port; `patience` is how long the answer may take after the
/// command was sent.
pub fn command(address: &str, key: &Key, command: &str, patience: Duration) -> Result<Answer, ControlError> {
    match exchange(address, key, command, patience) {
        // A machine that doesn't know the key hangs up instead of answering, and so does one that dies. The former does it
        // always.
        Err(ControlError::Lost { address }) => match exchange(&address, key, HARMLESS, patience) {
            Err(ControlError::Lost { .. }) => Err(ControlError::KeyRefused { address }),
            _ => Err(ControlError::Lost { address }),
        },
        other => other,
    }
}

fn exchange(address: &str, key: &Key, command: &str, patience: Duration) -> Result<Answer, ControlError> {
    let owned = || address.to_owned();
    let no_connection = |error| ControlError::Connect { address: owned(), error };
    let no_protocol = |error| ControlError::Protocol { address: owned(), error };
    let client = random().map_err(no_connection)?;
    let mut stream = connect(address).map_err(no_connection)?;
    stream.set_nodelay(true).and_then(|()| stream.set_write_timeout(Some(CONNECT))).map_err(no_connection)?;

    let greeting = match read_line(&mut stream, Instant::now() + CONNECT) {
        Ok(line) => line,
        Err(Broken::Syntax) => return Err(no_protocol(ProtocolError::Syntax)),
        Err(Broken::Closed | Broken::Late) => return Err(ControlError::NoServer { address: owned() }),
    };
    let (line, session) = control::ask(key, &greeting, client, command).map_err(no_protocol)?;
    // A part of a command that was sent is none to the machine, but what the system took may all have been sent.
    stream.write_all(line.as_bytes()).map_err(|_| ControlError::Lost { address: owned() })?;
    match read_line(&mut stream, Instant::now() + patience) {
        Ok(line) => control::receive(key, &session, &line)
            .map_err(|error| ControlError::Answer { address: owned(), error }),
        Err(Broken::Syntax) => Err(ControlError::Answer { address: owned(), error: ProtocolError::Syntax }),
        Err(Broken::Closed) => Err(ControlError::Lost { address: owned() }),
        Err(Broken::Late) => Err(ControlError::NoAnswer { address: owned(), patience }),
    }
}

/// Connects to the first of a host's addresses that accepts.
fn connect(address: &str) -> io::Result<TcpStream> {
    let mut result = Err(io::Error::new(ErrorKind::NotFound, "the host has no address"));
    for address in address.to_socket_addrs()? {
        result = TcpStream::connect_timeout(&address, CONNECT);
        if result.is_ok() {
            break;
        }
    }
    result
}

/// Why there is no line.
enum Broken {
    /// The other end closed or reset the connection before the line's end.
    Closed,
    /// The line did not end in time.
    Late,
    /// The line is too long, not text, or more than one.
    Syntax,
}

fn read_line(stream: &mut TcpStream, deadline: Instant) -> Result<String, Broken> {
    let mut line = Vec::new();
    let mut buffer = [0; 4096];
    while line.last() != Some(&b'\n') {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Broken::Late);
        }
        stream.set_read_timeout(Some(left)).map_err(|_| Broken::Closed)?;
        match stream.read(&mut buffer) {
            Ok(0) => return Err(Broken::Closed),
            Ok(count) => line.extend_from_slice(&buffer[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Err(Broken::Late);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Err(Broken::Closed),
        }
        if line.len() > LONGEST {
            return Err(Broken::Syntax);
        }
    }
    String::from_utf8(line).map_err(|_| Broken::Syntax)
}
