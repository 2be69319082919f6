//! The control protocol: nobody without the key makes a line that either end takes, and what both ends say arrives.

use ::control::{
    self as protocol, Answer, Command, Key, MAX_ANSWER, MAX_COMMAND, MAX_REQUEST, Nonce, Session,
};

use crate::noise::Noise;

const KEY: Key = *b"a key that nobody else has......";
const OTHER_KEY: Key = *b"a key that nobody else has.....,";
const SERVER: Nonce = [0x53; 32];
const CLIENT: Nonce = [0xc1; 32];
const COMMANDS: [&str; 3] = ["mode status", "mode toggle deadline=50", ""];
/// Characters of a nonce or a code.
const CODE: usize = 64;
/// Bits changed of each line, one at a time.
const CHANGES: usize = 3;

/// A line, as either end may read it.
pub fn control(input: &[u8]) {
    let line = String::from_utf8_lossy(input);
    if let Ok((command, _)) = protocol::accept(&KEY, SERVER, &line) {
        assert!(COMMANDS.contains(&command), "{command:?} was never asked for");
    }
    if let Ok(answer) = protocol::receive(&KEY, &session(), &line) {
        assert!(answers().contains(&answer), "{answer:?} was never answered");
    }
    if let Ok(command) = line.parse::<Command>() {
        assert_eq!(command.to_string().parse(), Ok(command));
    }
    if let Ok((asked, _)) = protocol::ask(&KEY, &line, CLIENT, COMMANDS[0]) {
        // What was a greeting is one again.
        assert!(
            line.starts_with("QS1 ")
                && protocol::accept(&KEY, SERVER, &asked).is_ok() == line.contains(&"53".repeat(32))
        );
    }
    if let Ok(key) = protocol::parse_key(&line) {
        assert_eq!(protocol::parse_key(&protocol::format_key(&key)), Ok(key));
    }
    // Equal input, equal places.
    let mut noise = Noise::new(
        input.iter().fold(0, |sum: u64, &byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte))),
    );
    commands_arrive(&line, &mut noise);
    answers_arrive(&line, &mut noise);
}

/// A command within the limits arrives, and at nobody else; none beyond the limits is sent.
fn commands_arrive(command: &str, noise: &mut Noise) {
    let asked = protocol::ask(&KEY, &protocol::greeting(&SERVER), CLIENT, command);
    assert_eq!(asked.is_ok(), is_content(command, MAX_COMMAND));
    let Ok((line, session)) = asked else { return };
    assert!(line.len() <= MAX_REQUEST);
    assert_eq!(protocol::accept(&KEY, SERVER, &line), Ok((command, session)));
    assert!(protocol::accept(&OTHER_KEY, SERVER, &line).is_err(), "another key");
    assert!(protocol::accept(&KEY, CLIENT, &line).is_err(), "another connection");
    if let Some(first @ 0..=0x7f) = command.bytes().next() {
        // Its code on an answer for which the same bytes count: a status of one byte, then the rest.
        let turned = format!("{} {first} {}\n", &line[CODE + 1..2 * CODE + 1], &command[1..]);
        assert!(protocol::receive(&KEY, &session, &turned).is_err(), "the other direction");
    }
    for changed in (0..CHANGES).filter_map(|_| change(&line, 2 * CODE + 1, noise)) {
        assert!(protocol::accept(&KEY, SERVER, &changed).is_err(), "{changed:?} was {line:?}");
    }
}

/// The same of an answer.
fn answers_arrive(body: &str, noise: &mut Noise) {
    let session = session();
    let answer = Answer { status: noise.word() as u8, body: body.into() };
    let answered = protocol::answer(&KEY, &session, &answer);
    assert_eq!(answered.is_ok(), is_content(body, MAX_ANSWER));
    let Ok(line) = answered else { return };
    assert_eq!(protocol::receive(&KEY, &session, &line), Ok(answer));
    assert!(protocol::receive(&OTHER_KEY, &session, &line).is_err(), "another key");
    assert!(protocol::accept(&KEY, SERVER, &line).is_err(), "the other direction");
    for changed in (0..CHANGES).filter_map(|_| change(&line, CODE, noise)) {
        assert!(protocol::receive(&KEY, &session, &changed).is_err(), "{changed:?} was {line:?}");
    }
}

fn is_content(text: &str, longest: usize) -> bool {
    text.len() <= longest && !text.chars().any(char::is_control)
}

/// The line with one bit changed. `None` if it is no text any more, or the same in other letters: its first `numbers` bytes
/// are hexadecimal, large or small.
fn change(line: &str, numbers: usize, noise: &mut Noise) -> Option<String> {
    let mut bytes = line.as_bytes().to_vec();
    let at = noise.below(bytes.len());
    bytes[at] ^= 1 << noise.below(8);
    let is_same = at < numbers && bytes[at].eq_ignore_ascii_case(&line.as_bytes()[at]);
    String::from_utf8(bytes).ok().filter(|_| !is_same)
}

fn session() -> Session {
    let asked = protocol::ask(&KEY, &protocol::greeting(&SERVER), CLIENT, COMMANDS[0]);
    asked.expect("a greeting and a command of ours").1
}

fn answers() -> [Answer; 2] {
    [(0, r#"{"mode":"native"}"#), (3, "")].map(|(status, body)| Answer { status, body: body.into() })
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let greeting = protocol::greeting(&SERVER);
    let asked = COMMANDS.map(|command| protocol::ask(&KEY, &greeting, CLIENT, command));
    let asked = asked.into_iter().flatten().map(|(line, _)| line);
    let answered = answers().map(|answer| protocol::answer(&KEY, &session(), &answer));
    let lines = asked.chain(answered.into_iter().flatten()).chain([greeting, protocol::format_key(&KEY)]);
    let limits = [MAX_COMMAND, MAX_COMMAND + 1].map(|length| "x".repeat(length));
    let contents = ["mode guest deadline=500", "größer"].map(String::from).into_iter().chain(limits);
    lines.chain(contents).map(String::into_bytes).collect()
}
