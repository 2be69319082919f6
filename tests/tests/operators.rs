//! Who may operate a machine and what they are told, by OpenSSH's own client; and what becomes of those who try.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use control::request::VERBS;
use image_builder::config::CONTROL_MAC;
use image_builder::control::{self as client, Keys, SERVICE, SSH_FAILED, Target};
use image_builder::{Machine, MachineType, Nic};
use serde_json::{Value, json};
use tests::apart::{self, Apart};
use tests::guest::{self, Guest, PATIENCE, image, image_for, wait_until};
use tests::operator::{DONE, Operator, REFUSED, USAGE};
use tests::{load, namespace, program};

/// A command line for each line of the help.
fn lines() -> impl Iterator<Item = (String, ::control::Role)> {
    // A checkpoint is no text, see `checkpoints.rs`.
    VERBS.iter().filter(|(verb, ..)| *verb != "checkpoint").map(|(verb, _, role, _)| {
        let line = match *verb {
            "mode" => "mode native".to_owned(),
            "job watch" | "job cancel" => format!("{verb} 1"),
            "top" => "top --once".to_owned(),
            "bench" => "bench --list".to_owned(),
            // There is one card, and it stays.
            "device swap" => format!("{verb} net0 --to next"),
            "device detach" | "device attach" => format!("{verb} net9"),
            other => other.to_owned(),
        };
        (line, *role)
    })
}

fn target(guest: &Guest) -> Target {
    Target { address: guest.at(SERVICE).to_string(), serial: Some(guest.serial_path().to_owned()) }
}

