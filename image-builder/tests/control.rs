//! `qs mode` against a control server of our own: what is sent, what is said, and the exit codes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use control::{Answer, Key};

const KEY: Key = [7; 32];
const STATUS: &str =
    r#"{"mode":"guest","vendor":"svm","nested":false,"switches":1,"last":null,"refusal":null}"#;

/// What the server does with a connection.
#[derive(Clone)]
enum Act {
    Answer(Answer),
    HangUp,
    /// Takes the command, then hangs up; answers the next connection.
    HangUpOnce(Answer),
    Babble(&'static str),
}

/// A server and a user who has the key.
struct Stage {
    home: PathBuf,
    address: String,
    commands: Receiver<String>,
}

impl Stage {
    fn new(test: &str, act: Act) -> Self {
        let home = std::env::temp_dir().join(format!("qs-control-{test}-{}", std::process::id()));
        fs::create_dir_all(home.join("quicksilver")).unwrap();
        fs::write(home.join("quicksilver/control.key"), control::format_key(&KEY) + "\n").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (sender, commands) = channel();
        thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                if let Some(command) = serve(stream.unwrap(), number, &act)
                    && sender.send(command).is_err()
                {
                    return;
                }
            }
        });
        Self { home, address, commands }
    }

    /// Exit code, standard output and standard error of `qs mode`.
    fn mode(&self, words: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_qs"));
        command.arg("mode").args(words).stdin(Stdio::null());
        command.env("XDG_DATA_HOME", &self.home).env("XDG_RUNTIME_DIR", &self.home).env("COLUMNS", "60");
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    fn asked(&self) -> Vec<String> {
        self.commands.try_iter().collect()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.home).unwrap();
    }
}

/// Returns the command, if one with the right key came.
fn serve(mut stream: TcpStream, number: usize, act: &Act) -> Option<String> {
    if let Act::Babble(text) = act {
        stream.write_all(text.as_bytes()).unwrap();
        return None;
    }
    let nonce = [number as u8; 32];
    stream.write_all(control::greeting(&nonce).as_bytes()).unwrap();
    let mut line = String::new();
    BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
    let (command, session) = control::accept(&KEY, nonce, &line).ok()?;
    let command = command.to_owned();
    let answer = match act {
        Act::Answer(answer) => answer,
        Act::HangUpOnce(answer) if number > 0 => answer,
        _ => return Some(command),
    };
    stream.write_all(control::answer(&KEY, &session, answer).unwrap().as_bytes()).unwrap();
    Some(command)
}

fn answering(status: u8, body: &str) -> Act {
    Act::Answer(Answer { status, body: body.to_owned() })
}

#[test]
fn the_commands_are_the_machine_s() {
    let stage = Stage::new("commands", answering(0, STATUS));
    let address = stage.address.clone();
    for (words, command) in [
        (&[&*address][..], "mode status"),
        (&["status", &address], "mode status"),
        (&["guest", &address], "mode guest"),
        (&["native", &address, "--deadline", "50"], "mode native deadline=50"),
        (&["toggle", &address], "mode toggle"),
    ] {
        assert_eq!(stage.mode(words), (0, "guest (svm), 1 switch\n".to_owned(), String::new()));
        assert_eq!(stage.asked(), [command]);
    }
    assert_eq!(stage.mode(&["status", &address, "--json"]), (0, format!("{STATUS}\n"), String::new()));
}

#[test]
fn the_answer_is_the_exit_code() {
    for status in [1, 2, 3, 6, 7] {
        let body = r#"{"mode":"native","vendor":"svm","switches":0,"last":null,"refusal":"old","error":"pinned by boot"}"#;
        let stage = Stage::new(&format!("status-{status}"), answering(status, body));
        let (code, out, error) = stage.mode(&["guest", &stage.address]);
        assert_eq!((code, &*out), (i32::from(status), ""));
        assert!(error.contains("pinned by boot"), "{error}");
        let (code, out, _) = stage.mode(&["guest", &stage.address, "--json"]);
        assert_eq!((code, &*out), (i32::from(status), &*format!("{body}\n")));
    }
}

