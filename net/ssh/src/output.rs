//! Where a command's words go, and what it reads.

use crate::session::{Server, now};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cell::RefCell;
use embedded_io_async::{Read, Write};
use zssh::{Channel, Pipe};

/// The operator is gone: nobody reads any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

/// What is done when a connection has ended.
pub type AtEnd = Box<dyn FnOnce() + Send>;

/// Where a command's words go. What follows after [`Gone`] goes nowhere.
pub trait Output {
    /// Data: standard output.
    fn out(&mut self, text: &str) -> Result<(), Gone> {
        self.bytes(text.as_bytes())
    }

    /// The same, which need not be text.
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Gone>;

    /// Progress and errors: standard error.
    fn err(&mut self, text: &str) -> Result<(), Gone>;

    /// Standard input: fills the bytes, unless it ends before; how many there were.
    fn read(&mut self, _: &mut [u8]) -> Result<usize, Gone> {
        Ok(0)
    }

    /// Calls something when this connection has ended: at once where there is none.
    fn at_end(&mut self, f: AtEnd) {
        f();
    }

    /// Whether nobody reads any more, for commands that have nothing to say for long.
    fn is_gone(&self) -> bool;
}

/// The channel of one command.
pub(crate) struct Pipes<'a, 'b, 'c, S: Read + Write> {
    pub channel: Channel<'a, 'b, Server<'c, S>>,
    pub gone: bool,
    pub peer_is_gone: &'c dyn Fn() -> bool,
    pub at_end: &'c RefCell<Vec<AtEnd>>,
}

impl<S: Read + Write> Pipes<'_, '_, '_, S> {
    fn send(&mut self, pipe: Pipe, bytes: &[u8]) -> Result<(), Gone> {
        if self.gone {
            return Err(Gone);
        }
        let sent = match pipe {
            Pipe::Stdout => now(self.channel.write_all_stdout(bytes)),
            Pipe::Stderr => now(self.channel.write_all_stderr(bytes)),
        };
        sent.map_err(|_| {
            self.gone = true;
            Gone
        })
    }
}

impl<S: Read + Write> Output for Pipes<'_, '_, '_, S> {
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        self.send(Pipe::Stdout, bytes)
    }

    fn err(&mut self, text: &str) -> Result<(), Gone> {
        self.send(Pipe::Stderr, text.as_bytes())
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Gone> {
        if self.gone {
            return Err(Gone);
        }
        now(self.channel.read_exact_stdin(bytes)).map_err(|_| {
            self.gone = true;
            Gone
        })
    }

    fn at_end(&mut self, f: AtEnd) {
        self.at_end.borrow_mut().push(f);
    }

    fn is_gone(&self) -> bool {
        self.gone || (self.peer_is_gone)()
    }
}