/// A client with other keys or options than usual: standard output, standard error and status.
fn ssh(guest: &Guest, options: &[&str], line: &[&str]) -> (Option<i32>, String, String) {
    let usual = client::ssh(&target(guest), &Keys::of_user().unwrap()).unwrap();
    // The first of two settings counts.
    let mut command = program::command("ssh", PATIENCE);
    let output = command.args(options).args(usual.get_args()).args(line).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn every_verb_is_answered_in_both_forms() {
    let guest = Guest::serving(guest::machine().cpus(2));
    let operator = Operator::of(&guest);
    // What `restore` takes is no text either, see `restores.rs`; for changes of a card see `swap.rs`.
    let is_elsewhere = |line: &str| {
        line == "restore"
            || ["swap", "detach", "attach"].iter().any(|word| line.starts_with(&format!("device {word}")))
    };
    for (line, _) in lines().filter(|(line, _)| !is_elsewhere(line)) {
        // There is no such job, and no disk.
        let expected = match line.as_str() {
            "job watch 1" | "job cancel 1" | "checkpoint list" => REFUSED,
            _ => DONE,
        };
        let told = operator.tell(&line);
        assert_eq!(told.status, expected, "{line}: {told:?}");
        assert_eq!(
            (told.out.is_empty(), told.err.is_empty()),
            (expected == REFUSED, expected == DONE),
            "{line}: {told:?}"
        );
        let told = operator.tell(&format!("{line} --json"));
        assert_eq!((told.status, told.err.as_str()), (expected, ""), "{line}: {told:?}");
        for each in told.out.lines() {
            assert!(serde_json::from_str::<Value>(each).unwrap().is_object(), "{line}: {each}");
        }
    }
    assert_eq!(operator.tell("sideways").status, USAGE);
    let (status, body) = operator.ask("mode sideways");
    assert_eq!((status, body["error"].as_str()), (USAGE, Some("'sideways' has no place here: see help")));
    // Without a command: help and state.
    let (status, out, _) = ssh(&guest, &[], &[]);
    assert!(status == Some(0) && out.contains("you may say") && out.contains("mode       native"), "{out}");
}

#[test]
fn a_change_is_made_once_and_in_its_generation() {
    let guest = Guest::serving(guest::machine().cpus(2));
    let operator = Operator::of(&guest);
    let asked = |line: &str| {
        let (status, body) = operator.ask(line);
        (
            status,
            body["mode"].as_str().map(str::to_owned),
            body["switches"].as_u64(),
            body["error"].as_str().map(str::to_owned),
        )
    };
    let done = |mode: &str, switches| (DONE, Some(mode.to_owned()), Some(switches), None);
    assert_eq!(asked("mode guest --dry-run"), done("native", 0));
    assert_eq!(asked("mode guest --op first --expect 0"), done("guest", 1));
    assert_eq!(asked("mode native"), done("native", 2));
    // The first answer again, and nothing is done.
    assert_eq!(asked("mode guest --op first --expect 0"), done("guest", 1));
    assert_eq!(operator.status()["mode"], "native");
    let (status, mode, _, error) = asked("mode guest --expect 1");
    assert_eq!((status, mode.as_deref()), (REFUSED, Some("native")));
    assert_eq!(error.as_deref(), Some("stale: this is generation 2"));
    assert_eq!(operator.status()["refusal"].as_str(), error.as_deref());
    let (status, _, _, error) = asked("mode native --op first");
    assert_eq!((status, error.as_deref()), (REFUSED, Some("another operation has had this ID")));
    assert_eq!(asked("mode guest --op second --expect 2"), done("guest", 3));
    // Written down with who did it.
    let key = Keys::of_user().unwrap().access().operators[0].key.fingerprint();
    let log = operator.tell("log").out;
    let written = |words: &[&str]| log.lines().any(|line| words.iter().all(|word| line.contains(word)));
    assert!(written(&["mode guest", &key, "done", "operation first", "generation 1"]), "{log}");
    assert!(written(&["mode guest", &key, "stale"]), "{log}");
    let events = operator.tell("events").out;
    assert_eq!(events.lines().filter(|line| line.contains("operation first")).count(), 1, "{events}");
}

/// Two ask for a change at once, from two connections: one makes it, the other is told of the state that holds then.
#[test]
fn one_of_two_wins() {
    let guest = Guest::serving(guest::machine().cpus(2));
    let operators = [Operator::of(&guest), Operator::of(&guest)];
    let mut busy = 0;
    wait_until("two requests at once", || {
        let answers = thread::scope(|scope| {
            let asking = operators
                .each_ref()
                .map(|operator| scope.spawn(|| operator.ask("mode toggle --deadline 30000")));
            asking.map(|thread| thread.join().unwrap())
        });
        for (status, body) in &answers {
            assert!(*status == DONE || body["error"].as_str().unwrap().contains("busy"), "{body}");
        }
        busy += answers.iter().filter(|(status, _)| *status == REFUSED).count();
        busy > 0
    });
    guest.assert_well();
}

/// A file like authorized_keys with a key for each role, the keys, and one that nobody knows.
fn three_keys(directory: &Path) -> (PathBuf, BTreeMap<&'static str, PathBuf>) {
    drop(fs::remove_dir_all(directory));
    fs::create_dir_all(directory).unwrap();
    let mut keys = BTreeMap::new();
    let mut text = String::new();
    for role in ["observe", "operate", "admin", "nobody"] {
        let path = directory.join(role);
        let name = path.to_str().unwrap();
        program::run("ssh-keygen", PATIENCE, ["-q", "-t", "ed25519", "-N", "", "-C", role, "-f", name])
            .unwrap();
        if role != "nobody" {
            text += &format!("role=\"{role}\" {}", fs::read_to_string(path.with_extension("pub")).unwrap());
        }
        keys.insert(role, path);
    }
    let file = directory.join("authorized_keys");
    fs::write(&file, text).unwrap();
    (file, keys)
}

#[test]
fn each_role_may_say_what_its_table_has() {
    let directory = std::env::temp_dir().join(format!("qs-roles-{}", std::process::id()));
    let (file, keys) = three_keys(&directory);
    let guest = Guest::serving(Machine::builder().elf(&image_for("kv,web", &file)));
    let with = |role: &str, line: &str| ssh(&guest, &["-i", keys[role].to_str().unwrap()], &["--", line]);
    let rank = |role: &str| ["observe", "operate", "admin"].iter().position(|each| *each == role).unwrap();
    for role in ["observe", "operate", "admin"] {
        for (line, needed) in lines() {
            let (status, out, err) = with(role, &line);
            let may = rank(role) >= rank(&needed.to_string());
            let why = format!("this takes the role {needed}: you have {role}");
            assert_eq!(err.contains(&why), !may, "{role}: {line}: {status:?} {out} {err}");
            assert!(may || status == Some(i32::from(REFUSED)), "{role}: {line}: {status:?}");
        }
    }
    // The user who built it is not among them, nor is somebody else.
    for change in [None, Some("nobody")] {
        let (status, _, err) = match change {
            Some(role) => with(role, "status"),
            None => ssh(&guest, &[], &["--", "status"]),
        };
        assert!(status == Some(SSH_FAILED) && err.contains("Permission denied (publickey)"), "{err}");
    }
    fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn strangers_are_refused_and_counted_and_change_nothing() {
    let guest = Guest::serving(guest::machine().cpus(2));
    let operator = Operator::of(&guest);
    let refused = || operator.status()["control"]["refused"].as_u64().unwrap();
    let (before, heap) = (refused(), operator.heap());
    for option in [
        "PreferredAuthentications=password,keyboard-interactive",
        "KexAlgorithms=diffie-hellman-group14-sha256",
        "HostKeyAlgorithms=rsa-sha2-512",
        "Ciphers=aes256-ctr",
        "User=root",
    ] {
        let (status, out, err) = ssh(&guest, &["-o", option], &["--", "mode", "guest"]);
        assert_eq!((status, out.as_str()), (Some(SSH_FAILED), ""), "{option}: {err}");
    }
    for forward in [["-W", "127.0.0.1:6379"], ["-s", "sftp"]] {
        let (status, out, _) = ssh(&guest, &[], &forward);
        assert!(status != Some(0) && out.is_empty(), "{forward:?}: {status:?} {out}");
    }
    let mut count = 5;
    // Whoever goes at some stage of the handshake, babbles, sends giants, or nothing.
    let greeting = b"SSH-2.0-OpenSSH_9.2p1\r\n".to_vec();
    let mut sayings: Vec<Vec<u8>> =
        (0..greeting.len()).step_by(4).map(|length| greeting[..length].to_vec()).collect();
    sayings.extend(tests::targets::handshake_stages());
    sayings.extend([
        vec![0xff; 40_000],
        [&greeting[..], &[0, 1, 0, 4, 10]].concat(),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
    ]);
    for said in &sayings {
        let mut stream = guest.connect(SERVICE);
        // The server may be gone before all is said.
        drop(stream.write_all(said).and_then(|()| stream.shutdown(Shutdown::Write)));
        drop(stream.read_to_end(&mut Vec::new()));
        count += 1;
    }
    wait_until("all of them to be counted", || refused() >= before + count);
    assert_eq!(operator.status()["switches"], 0);
    operator.wait_for_heap(heap);
    guest.assert_well();
}

#[test]
fn who_takes_a_seat_and_says_nothing_loses_it() {
    let guest = Guest::serving(guest::machine().cpus(1));
    let operator = Operator::of(&guest);
    let before = operator.heap();
    let mut seated: Vec<TcpStream> = (0..12).map(|_| guest.connect(SERVICE)).collect();
    // All seats of strangers are taken: no other is let in, nobody is kept waiting, and who is in stays.
    for _ in 0..20 {
        assert!(guest::exchange(guest.connect(SERVICE), b"").is_empty());
    }
    operator.toggle();
    guest.assert_well();
    for stream in &mut seated {
        // Closed or reset by the machine, after its greeting if there was one.
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        drop(stream.read_to_end(&mut Vec::new()));
    }
    operator.toggle();
    operator.wait_for_heap(before);
}

#[test]
fn ten_operators_at_once() {
    let guest = Guest::serving(guest::machine().cpus(2));
    thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| {
                let (status, out, err) = ssh(&guest, &[], &["--", "version"]);
                assert!(status == Some(0) && out.starts_with("Quicksilver "), "{status:?} {out} {err}");
            });
        }
    });
}

