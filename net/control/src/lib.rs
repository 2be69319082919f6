//! The control protocol: one command over one TCP connection, authenticated by a key that both ends have. It will give way
//! to SSH; nothing but this package, its server in `net` and its client in `image-builder` knows it.
//!
//! Lines of text, numbers in hexadecimal:
//!
//! ```text
//! server: QS1 <server nonce>
//! client: <client nonce> <code> <command>
//! server: <code> <exit status> <answer>
//! ```
//!
//! A code is keyed BLAKE3 over both nonces and what follows it, under a prefix that differs by direction: a recorded line is
//! worth nothing in another connection or the other direction. Whoever can't make the right code gets no answer. The
//! content is authenticated, not encrypted.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod access;
mod command;
pub mod operations;
pub mod request;

pub use access::Role;
pub use command::{Command, DEADLINE, LONGEST, Target, USAGE, UsageError};

use alloc::string::String;
use core::fmt::{self, Write};

/// The secret of both ends, in bytes.
pub type Key = [u8; 32];
/// A number used once.
pub type Nonce = [u8; 32];

/// Longest command in bytes.
pub const MAX_COMMAND: usize = 1024;
/// Longest line of a client in bytes, its end included.
pub const MAX_REQUEST: usize = 2 * CODE + 2 + MAX_COMMAND + 1;
/// Longest answer in bytes.
pub const MAX_ANSWER: usize = 256 * 1024;

const GREETING: &str = "QS1 ";
/// Characters of a nonce or a code.
const CODE: usize = 64;
const COMMAND: &[u8] = b"quicksilver control 1: command\0";
const ANSWER: &[u8] = b"quicksilver control 1: answer\0";

/// Why a line is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// It is not built as it should be.
    Syntax,
    /// The code is wrong: another key, or the line was changed or comes from another connection.
    Code,
    /// A command or an answer is longer than allowed, or has a control character in it.
    Content,
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Syntax => "the other end does not speak this protocol",
            Self::Code => "the other end has another key",
            Self::Content => "the content is too long or not text",
        })
    }
}

impl core::error::Error for ProtocolError {}

/// What a command led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Exit status: 0 done, 1 failed, 2 usage, 3 refused, 6 timed out and rolled back, 7 outcome unknown.
    pub status: u8,
    /// A JSON object in one line.
    pub body: String,
}

/// Both nonces of a connection: what its codes are bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    server: Nonce,
    client: Nonce,
}

fn code(key: &Key, domain: &[u8], session: &Session, content: &[&[u8]]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_keyed(key);
    for part in [domain, &session.server, &session.client].iter().chain(content) {
        hasher.update(part);
    }
    hasher.finalize()
}

fn hex(bytes: &[u8; 32]) -> String {
    blake3::Hash::from_bytes(*bytes).to_hex().as_str().into()
}

fn parse_hex(text: &str) -> Result<[u8; 32], ProtocolError> {
    Ok(*blake3::Hash::from_hex(text).map_err(|_| ProtocolError::Syntax)?.as_bytes())
}

fn check_content(text: &str, longest: usize) -> Result<(), ProtocolError> {
    let good = text.len() <= longest && !text.chars().any(char::is_control);
    if good { Ok(()) } else { Err(ProtocolError::Content) }
}

/// A key from its hexadecimal form.
pub fn parse_key(text: &str) -> Result<Key, ProtocolError> {
    parse_hex(text.trim())
}

/// A key's hexadecimal form.
pub fn format_key(key: &Key) -> String {
    hex(key)
}

/// The server's first line.
pub fn greeting(server: &Nonce) -> String {
    let mut line = String::from(GREETING);
    line.push_str(&hex(server));
    line.push('\n');
    line
}

/// The client's side: from the greeting to the line that asks, and the session that checks the answer.
pub fn ask(
    key: &Key,
    greeting: &str,
    client: Nonce,
    command: &str,
) -> Result<(String, Session), ProtocolError> {
    check_content(command, MAX_COMMAND)?;
    let server = greeting.strip_suffix('\n').and_then(|line| line.strip_prefix(GREETING));
    let session = Session { server: parse_hex(server.ok_or(ProtocolError::Syntax)?)?, client };
    let code = code(key, COMMAND, &session, &[command.as_bytes()]);
    let mut line = hex(&client);
    // Writing to a string can't fail.
    let _ = writeln!(line, " {} {command}", code.to_hex());
    Ok((line, session))
}

/// The server's side: the command that a line asks for, if its code is right.
pub fn accept<'a>(key: &Key, server: Nonce, line: &'a str) -> Result<(&'a str, Session), ProtocolError> {
    let line = line.strip_suffix('\n').ok_or(ProtocolError::Syntax)?;
    let mut parts = line.splitn(3, ' ');
    let mut part = || parts.next().ok_or(ProtocolError::Syntax);
    let (client, sent, command) = (parse_hex(part()?)?, parse_hex(part()?)?, part()?);
    let session = Session { server, client };
    // Hashes are compared in constant time.
    if code(key, COMMAND, &session, &[command.as_bytes()]) != blake3::Hash::from_bytes(sent) {
        return Err(ProtocolError::Code);
    }
    check_content(command, MAX_COMMAND)?;
    Ok((command, session))
}

