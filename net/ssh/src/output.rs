//! Where a command's words go.

use crate::session::{Server, now};
use embedded_io_async::{Read, Write};
use zssh::{Channel, Pipe};

/// The operator is gone: nobody reads any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

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

    /// Whether nobody reads any more, for commands that have nothing to say for long.
    fn is_gone(&self) -> bool;
}

/// The channel of one command.
pub(crate) struct Pipes<'a, 'b, 'c, S: Read + Write> {
    pub channel: Channel<'a, 'b, Server<'c, S>>,
    pub gone: bool,
    pub peer_is_gone: &'c dyn Fn() -> bool,
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

    fn is_gone(&self) -> bool {
        self.gone || (self.peer_is_gone)()
    }
}
