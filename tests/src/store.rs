//! What a store has to hold and to do while something else is tested. Made for tests: what goes wrong is a panic.

use std::io::{Read, Write};
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
