//! The card of a network is changed for another while clients are served: they do not notice, or no more than a lost packet. Both cards are on
//! one bridge. The tests run themselves again in a network namespace of their own.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use control::checkpoints::RESTORED;
use image_builder::config::Bochs;
use image_builder::machine::Builder;
use image_builder::{Machine, Nic, Vendor};
use serde_json::{Value, json};
use tests::apart::{self, Apart};
use tests::guest::{self, Guest, PATIENCE, has_bochs, wait_until};
use tests::noise::Noise;
use tests::operator::{DONE, FAILED, Operator, REFUSED};
use tests::remote::{self, Place};
use tests::store::{self, Client};
use tests::{load, namespace, soaks};

const HOST: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const GUEST: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
const CONTROL: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 3);
/// Where swaps can be made to fail.
const APPS: &str = "kv,web,stream,faults";

/// Runs a test in a namespace with a bridge and three tap devices.
fn on_a_bridge(name: &str, test: impl FnOnce()) {
    // Outside, where there may be a network for what a build has to fetch.
    guest::image(APPS);
    if apart::enter(name, "network cards on a bridge") == Apart::Inside {
        namespace::bridge("bridge0", HOST, &["tap0", "tap1", "tap2"]).unwrap();
        test();
    }
}

/// A machine with two cards, of which the first serves.
fn machine(first: Nic, second: &str) -> Builder {
    let builder = Machine::builder().elf(&guest::image(APPS)).nic(first).tap("tap0");
    let builder = builder.append(&format!("ip={GUEST}/24,gw={HOST}"));
    with_card(builder, second, 1)
}

/// One card more, whose name for QEMU is `cardN`.
fn with_card(builder: Builder, model: &str, number: u32) -> Builder {
    let device = format!("{model},id=card{number},netdev=tap{number},mac=52:54:00:71:73:{:02x}", 8 + number);
    let netdev = format!("tap,id=tap{number},ifname=tap{number},script=no,downscript=no");
    ["-netdev", &netdev, "-device", &device].iter().fold(builder, |builder, word| builder.qemu_arg(word))
}

/// A machine whose operators have the second card, and they.
fn with_operators(other: impl FnOnce(Builder) -> Builder) -> (Guest, Operator) {
    let setting = format!("control.nic=net1 control.ip={CONTROL}/24");
    let guest = Guest::start(other(machine(Nic::E1000e, "e1000e")).append(&setting).cpus(2));
    guest.wait_announced().unwrap();
    let control = (CONTROL, 22).into();
    let second = Duration::from_secs(1);
    wait_until("the way to the operators' card", || TcpStream::connect_timeout(&control, second).is_ok());
    (guest, Operator::at(control))
}

fn devices(operator: &Operator) -> Vec<Value> {
    let (status, body) = operator.ask("device list");
    assert_eq!(status, DONE, "{body}");
    body["devices"].as_array().unwrap().clone()
}

/// The card with this state.
fn card(operator: &Operator, state: &str) -> Value {
    let mut cards =
        devices(operator).into_iter().filter(|device| device["name"].as_str().unwrap().starts_with("net"));
    cards.find(|card| card["state"] == state).unwrap_or_else(|| panic!("no card is {state}"))
}

fn name(card: &Value) -> &str {
    card["name"].as_str().unwrap()
}

/// Puts the idle card in the place of the active one, on a machine in native mode.
fn swap(operator: &Operator) -> Value {
    swap_in("native", operator)
}

