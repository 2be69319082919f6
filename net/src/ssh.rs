//! The control server on the network: SSH, see the package `ssh` for what is served. What commands do is the
//! [`Operator`]'s business.
//!
//! Bounded in everything: [`SESSIONS`] at a time, [`STRANGERS`] of them not logged in, each with its [patience](LOGIN): whoever
//! comes beyond that is hung up on, and counted. Key exchanges cost most: there are [`HANDSHAKES`] a second, and whoever comes
//! faster waits, as long as the listener's queue has room. Their arithmetic runs at low priority until somebody has logged in: a
//! flood takes next to nothing from the applications, and an operator gets in even where these leave nothing.

use crate::blocking::accept;
use crate::{BindError, ListenOptions, Network, TcpError, TcpListener, TcpStream};
use core::cell::Cell;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use core::task::{Poll, Waker};
use core::time::Duration;
use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use machine::journal::EVENTS;
use machine::thread::{self, Builder, Priority};
use machine::time::Instant;

pub use ::ssh::*;

/// Connections at a time.
pub const SESSIONS: usize = 24;
/// Those of them that have not logged in.
pub const STRANGERS: usize = 12;
/// Connections a second that get as far as a key exchange, in the long run; as many as [`STRANGERS`] at once.
pub const HANDSHAKES: u64 = 8;
/// From the connection to the first command.
pub const LOGIN: Duration = Duration::from_secs(20);
/// Between commands.
pub const IDLE: Duration = Duration::from_secs(600);
/// For the operator to take, or to give, a piece of what a command says or wants.
pub const COMMAND: Duration = Duration::from_secs(60);
const STACK: usize = 96 * 1024;

/// What the server needs.
#[derive(Clone, Copy)]
pub struct Setting {
    /// Where to listen.
    pub network: Network,
    /// TCP port.
    pub port: u16,
    /// The machine's key and its operators'.
    pub identities: &'static Identities,
    /// Unpredictable bytes.
    pub random: Random,
    /// Who carries out commands.
    pub operator: &'static dyn Operator,
}

impl core::fmt::Debug for Setting {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { network, port, .. } = self;
        f.debug_struct("Setting").field("network", network).field("port", port).finish_non_exhaustive()
    }
}

static OPEN: AtomicUsize = AtomicUsize::new(0);
static STRANGE: AtomicUsize = AtomicUsize::new(0);
static REFUSED: AtomicU64 = AtomicU64::new(0);
static SERVED: AtomicU64 = AtomicU64::new(0);

/// What was counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections there are.
    pub open: u64,
    /// Commands carried out, or refused to somebody known, in connections that have ended.
    pub commands: u64,
    /// Connections that came to no command: no key, too slow, too many.
    pub refused: u64,
}

/// What was counted since the start.
pub fn counts() -> Counts {
    Counts {
        open: OPEN.load(Ordering::Relaxed) as u64,
        commands: SERVED.load(Ordering::Relaxed),
        refused: REFUSED.load(Ordering::Relaxed),
    }
}

/// Lets some through at once, and a steady number in the long run.
#[derive(Debug)]
struct Bucket {
    /// Times [`Bucket::WHOLE`].
    tokens: u64,
    filled: Instant,
}

impl Bucket {
    const WHOLE: u64 = 1_000_000_000;

    fn new(now: Instant) -> Self {
        Self { tokens: STRANGERS as u64 * Self::WHOLE, filled: now }
    }

    /// Takes one, or tells when there will be one.
    fn take(&mut self, now: Instant) -> Result<(), Instant> {
        let nanos = now.as_nanos().saturating_sub(self.filled.as_nanos());
        self.tokens =
            nanos.saturating_mul(HANDSHAKES).saturating_add(self.tokens).min(STRANGERS as u64 * Self::WHOLE);
        self.filled = now;
        if let Some(left) = self.tokens.checked_sub(Self::WHOLE) {
            self.tokens = left;
            return Ok(());
        }
        let missing = Duration::from_nanos((Self::WHOLE - self.tokens).div_ceil(HANDSHAKES));
        Err(now.saturating_add(missing))
    }
}

