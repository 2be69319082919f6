//! The program `qs` as a user meets it: exit codes, streams, named machines, missing tools.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod stub;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A user of their own: state directory and environment.
struct User {
    home: PathBuf,
}

impl User {
    fn new(test: &str) -> Self {
        // Short, because the path of a socket has to be.
        let home = std::env::temp_dir().join(format!("qs-cli-{test}-{}", std::process::id()));
        fs::create_dir_all(home.join("bin")).unwrap();
        Self { home }
    }

    fn qs(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_qs"));
        command.args(words).env("XDG_RUNTIME_DIR", &self.home).stdin(Stdio::null());
        command
    }

    fn run(&self, words: &[&str]) -> (i32, String, String) {
        said(self.qs(words).output().unwrap())
    }

    /// `qs` with nothing in `PATH` but what the test has put there.
    fn run_poor(&self, words: &[&str]) -> (i32, String, String) {
        said(self.qs(words).env("PATH", self.home.join("bin")).output().unwrap())
    }

    fn program(&self, name: &str, script: &str) {
        let path = self.home.join("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn stub(&self, words: &[&str]) -> Vec<String> {
        let stub = ["run", "hello", "--elf", stub::finished().to_str().unwrap()];
        stub.iter().chain(words).map(|&word| word.to_owned()).collect()
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let (_, text, _) = self.run(&["ps", "-o", "json"]);
        for machine in serde_json::from_str::<Value>(&text).unwrap().as_array().unwrap() {
            self.run(&["stop", machine["name"].as_str().unwrap()]);
        }
        fs::remove_dir_all(&self.home).unwrap();
    }
}

fn said(output: Output) -> (i32, String, String) {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn words(strings: &[String]) -> Vec<&str> {
    strings.iter().map(String::as_str).collect()
}

#[test]
fn wrong_usage_is_2_and_says_why() {
    let user = User::new("usage");
    for (words, part) in [
        (&["run", "--machine", "microvm", "--nic", "e1000"][..], "microvm has no PCI bus"),
        (&["run", "--machine", "microvm", "--boot", "bios"], "neither a CD drive"),
        (&["run", "nosuch"], "no application named 'nosuch'"),
        (&["run", "--memory", "47M"], "below the 48 MiB"),
        (&["run", "--tap", "tap0", "--forward", "7:0"], "needs the user network"),
        (&["run", "--tap", "tap0", "--control-nic"], "needs the user network"),
        (&["run", "--emulator", "bochs", "--control-nic"], "one card on the user network"),
        (&["run", "--name", "a/b", "--elf", "/dev/null"], "machine name 'a/b'"),
        (&["run", "--machine", "pc", "--hot-plug", "native"], "told of by ACPI"),
        (&["run", "--emulator", "bochs", "--hot-plug", "acpi"], "in Bochs nothing is plugged in"),
        (&["plug", "x", "rtl8139"], "virtio-net, e1000, e1000e, virtio-blk, nvme"),
        (&["stop", "../x"], "machine name '../x'"),
        (&["stop"], "NAME"),
        (&[], "Usage"),
    ] {
        let (code, stdout, stderr) = user.run(words);
        assert_eq!((code, stdout.as_str()), (2, ""), "{words:?}: {stderr}");
        assert!(stderr.contains(part), "{words:?}: {stderr}");
    }
}

#[test]
fn what_is_not_there_is_1() {
    let user = User::new("nothing");
    for words in [
        &["stop", "x"][..],
        &["logs", "x"],
        &["plug", "x"],
        &["unplug", "x", "nic1"],
        &["run", "--elf", "/nonexistent"],
    ] {
        let (code, stdout, stderr) = user.run(words);
        assert_eq!((code, stdout.as_str()), (1, ""), "{words:?}: {stderr}");
        assert!(stderr.starts_with("qs: "), "{stderr}");
    }
    assert_eq!(user.run(&["ps", "-o", "json"]).1.trim(), "[]");
}

#[test]
fn a_machine_in_the_background_is_listed_shown_and_stopped() {
    let user = User::new("detach");
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().port();
    let forward = format!("4000:{taken}");
    let line = user.stub(&["--detach", "--json", "--name", "one", "--forward", &forward]);
    let (code, stdout, stderr) = user.run(&words(&line));
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains(&format!("port {taken} is taken")), "{stderr}");
    let machine: Value = serde_json::from_str(&stdout).unwrap();
    let keys: Vec<&String> = machine.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["name", "pid", "ports", "qmp", "serial"]);
    let ports = machine["ports"].as_object().unwrap();
    for service in ["kv", "http", "metrics", "ssh", "4000"] {
        assert!(
            ports[service].as_u64().is_some_and(|port| port != 0 && port != u64::from(taken)),
            "{service}"
        );
    }
    assert!(fs::read_to_string(machine["serial"].as_str().unwrap()).unwrap().contains("boot: serving"));

