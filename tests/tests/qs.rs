//! `cargo qs` as a user runs it, with real machines. What needs no kernel is tested in `image-builder`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use ::slots::Slots;
use checkpoint::{FrameKind, Key, Sink};
use drivers_api::fake::FakeDisk;
use serde_json::Value;
use tests::guest::{self, PATIENCE, wait_until};
use tests::store::Client;
use tests::{checkpoints, program, slots};

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
        self.qs_with(words, |_| {})
    }

    /// The same with keys of his own, in `quicksilver` of his directory.
    fn qs_with_own_keys(&self, words: &[&str]) -> (i32, String, String) {
        self.qs_with(words, |command| {
            command.env("XDG_DATA_HOME", &self.0);
        })
    }

    fn qs_with(&self, words: &[&str], set: impl FnOnce(&mut Command)) -> (i32, String, String) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut command = program::command(env!("CARGO"), Duration::from_secs(300));
        command.arg("qs").args(words).current_dir(root).env("XDG_RUNTIME_DIR", &self.0);
        set(&mut command);
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

/// A connection goes on over a card that is plugged in, another one, and the first again.
#[test]
fn a_card_is_plugged_in_serves_and_is_taken_out() {
    guest::image("kv");
    let _slot = slots::take(1);
    let user = User::new("plug");
    let machine = user.run(&["kv", "--name", "one"]);
    let address = format!("127.0.0.1:{}", machine["ports"]["kv"]);
    let stream = TcpStream::connect(&address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut client = Client::of(stream);
    assert_eq!(client.ask("SET card nic0").unwrap(), "+OK");
    let told = |words: &[&str], code| {
        let (status, stdout, stderr) = user.qs(words);
        assert_eq!(status, code, "{words:?}: {stdout}{stderr}");
        (stdout, stderr)
    };
    let plug = |words: &[&str]| -> Value {
        serde_json::from_str(&told(&[&["plug", "one"], words, &["--json"]].concat(), 0).0).unwrap()
    };
    let devices = || {
        let (list, _) = told(&["ssh", "one", "device", "list", "--json"], 0);
        let list: Value = serde_json::from_str(&list).unwrap();
        list["devices"].as_array().unwrap().clone()
    };
    // The name that a device has inside.
    let inside = |plugged: &Value| {
        wait_until("the device to be there", || devices().iter().any(|it| it["place"] == plugged["place"]));
        let device = devices().into_iter().find(|device| device["place"] == plugged["place"]).unwrap();
        assert_eq!(device["state"], "idle");
        device["name"].as_str().unwrap().to_owned()
    };
    let mut serving = "net0".to_owned();
    let mut last = "nic0".to_owned();
    for model in ["e1000e", "virtio-net", "e1000"] {
        let plugged = plug(&[model]);
        let next = inside(&plugged);
        told(&["ssh", "one", "device", "swap", &serving, "--to", "next"], 0);
        assert_eq!(client.ask("APPEND card !").unwrap()[..1], *":");
        told(&["unplug", "one", &last], 0);
        (serving, last) = (next, plugged["device"].as_str().unwrap().to_owned());
    }
    assert_eq!(client.bulk("GET card").unwrap().unwrap(), "nic0!!!");
    // What serves does not leave.
    let (_, error) = told(&["unplug", "one", &last, "--timeout", "2"], 3);
    assert!(error.contains("still there after 2 s") && error.contains("device swap"), "{error}");
    let disk = plug(&["virtio-blk", "--size", "8M"]);
    inside(&disk);
    told(&["unplug", "one", disk["device"].as_str().unwrap()], 0);
    let ports = plug(&[]);
    let taken = ports.as_array().unwrap().iter().filter(|port| !port["device"].is_null());
    assert_eq!(taken.map(|port| port["device"].as_str().unwrap()).collect::<Vec<_>>(), [&*last]);
    assert_eq!(client.ask("APPEND card !").unwrap(), ":8");
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

/// `qs checkpoint` on files that a machine could have sent.
#[test]
fn checkpoints_are_looked_into_checked_and_merged() {
    let user = User::new("checkpoints");
    let file = |name: &str| user.0.join(name).display().to_string();
    let key = Key::new([0xab; 32]);
    std::fs::write(file("key"), format!("{}\n", "ab".repeat(32))).unwrap();
    let frames = [(2, FrameKind::Here, 1), (3, FrameKind::Here, 0), (5, FrameKind::Zero, 0)];
    let base = checkpoints::checkpoint(1, None, &frames, None).unwrap();
    let keyed = checkpoints::checkpoint(1, None, &frames, Some(&key)).unwrap();
    let frames = [(2, FrameKind::Base, 0), (4, FrameKind::Here, 9), (5, FrameKind::Base, 0)];
    let next = checkpoints::checkpoint(2, Some(1), &frames, None).unwrap();
    let cut = &base[..base.len() - 1];
    for (name, bytes) in
        [("base", &base[..]), ("keyed", &keyed), ("next", &next), ("cut", cut), ("junk", b"junk")]
    {
        std::fs::write(file(name), bytes).unwrap();
    }
    let said = |words: &[&str]| {
        let (code, stdout, stderr) = user.qs_with_own_keys(&[&["checkpoint"], words].concat());
        assert_eq!(code, 0, "{words:?}: {stderr}");
        (stdout, stderr)
    };
    let object = |words: &[&str]| -> Value {
        serde_json::from_str(&said(&[&["inspect", "--json"], words].concat()).0).unwrap()
    };

    let found = object(&[&file("base")]);
    assert_eq!((&found["id"], &found["base"]), (&"01".repeat(16).into(), &Value::Null));
    assert_eq!((&found["keyed"], &found["checked"]), (&false.into(), &true.into()));
    assert_eq!(found["frames"], serde_json::json!({ "here": 2, "zero": 1, "base": 0, "ranges": 2 }));
    assert_eq!((&found["cpus"], &found["features"][0]), (&2.into(), &"avx".into()));
    assert_eq!(object(&[&file("next")])["base"], "01".repeat(16));
    let (text, _) = said(&["inspect", &file("base")]);
    for part in
        ["made without a key", "2023-11-14T22:13:20Z, 1.500 s after", "2 of Intel", "0x1000-0x40000 memory"]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
    // What a key protects can be looked at without it, and is not vouched for.
    assert_eq!(object(&[&file("keyed")])["checked"], false);
    assert_eq!(object(&[&file("keyed"), "--key", &file("key")])["checked"], true);
    assert!(said(&["inspect", &file("keyed")]).1.contains("nothing of this is checked"));

    let (out, err) = said(&["verify", &file("base")]);
    assert!(
        out.contains("whole: 5 chunks, 1 pages, 1 zero") && err.contains("forgery would not"),
        "{out}{err}"
    );
    let (_, err) = said(&["verify", &file("keyed"), "--key", &file("key")]);
    assert!(err.contains("made with the key in ") && err.contains("neither damaged nor forged"), "{err}");
    let merged = file("merged");
    said(&["merge", &file("base"), &file("next"), "-o", &merged]);
    assert_eq!(
        object(&[&merged])["frames"],
        serde_json::json!({ "here": 2, "zero": 1, "base": 0, "ranges": 3 })
    );
    assert!(said(&["verify", &merged]).0.contains("2 pages, 0 zero"));

    let before = std::fs::read(&merged).unwrap();
    let (other, nowhere) = (file("other"), file("nowhere/other"));
    for (words, code, reason) in [
        (&["verify", &file("cut")][..], 1, "it ends after"),
        (&["verify", &file("junk")], 1, "it ends after 4 bytes"),
        (&["inspect", &file("key")], 1, "header: magic"),
        (&["verify", &file("none")], 1, "No such file"),
        (&["verify", &file("keyed")], 1, "made with a key, and there is none here"),
        (&["verify", &file("base"), "--key", &file("key")], 1, "made without a key, where one is asked for"),
        (&["verify", &file("base"), "--key", &file("junk")], 1, "64 hexadecimal digits"),
        (&["merge", &file("base"), &file("next"), "-o", &merged], 1, "is there already"),
        (&["merge", &file("next"), &file("base"), "-o", &other], 1, "is incremental"),
        (&["merge", &file("base"), &file("base"), "-o", &other], 1, "does not build on"),
        (&["merge", &file("cut"), &file("next"), "-o", &other], 1, "it ends after"),
        (&["merge", &file("base"), &file("next"), "-o", &nowhere], 1, "No such file"),
        (&["merge", &file("base"), "-o", &other], 2, "INCREMENT"),
        (&["merge", &file("base"), &file("next")], 2, "--output"),
        (&["unmerge"], 2, "unmerge"),
    ] {
        let (found, stdout, stderr) = user.qs_with_own_keys(&[&["checkpoint"], words].concat());
        assert_eq!((found, stdout.as_str()), (code, ""), "{words:?}: {stderr}");
        assert!(stderr.contains(reason), "{words:?}: {stderr}");
    }
    // Nothing was replaced, and nothing is left of what failed.
    assert!(std::fs::read(&merged).unwrap() == before);
    let mut left: Vec<_> =
        std::fs::read_dir(&user.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["base", "cut", "junk", "key", "keyed", "merged", "next"]);

    // His own key is found where it is needed, and what was made with another is not his.
    std::fs::create_dir(file("quicksilver")).unwrap();
    std::fs::copy(file("key"), file("quicksilver/checkpoint.key")).unwrap();
    let again = checkpoints::checkpoint(2, Some(1), &frames, Some(&key)).unwrap();
    std::fs::write(file("again"), again).unwrap();
    assert_eq!(object(&[&file("keyed")])["checked"], true);
    assert_eq!(object(&[&file("base")])["keyed"], false);
    assert!(said(&["verify", &file("keyed")]).1.contains("made with your key: neither damaged nor forged"));
    said(&["merge", &file("keyed"), &file("again"), "-o", &other]);
    assert!(said(&["verify", &other]).1.contains("made with your key"));
    std::fs::write(file("quicksilver/checkpoint.key"), "cd".repeat(32)).unwrap();
    assert!(said(&["inspect", &file("keyed")]).1.contains("not yours: nothing of this is checked"));
    let (code, _, stderr) = user.qs_with_own_keys(&["checkpoint", "verify", &file("keyed")]);
    assert_eq!((code, stderr.contains("made with another key")), (1, true), "{stderr}");
    said(&["verify", &file("keyed"), "--key", &file("key")]);
}

/// `qs checkpoint` on the disk of a machine that has kept two, and on one that has kept none.
#[test]
fn checkpoints_are_found_on_a_disk() {
    let user = User::new("kept");
    let (disk, empty) = (user.0.join("disk"), user.0.join("empty").display().to_string());
    let path = disk.display().to_string();
    for path in [&path, &empty] {
        let (code, _, stderr) = user.qs(&["disk", "create", path, "--checkpoints", "1M"]);
        assert!(
            code == 0 && stderr.contains("a disk of 4M") && stderr.contains("1M for checkpoints"),
            "{stderr}"
        );
    }
    let mut image = FakeDisk::new(std::fs::read(&disk).unwrap());
    let partition = gpt::read(&mut image).unwrap().partitions[1];
    for id in [1, 2] {
        let frames = [(2, FrameKind::Here, id)];
        let mut writer = Slots::open(partition.view(&mut image)).unwrap().begin(2).unwrap();
        writer.write(&checkpoints::checkpoint(id, None, &frames, None).unwrap()).unwrap();
        writer.keep([id; 16], 1_700_000_000_000_000_000).unwrap();
    }
    std::fs::write(&disk, &image.bytes).unwrap();
    let qs = |words: &[&str]| user.qs(&[&["checkpoint"], words].concat());
    let (code, stdout, stderr) = qs(&["list", &path]);
    assert!(code == 0 && stdout.starts_with("     2  02020202"), "{stdout}{stderr}");
    assert!(stdout.lines().nth(1).unwrap().contains("  2023-11-14T22:13:20Z  "), "{stdout}");
    let (_, stdout, _) = qs(&["list", &path, "--json"]);
    let listed: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&listed[1]["checkpoint"], &listed[1]["whole"]), (&1.into(), &true.into()));
    for (words, id) in
        [(&[][..], "02"), (&["--checkpoint", "1"], "01"), (&["--checkpoint", &"02".repeat(16)], "02")]
    {
        let (code, stdout, stderr) = qs(&[&["inspect", &path, "--json"], words].concat());
        assert_eq!(code, 0, "{stderr}");
        assert_eq!(serde_json::from_str::<Value>(&stdout).unwrap()["id"], id.repeat(16));
        assert_eq!(qs(&[&["verify", &path], words].concat()).0, 0);
    }
    assert_eq!(qs(&["list", &empty]).0, 0);
    let other = user.0.join("other").display().to_string();
    std::fs::write(&other, checkpoints::checkpoint(3, None, &[], None).unwrap()).unwrap();
    for (words, code, reason) in [
        (&["verify", &path, "--checkpoint", "3"][..], 1, "there is no checkpoint 3"),
        (&["verify", &path, "--checkpoint", "last"], 2, "'latest', a number from 1 on, or an ID"),
        (&["verify", &empty], 1, "there is no checkpoint"),
        (&["list", &other], 1, "no image of a disk with a partition for checkpoints"),
        (&["verify", &other, "--checkpoint", "1"], 1, "no image of a disk"),
    ] {
        let (found, stdout, stderr) = qs(words);
        assert_eq!((found, stdout.as_str()), (code, ""), "{words:?}: {stderr}");
        assert!(stderr.contains(reason), "{words:?}: {stderr}");
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
