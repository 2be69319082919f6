//! The switch on whole machines: under load, under non-maskable interrupts, and where there can be none.
//! `QS_SOAK=1` makes it 100,000 switches for each machine.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use image_builder::{Machine, MachineType};
use serde_json::{Value, json};
use tests::guest::{self, Guest, PATIENCE, image, wait_until};
use tests::operator::{DONE, Operator, REFUSED, TIMED_OUT};
use tests::{load, namespace, slots};

/// Switches before anything is compared: buffers have grown to what they need.
const WARM_UP: u64 = 50;

fn switches() -> u64 {
    if std::env::var_os("QS_SOAK").is_some() { 100_000 } else { 2_000 }
}

#[test]
fn one_cpu_under_load() {
    switching("one_cpu_under_load", 1, MachineType::Q35, "max");
}

#[test]
fn two_cpus_under_load() {
    switching("two_cpus_under_load", 2, MachineType::Pc, "EPYC");
}

#[test]
fn four_cpus_under_load() {
    switching("four_cpus_under_load", 4, MachineType::Q35, "EPYC");
}

#[test]
fn eight_cpus_under_load() {
    switching("eight_cpus_under_load", 8, MachineType::Pc, "max");
}

/// A machine with a clock that ticks a thousand times a second on each CPU, on a tap device: QEMU's user network forgets a
/// connection now and then, whatever the guest. The test runs itself again in a network namespace of its own.
fn switching(test: &str, cpus: u32, machine: MachineType, model: &str) {
    const HOST: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
    const GUEST: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
    let builder = Machine::builder().elf(&image("kv,web,bench")).cpus(cpus).machine(machine);
    let mut builder = builder.append("bench=ticks").qemu_arg("-cpu").qemu_arg(model);
    let slots = slots::take(cpus.div_ceil(2));
    if namespace::inside() {
        namespace::set_up().unwrap();
        namespace::tap("tap0", HOST).unwrap();
        builder = builder.tap("tap0").append(&format!("ip={GUEST}/24,gw={HOST}"));
    } else {
        match namespace::again(&["--exact", test, "--nocapture"].map(String::from)) {
            Ok(status) => return assert!(status.success(), "{status}"),
            // Then over the user network.
            Err(error @ namespace::NamespaceError::Refused(_)) => {
                guest::skip("switches on a tap device", &error)
            }
            Err(error) => panic!("{error}"),
        }
    }
    let guest = Guest::start_in(slots, builder);
    guest.wait_serving().unwrap();
    under_load(&guest);
}

/// Tells the clients that it is over, also when that is so because of a failure.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Toggles while clients load the machine: each switch is one, no reply is lost, doubled or an error, no tick is missing, and
/// no memory stays behind.
fn under_load(guest: &Guest) {
    let operator = Operator::of(guest);
    let loaded = |work: &mut dyn FnMut()| {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let clients = [
                scope.spawn(|| until(&over, || benchmark(guest))),
                scope.spawn(|| browse(guest, &over)),
                scope.spawn(|| count(guest, &over)),
            ];
            let end = Over(&over);
            work();
            drop(end);
            for client in clients {
                client.join().unwrap();
            }
        });
    };
    loaded(&mut || {
        for _ in 0..WARM_UP {
            operator.toggle();
        }
    });
    let (before, clock) = (operator.heap(), ticks(guest));
    let total = switches();
    loaded(&mut || {
        for number in 1..=total {
            let state = operator.toggle();
            assert_eq!(state["switches"], WARM_UP + number);
            assert_eq!(state["mode"], if number % 2 == 1 { "guest" } else { "native" });
        }
    });
    let (start, end) = (clock, ticks(guest));
    let of = |key: &str| end[key].as_u64().unwrap() - start[key].as_u64().unwrap();
    eprintln!(
        "{total} switches: {} ticks, {} of them late; worst of the last second {} us",
        of("ticks"),
        of("late"),
        end["worst_us"]
    );
    // Those whose moment comes while the line is written, and those that are late just then.
    assert!(of("ticks") + 2000 >= of("due"), "ticks are missing: {start} {end}");
    guest.assert_serving();
    operator.wait_for_heap(before);
}

/// The newest line of the clock, which is told anew.
fn ticks(guest: &Guest) -> Value {
    let lines = || guest.serial_text().matches("{\"ticks\"").count();
    let old = lines();
    wait_until("a line of the clock", || lines() > old + 1);
    let text = guest.serial_text();
    // The last may be half written.
    let line =
        text.lines().rev().skip(1).find_map(|line| line.find("{\"ticks\"").map(|start| &line[start..]));
    serde_json::from_str(line.unwrap()).unwrap()
}

