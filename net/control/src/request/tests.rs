use super::*;
use proptest::prelude::*;

fn verb(line: &str) -> Verb {
    line.parse::<Request>().unwrap_or_else(|error| panic!("{line}: {error}")).verb
}

const TO_DISK: ToDisk = ToDisk { room: None, keep: 1, every: None, detach: false };

fn switch(target: Target) -> Switch {
    Switch { target, dry_run: false, deadline: DEADLINE, operation: None, expected: None }
}

#[test]
fn what_may_be_said() {
    for (line, expected) in [
        ("", Verb::Help),
        (" help ", Verb::Help),
        ("status", Verb::Status),
        ("mode", Verb::Mode),
        ("mode native", Verb::Switch(switch(Target::Native))),
        ("mode toggle --dry-run", Verb::Switch(Switch { dry_run: true, ..switch(Target::Toggle) })),
        (
            "mode guest --deadline 500",
            Verb::Switch(Switch { deadline: Duration::from_millis(500), ..switch(Target::Guest) }),
        ),
        (
            "mode guest --op=a-1 --expect 7 --deadline=60000",
            Verb::Switch(Switch {
                deadline: LONGEST,
                operation: Some("a-1".to_owned()),
                expected: Some(7),
                ..switch(Target::Guest)
            }),
        ),
        (
            "mode toggle --times 3",
            Verb::Repeat(Repeat { times: 3, every: Duration::ZERO, deadline: DEADLINE }),
        ),
        (
            "mode toggle --every 5 --times=1000000000 --deadline 60000",
            Verb::Repeat(Repeat { times: MOST, every: Duration::from_millis(5), deadline: LONGEST }),
        ),
        ("trace", Verb::Trace),
        ("stats", Verb::Stats),
        ("events --follow", Verb::Events { follow: true }),
        ("log", Verb::Log { follow: false }),
        ("top --once", Verb::Top { once: true }),
        ("bench", Verb::Bench(Bench::default())),
        (
            "bench threads --quick memory.copy --detach",
            Verb::Bench(Bench {
                names: ["threads", "memory.copy"].map(String::from).into(),
                quick: true,
                detach: true,
                list: false,
            }),
        ),
        ("bench --list", Verb::Bench(Bench { list: true, ..Bench::default() })),
        ("checkpoint list", Verb::CheckpointList),
        ("checkpoint --to disk", Verb::CheckpointToDisk(TO_DISK)),
        (
            "checkpoint --to=disk --every 30s --keep 3 --room 8 --detach",
            Verb::CheckpointToDisk(ToDisk {
                room: Some(8 << 20),
                keep: 3,
                every: Some(Duration::from_secs(30)),
                detach: true,
            }),
        ),
        (
            "checkpoint --every 24h --to disk --keep=7",
            Verb::CheckpointToDisk(ToDisk { keep: MOST_KEPT, every: Some(SELDOM), ..TO_DISK }),
        ),
        (
            "checkpoint --to disk --every 5m",
            Verb::CheckpointToDisk(ToDisk { every: Some(Duration::from_secs(300)), ..TO_DISK }),
        ),
        ("job", Verb::JobList),
        ("job list", Verb::JobList),
        ("job watch 3", Verb::JobWatch(3)),
        ("job cancel 18446744073709551615", Verb::JobCancel(u64::MAX)),
        ("device list", Verb::DeviceList),
        (
            "device swap net0 --to pci:0000:00:05.0",
            Verb::DeviceSwap(Swap {
                old: "net0".to_owned(),
                new: Some("pci:0000:00:05.0".to_owned()),
                dry_run: false,
                detach: false,
            }),
        ),
        (
            "device swap --dry-run --to=next mmio:0xfeb00e00",
            Verb::DeviceSwap(Swap {
                old: "mmio:0xfeb00e00".to_owned(),
                new: None,
                dry_run: true,
                detach: false,
            }),
        ),
        ("device detach net1", Verb::DeviceDetach { device: "net1".to_owned(), timeout: DEADLINE }),
        (
            "device detach net1 --timeout 60000",
            Verb::DeviceDetach { device: "net1".to_owned(), timeout: LONGEST },
        ),
        ("device attach", Verb::DeviceAttach { device: None }),
        ("device attach net2", Verb::DeviceAttach { device: Some("net2".to_owned()) }),
        (
            "device swap --dry-run disk0 --detach --to=next",
            Verb::DeviceSwap(Swap { old: "disk0".to_owned(), new: None, dry_run: true, detach: true }),
        ),
        ("doctor", Verb::Doctor),
        ("version", Verb::Version),
    ] {
        assert_eq!(line.parse(), Ok(Request { verb: expected.clone(), json: false }), "{line}");
        let json = Request { verb: expected, json: true };
        assert_eq!(alloc::format!("{line} --json").parse(), Ok(json), "{line}");
    }
}

