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

    /// Lets the machine run. It may end before QEMU has answered: that is no failure here, and
    /// [`shutdown_reason`](Self::shutdown_reason) knows the rest.
    pub fn resume(&mut self) -> Result<(), QmpError> {
        match self.execute("cont", Value::Null) {
            Err(QmpError::Closed) => Ok(()),
            Err(QmpError::Io(error)) if error.kind() == io::ErrorKind::ConnectionReset => Ok(()),
            answer => answer.map(drop),
        }
    }

    /// The reason of the machine's `SHUTDOWN` event, waited for until `deadline`: `guest-reset`, `host-signal` and so on
    /// (QEMU's `ShutdownCause`). `None` when the machine ended without one.
    pub fn shutdown_reason(&mut self, deadline: Instant) -> Option<String> {
        let shutdown = self.event(|event| event["event"] == "SHUTDOWN", deadline)?;
        let reason = shutdown["data"]["reason"].as_str().map(str::to_owned);
        // It may be asked for again.
        self.events.push(shutdown);
        reason
    }

    /// The first event of this kind that nobody has waited for yet, waited for until `deadline`.
    pub fn event(&mut self, is_it: impl Fn(&Value) -> bool, deadline: Instant) -> Option<Value> {
        loop {
            if let Some(place) = self.events.iter().position(&is_it) {
                return Some(self.events.remove(place));
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixListener;
    use std::thread;

    /// QEMU, for a machine that ends as soon as it has begun: it is gone with the answer to `cont` unsent and, `unread`, the
    /// last byte of the request in its socket, which resets the connection.
    fn short_lived(socket: &UnixListener, unread: usize) {
        let (mut stream, _) = socket.accept().unwrap();
        stream.write_all(b"{\"QMP\": {}}\n").unwrap();
        let mut lines = BufReader::with_capacity(1, stream.try_clone().unwrap());
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        assert!(line.contains("qmp_capabilities"), "{line}");
        stream.write_all(b"{\"return\": {}}\n").unwrap();
        let request = format!("{}\n", json!({ "execute": "cont" }));
        let mut read = vec![0; request.len() - unread];
        lines.read_exact(&mut read).unwrap();
        assert_eq!(read, &request.as_bytes()[..read.len()]);
        let event = json!({ "event": "SHUTDOWN", "data": { "reason": "guest-shutdown" } });
        stream.write_all(format!("{event}\n").as_bytes()).unwrap();
    }

    #[test]
    fn a_machine_may_end_before_its_start_is_answered() {
        for unread in [0, 1] {
            let path = std::env::temp_dir().join(format!("qs-qmp-{}-{unread}", std::process::id()));
            drop(std::fs::remove_file(&path));
            let socket = UnixListener::bind(&path).unwrap();
            let qemu = thread::spawn(move || short_lived(&socket, unread));
            let mut qmp = Qmp::connect(&path, PATIENCE).unwrap();
            qmp.resume().unwrap();
            qemu.join().unwrap();
            std::fs::remove_file(&path).unwrap();
            assert_eq!(qmp.shutdown_reason(Instant::now() + PATIENCE).as_deref(), Some("guest-shutdown"));
        }
    }
}