#[test]
fn a_trace_is_drawn() {
    let body = r#"{"hertz":1000000,"switches":[{"direction":"leave","done":true,"cpus":[{"cpu":0,"marks":{"call":1,"arrive":5,"prepared":6,"verdict":7,"over":8,"release":9,"end":11}}]}]}"#;
    let stage = Stage::new("trace", answering(0, body));
    let (code, out, error) = stage.mode(&[&stage.address, "--trace"]);
    assert_eq!((code, &*error), (0, ""));
    assert!(out.starts_with("leave: 10.00 µs from first to last\nCPU 0 |"), "{out}");
    assert_eq!(stage.asked(), ["mode trace"]);
    let (_, out, _) = stage.mode(&[&stage.address, "--trace", "--json"]);
    assert_eq!(out, format!("{body}\n"));
}

#[test]
fn a_wrong_key_and_no_key_are_told_apart_from_a_dead_machine() {
    let stage = Stage::new("keys", answering(0, STATUS));
    let file = stage.home.join("quicksilver/control.key");
    fs::write(&file, "11".repeat(32)).unwrap();
    let (code, _, error) = stage.mode(&["guest", &stage.address]);
    assert_eq!(code, 1);
    assert!(error.contains("refused our key"), "{error}");
    assert!(stage.asked().is_empty());

    fs::remove_file(&file).unwrap();
    let (code, _, error) = stage.mode(&["guest", &stage.address]);
    assert!(code == 1 && error.contains("no control key in"), "{code} {error}");

    fs::write(&file, "secret").unwrap();
    let (code, _, error) = stage.mode(&["guest", &stage.address]);
    assert!(code == 1 && error.contains("control.key"), "{code} {error}");

    fs::write(&file, control::format_key(&KEY)).unwrap();
    let (code, _, error) = stage.mode(&["guest", "127.0.0.1:1"]);
    assert!(code == 1 && error.contains("127.0.0.1:1"), "{code} {error}");
}

#[test]
fn a_connection_lost_after_the_command_leaves_its_outcome_unknown() {
    let stage = Stage::new("lost", Act::HangUpOnce(Answer { status: 0, body: STATUS.to_owned() }));
    let (code, out, error) = stage.mode(&["guest", &stage.address]);
    assert_eq!((code, &*out), (7, ""));
    assert!(error.contains("not known"), "{error}");
    assert_eq!(stage.asked(), ["mode guest", "mode status"]);

    let stage = Stage::new("lost-always", Act::HangUp);
    assert_eq!(stage.mode(&["guest", &stage.address]).0, 1, "like a machine that does not know the key");
}

#[test]
fn what_is_no_control_server_is_sent_nothing() {
    for (number, text) in
        ["", "SSH-2.0-OpenSSH_9.2\r\n", "qs-control 1 zz\n", "qs-control"].iter().enumerate()
    {
        let stage = Stage::new(&format!("babble-{number}"), Act::Babble(text));
        let (code, _, error) = stage.mode(&["guest", &stage.address]);
        assert!(code == 1 && error.contains(&stage.address), "{code} {error}");
        assert!(stage.asked().is_empty());
    }
}

#[test]
fn usage_errors_come_before_any_connection() {
    let stage = Stage::new("usage", Act::HangUp);
    let address = &*stage.address;
    for words in [&[address, "guest"][..], &["sideways", address], &["status", address, "--deadline", "1"]] {
        assert_eq!(stage.mode(words).0, 2, "{words:?}");
    }
    let (code, _, error) = stage.mode(&["guest", "nobody"]);
    assert!(code == 1 && error.contains("no machine named 'nobody' is running"), "{code} {error}");
    let (code, _, error) = stage.mode(&[]);
    assert!(code == 1 && error.contains("no machine is running"), "{code} {error}");
    assert!(stage.asked().is_empty());
}