    let (code, _, stderr) = user.run(&words(&line));
    assert_eq!(code, 1);
    assert!(stderr.contains("a machine named 'one' is running"), "{stderr}");

    let second = user.stub(&["--detach"]);
    let (code, stdout, stderr) = user.run(&words(&second));
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.starts_with("hello: ssh at 127.0.0.1:"), "{stdout}");

    let (_, table, _) = user.run(&["ps"]);
    let names: Vec<&str> = table.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(names, ["NAME", "hello", "one"]);

    let mut follower = user.qs(&["logs", "one", "-f"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("boot: serving")));
    assert_eq!(user.run(&["stop", "one"]).0, 0);
    assert!(follower.wait().unwrap().success(), "following ends with the machine");
    // Nothing of it is left but, where the host's first process is in no hurry, its exit status.
    assert!(fs::read(format!("/proc/{}/cmdline", machine["pid"])).unwrap_or_default().is_empty());
    assert_eq!(user.run(&["stop", "one"]).0, 1);
    assert!(user.run(&["logs", "one"]).1.contains("boot: serving"), "the log outlives the machine");
}

#[test]
fn devices_are_plugged_into_a_machine_by_name_and_taken_out() {
    let user = User::new("plug");
    let line = user.stub(&["--detach", "--name", "one"]);
    assert_eq!(user.run(&words(&line)).0, 0);
    let told = |words: &[&str], code| {
        let (status, stdout, stderr) = user.run(words);
        assert_eq!(status, code, "{words:?}: {stdout}{stderr}");
        (stdout, stderr)
    };
    let (stdout, stderr) = told(&["plug", "one", "e1000e"], 0);
    assert_eq!(stdout, "nic1: e1000e in port 1 (pci:0000:01:00.0)\n");
    assert!(stderr.contains("qs ssh one device swap net0 --to next"), "{stderr}");
    let (stdout, _) = told(&["plug", "one", "nvme", "--port", "3", "--size", "4M", "--json"], 0);
    let disk: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&disk["device"], &disk["model"], &disk["port"]), (&"blk1".into(), &"nvme".into(), &3.into()));
    let (table, _) = told(&["plug", "one"], 0);
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    let expected = [
        &["PORT", "PLACE", "DEVICE", "MODEL"][..],
        &["1", "pci:0000:01:00.0", "nic1", "e1000e"],
        &["2", "pci:0000:02:00.0"],
        &["3", "pci:0000:03:00.0", "blk1", "nvme"],
        &["4", "pci:0000:04:00.0"],
        &["5", "pci:0000:05:00.0", "nic0", "virtio-net"],
    ];
    assert_eq!(rows, expected);

    for (words, code, part) in [
        (&["plug", "one", "nvme"][..], 1, "the machine has no disk to be as large as"),
        (&["plug", "one", "e1000", "--port", "1"], 1, "port 1 is taken by nic1"),
        (&["plug", "one", "e1000", "--port", "9"], 1, "there is no port 9"),
        (&["plug", "one", "e1000", "--size", "4M"], 2, "--file and --size are for disks"),
        (&["plug", "one", "nvme", "--tap", "tap1"], 2, "a disk is on no network"),
        (&["plug", "one", "e1000", "--tap", "tap1"], 1, "leave --tap out"),
        (&["unplug", "one", "nic7"], 1, "there is no device nic7 to take out (there are: nic1, blk1, nic0)"),
        (&["unplug", "one", "nic1", "--timeout", "1"], 3, "nic1 is still there after 1 s"),
    ] {
        let (stdout, stderr) = told(words, code);
        assert!(stdout.is_empty() && stderr.contains(part), "{words:?}: {stderr}");
    }
    for device in ["nic1", "blk1"] {
        let (_, stderr) = told(&["unplug", "one", device, "--surprise"], 0);
        assert!(stderr.contains(&format!("{device} has left machine 'one'")), "{stderr}");
    }
    assert!(!told(&["plug", "one"], 0).0.contains("nic1"));

    let line = user.stub(&["--detach", "--name", "two", "--hot-plug", "off"]);
    assert_eq!(user.run(&words(&line)).0, 0);
    assert!(told(&["plug", "two", "e1000"], 1).1.contains("started with --hot-plug off"));
    let line = user.stub(&["--detach", "--name", "three", "--machine", "microvm"]);
    assert_eq!(user.run(&words(&line)).0, 0);
    assert!(told(&["plug", "three", "e1000"], 1).1.contains("that takes q35 or pc in QEMU"));
}

