//! The switch on whole machines: under load, under non-maskable interrupts, and where there can be none.
//! `QS_SOAK=1` makes it 100,000 switches for each of the four machines that get 2,000 otherwise, and 2,000 for the others.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use image_builder::machine::Builder;
use image_builder::{Machine, MachineType};
use serde_json::{Value, json};
use tests::apart::{self, Apart};
use tests::clock::Clock;
use tests::guest::{self, Guest, PATIENCE, image, wait_until};
use tests::operator::{DONE, FAILED, Operator, REFUSED, TIMED_OUT, meets_a_pin, meets_refusals};
use tests::{late, load, namespace, slots};

/// Switches before anything is compared: buffers have grown to what they need.
const WARM_UP: u64 = 50;

/// So many times as many switches as the others.
const SHARE: u64 = 50;

fn switches() -> u64 {
    if tests::soaks() { 100_000 } else { 2_000 }
}

const MODELS: [&str; 2] = ["max", "EPYC"];
const MACHINES: [MachineType; 2] = [MachineType::Q35, MachineType::Pc];
/// Between them each number of CPUs, each machine and each model; the other pairs are in `the_other_machines_under_load`.
const MAIN: [(u32, MachineType, &str); 4] = [
    (1, MachineType::Q35, "max"),
    (2, MachineType::Pc, "EPYC"),
    (4, MachineType::Q35, "EPYC"),
    (8, MachineType::Pc, "max"),
];

#[test]
fn one_cpu_under_load() {
    on_a_tap_device("one_cpu_under_load", 1, || switching(MAIN[0], switches(), |builder| builder));
}

#[test]
fn two_cpus_under_load() {
    on_a_tap_device("two_cpus_under_load", 2, || switching(MAIN[1], switches(), |builder| builder));
}

#[test]
fn four_cpus_under_load() {
    on_a_tap_device("four_cpus_under_load", 4, || switching(MAIN[2], switches(), |builder| builder));
}

#[test]
fn eight_cpus_under_load() {
    on_a_tap_device("eight_cpus_under_load", 8, || switching(MAIN[3], switches(), |builder| builder));
}

#[test]
fn the_other_machines_under_load() {
    on_a_tap_device("the_other_machines_under_load", 8, || {
        for cpus in [1, 2, 4, 8] {
            for machine in MACHINES {
                for model in MODELS.into_iter().filter(|model| !MAIN.contains(&(cpus, machine, model))) {
                    switching((cpus, machine, model), switches() / SHARE, |builder| builder);
                }
            }
        }
    });
}

/// Time is what the CPU has done, and nothing else: the same must hold.
#[test]
fn one_cpu_under_load_while_instructions_are_counted() {
    on_a_tap_device("one_cpu_under_load_while_instructions_are_counted", 1, || {
        switching((1, MachineType::Q35, "max"), switches() / SHARE, Builder::icount);
    });
}

const HOST: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const GUEST: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);

/// Runs machines of at most so many CPUs on a tap device: QEMU's user network forgets a connection now and then, whatever the
/// guest. The test runs itself again in a network namespace of its own.
fn on_a_tap_device(test: &str, cpus: u32, work: impl FnOnce()) {
    let _slots = (!namespace::inside()).then(|| slots::take(cpus.div_ceil(2)));
    match apart::enter(test, "switches on a tap device") {
        Apart::Inside => {
            namespace::tap("tap0", HOST).unwrap();
            work();
        }
        Apart::Over => {}
        // Then over the user network.
        Apart::Refused => work(),
    }
}

/// A machine with a clock that ticks a thousand times a second on each CPU.
fn switching(
    (cpus, machine, model): (u32, MachineType, &str),
    total: u64,
    other: impl FnOnce(Builder) -> Builder,
) {
    eprintln!("{cpus} CPUs, {machine}, {model}:");
    let builder = Machine::builder().elf(&image("kv,web,bench")).cpus(cpus).machine(machine);
    let mut builder = builder.append("bench=ticks").qemu_arg("-cpu").qemu_arg(model);
    if namespace::inside() {
        builder = builder.tap("tap0").append(&format!("ip={GUEST}/24,gw={HOST}"));
    }
    // The slots are taken already.
    let guest = Guest::start_in(slots::take(0), other(builder));
    guest.wait_serving().unwrap();
    under_load(&guest, total);
}

