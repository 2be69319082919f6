//! The QEMU Machine Protocol: commands and events of a running machine over a Unix socket.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long QEMU may take to answer a command.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    #[error("QMP: {0}")]
    Io(#[from] io::Error),
    #[error("QMP: not JSON: {0}")]
    Syntax(#[from] serde_json::Error),
    #[error("QMP: '{command}' refused: {answer}")]
    Refused { command: String, answer: Value },
    #[error("QMP: the machine closed the connection")]
    Closed,
    #[error("QMP: the emulator does not speak it")]
    Absent,
}

/// A connection that has negotiated. A monitor takes one client at a time.
#[derive(Debug)]
pub struct Qmp {
    stream: UnixStream,
    lines: BufReader<UnixStream>,
    events: Vec<Value>,
    /// A line that a timeout has cut; the next read goes on with it.
    partial: String,
}

impl Qmp {
    /// Connects and negotiates within `patience`. QEMU greets when its devices stand, not before.
    pub fn connect(socket: &Path, patience: Duration) -> Result<Self, QmpError> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        let lines = BufReader::new(stream.try_clone()?);
        let mut qmp = Self { stream, lines, events: Vec::new(), partial: String::new() };
        qmp.read()?; // the greeting
        qmp.execute("qmp_capabilities", Value::Null)?;
        qmp.stream.set_read_timeout(Some(PATIENCE))?;
        Ok(qmp)
    }

    /// Runs a command and returns its `return` value. `arguments` may be null.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value, QmpError> {
        let mut request = json!({ "execute": command });
        if !arguments.is_null() {
            request["arguments"] = arguments;
        }
        self.stream.write_all(format!("{request}\n").as_bytes())?;
        loop {
            let mut message = self.read()?;
            if message.get("event").is_some() {
                self.events.push(message);
            } else if let Some(answer) = message.get_mut("return") {
                return Ok(answer.take());
            } else {
                return Err(QmpError::Refused {
                    command: command.to_owned(),
                    answer: message["error"].take(),
                });
            }
        }
    }

    /// The reason of the machine's `SHUTDOWN` event, waited for until `deadline`: `guest-reset`, `host-signal` and so on
    /// (QEMU's `ShutdownCause`). `None` when the machine ended without one.
    pub fn shutdown_reason(&mut self, deadline: Instant) -> Option<String> {
        loop {
            let shutdown = self.events.iter().find(|event| event["event"] == "SHUTDOWN");
            if let Some(reason) = shutdown.and_then(|event| event["data"]["reason"].as_str()) {
                return Some(reason.to_owned());
            }
            let left = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
            self.stream.set_read_timeout(Some(left)).ok()?;
            let event = self.read();
            self.stream.set_read_timeout(Some(PATIENCE)).ok()?;
            self.events.push(event.ok()?);
        }
    }

    fn read(&mut self) -> Result<Value, QmpError> {
        if self.lines.read_line(&mut self.partial)? == 0 {
            return Err(QmpError::Closed);
        }
        let message = serde_json::from_str(&self.partial);
        self.partial.clear();
        Ok(message?)
    }
}