#[test]
fn a_checkpoint_has_room_and_no_json() {
    let restore =
        |new_identity, from: Option<&str>| Verb::Restore { new_identity, from: from.map(Into::into) };
    let checkpoint = |room| Verb::Checkpoint { room, base: None, track: false };
    assert_eq!(verb("checkpoint"), checkpoint(None));
    assert_eq!(verb("restore"), restore(false, None));
    assert_eq!(verb("restore --new-identity"), restore(true, None));
    assert_eq!(verb("restore --from disk"), restore(false, Some("latest")));
    assert_eq!(verb("restore --from disk:7 --new-identity"), restore(true, Some("7")));
    assert_eq!(verb("checkpoint --room 8"), checkpoint(Some(8 << 20)));
    assert_eq!(verb("checkpoint --room=1048576"), checkpoint(Some(MOST_ROOM)));
    let mut id = [0; 16];
    (id[0], id[15]) = (0xfe, 1);
    let on = Verb::Checkpoint { room: None, base: Some(id), track: true };
    assert_eq!(verb("checkpoint --track --base FE000000000000000000000000000001"), on);
}

#[test]
fn all_else_is_refused() {
    for line in [
        "Status",
        "status now",
        "mode sideways",
        "mode native guest",
        "mode guest --deadline",
        "mode guest --deadline -1",
        "mode guest --deadline +1",
        "mode guest --deadline 60001",
        "mode guest --deadline 99999999999999999999",
        "mode guest --deadline 5 --deadline 6",
        "mode guest --op",
        "mode guest --op=",
        "mode guest --op a/b",
        "mode guest --expect x",
        "mode --dry-run",
        "mode toggle --times",
        "mode toggle --times 0",
        "mode toggle --times 1000000001",
        "mode toggle --times 2 --dry-run",
        "mode toggle --times 2 --op a",
        "mode toggle --times 2 --every 60001",
        "mode toggle --every 2",
        "mode guest --times 2",
        "bench --slow",
        "bench a/b",
        "bench a --quick --quick",
        "checkpoint --json",
        "checkpoint --room",
        "checkpoint --room 0",
        "checkpoint --room 1048577",
        "checkpoint app.qsc",
        "checkpoint --base",
        "checkpoint --base 1",
        "checkpoint --base 00000000000000000000000000000000",
        "checkpoint --base +e000000000000000000000000000001",
        "checkpoint --track --track",
        "restore app.qsc",
        "restore --json",
        "restore --from tape",
        "restore --from disk:",
        "restore --from",
        "checkpoint --to disk --track",
        "checkpoint list --to disk",
        "checkpoint --keep 3",
        "checkpoint --every 30s",
        "checkpoint --detach",
        "checkpoint --to",
        "checkpoint --to tape",
        "checkpoint --to disk --keep 0",
        "checkpoint --to disk --keep 8",
        "checkpoint --to disk --every",
        "checkpoint --to disk --every 30",
        "checkpoint --to disk --every s",
        "checkpoint --to disk --every 0s",
        "checkpoint --to disk --every +1s",
        "checkpoint --to disk --every 1d",
        "checkpoint --to disk --every 1\u{e9}",
        "checkpoint --to disk --every 25h",
        "checkpoint --to disk --every 9999999999999999999h",
        "checkpoint --to disk --room 0",
        "job watch",
        "job watch x",
        "job start",
        "device list all",
        "device swap",
        "device swap net0",
        "device swap --to net1",
        "device swap net0 net1 --to net2",
        "device swap net0 --to",
        "device swap net/0 --to next",
        "device swap net0 --to next --dry-run --dry-run",
        "device detach",
        "device detach net0 --timeout",
        "device detach net0 --timeout 60001",
        "device attach net0 net1",
        "device attach 012345678901234567890123456789012",
        "device eject net0",
        "events --follow --follow",
        "log\n",
        "sh -c reboot",
    ] {
        let refused = line.parse::<Request>();
        assert!(refused.is_err(), "{line}: {refused:?}");
    }
    assert_eq!("x".repeat(MAX_COMMAND + 1).parse::<Request>(), Err(UsageError::NotText));
}

/// Each verb has a line in the help, and the role that stands there.
#[test]
fn the_help_says_who_may() {
    for (name, _, role, _) in VERBS {
        let line = match *name {
            "mode" => "mode toggle".to_owned(),
            "job watch" | "job cancel" => alloc::format!("{name} 1"),
            "device swap" => alloc::format!("{name} net0 --to next"),
            "device detach" => alloc::format!("{name} net0"),
            other => other.to_owned(),
        };
        assert_eq!(verb(&line).role(), *role, "{name}");
    }
}

proptest! {
    #[test]
    fn nothing_breaks_it(line in "[ -~]{0,80}|(mode|job|log|events|--[a-z]{1,6}|[0-9]{1,3}| ){0,8}") {
        let _ = line.parse::<Request>();
    }
}

#[test]
fn a_wait_for_devices_is_a_time_or_none() {
    let wait = |setting| device_wait(setting).ok();
    assert_eq!(wait("0"), Some(Duration::ZERO));
    assert_eq!(wait("30s"), Some(Duration::from_secs(30)));
    assert_eq!(wait("5m"), Some(Duration::from_mins(5)));
    for other in ["", "30", "s", "0s", "-1s", "25h", "99999999999999999999h"] {
        assert_eq!(wait(other), None, "{other}");
    }
}
