//! A connection that is kept for many commands, so that thousands of them take no thousands of logins: OpenSSH's
//! multiplexing.

use std::path::PathBuf;
use std::process::{self, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::client::{self, Answer, ControlError};
use super::keys::Keys;
use super::target::Target;

/// Somebody with a key to a machine, connected. Dropping it ends the connection.
#[derive(Debug)]
pub struct Session {
    target: Target,
    keys: Keys,
    /// The socket of the client that keeps the connection.
    socket: PathBuf,
}

impl Session {
    /// Connects to a machine's control server.
    pub fn open(target: Target, keys: Keys) -> Result<Self, ControlError> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("qs-ssh-{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let session = Self { target, keys, socket: std::env::temp_dir().join(name) };
        // It goes to the background as soon as it is let in, and must not keep our pipes.
        let mut master = session.client()?;
        master.args(["-M", "-N", "-f", "-o", "ControlPersist=yes"]).stdin(Stdio::null());
        let status = master.stdout(Stdio::null()).stderr(Stdio::null()).status();
        match status.map_err(ControlError::Client)? {
            status if status.success() => Ok(session),
            status => Err(ControlError::Refused {
                address: session.target.address.clone(),
                said: status.to_string(),
            }),
        }
    }

    fn client(&self) -> Result<Command, ControlError> {
        let mut client = client::ssh(&self.target, &self.keys)?;
        client.arg("-S").arg(&self.socket);
        Ok(client)
    }

    /// What the machine says to a command. `patience` is for all of it.
    pub fn tell(&self, line: &str, patience: Duration) -> Result<Answer, ControlError> {
        client::command(self.client()?, &self.target.address, line, patience)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Where the machine is gone, so is the client.
        let Ok(mut end) = self.client() else { return };
        end.args(["-O", "exit"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        drop(end.status());
    }
}