/// The server's answer.
pub fn answer(key: &Key, session: &Session, answer: &Answer) -> Result<String, ProtocolError> {
    check_content(&answer.body, MAX_ANSWER)?;
    let code = code(key, ANSWER, session, &[&[answer.status], answer.body.as_bytes()]);
    let mut line = String::with_capacity(CODE + 8 + answer.body.len());
    let _ = writeln!(line, "{} {} {}", code.to_hex(), answer.status, answer.body);
    Ok(line)
}

/// The client's side: what the server answered, if its code is right.
pub fn receive(key: &Key, session: &Session, line: &str) -> Result<Answer, ProtocolError> {
    let line = line.strip_suffix('\n').ok_or(ProtocolError::Syntax)?;
    let mut parts = line.splitn(3, ' ');
    let mut part = || parts.next().ok_or(ProtocolError::Syntax);
    let sent = parse_hex(part()?)?;
    let status: u8 = part()?.parse().map_err(|_| ProtocolError::Syntax)?;
    let body = part()?;
    if code(key, ANSWER, session, &[&[status], body.as_bytes()]) != blake3::Hash::from_bytes(sent) {
        return Err(ProtocolError::Code);
    }
    check_content(body, MAX_ANSWER)?;
    Ok(Answer { status, body: body.into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;

    const KEY: Key = [7; 32];
    const SERVER: Nonce = [1; 32];

    fn text() -> impl Strategy<Value = String> {
        "[ -~äß]{0,80}"
    }

    #[test]
    fn a_replayed_command_is_refused() {
        let (line, _) = ask(&KEY, &greeting(&SERVER), [2; 32], "mode guest").unwrap();
        assert_eq!(accept(&KEY, SERVER, &line).unwrap().0, "mode guest");
        assert_eq!(accept(&KEY, [3; 32], &line).unwrap_err(), ProtocolError::Code);
    }

    #[test]
    fn an_answer_is_no_command() {
        let (_, session) = ask(&KEY, &greeting(&SERVER), [2; 32], "mode").unwrap();
        let line = answer(&KEY, &session, &Answer { status: 0, body: "{}".into() }).unwrap();
        assert!(accept(&KEY, SERVER, &line).is_err());
    }

    #[test]
    fn keys_have_a_form_to_keep() {
        assert_eq!(parse_key(&(format_key(&KEY) + "\n")), Ok(KEY));
        assert_eq!(parse_key("07"), Err(ProtocolError::Syntax));
        assert_eq!(parse_key("").unwrap_err().to_string(), "the other end does not speak this protocol");
    }

    #[test]
    fn too_much_is_refused_by_the_sender() {
        let long = "x".repeat(MAX_COMMAND + 1);
        assert_eq!(ask(&KEY, &greeting(&SERVER), [2; 32], &long).unwrap_err(), ProtocolError::Content);
        assert_eq!(ask(&KEY, &greeting(&SERVER), [2; 32], "a\nb").unwrap_err(), ProtocolError::Content);
    }

    proptest! {
        #[test]
        fn commands_and_answers_arrive(
            key: [u8; 32], server: [u8; 32], client: [u8; 32], command in text(), status: u8, body in text(),
        ) {
            let (line, at_client) = ask(&key, &greeting(&server), client, &command).unwrap();
            let (arrived, session) = accept(&key, server, &line).unwrap();
            prop_assert_eq!((arrived, session), (command.as_str(), at_client));
            let sent = Answer { status, body };
            prop_assert_eq!(receive(&key, &at_client, &answer(&key, &session, &sent).unwrap()), Ok(sent));
        }

        #[test]
        fn a_changed_line_is_refused(command in text(), at: prop::sample::Index, bit in 0u8..7) {
            let (line, session) = ask(&KEY, &greeting(&SERVER), [2; 32], &command).unwrap();
            let mut bytes = line.clone().into_bytes();
            let place = at.index(bytes.len());
            bytes[place] ^= 1 << bit;
            if let Ok(changed) = core::str::from_utf8(&bytes) {
                // A hexadecimal digit in capitals is the same digit.
                let same = place < 2 * CODE + 1 && changed.to_lowercase() == line.to_lowercase();
                prop_assert!(same || accept(&KEY, SERVER, changed).is_err());
            }
            let line = answer(&KEY, &session, &Answer { status: 3, body: command }).unwrap();
            let mut bytes = line.into_bytes();
            let at = at.index(bytes.len() - CODE) + CODE;
            bytes[at] ^= 1 << bit;
            if let Ok(changed) = core::str::from_utf8(&bytes) {
                prop_assert!(receive(&KEY, &session, changed).is_err());
            }
        }

        #[test]
        fn anything_gets_an_answer(line: String) {
            let _ = accept(&KEY, SERVER, &line);
            let _ = ask(&KEY, &line, [2; 32], &line);
            let (_, session) = ask(&KEY, &greeting(&SERVER), [2; 32], "").unwrap();
            prop_assert!(receive(&KEY, &session, &line).is_err());
        }
    }
}
