//! The control server: authenticated commands over TCP, see the package `control` for how they are spoken. What they do is
//! the [`Operator`]'s business.
//!
//! Bounded in everything: [`SESSIONS`] at a time, each with [`PATIENCE`] for its command; whoever comes beyond that, or
//! with a wrong key, is hung up on.

use crate::blocking::{accept, read_until, write_all_until};
use crate::{BindError, ListenOptions, TcpListener, TcpStream};
use ::control::{Answer, Key, MAX_REQUEST, Nonce};
use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use machine::thread::{Builder, Priority};
use machine::time::Instant;

pub use ::control as protocol;

/// Sessions at a time.
pub const SESSIONS: usize = 4;
/// From the connection to the whole command, and for the answer to leave.
pub const PATIENCE: Duration = Duration::from_secs(10);
const STACK: usize = 64 * 1024;

/// Carries out commands.
pub trait Operator: Sync {
    /// Carries out one; called on a thread of its own, several at a time.
    fn execute(&self, command: &str) -> Answer;
}

/// What the server needs.
#[derive(Clone, Copy)]
pub struct Setting {
    /// TCP port.
    pub port: u16,
    /// The secret shared with the operators.
    pub key: &'static Key,
    /// Unpredictable bytes, for nonces.
    pub random: fn(&mut [u8]),
    /// Who carries out commands.
    pub operator: &'static dyn Operator,
}

impl core::fmt::Debug for Setting {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Setting").field("port", &self.port).finish_non_exhaustive()
    }
}

static OPEN: AtomicUsize = AtomicUsize::new(0);
static REFUSED: AtomicUsize = AtomicUsize::new(0);

/// Sessions that ended without a command: wrong key, too slow, too many at a time.
pub fn refused() -> usize {
    REFUSED.load(Ordering::Relaxed)
}

/// Listens and serves, on threads of its own.
pub fn serve(setting: Setting) -> Result<(), BindError> {
    let options = ListenOptions { backlog: 2 * SESSIONS, ..ListenOptions::default() };
    let listener = TcpListener::bind(setting.port, options)?;
    let listen = move || {
        loop {
            let stream = accept(&listener);
            if OPEN.fetch_add(1, Ordering::AcqRel) >= SESSIONS {
                OPEN.fetch_sub(1, Ordering::AcqRel);
                refuse(&stream);
                continue;
            }
            let session = move || {
                let served = session(&setting, &stream);
                OPEN.fetch_sub(1, Ordering::AcqRel);
                if served.is_none() {
                    refuse(&stream);
                    return;
                }
                // The peer closes when it has read the answer. Who closes first keeps the connection in mind for a while
                // (TIME-WAIT): that is better done by the peer, which has the key.
                let _ = read_until(&stream, &mut [0; 16], Instant::now().saturating_add(PATIENCE));
            };
            let builder = Builder::new("control").priority(Priority::High).stack_size(STACK);
            if builder.spawn(session).is_err() {
                // The stream went with the closure: the peer sees it closed.
                OPEN.fetch_sub(1, Ordering::AcqRel);
                REFUSED.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    match Builder::new("control").priority(Priority::High).stack_size(STACK).spawn(listen) {
        Ok(_) => Ok(()),
        Err(_) => Err(BindError::OutOfMemory),
    }
}

fn refuse(stream: &TcpStream) {
    REFUSED.fetch_add(1, Ordering::Relaxed);
    stream.abort();
}

/// One session; `None` if it came to no command.
fn session(setting: &Setting, stream: &TcpStream) -> Option<()> {
    let deadline = Instant::now().saturating_add(PATIENCE);
    let mut nonce: Nonce = [0; 32];
    (setting.random)(&mut nonce);
    write_all_until(stream, ::control::greeting(&nonce).as_bytes(), deadline)?.ok()?;
    let line = read_line(stream, deadline)?;
    let (command, session) = match ::control::accept(setting.key, nonce, &line) {
        Ok(accepted) => accepted,
        Err(error) => {
            log::warn!("a command from {} was refused: {error}", stream.peer());
            return None;
        }
    };
    let answer = setting.operator.execute(command);
    let line = ::control::answer(setting.key, &session, &answer).ok()?;
    let deadline = Instant::now().saturating_add(PATIENCE);
    write_all_until(stream, line.as_bytes(), deadline)?.ok()?;
    crate::flush();
    Some(())
}

fn read_line(stream: &TcpStream, deadline: Instant) -> Option<String> {
    let mut line = Vec::with_capacity(MAX_REQUEST);
    let mut buffer = [0; 256];
    while line.last() != Some(&b'\n') {
        let count = read_until(stream, &mut buffer, deadline)?.ok()?;
        if count == 0 || line.len() + count > MAX_REQUEST {
            return None;
        }
        line.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8(line).ok()
}