fn until(over: &AtomicBool, work: impl Fn()) {
    while !over.load(Ordering::Relaxed) {
        work();
    }
}

fn benchmark(guest: &Guest) {
    let arguments = ["-t", "set,get", "-n", "2000", "-c", "10"];
    let rows = load::redis_benchmark(guest.at("kv"), 4 * PATIENCE, &arguments).unwrap();
    assert_eq!(rows.len(), 2);
}

/// Fetches a page over and over; in one of the turns at least there are answers.
fn browse(guest: &Guest, over: &AtomicBool) {
    let mut answered = false;
    while !(over.load(Ordering::Relaxed) && answered) {
        let result = load::wrk(guest.at("http"), "/", 5, 1).unwrap();
        assert!(result.refused == 0 && result.socket_errors == 0, "{result:?}");
        answered |= result.requests_a_second > 0.0;
    }
}

/// Counts in the store over one connection: each reply is the next number.
fn count(guest: &Guest, over: &AtomicBool) {
    let mut stream = guest.connect("kv");
    stream.write_all(b"DEL count\r\n").unwrap();
    let mut byte = [0];
    while byte != *b"\n" {
        stream.read_exact(&mut byte).unwrap();
    }
    let mut number = 0;
    while !over.load(Ordering::Relaxed) {
        // Several at a time, so that some are under way during each switch.
        stream.write_all(&b"INCR count\r\n".repeat(8)).unwrap();
        let expected: String = (number + 1..=number + 8).map(|number| format!(":{number}\r\n")).collect();
        let mut said = vec![0; expected.len()];
        stream.read_exact(&mut said).unwrap();
        assert_eq!(String::from_utf8_lossy(&said), expected);
        number += 8;
    }
}

#[test]
fn each_nmi_is_taken_once_whatever_the_mode() {
    let guest = Guest::serving(guest::machine().cpus(2));
    let operator = Operator::of(&guest);
    let nmis = || operator.status()["nmis"].as_u64().unwrap();
    assert_eq!(nmis(), 0);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let end = Over(&over);
        let toggler = scope.spawn(|| until(&over, || drop(operator.toggle())));
        for number in 1..=200 {
            guest.qmp("inject-nmi", Value::Null).unwrap();
            // One at a time: a CPU remembers one while it can't take it, not two.
            wait_until("the interrupt on both CPUs", || nmis() >= 2 * number);
            assert_eq!(nmis(), 2 * number);
        }
        drop(end);
        toggler.join().unwrap();
    });
    guest.assert_well();
}

#[test]
fn a_cpu_that_does_not_answer_is_named_and_nothing_changes() {
    let builder = Machine::builder().elf(&image("kv,faults")).cpus(2).append("test=deaf");
    let guest = Guest::serving(builder);
    let operator = Operator::of(&guest);
    let (mut refused, mut done) = (0, 0);
    wait_until("a refusal and a switch", || {
        let before = operator.status();
        let (status, body) = operator.ask("mode toggle --deadline 100");
        match status {
            DONE => done += 1,
            TIMED_OUT => {
                assert!(body["error"].as_str().unwrap().contains("CPU 1"), "{body}");
                assert_eq!((&body["mode"], &body["switches"]), (&before["mode"], &before["switches"]));
                assert_eq!(body["refusal"], body["error"]);
                refused += 1;
            }
            _ => panic!("{status}: {body}"),
        }
        refused > 2 && done > 2
    });
    assert_eq!(guest.redis_cli(&["PING"]), "PONG");
}

#[test]
fn where_there_can_be_no_vmm_the_system_serves_on() {
    for (model, reason) in
        [("qemu64,-svm", "itself a guest whose hypervisor offers neither"), ("max,-npt", "nested paging")]
    {
        let guest = Guest::serving(guest::machine().cpus(2).qemu_arg("-cpu").qemu_arg(model));
        let operator = Operator::of(&guest);
        for command in ["mode guest", "mode toggle"] {
            let (status, body) = operator.ask(command);
            assert_eq!(status, REFUSED, "{body}");
            assert!(body["error"].as_str().unwrap().contains(reason), "{model}: {body}");
        }
        let state = operator.status();
        assert_eq!((&state["mode"], &state["vendor"]), (&json!("native"), &Value::Null));
        assert!(state["unavailable"].as_str().unwrap().contains(reason), "{state}");
        assert_eq!(state["refusal"], state["unavailable"]);
        assert_eq!(operator.ask("mode native").0, DONE, "it is");
        guest.assert_well();
    }
}
