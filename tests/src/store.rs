//! What a store has to hold and to do while something else is tested. Made for tests: what goes wrong is a panic.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use crate::guest::Guest;

/// Bytes that are put into the store: more than a client and the network hold for who reads nothing.
pub const FILLED: usize = 8 << 20;
/// Bytes of a value.
pub const VALUE: usize = 128 << 10;

/// Gives the store so much under keys with this letter, that can't be compressed.
///
/// # Panics
/// When the store does not take it.
pub fn fill(guest: &Guest, name: char) {
    let mut word = 0x9e37_79b9_7f4a_7c15_u64;
    let mut stream = guest.connect("kv");
    for key in 0..FILLED / VALUE {
        let mut command = format!("*3\r\n$3\r\nSET\r\n$4\r\n{name}{key:03}\r\n${VALUE}\r\n").into_bytes();
        for _ in 0..VALUE / 8 {
            word ^= word << 13;
            word ^= word >> 7;
            word ^= word << 17;
            command.extend(word.to_le_bytes());
        }
        command.extend(b"\r\n");
        let mut answer = [0; 5];
        let told = stream.write_all(&command).and_then(|()| stream.read_exact(&mut answer));
        told.unwrap_or_else(|error| panic!("kv: {error}"));
        assert_eq!(answer, *b"+OK\r\n");
    }
}

/// Writes that go on until this is dropped.
#[derive(Debug)]
pub struct Load(Child);

impl Load {
    /// Of small values.
    ///
    /// # Panics
    /// When there is no `redis-benchmark`.
    pub fn of(guest: &Guest) -> Self {
        let port = guest.at("kv").port().to_string();
        let mut command = Command::new("redis-benchmark");
        command.args(["-p", &port, "-t", "set,get", "-c", "4", "-d", "512", "-r", "2000", "-l", "-q"]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Self(child.unwrap_or_else(|error| panic!("redis-benchmark: {error}")))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A client that sends commands as lines.
#[derive(Debug)]
pub struct Client(pub BufReader<TcpStream>);

impl Client {
    /// On a connection.
    pub fn of(stream: TcpStream) -> Self {
        Self(BufReader::new(stream))
    }

    /// Sends a command.
    pub fn send(&mut self, words: &str) -> io::Result<()> {
        self.0.get_mut().write_all(format!("{words}\r\n").as_bytes())
    }

    /// The next line of an answer.
    pub fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.0.read_line(&mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end().to_owned()),
        }
    }

    /// The first line of the answer to a command.
    pub fn ask(&mut self, words: &str) -> io::Result<String> {
        self.send(words)?;
        self.line()
    }

    /// The bulk string that answers; nothing where there is none.
    ///
    /// # Panics
    /// When something else answers.
    pub fn bulk(&mut self, words: &str) -> io::Result<Option<String>> {
        let head = self.ask(words)?;
        assert!(head.starts_with('$'), "{words}: {head}");
        if head == "$-1" { Ok(None) } else { self.line().map(Some) }
    }
}