/// Listens and serves, on threads of its own.
pub fn serve(setting: Setting) -> Result<(), BindError> {
    let options = ListenOptions { backlog: SESSIONS, network: setting.network, ..ListenOptions::default() };
    let listener = TcpListener::bind(setting.port, options)?;
    let listen = move || {
        let mut bucket = Bucket::new(Instant::now());
        loop {
            let stream = accept(&listener);
            let room = OPEN.load(Ordering::Acquire) < SESSIONS && STRANGE.load(Ordering::Acquire) < STRANGERS;
            if !room {
                refuse(&stream);
                continue;
            }
            while let Err(then) = bucket.take(Instant::now()) {
                thread::park_until(then);
            }
            OPEN.fetch_add(1, Ordering::AcqRel);
            STRANGE.fetch_add(1, Ordering::AcqRel);
            let session = move || {
                session(&setting, &stream);
                OPEN.fetch_sub(1, Ordering::AcqRel);
            };
            if Builder::new("control").stack_size(STACK).spawn(session).is_err() {
                // The stream went with the closure: the peer sees it closed.
                OPEN.fetch_sub(1, Ordering::AcqRel);
                STRANGE.fetch_sub(1, Ordering::AcqRel);
                REFUSED.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    match Builder::new("control").stack_size(STACK).spawn(listen) {
        Ok(_) => Ok(()),
        Err(_) => Err(BindError::OutOfMemory),
    }
}

fn refuse(stream: &TcpStream) {
    REFUSED.fetch_add(1, Ordering::Relaxed);
    stream.abort();
}

fn session(setting: &Setting, stream: &TcpStream) {
    let phase = Cell::new(Phase::Login);
    let strange = Cell::new(true);
    let line = Line {
        stream: Tcp {
            stream,
            phase: &phase,
            login: Instant::now().saturating_add(LOGIN),
            strange: &strange,
            held: Held::EMPTY,
        },
        phase: &phase,
        is_gone: &|| stream.is_closed(),
    };
    let end = ::ssh::serve(line, setting.identities, setting.random, setting.operator);
    thread::set_priority(Priority::Normal);
    if strange.get() {
        STRANGE.fetch_sub(1, Ordering::AcqRel);
    }
    match end {
        End::Stranger => {
            EVENTS.push("stranger", format_args!("{} was not let in", stream.peer()));
            refuse(stream);
        }
        End::Operator(commands) => {
            SERVED.fetch_add(commands, Ordering::Relaxed);
        }
    }
    stream.runtime().flush();
}

/// A connection that waits as long as the phase allows.
struct Tcp<'a> {
    stream: &'a TcpStream,
    phase: &'a Cell<Phase>,
    login: Instant,
    /// Counted among the strangers.
    strange: &'a Cell<bool>,
    /// What was written and not flushed.
    held: Held,
}

/// Small pieces that go together: the identification line comes in two, and clients there are that can't read half of one.
struct Held {
    bytes: [u8; Self::ROOM],
    count: usize,
}

impl Held {
    /// The longest identification (RFC 4253, 4.2).
    const ROOM: usize = 255;
    const EMPTY: Self = Self { bytes: [0; Self::ROOM], count: 0 };

    /// Keeps a piece, if all of it fits.
    fn keep(&mut self, data: &[u8]) -> bool {
        let room = self.bytes.get_mut(self.count..self.count + data.len());
        room.map(|room| room.copy_from_slice(data)).is_some_and(|()| {
            self.count += data.len();
            true
        })
    }
}

impl Tcp<'_> {
    fn deadline(&self) -> Result<Instant, ErrorKind> {
        let patience = match self.phase.get() {
            Phase::Login => return Ok(self.login),
            Phase::Over => return Err(ErrorKind::TimedOut),
            Phase::Idle => IDLE,
            Phase::Command => COMMAND,
        };
        if self.strange.replace(false) {
            STRANGE.fetch_sub(1, Ordering::AcqRel);
        }
        Ok(Instant::now().saturating_add(patience))
    }

    /// Does something with the network, as urgent as every thread does it: who holds its lock must not be held up. What comes
    /// after it is a stranger's key exchange, unless somebody has logged in: then it is as urgent as before.
    fn urgently<R>(&self, work: impl FnOnce() -> R) -> R {
        let before = thread::set_priority(Priority::Normal);
        let result = work();
        let after = match (self.strange.get(), before) {
            (true, _) => Priority::Low,
            (false, Priority::Low) => Priority::Normal,
            (false, before) => before,
        };
        if after != Priority::Normal {
            thread::set_priority(after);
        }
        result
    }

    fn wait<R>(&self, poll: impl FnMut(&Waker) -> Poll<Result<R, TcpError>>) -> Result<R, ErrorKind> {
        let deadline = self.deadline()?;
        let result =
            self.urgently(|| self.stream.runtime().block_until(deadline, poll)).ok_or(ErrorKind::TimedOut)?;
        result.map_err(|_| ErrorKind::ConnectionReset)
    }

    fn send_held(&mut self) -> Result<(), ErrorKind> {
        let Held { bytes, count } = core::mem::replace(&mut self.held, Held::EMPTY);
        let mut rest = &bytes[..count];
        while !rest.is_empty() {
            let sent = self.wait(|waker| self.stream.poll_write(waker, rest))?;
            rest = &rest[sent..];
        }
        Ok(())
    }
}

impl ErrorType for Tcp<'_> {
    type Error = ErrorKind;
}

