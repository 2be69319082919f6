//! `qs mode` and `qs ssh` with a client of our own in the place of OpenSSH's: what it is asked, what is said, and the exit codes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

const STATUS: &str = r#"{"mode":"guest","vendor":"svm","nested":false,"generation":1,"switches":1,"last":null,"refusal":null,"exits":{}}"#;
const ADDRESS: &str = "127.0.0.1:2222";

/// A user whose ssh writes down what it is asked, and answers as told.
struct Stage {
    home: PathBuf,
}

impl Stage {
    fn new(test: &str, status: i32, out: &str, err: &str) -> Self {
        let home = std::env::temp_dir().join(format!("qs-control-{test}-{}", std::process::id()));
        fs::create_dir_all(home.join("bin")).unwrap();
        let script = "#!/bin/sh\nd=$(dirname \"$0\")/..\nprintf '%s\\n' \"$@\" >> $d/asked\ncat $d/out\ncat $d/err >&2\nexit $(cat $d/status)\n";
        let ssh = home.join("bin/ssh");
        fs::write(&ssh, script).unwrap();
        fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(home.join("out"), out).unwrap();
        fs::write(home.join("err"), err).unwrap();
        fs::write(home.join("status"), status.to_string()).unwrap();
        Self { home }
    }

    /// Exit code, standard output and standard error of `qs`.
    fn qs(&self, words: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_qs"));
        let path = std::env::var("PATH").unwrap();
        command
            .args(words)
            .stdin(Stdio::null())
            .env("PATH", format!("{}:{path}", self.home.join("bin").display()));
        command.env("XDG_DATA_HOME", &self.home).env("XDG_RUNTIME_DIR", &self.home).env("COLUMNS", "60");
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    fn mode(&self, words: &[&str]) -> (i32, String, String) {
        self.qs(&[&["mode"], words].concat())
    }

    /// The words that ssh was given, since last asked for.
    fn asked(&self) -> Vec<String> {
        let asked = fs::read_to_string(self.home.join("asked")).unwrap_or_default();
        drop(fs::remove_file(self.home.join("asked")));
        asked.lines().map(str::to_owned).collect()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.home).unwrap();
    }
}

#[test]
fn the_commands_are_the_machine_s() {
    let stage = Stage::new("commands", 0, STATUS, "");
    for (words, command) in [
        (&[ADDRESS][..], "mode --json"),
        (&["status", ADDRESS], "mode --json"),
        (&["guest", ADDRESS], "mode guest --deadline 1000 --json"),
        (&["native", ADDRESS, "--deadline", "50"], "mode native --deadline 50 --json"),
        (&["toggle", ADDRESS], "mode toggle --deadline 1000 --json"),
    ] {
        assert_eq!(stage.mode(words), (0, "guest (svm), 1 switch\n".to_owned(), String::new()));
        let asked = stage.asked();
        assert_eq!(asked[asked.len() - 3..], ["admin@127.0.0.1", "--", command]);
        let pair = |name: &str| asked.windows(2).find(|pair| pair[0] == name).unwrap()[1].clone();
        assert_eq!(pair("-p"), "2222");
        assert_eq!(pair("-i"), stage.home.join("quicksilver/id_ed25519").display().to_string());
        for option in
            ["StrictHostKeyChecking=yes", "IdentitiesOnly=yes", "BatchMode=yes", "HostKeyAlias=quicksilver"]
        {
            assert!(asked.iter().any(|word| word == option), "{option}: {asked:?}");
        }
    }
    assert_eq!(stage.mode(&["status", ADDRESS, "--json"]), (0, format!("{STATUS}\n"), String::new()));
}

#[test]
fn ssh_is_the_system_s() {
    let stage = Stage::new("ssh", 42, "said\n", "progress\n");
    let told = stage.qs(&["ssh", ADDRESS, "job", "watch", "4", "--json"]);
    assert_eq!(told, (42, "said\n".to_owned(), "progress\n".to_owned()));
    let asked = stage.asked();
    assert_eq!(asked[asked.len() - 6..], ["admin@127.0.0.1", "--", "job", "watch", "4", "--json"]);
    stage.qs(&["ssh", ADDRESS]);
    assert_eq!(stage.asked().last().unwrap(), "admin@127.0.0.1");
}

#[test]
fn the_answer_is_the_exit_code() {
    for status in [1, 2, 3, 6, 7] {
        let body = r#"{"mode":"native","vendor":"svm","switches":0,"last":null,"refusal":"old","error":"pinned by boot"}"#;
        let stage = Stage::new(&format!("status-{status}"), status, body, "");
        let (code, out, error) = stage.mode(&["guest", ADDRESS]);
        assert_eq!((code, &*out), (status, ""));
        assert!(error.contains("pinned by boot"), "{error}");
        let (code, out, _) = stage.mode(&["guest", ADDRESS, "--json"]);
        assert_eq!((code, &*out), (status, &*format!("{body}\n")));
    }
}

#[test]
fn a_trace_is_drawn() {
    let body = r#"{"hertz":1000000,"switches":[{"direction":"leave","done":true,"cpus":[{"cpu":0,"marks":{"call":1,"arrive":5,"prepared":6,"verdict":7,"over":8,"release":9,"end":11}}]}]}"#;
    let stage = Stage::new("trace", 0, body, "");
    let (code, out, error) = stage.mode(&[ADDRESS, "--trace"]);
    assert_eq!((code, &*error), (0, ""));
    assert!(out.starts_with("leave: 10.00 µs from first to last\nCPU 0 |"), "{out}");
    assert_eq!(stage.asked().last().unwrap(), "trace --json");
    let (_, out, _) = stage.mode(&[ADDRESS, "--trace", "--json"]);
    assert_eq!(out, format!("{body}\n"));
}

#[test]
fn failures_of_the_client_are_told_apart() {
    for (said, code) in [
        ("admin@127.0.0.1: Permission denied (publickey).", 1),
        ("ssh: connect to host 127.0.0.1 port 2222: Connection refused", 1),
        ("Host key verification failed.", 1),
        ("client_loop: send disconnect: Broken pipe", 7),
    ] {
        let stage = Stage::new(&format!("failure-{}", said.len()), 255, "", said);
        let (status, out, error) = stage.mode(&["guest", ADDRESS]);
        assert_eq!((status, &*out), (code, ""), "{error}");
        assert!(error.contains(said) && error.contains("not known") == (code == 7), "{error}");
    }
}

#[test]
fn usage_errors_come_before_any_connection() {
    let stage = Stage::new("usage", 0, STATUS, "");
    for words in [&[ADDRESS, "guest"][..], &["sideways", ADDRESS], &["status", ADDRESS, "--deadline", "1"]] {
        assert_eq!(stage.mode(words).0, 2, "{words:?}");
    }
    let (code, _, error) = stage.mode(&["guest", "nobody"]);
    assert!(code == 1 && error.contains("no machine named 'nobody' is running"), "{code} {error}");
    let (code, _, error) = stage.mode(&[]);
    assert!(code == 1 && error.contains("no machine is running"), "{code} {error}");
    assert!(stage.asked().is_empty());
}
