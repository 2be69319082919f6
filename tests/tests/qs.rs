//! `cargo qs` as a user runs it, with real machines. What needs no kernel is tested in `image-builder`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::guest::{self, PATIENCE, wait_until};
use tests::{program, slots};

/// A user with a state directory of his own; whatever runs when he leaves is stopped.
struct User(PathBuf);

impl User {
    fn new(test: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("qs-e2e-{}-{test}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        Self(directory)
    }

    /// Exit code, standard output, standard error.
    fn qs(&self, words: &[&str]) -> (i32, String, String) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut command = program::command(env!("CARGO"), Duration::from_secs(300));
        command.arg("qs").args(words).current_dir(root).env("XDG_RUNTIME_DIR", &self.0);
        let Output { status, stdout, stderr } = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (status.code().unwrap_or(-1), text(stdout), text(stderr))
    }

    /// Starts a machine in the background and returns the one object that is printed.
    fn run(&self, words: &[&str]) -> Value {
        let (code, stdout, stderr) = self.qs(&[&["run"], words, &["--detach", "--json"]].concat());
        assert_eq!(code, 0, "{stderr}");
        serde_json::from_str(&stdout).unwrap()
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let (_, list, _) = self.qs(&["ps", "-o", "json"]);
        let machines: Value = serde_json::from_str(&list).unwrap_or_default();
        for name in machines.as_array().into_iter().flatten().filter_map(|machine| machine["name"].as_str()) {
            self.qs(&["stop", name]);
        }
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn ping(machine: &Value) -> String {
    let port = machine["ports"]["kv"].to_string();
    program::run("redis-cli", PATIENCE, ["-p", &port, "PING"]).unwrap()
}

#[test]
fn machines_run_side_by_side_until_they_are_stopped() {
    guest::image("kv");
    let _slots = slots::take(2);
    let user = User::new("side");
    // Taken: so the machine has to get another.
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().port();
    let (forward, memory) = (format!("6379:{taken}"), ["--memory", "64M"]);
    let one = user.run(&[&["kv", "--name", "one", "--forward", &forward], &memory[..]].concat());
    let two = user.run(&[&["kv", "--name", "two", "--machine", "microvm"], &memory[..]].concat());

    assert_ne!(one["ports"]["kv"], taken);
    assert_ne!(one["ports"]["kv"], two["ports"]["kv"]);
    for machine in [&one, &two] {
        assert_eq!(ping(machine), "PONG\n");
        for field in ["name", "pid", "ports", "qmp", "serial"] {
            assert!(!machine[field].is_null(), "{field} in {machine}");
        }
        for port in ["kv", "http", "metrics", "ssh"] {
            assert!(machine["ports"][port].is_u64(), "{port} in {machine}");
        }
    }
    let (code, list, _) = user.qs(&["ps", "-o", "json"]);
    let names: Value = serde_json::from_str(&list).unwrap();
    assert_eq!((code, names.as_array().map(Vec::len)), (0, Some(2)), "{list}");
    let (code, log, _) = user.qs(&["logs", "one"]);
    assert!(code == 0 && log.contains("ready: kv on tcp port 6379"), "{log}");

    // A name in use is refused, and what runs under it goes on.
    assert_eq!(user.qs(&["run", "kv", "--name", "one", "--detach"]).0, 1);
    assert_eq!(ping(&one), "PONG\n");

    assert_eq!(user.qs(&["stop", "one"]).0, 0);
    let pid = one["pid"].to_string();
    wait_until("the end of QEMU", || !Path::new("/proc").join(&pid).join("exe").exists());
    assert_eq!(user.qs(&["stop", "one"]).0, 1);
    assert_eq!(ping(&two), "PONG\n");
    assert_eq!(user.qs(&["stop", "two"]).0, 0);
}

/// `qs mode` on a running machine: what it prints for people and for programs, and its exit codes.
#[test]
fn a_machine_changes_its_mode_by_command() {
    guest::image("kv,faults");
    let _slot = slots::take(1);
    let user = User::new("mode");
    user.run(&["kv,faults", "--name", "one", "--cpus", "2"]);
    let said = |words: &[&str]| {
        let (code, stdout, stderr) = user.qs(&[&["mode"], words].concat());
        assert_eq!(code, 0, "{words:?}: {stderr}");
        stdout
    };
    let state =
        |words: &[&str]| -> Value { serde_json::from_str(&said(&[words, &["--json"]].concat())).unwrap() };
    assert!(said(&["status", "one"]).starts_with("native (svm, nested), 0 switches"));
    assert!(said(&["guest", "one"]).starts_with("guest (svm, nested), 1 switch, last enter: "));
    let now = state(&["toggle", "one"]);
    assert_eq!(
        (&now["mode"], &now["switches"], &now["refusal"]),
        (&"native".into(), &2.into(), &Value::Null)
    );
    assert_eq!((&now["last"]["direction"], &now["last"]["cpus"][1]["cpu"]), (&"leave".into(), &1.into()));
    assert_eq!(state(&["guest", "one"])["mode"], "guest");
    let drawn = said(&["toggle", "one", "--trace"]);
    for word in ["leave", "CPU 0", "CPU 1", "#"] {
        assert!(drawn.contains(word), "{word} in {drawn}");
    }
    assert_eq!(state(&["native", "one"])["switches"], 4, "it was native already");
    for (words, code) in [(["sideways", "one"], 2), (["guest", "nobody"], 1)] {
        let (found, _, stderr) = user.qs(&[&["mode"], &words[..]].concat());
        assert_eq!(found, code, "{words:?}: {stderr}");
    }
    assert_eq!(user.qs(&["stop", "one"]).0, 0);

    // What would take a VMM is refused where there can be none, with the reason.
    user.run(&["kv,faults", "--name", "two", "--qemu-arg=-cpu", "--qemu-arg=max,-npt"]);
    let (code, stdout, stderr) = user.qs(&["mode", "guest", "two"]);
    assert!(code == 3 && stdout.is_empty() && stderr.contains("nested paging"), "{code} {stdout}{stderr}");
}

#[test]
fn exit_codes_say_what_went_wrong() {
    let user = User::new("codes");
    for (words, code) in [
        (&["run", "nosuchapp"][..], 2),
        (&["run", "kv", "--memory", "1M"], 2),
        (&["run", "kv", "--machine", "microvm", "--nic", "e1000"], 2),
        (&["nosuchcommand"], 2),
        (&["stop", "nobody"], 1),
        (&["run", "kv", "--qemu", "/nonexistent/qemu"], 69),
        (&["ps"], 0),
        (&["doctor"], 0),
    ] {
        let (found, _, stderr) = user.qs(words);
        assert_eq!(found, code, "{words:?}: {stderr}");
    }
}

#[test]
fn a_built_image_runs_from_its_file() {
    guest::image("kv");
    let _slot = slots::take(1);
    let user = User::new("built");
    let file = user.0.join("kv.elf").display().to_string();
    let (code, stdout, stderr) = user.qs(&["build", "kv", "--format", "elf", "-o", &file]);
    assert_eq!(code, 0, "{stdout}{stderr}");
    let machine = user.run(&["--elf", &file, "--name", "built"]);
    assert_eq!(ping(&machine), "PONG\n");
}

#[test]
fn a_machine_in_bochs_is_operated_like_any_other() {
    if !guest::has_bochs("qs run --emulator bochs") {
        return;
    }
    let _slots = slots::take(1);
    let user = User::new("bochs");
    let image = guest::image("kv");
    let words = ["--emulator", "bochs", "--vendor", "amd", "--name", "one", "--elf", image.to_str().unwrap()];
    let machine = user.run(&[&["kv"], &words[..]].concat());
    assert_eq!(ping(&machine), "PONG\n");
    assert!(machine["qmp"].is_null(), "{machine}");
    let (code, list, _) = user.qs(&["ps", "-o", "json"]);
    let rows: Value = serde_json::from_str(&list).unwrap();
    assert_eq!((code, &rows[0]["pid"], &rows[0]["machine"]), (0, &machine["pid"], &"pc".into()), "{list}");
    let (code, log, _) = user.qs(&["logs", "one"]);
    assert!(code == 0 && log.contains("ready: kv on tcp port 6379"), "{log}");
    let asked = Instant::now();
    assert_eq!(user.qs(&["stop", "one"]).0, 0);
    // It listened to a signal, and did not have to be killed.
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    assert_eq!(user.qs(&["ps", "-o", "json"]).1.trim(), "[]");

    // In the foreground the serial line goes to the standard output, and the machine's end is the command's.
    let faults = guest::image("faults");
    let words = ["run", "faults", "--emulator", "bochs", "--elf", faults.to_str().unwrap()];
    let (code, stdout, stderr) = user.qs(&[&words[..], &["--append", "test=overflow panic=exit"]].concat());
    assert!(stdout.contains("last words: stack overflow"), "{stdout}");
    assert!(code == 1 && stderr.contains("double fault or stack overflow"), "{stderr}");

    for words in [&["--nic", "virtio"][..], &["--machine", "q35"], &["--boot", "uefi"], &["--icount"]] {
        assert_eq!(user.qs(&[&["run", "kv", "--emulator", "bochs"], words].concat()).0, 2, "{words:?}");
    }
}