impl Read for Tcp<'_> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ErrorKind> {
        self.wait(|waker| self.stream.poll_read(waker, buffer))
    }
}

impl Write for Tcp<'_> {
    async fn write(&mut self, data: &[u8]) -> Result<usize, ErrorKind> {
        if self.held.keep(data) {
            return Ok(data.len());
        }
        self.send_held()?;
        self.wait(|waker| self.stream.poll_write(waker, data))
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        self.send_held()?;
        self.urgently(|| self.stream.runtime().flush());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pieces_are_kept_in_order_while_there_is_room() {
        let mut held = Held::EMPTY;
        assert!(held.keep(b"SSH-2.0-quicksilver") && held.keep(b"\r\n") && held.keep(&[7; 234]));
        assert!(!held.keep(b"x") && held.keep(b""));
        assert_eq!((held.count, &held.bytes[..21]), (255, &b"SSH-2.0-quicksilver\r\n"[..]));
        let mut held = Held::EMPTY;
        assert!(!held.keep(&[0; 256]));
    }

    #[test]
    fn handshakes_come_in_a_burst_and_then_steadily() {
        let begin = Instant::now();
        let mut bucket = Bucket::new(begin);
        let all_at_once = (0..100).filter(|_| bucket.take(begin).is_ok()).count();
        assert_eq!(all_at_once, STRANGERS);
        let later = |millis| begin.saturating_add(Duration::from_millis(millis));
        let in_ten_seconds = (1..=1000).filter(|tick| bucket.take(later(tick * 10)).is_ok()).count() as u64;
        assert!((10 * HANDSHAKES - 1..=10 * HANDSHAKES).contains(&in_ten_seconds), "{in_ten_seconds}");
        assert_eq!((0..100).filter(|_| bucket.take(later(1_000_000)).is_ok()).count(), STRANGERS);
        let next = bucket.take(later(1_000_000)).unwrap_err();
        assert_eq!(next.as_nanos() - later(1_000_000).as_nanos(), 1_000_000_000 / HANDSHAKES);
    }
}
