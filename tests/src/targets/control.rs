//! What operators and strangers send: command lines, lists of keys, and whatever there is in place of SSH.

use std::cell::Cell;

use ::control::access::Access;
use ::control::request::{MAX_COMMAND, Request};
use ::ssh::{Caller, End, Identities, Key, Line, Operator, Output, Phase};
use embedded_io_async::{ErrorKind, ErrorType, Read, Write};

/// A command line: what is understood is short text.
pub fn request(input: &[u8]) {
    let line = String::from_utf8_lossy(input);
    if line.parse::<Request>().is_ok() {
        assert!(line.len() <= MAX_COMMAND && !line.contains(char::is_control), "{line:?}");
    }
}

/// A list of keys: what is understood is written as what is understood the same way.
pub fn access(input: &[u8]) {
    if let Ok(access) = String::from_utf8_lossy(input).parse::<Access>() {
        assert_eq!(access.to_string().parse(), Ok(access));
    }
}

/// A connection that says this, and then nothing.
struct Said<'a>(&'a [u8]);

impl ErrorType for Said<'_> {
    type Error = ErrorKind;
}

impl Read for Said<'_> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ErrorKind> {
        let (now, later) = self.0.split_at(buffer.len().min(self.0.len()));
        buffer[..now.len()].copy_from_slice(now);
        self.0 = later;
        Ok(now.len())
    }
}

impl Write for Said<'_> {
    async fn write(&mut self, data: &[u8]) -> Result<usize, ErrorKind> {
        Ok(data.len())
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

/// Is never asked anything.
struct Nobody;

impl Operator for Nobody {
    fn execute(&self, _: &Caller, request: &Request, _: &mut dyn Output) -> u8 {
        panic!("a stranger has said {request:?}")
    }
}

/// A client without a key.
pub fn ssh(input: &[u8]) {
    let phase = Cell::new(Phase::Login);
    let line = Line { stream: Said(input), phase: &phase, is_gone: &|| true };
    let operator = Key { public: [9; 32], role: ::control::Role::Admin, name: String::from("somebody") };
    let identities = Identities::new(&[7; 32], vec![operator]);
    assert_eq!(::ssh::serve(line, &identities, |bytes| bytes.fill(5), &Nobody), End::Stranger);
}

pub fn requests() -> Vec<Vec<u8>> {
    let lines = [
        "status --json",
        "mode guest --dry-run --deadline 500 --op a-1 --expect=7",
        "mode toggle",
        "events --follow",
        "job watch 12",
        "device list",
        "device swap net0 --to pci:0000:00:05.0 --dry-run",
        "device detach net0 --timeout 500",
        "device attach mmio:0xfeb00e00",
    ];
    lines.iter().map(|line| line.as_bytes().to_vec()).collect()
}

pub fn lists() -> Vec<Vec<u8>> {
    let key = ::control::access::PublicKey([3; 32]);
    let other = ::control::access::PublicKey([4; 32]);
    let digits = "5a".repeat(32);
    vec![format!("host-key {digits}\n# ours\n{key} me\nrole=\"observe\" {other}\n").into_bytes()]
}

/// A greeting and a key exchange as far as it goes without keys.
pub fn handshakes() -> Vec<Vec<u8>> {
    vec![image_builder::bench::flood::handshake()]
}

/// The same, cut off behind each of its packets and in the middle of each.
pub fn handshake_stages() -> Vec<Vec<u8>> {
    let whole = handshakes().remove(0);
    let mut ends = vec![whole.iter().position(|&byte| byte == b'\n').map_or(0, |place| place + 1)];
    while let Some(length) = ends.last().and_then(|&end| whole.get(end..end + 4)) {
        let length = length.iter().fold(0, |sum, &byte| sum << 8 | usize::from(byte));
        let begin = ends.last().copied().unwrap_or(0);
        ends.extend([begin + length / 2, begin + 4 + length]);
    }
    ends.into_iter().map(|end| whole[..end.min(whole.len())].to_vec()).collect()
}