#[test]
fn the_foreground_shows_the_log_and_the_end() {
    let user = User::new("front");
    for (command_line, code, meaning) in
        [("c", 0, "clean shutdown"), ("p", 1, "kernel panic"), ("f", 1, "reset")]
    {
        let line = user.stub(&["--append", command_line]);
        let (status, stdout, stderr) = user.run(&words(&line));
        assert_eq!(status, code, "{stderr}");
        assert!(stdout.contains("boot: serving after 1 ms"), "{stdout}");
        assert!(stderr.contains(meaning), "{stderr}");
    }
}

#[test]
fn a_signal_ends_a_machine_of_the_foreground() {
    for (name, signal) in [("int", Signal::INT), ("term", Signal::TERM)] {
        let user = User::new(name);
        let line = user.stub(&[]);
        let mut qs = user.qs(&words(&line)).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(qs.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("boot: serving")));
        kill_process(Pid::from_child(&qs), signal).unwrap();
        assert_eq!(qs.wait().unwrap().code(), Some(0));
        assert_eq!(user.run(&["ps", "-o", "json"]).1.trim(), "[]");
    }
}

#[test]
fn an_early_death_in_the_background_shows_the_last_lines() {
    let user = User::new("death");
    // The stub serves no kv, and panics.
    let mut line = user.stub(&["--detach", "--append", "p"]);
    line[1] = "kv".to_owned();
    let (code, stdout, stderr) = user.run(&words(&line));
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.contains("kernel panic") && stderr.contains("boot: serving after 1 ms"), "{stderr}");
    assert_eq!(user.run(&["ps", "-o", "json"]).1.trim(), "[]");
}

#[test]
fn doctor_lists_every_tool_with_its_reason() {
    let user = User::new("doctor");
    let (code, stdout, _) = user.run_poor(&["doctor", "-o", "json"]);
    assert_eq!(code, 69);
    let tools: Value = serde_json::from_str(&stdout).unwrap();
    let qemu = tools.as_array().unwrap().iter().find(|tool| tool["tool"] == "qemu-system-x86_64").unwrap();
    assert_eq!((&qemu["found"], &qemu["path"]), (&Value::Bool(false), &Value::Null));
    assert!(qemu["why"].as_str().is_some_and(|why| !why.is_empty()));
    let (_, table, _) = user.run_poor(&["doctor"]);
    assert!(table.lines().any(|line| line.starts_with("qemu-system-x86_64") && line.contains("MISSING")));
}

#[test]
fn a_missing_tool_is_installed_where_that_is_possible() {
    let user = User::new("install");
    let line = user.stub(&["--detach"]);
    let (code, stdout, stderr) = user.run_poor(&words(&line));
    assert_eq!((code, stdout.as_str()), (69, ""));
    assert!(stderr.contains("missing: qemu-system-x86_64"), "{stderr}");

    // A package manager that fails: the line to type is shown. Its sudo asks no password.
    user.program("sudo", "shift\n[ \"$1\" = true ] && exit 0\nshift 2\nexec \"$@\"");
    user.program("apt-get", "exit 100");
    let (code, _, stderr) = user.run_poor(&words(&line));
    assert_eq!(code, 69);
    let typed = "sudo apt-get install -y --no-install-recommends qemu-system-x86";
    assert!(stderr.contains(typed), "{stderr}");

    // One that installs a QEMU which fails at once: what is asserted is that it was found and started.
    let bin = user.home.join("bin");
    let script = format!(
        "echo \"$@\" >> {0}/log\ncase \"$*\" in *install*) printf '#!/bin/sh\\necho fake >&2; exit 3\\n' > \
         {0}/qemu-system-x86_64; /bin/chmod 755 {0}/qemu-system-x86_64;; esac",
        bin.display()
    );
    user.program("apt-get", &script);
    let (code, _, stderr) = user.run_poor(&words(&line));
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("installing qemu-system-x86 with apt-get"), "{stderr}");
    assert!(stderr.contains("QEMU did not start: fake"), "{stderr}");
    let log = fs::read_to_string(bin.join("log")).unwrap();
    let calls: Vec<&str> = log.lines().collect();
    assert_eq!(calls.len(), 2, "{log}");
    assert!(
        calls[0].contains("update") && calls[1].ends_with("--no-install-recommends qemu-system-x86"),
        "{log}"
    );
}

#[test]
fn a_sudo_that_asks_is_not_used() {
    let user = User::new("sudo");
    user.program("sudo", "exit 1");
    user.program("apt-get", "exit 100");
    let line = user.stub(&["--detach"]);
    let (code, _, stderr) = user.run_poor(&words(&line));
    assert_eq!(code, 69);
    assert!(stderr.contains("sudo apt-get install"), "{stderr}");
}