/// The same in another mode, in which the machine stays.
fn swap_in(mode: &str, operator: &Operator) -> Value {
    let (old, new) = (card(operator, "active"), card(operator, "idle"));
    let (status, body) =
        operator.ask(&format!("device swap {} --to {}", name(&old), new["place"].as_str().unwrap()));
    assert_eq!(status, DONE, "{body}");
    assert_eq!((&body["old"], &body["new"]), (&old["name"], &new["name"]), "{body}");
    assert_eq!(card(operator, "active")["name"], new["name"]);
    assert_eq!(operator.status()["mode"], mode);
    let pages = match old["driver"].as_str().unwrap() {
        // The MSI-X table, and the structures of virtio 1; registers of 128 KiB; the same twice, with an MSI-X table of 16 KiB.
        "virtio-net" => 1 + 4,
        "e1000" => 32,
        _ => 32 + 32 + 4,
    };
    assert_eq!(body["absorbed_pages"], pages, "{body}");
    assert!(body["not_absorbed"].as_array().is_none_or(|others| others.len() == 1), "{body}");
    body
}

/// Has what is sent come back, until it is to end: not a byte may be another.
fn echo(mut stream: TcpStream, is_over: &AtomicBool, rounds: &AtomicU64) {
    let mut noise = Noise::new(7);
    while !is_over.load(Ordering::Relaxed) {
        let sent = noise.bytes(32 * 1024);
        let mut back = vec![0; sent.len()];
        thread::scope(|scope| {
            let mut writer = stream.try_clone().unwrap();
            scope.spawn(move || writer.write_all(&sent).map(|()| sent).unwrap()).join().map(|sent| {
                stream.read_exact(&mut back).unwrap();
                assert!(sent == back, "bytes have changed on the way");
            })
        })
        .unwrap();
        rounds.fetch_add(1, Ordering::Relaxed);
    }
}

/// So many swaps in QEMU.
fn swaps() -> usize {
    if soaks() { 100 } else { 20 }
}

/// Returns what the machine says of itself in the end.
fn under_load(builder: Builder, swaps: usize) -> Value {
    let guest = Guest::serving(builder);
    let operator = Operator::of(&guest);
    // What is allocated once is there.
    swap(&operator);
    swap(&operator);
    let before = operator.heap();
    let (is_over, rounds) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut stops = Vec::new();
    thread::scope(|scope| {
        let echoes = scope.spawn(|| echo(guest.connect("echo"), &is_over, &rounds));
        let store = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                load::redis_benchmark(guest.at("kv"), PATIENCE, &["-t", "set,get", "-n", "2000", "-c", "10"])
                    .unwrap();
            }
        });
        for _ in 0..swaps {
            let so_far = rounds.load(Ordering::Relaxed);
            wait_until("bytes to go on", || echoes.is_finished() || rounds.load(Ordering::Relaxed) > so_far);
            stops.push(swap(&operator)["stopped_ns"].as_u64().unwrap());
        }
        is_over.store(true, Ordering::Relaxed);
        echoes.join().unwrap();
        store.join().unwrap();
    });
    stops.sort_unstable();
    println!("stopped for {} ns (median), {} ns at most", stops[stops.len() / 2], stops[stops.len() - 1]);
    operator.wait_for_heap(before);
    guest.assert_well();
    operator.status()
}

#[test]
fn virtio_and_e1000e_take_turns() {
    on_a_bridge("virtio_and_e1000e_take_turns", || {
        drop(under_load(machine(Nic::Virtio, "e1000e").cpus(4), swaps()));
    });
}

#[test]
fn virtio_and_e1000_take_turns() {
    on_a_bridge("virtio_and_e1000_take_turns", || {
        drop(under_load(machine(Nic::Virtio, "e1000").cpus(1), swaps()));
    });
}

#[test]
fn e1000_and_e1000e_take_turns() {
    on_a_bridge("e1000_and_e1000e_take_turns", || {
        drop(under_load(machine(Nic::E1000, "e1000e").cpus(1), swaps()));
    });
}