#[test]
fn the_log_is_followed_until_the_client_goes() {
    let guest = Guest::serving(guest::machine().cpus(1));
    let operator = Operator::of(&guest);
    let mut follow = client::ssh(&target(&guest), &Keys::of_user().unwrap()).unwrap();
    let mut following =
        follow.args(["--", "log --follow"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut out = following.stdout.take().unwrap();
    operator.toggle();
    let mut said = String::new();
    while !said.contains("mode toggle by ") {
        let mut bytes = [0; 4096];
        let count = out.read(&mut bytes).unwrap();
        assert!(count > 0, "{said}");
        said += std::str::from_utf8(&bytes[..count]).unwrap();
    }
    following.kill().unwrap();
    following.wait().unwrap();
    wait_until("its connection to be gone", || operator.status()["control"]["open"] == 1);
}

#[test]
fn no_weakness_is_found() {
    let guest = Guest::serving(guest::machine());
    let port = guest.at(SERVICE).port().to_string();
    let audit = program::output("ssh-audit", PATIENCE, ["-t", "60", "-p", &port, "127.0.0.1"]).unwrap();
    let said = String::from_utf8_lossy(&audit.stdout);
    assert!(said.contains("curve25519-sha256") && said.contains("ssh-ed25519"), "{said}");
    assert!(!said.contains("[fail]"), "{said}");
}

/// Thousands of connections that begin a key exchange: the store serves on, and afterwards operators are let in as before.
#[test]
fn a_flood_is_shed() {
    const HOST: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
    const GUEST: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
    // QEMU's user network is what a flood would end.
    if apart::enter("a_flood_is_shed", "a flood on a tap device") != Apart::Inside {
        return;
    }
    namespace::tap("tap0", HOST).unwrap();
    let guest = Guest::serving(
        Machine::builder().elf(&image("kv,web")).tap("tap0").append(&format!("ip={GUEST}/24,gw={HOST}")),
    );
    let operator = Operator::of(&guest);
    let (over, tried) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let sayings = tests::targets::handshake_stages();
                for said in sayings.iter().cycle().take_while(|_| !over.load(Ordering::Relaxed)) {
                    // Refused at some stage: that is what is tested.
                    if let Ok(mut stream) =
                        TcpStream::connect_timeout(&guest.at(SERVICE), Duration::from_secs(1))
                    {
                        drop(stream.set_read_timeout(Some(Duration::from_millis(100))));
                        drop(stream.write_all(said).and_then(|()| stream.read(&mut [0; 64])));
                    }
                    tried.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let work = ["-n", "20000", "-c", "50", "-t", "set,get"];
        let rows = load::redis_benchmark(guest.at("kv"), PATIENCE, &work);
        // Who was in is in.
        let state = operator.status();
        over.store(true, Ordering::Relaxed);
        assert_eq!(rows.unwrap().len(), 2);
        assert_eq!(state["switches"], 0);
    });
    assert!(tried.load(Ordering::Relaxed) > 50, "{tried:?}");
    drop(operator);
    wait_until("an operator to be let in again", || ssh(&guest, &[], &["--", "version"]).0 == Some(0));
    guest.assert_serving();
}

/// Where a port of the machine is reached through one of its cards, from now on, whatever listens there.
fn forwarded(guest: &Guest, card: &str, port: u16) -> SocketAddr {
    let monitor = |line: &str| {
        let answer = guest.qmp("human-monitor-command", json!({ "command-line": line })).unwrap();
        answer.as_str().unwrap().to_owned()
    };
    assert_eq!(monitor(&format!("hostfwd_add {card} tcp:127.0.0.1:0-:{port}")), "");
    // Below the card's name: protocol, descriptor, host's address and port, machine's address and port.
    let table = monitor("info usernet");
    let of_card = table.split("Hub").find(|part| part.contains(&format!("({card})"))).unwrap();
    let rows = of_card.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut places =
        rows.filter(|row| row.first() == Some(&"TCP[HOST_FORWARD]") && row[5] == port.to_string());
    let row = places.next_back().unwrap_or_else(|| panic!("{table}"));
    SocketAddr::from((Ipv4Addr::LOCALHOST, row[3].parse().unwrap()))
}

#[test]
fn operators_have_a_nic_of_their_own() {
    for (machine, nic) in [
        (MachineType::Q35, Nic::Virtio),
        // Without MSI: lines of both cards lead to one vector.
        (MachineType::Q35, Nic::E1000),
        (MachineType::Microvm, Nic::Virtio),
    ] {
        let guest = Guest::serving(guest::machine().machine(machine).nic(nic).cpus(2).control_nic());
        let operator = Operator::of(&guest);
        for mode in ["guest", "native"] {
            assert_eq!(operator.toggle()["mode"], mode);
            guest.assert_well();
        }
        for (card, port, said, answer) in [
            ("net0", 22, "", ""),
            ("net0", 6379, "PING\r\n", "+PONG\r\n"),
            ("net1", 22, "", "SSH-2.0-"),
            ("net1", 6379, "PING\r\n", ""),
            ("net1", 80, "GET / HTTP/1.0\r\n\r\n", ""),
        ] {
            let stream = TcpStream::connect_timeout(&forwarded(&guest, card, port), PATIENCE).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let heard = guest::exchange(stream, said.as_bytes());
            let is_right =
                if answer.is_empty() { heard.is_empty() } else { heard.starts_with(answer.as_bytes()) };
            assert!(is_right, "{machine}, {nic}: {card}, port {port}: {}", heard.escape_ascii());
        }

        let status = operator.status();
        let has = |network: &Value, address: &str| {
            network["addresses"].as_array().unwrap().iter().any(|each| each == address)
        };
        let networks = [&status["network"], &status["control"]["network"]];
        let [main, control] =
            ["10.0.2.15/24", "10.0.3.15/24"].map(|address| networks.map(|it| has(it, address)));
        assert_eq!((main, control), ([true, false], [false, true]), "{status}");
        let stats = operator.ask("stats").1;
        let counts =
            [&stats, &stats["control"]["network"]].map(|network| network["accepted"].as_u64().unwrap());
        assert!(counts.iter().all(|count| *count > 0), "{stats}");
        let (_, devices) = operator.ask("device list");
        let cards: Vec<&Value> = devices["devices"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|device| device["name"].as_str().unwrap().starts_with("net"))
            .collect();
        assert!(cards.len() == 2 && cards.iter().all(|card| card["state"] == "active"), "{devices}");
        for card in cards {
            let what = card["what"].as_str().unwrap();
            assert_eq!(what.starts_with(CONTROL_MAC), what.ends_with("control network"), "{devices}");
            let user = card["user"].as_str().unwrap();
            assert!(what.ends_with(user), "{devices}");
            let place = card["place"].as_str().unwrap();
            assert!(["pci:0000:", "mmio:0x"].iter().any(|kind| place.starts_with(kind)), "{devices}");
        }
        let findings = operator.tell("doctor").out;
        assert!(findings.contains("control network ok"), "{findings}");
        guest.assert_well();
    }
}

#[test]
fn without_the_nic_they_were_promised_operators_are_served_nowhere() {
    for (setting, why) in [
        ("control.nic=net1", "there is no network card net1"),
        ("control.nic=eth1", "`eth1` is neither"),
        ("control.ip=10.0.3.2/24", "needs control.nic"),
    ] {
        let guest = Guest::serving(guest::machine().append(setting));
        for line in [why, "control: without its network it listens nowhere"] {
            guest.wait_for_line(line, PATIENCE).unwrap();
        }
        assert_eq!(guest::exchange(guest.connect(SERVICE), b""), b"", "{setting}");
        guest.assert_well();
    }
}