/// Tells the clients that it is over, also when that is so because of a failure.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Toggles while clients load the machine: each switch is one, no reply is lost, doubled or an error, each tick comes, as it does
/// natively, and no memory stays behind.
fn under_load(guest: &Guest, total: u64) {
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
    let told = || {
        // A lost interrupt would be the end of a CPU's ticks.
        let clock = Clock::without_loss(guest);
        let Clock { ticks, late, worst_us, .. } = clock;
        eprintln!("{ticks} ticks so far, {late} of them late; worst of the last second {worst_us} us");
        ticks
    };
    // Natively first: what no switch has to do with.
    loaded(&mut || drop(operator.status()));
    let native = told();
    loaded(&mut || {
        operator.toggle_times(WARM_UP);
    });
    let (heap, free) = (operator.heap(), free(&operator));
    loaded(&mut || {
        operator.toggle_times(total);
    });
    assert!(told() > native);
    guest.assert_serving();
    operator.wait_for_heap(heap);
    let left = self::free(&operator);
    assert!(left + FREE_SLACK >= free, "{free} bytes were free, and {left} are");
}

/// Bytes of memory in frames that nobody has.
fn free(operator: &Operator) -> u64 {
    operator.status()["memory"]["free"].as_u64().unwrap()
}

/// What the heap may have taken to have it at hand.
const FREE_SLACK: u64 = 2 << 20;

fn until(over: &AtomicBool, work: impl Fn()) {
    while !over.load(Ordering::Relaxed) {
        work();
    }
}

fn benchmark(guest: &Guest) {
    let arguments = ["-t", "set,get", "-n", "2000", "-c", "10"];
    let rows =
        late::told(guest, 3 * PATIENCE, || load::redis_benchmark(guest.at("kv"), 4 * PATIENCE, &arguments));
    assert_eq!(rows.unwrap().len(), 2);
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

/// A guest without a job runs undisturbed: interrupts, timers, packets, HLT, ports and device memory are its own, and what exits is
/// what asks for the figures.
#[test]
fn nothing_exits_while_a_guest_serves() {
    let guest = Guest::serving(Machine::builder().elf(&image("kv,web,bench")).cpus(2).append("bench=ticks"));
    let operator = Operator::of(&guest);
    operator.toggle();
    let exits = || operator.status()["exits"].clone();
    // The first may find something to do for the first time.
    let (_, asked, again) = (exits(), exits(), exits());
    let cost = difference(&asked, &again);
    benchmark(&guest);
    load::wrk(guest.at("http"), "/", 5, 1).unwrap();
    Clock::without_loss(&guest);
    assert_eq!(difference(&again, &exits()), cost);
    assert_eq!(operator.status()["mode"], "guest");
}

/// By how much each count has grown.
fn difference(old: &Value, new: &Value) -> Vec<(String, u64)> {
    let grown = |(kind, count): (&String, &Value)| {
        (kind.clone(), count.as_u64().unwrap() - old[kind].as_u64().unwrap())
    };
    new.as_object().unwrap().iter().map(grown).collect()
}

#[test]
fn a_pin_is_named_and_nothing_changes() {
    let builder = Machine::builder().elf(&image("kv,faults")).cpus(2).append("test=pin");
    meets_a_pin(&Guest::serving(builder));
}

#[test]
fn a_cpu_that_does_not_answer_is_named_and_nothing_changes() {
    let builder = Machine::builder().elf(&image("kv,faults")).cpus(2).append("test=deaf");
    meets_refusals(&Guest::serving(builder), TIMED_OUT, "CPU 1", 3, |_, body| {
        assert_eq!(body["refusal"], body["error"]);
    });
}

#[test]
fn where_there_can_be_no_vmm_the_system_serves_on() {
    for (model, reason) in [
        ("qemu64,-svm", "itself a guest whose hypervisor offers neither"),
        ("max,-svm,-hypervisor", "the CPU has neither SVM nor VMX"),
        ("max,-npt", "nested paging"),
    ] {
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
        let (status, body) = operator.ask("mode toggle --times 3");
        let why = body["error"].as_str().unwrap();
        assert!(status == FAILED && why.contains("after 0 switches") && why.contains(reason), "{body}");
        guest.assert_well();
    }
}