/// The VMM beneath is of VMX, which only Bochs has; both cards are e1000s.
fn in_bochs(name: &str, cpus: u32) {
    if !has_bochs(&format!("cards that take turns under VMX, {cpus} CPU(s)")) {
        return;
    }
    on_a_bridge(name, || {
        let bochs = Bochs { model: Vendor::Intel.model(), taps: &["tap1"], ..Bochs::default() };
        let builder = Machine::builder().elf(&guest::image(APPS)).cpus(cpus).bochs_with(bochs).tap("tap0");
        let builder = builder.append(&format!("ip={GUEST}/24,gw={HOST}"));
        assert_eq!(under_load(builder, if soaks() { 20 } else { 5 })["vendor"], "vmx");
    });
}

#[test]
fn two_e1000_take_turns_under_vmx() {
    in_bochs("two_e1000_take_turns_under_vmx", 1);
}

#[test]
fn two_e1000_take_turns_under_vmx_with_two_cpus() {
    in_bochs("two_e1000_take_turns_under_vmx_with_two_cpus", 2);
}

/// One instruction is one nanosecond.
#[test]
fn the_network_is_held_for_few_instructions() {
    on_a_bridge("the_network_is_held_for_few_instructions", || {
        let guest = Guest::serving(machine(Nic::Virtio, "e1000e").icount().cpus(1));
        let operator = Operator::of(&guest);
        for _ in 0..4 {
            let body = swap(&operator);
            assert!(body["stopped_ns"].as_u64().unwrap() <= 200_000, "{body}");
        }
    });
}

#[test]
fn a_step_that_fails_is_undone() {
    on_a_bridge("a_step_that_fails_is_undone", || {
        let steps = ["export", "import", "resume", "connect", "replace"];
        let setting = format!("swap.fail={},interpose,none,quiesce", steps.join(","));
        let guest = Guest::serving(machine(Nic::Virtio, "e1000e").append(&setting).cpus(1));
        let operator = Operator::of(&guest);
        let mut client = Client::of(guest.connect("kv"));
        assert_eq!(client.ask("PING").unwrap(), "+PONG");
        for step in steps {
            let before = devices(&operator);
            let told = operator.tell("device swap net0 --to next");
            let why = format!("{step}: ");
            assert!(told.status == FAILED && told.err.contains(&why), "{told:?}");
            assert!(told.err.contains("net0 serves on"), "{told:?}");
            let state = |devices: &[Value]| -> Vec<Value> {
                devices.iter().map(|each| each["state"].clone()).collect()
            };
            assert_eq!(state(&devices(&operator)), state(&before), "{step}");
            assert_eq!(operator.status()["mode"], "native");
            assert_eq!(client.ask("PING").unwrap(), "+PONG");
        }
        // Nothing is undone for that: the swap has succeeded, and the old card is not used.
        let told = operator.tell("device swap net0 --to next");
        assert_eq!(told.status, DONE, "{told:?}");
        assert!(told.err.contains("net0's registers are not absorbed: it was to fail"), "{told:?}");
        assert_eq!(operator.status()["mode"], "native");
        swap(&operator);
        assert_eq!(client.ask("PING").unwrap(), "+PONG");
        let events = operator.tell("events").out;
        assert!(events.contains("serves on") && events.contains("net1 in place of net0"), "{events}");
        // In this order, and once: no step that failed has come so far.
        let marks = ["net1: 68 pages of its registers absorbed", "net1: its registers were released"];
        let places = marks.map(|mark| events.match_indices(mark).map(|(at, _)| at).collect::<Vec<_>>());
        assert!(
            matches!(&places, [away, back] if away.len() == 1 && back.len() == 1 && away < back),
            "{events}"
        );
        // It is done when the old one is asked to rest.
        let told = operator.tell("device swap net0 --to net1");
        assert!(told.status == DONE && told.err.contains("net0 can't be used any more"), "{told:?}");
        assert_eq!(client.ask("PING").unwrap(), "+PONG");
        assert_eq!(name(&card(&operator, "failed")), "net0");
        assert_eq!(name(&card(&operator, "active")), "net1");
        guest.assert_well();
    });
}

