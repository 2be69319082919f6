//! The control protocol: nobody without the key makes a line that either end takes.

use ::control::{self as protocol, Answer, Command, Key, Nonce, Session};

const KEY: Key = *b"a key that nobody else has......";
const SERVER: Nonce = [0x53; 32];
const CLIENT: Nonce = [0xc1; 32];
const COMMANDS: [&str; 3] = ["mode status", "mode toggle deadline=50", ""];

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
    lines.map(String::into_bytes).collect()
}