#[test]
fn connections_wait_for_a_card() {
    on_a_bridge("connections_wait_for_a_card", || {
        let (guest, operator) = with_operators(|builder| builder);
        let mut client = Client::of(guest.connect("kv"));
        assert_eq!(client.ask("PING").unwrap(), "+PONG");
        let (status, body) = operator.ask("device detach net0 --timeout 5000");
        assert_eq!(
            (status, &body["old"], &body["network"]),
            (DONE, &"net0".into(), &"main".into()),
            "{body}"
        );
        assert_eq!(name(&card(&operator, "idle")), "net0");
        let (status, body) = operator.ask("device swap net0 --to net1");
        assert!(
            status == FAILED && body["error"] == "job 2 failed: net0 is idle: no network has it",
            "{body}"
        );
        // It is on its way until there is a card.
        client.send("PING").unwrap();
        let (status, body) = operator.ask("device attach");
        assert_eq!(
            (status, &body["new"], &body["network"]),
            (DONE, &"net0".into(), &"main".into()),
            "{body}"
        );
        assert_eq!(client.line().unwrap(), "+PONG");
        assert_eq!(client.ask("PING").unwrap(), "+PONG");
        assert_eq!(devices(&operator).iter().filter(|device| device["state"] == "active").count(), 2);
    });
}

/// Registers are absorbed, and come back, beneath a machine that stays where it is.
#[test]
fn a_machine_in_guest_mode_stays_there() {
    on_a_bridge("a_machine_in_guest_mode_stays_there", || {
        let guest = Guest::serving(machine(Nic::E1000e, "e1000e").cpus(2));
        let operator = Operator::of(&guest);
        let mut client = Client::of(guest.connect("kv"));
        assert_eq!(operator.ask("mode guest").0, DONE);
        for _ in 0..5 {
            swap_in("guest", &operator);
            assert_eq!(client.ask("PING").unwrap(), "+PONG");
        }
        assert_eq!(operator.ask("mode native").0, DONE);
        swap(&operator);
        assert_eq!(client.ask("PING").unwrap(), "+PONG");
        guest.assert_well();
    });
}

/// A system that was frozen on its second card goes on with the first, and can swap.
#[test]
fn a_restored_system_finds_its_cards_anew() {
    on_a_bridge("a_restored_system_finds_its_cards_anew", || {
        let guest = Guest::serving(machine(Nic::Virtio, "e1000e").cpus(2));
        let operator = Operator::of(&guest);
        swap(&operator);
        assert_eq!(guest.redis_cli(&["SET", "card", "second"]), "OK");
        let place = Place::new("swapped");
        let (status, said) = remote::checkpoint(&guest, "checkpoint", &place.0);
        assert_eq!(status, Some(0), "{said}");
        assert_eq!(guest.redis_cli(&["SET", "card", "later"]), "OK");
        drop(operator);
        let (status, said) = remote::restore(&guest, &place.0);
        assert_eq!(status, Some(0), "{said}");
        guest.wait_for_line(RESTORED, PATIENCE).unwrap();
        assert_eq!(guest.redis_cli(&["GET", "card"]), "second");
        let operator = Operator::of(&guest);
        assert_eq!((name(&card(&operator, "active")), name(&card(&operator, "idle"))), ("net0", "net1"));
        swap(&operator);
        swap(&operator);
        guest.assert_well();
    });
}

#[test]
fn what_is_refused_changes_nothing() {
    on_a_bridge("what_is_refused_changes_nothing", || {
        let guest = Guest::serving(machine(Nic::Virtio, "e1000").cpus(1));
        let operator = Operator::of(&guest);
        let (before, generation) = (devices(&operator), operator.status()["generation"].clone());
        let (status, body) = operator.ask("device swap net0 --to next --dry-run");
        assert_eq!(
            (status, &body["dry_run"], &body["new"]),
            (DONE, &Value::from(true), &Value::from("net1")),
            "{body}"
        );
        assert!(
            body["adapted"].as_array().unwrap().contains(&Value::from("checksums by software")),
            "{body}"
        );
        assert_eq!(operator.status()["generation"], generation);
        for (line, why) in [
            ("device swap net7 --to next", "there is no device net7"),
            ("device swap net1 --to net0", "net1 is idle: no network has it"),
            ("device swap net0 --to net0", "net0 is active: only an idle card can be used"),
            ("device swap net0 --to pci:0000:00:1f.7", "there is no device pci:0000:00:1f.7"),
            ("device attach", "no network is without a card"),
            ("device detach net1", "net1 is idle: no network has it"),
        ] {
            let (status, body) = operator.ask(line);
            assert!(status == FAILED && body["error"].as_str().unwrap().contains(why), "{line}: {body}");
        }
        assert_eq!(devices(&operator), before);
        // While another job changes the state.
        let (status, begun) = operator.ask("bench --detach");
        assert_eq!(status, DONE, "{begun}");
        let (status, body) = operator.ask("device swap net0 --to next");
        let busy = format!("busy: job {}", begun["job"]);
        assert_eq!((status, body["error"].as_str()), (REFUSED, Some(busy.as_str())));
        assert_eq!(devices(&operator), before);
    });
}

/// What would change the state is told who does.
fn meets_a_job(operator: &Operator, number: u64) {
    let busy = format!("busy: job {number}");
    for line in [
        "device swap net0 --to next",
        "device detach net0",
        "device attach",
        "mode toggle",
        "mode native",
        "bench clock.read --quick",
        "checkpoint",
    ] {
        let told = operator.tell(line);
        assert!(told.status == REFUSED && (told.out.clone() + &told.err).contains(&busy), "{line}: {told:?}");
    }
}

/// A swap that waits for a carrier that does not come: the operators have a card of their own.
#[test]
fn nothing_else_changes_during_a_swap() {
    on_a_bridge("nothing_else_changes_during_a_swap", || {
        let (guest, operator) = with_operators(|builder| with_card(builder, "e1000e", 2));
        guest.qmp("set_link", json!({ "name": "card2", "up": false })).unwrap();
        let mut client = Client::of(guest.connect("kv"));
        assert_eq!(client.ask("PING").unwrap(), "+PONG");
        let swapper = Operator::at((CONTROL, 22).into());
        let told = thread::scope(|scope| {
            let swapper = scope.spawn(|| swapper.tell("device swap net0 --to net2"));
            wait_until("the swap", || operator.tell("job list").out.contains("running"));
            meets_a_job(&operator, 1);
            swapper.join().unwrap()
        });
        let why = "connect: it has no carrier; net0 serves on";
        assert!(told.status == FAILED && told.err.contains(why), "{told:?}");
        assert_eq!(client.ask("PING").unwrap(), "+PONG");
        assert_eq!(operator.status()["mode"], "native");
        guest.qmp("set_link", json!({ "name": "card2", "up": true })).unwrap();
        assert_eq!(operator.tell("device swap net0 --to net2").status, DONE);
        assert_eq!(client.ask("PING").unwrap(), "+PONG");
    });
}

/// A checkpoint that waits for whoever reads it.
#[test]
fn no_swap_begins_during_a_checkpoint() {
    on_a_bridge("no_swap_begins_during_a_checkpoint", || {
        let guest = Guest::serving(machine(Nic::Virtio, "e1000e").cpus(1));
        let operator = Operator::of(&guest);
        store::fill(&guest, 'a');
        let mut owner = remote::client(&guest, "checkpoint", Stdio::piped());
        owner.stdout.as_mut().unwrap().read_exact(&mut [0; 8]).unwrap();
        meets_a_job(&operator, 1);
        owner.kill().unwrap();
        owner.wait().unwrap();
        wait_until("its job to end", || operator.tell("job list").out.contains("cancelled"));
        swap(&operator);
        guest.assert_well();
    });
}
