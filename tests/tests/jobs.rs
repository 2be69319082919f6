//! What runs in the background of a machine, by OpenSSH's own client: begun, told of, watched, in the way of others, and ended.
//! Benchmarks are such a job.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Read;
use std::process::Stdio;
use std::thread;

use image_builder::control::{self as client, Keys, SERVICE, Target};
use image_builder::figures;
use serde_json::Value;
use tests::guest::{self, Guest, wait_until};
use tests::operator::{DONE, FAILED, Operator, REFUSED, USAGE};

/// Takes minutes: nobody waits for its end.
const LONG: &str = "bench --detach";

fn mode(operator: &Operator) -> String {
    operator.status()["mode"].as_str().unwrap().to_owned()
}

fn generation(operator: &Operator) -> u64 {
    operator.status()["generation"].as_u64().unwrap()
}

/// A job, as the list has it.
fn job(operator: &Operator, number: u64) -> Value {
    let told = operator.tell("job list --json");
    let mut jobs = told.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    jobs.find(|job| job["job"] == number).unwrap_or_else(|| panic!("{number}: {told:?}"))
}

#[test]
fn the_machine_switches_many_times_by_itself() {
    let guest = Guest::serving(guest::machine().cpus(2));
    let operator = Operator::of(&guest);
    let made = generation(&operator);
    let told = operator.tell("mode toggle --times 25 --every 1");
    assert_eq!(told.status, DONE, "{told:?}");
    assert!(told.out.contains("guest") && told.out.contains("25 switches"), "{told:?}");
    assert!(told.err.contains("[25/25] switches\n"), "{told:?}");
    // All of it is one change.
    assert_eq!((mode(&operator).as_str(), generation(&operator)), ("guest", made + 1));
    guest.assert_serving();
}

/// The next switch is far away when the job is cancelled, or when there is none.
#[test]
fn many_switches_end_without_waiting_for_the_next() {
    const EVERY: u64 = 60_000;
    let guest = Guest::serving(guest::machine().cpus(1));
    let operator = Operator::of(&guest);
    let line = |times| format!("mode toggle --times {times} --every {EVERY}");
    let ended_before_the_next = |number| {
        let job = job(&operator, number);
        let [began, ended] = ["began_ms", "ended_ms"].map(|moment| job[moment].as_u64().unwrap());
        assert!(ended < began + EVERY, "{job}");
    };
    assert_eq!(operator.tell(&line(1)).status, DONE);
    ended_before_the_next(1);
    let other = Operator::of(&guest);
    thread::scope(|scope| {
        let owner = scope.spawn(|| other.tell(&line(2)));
        wait_until("the first switch", || mode(&operator) == "native");
        assert_eq!(operator.tell("job cancel 2").status, DONE);
        let told = owner.join().unwrap();
        assert!(told.status == FAILED && told.err.contains("job 2 was cancelled"), "{told:?}");
    });
    ended_before_the_next(2);
    assert_eq!(mode(&operator), "native");
    guest.assert_well();
}

#[test]
fn benchmarks_run_as_a_job_and_leave_the_mode_as_it_was() {
    let guest = Guest::serving(guest::machine().cpus(1));
    let operator = Operator::of(&guest);
    for (number, before) in [(1, "native"), (2, "guest")] {
        if mode(&operator) != before {
            operator.toggle();
        }
        let made = generation(&operator);
        let asked = "bench clock.read thread.yield exit.hypercall --quick";
        let told = operator.tell(&format!("{asked} --json"));
        assert_eq!(told.status, DONE, "{told:?}");
        let figures = figures::parse(&told.out);
        assert_eq!(told.out.lines().count(), figures.len(), "nothing else: {told:?}");
        let measured: Vec<_> = figures.iter().map(|figure| (&*figure.name, &*figure.mode)).collect();
        let both = |name| [(name, "native"), (name, "guest")];
        let expected = [&both("clock.read")[..], &both("thread.yield"), &[("exit.hypercall", "guest")]];
        assert_eq!(measured, expected.concat());
        assert!(told.err.contains("[1/3] thread.yield\n"), "{told:?}");
        assert_eq!((mode(&operator).as_str(), generation(&operator)), (before, made + 1));
        let job = job(&operator, number);
        assert_eq!((job["state"].as_str(), job["what"].as_str()), (Some("done"), Some(asked)), "{job}");
        // Whoever looks afterwards is told the same, and what became of it.
        let again = operator.tell(&format!("job watch {number} --json"));
        assert_eq!((again.status, figures::parse(&again.out)), (DONE, figures));
    }
    assert_eq!(operator.tell("bench nothing").status, USAGE);
    assert_eq!(operator.tell("job cancel 2").status, REFUSED);
}

#[test]
fn a_job_is_in_the_way_of_others_until_it_is_cancelled() {
    let guest = Guest::serving(guest::machine().cpus(1));
    let operator = Operator::of(&guest);
    operator.toggle();
    let made = generation(&operator);
    let (status, begun) = operator.ask(LONG);
    assert_eq!((status, begun["job"].as_u64()), (DONE, Some(1)));
    for line in ["bench clock.read", "mode toggle", "mode native"] {
        let (status, answer) = operator.ask(line);
        assert_eq!((status, answer["error"].as_str()), (REFUSED, Some("busy: job 1")), "{line}");
    }
    // Commands of one connection wait for each other.
    let watcher = Operator::of(&guest);
    thread::scope(|scope| {
        let watching = scope.spawn(|| watcher.tell("job watch 1"));
        wait_until("a step of the job", || job(&operator, 1)["step"] != "");
        assert_eq!(job(&operator, 1)["state"], "running");
        assert_eq!(operator.tell("job cancel 1").status, DONE);
        let watched = watching.join().unwrap();
        assert!(watched.status == FAILED && watched.err.contains("job 1 was cancelled"), "{watched:?}");
        assert!(watched.out.contains("cancelled") && watched.err.contains("] "), "{watched:?}");
    });
    assert_eq!(job(&operator, 1)["state"], "cancelled");
    assert_eq!((mode(&operator).as_str(), generation(&operator)), ("guest", made + 1));
    // Nothing is in the way any more.
    assert_eq!(operator.tell("bench clock.read --quick").status, DONE);
    operator.toggle();
    guest.assert_well();
}

#[test]
fn a_job_ends_with_its_client() {
    let guest = Guest::serving(guest::machine().cpus(1));
    let operator = Operator::of(&guest);
    let target = Target { address: guest.at(SERVICE).to_string(), serial: None };
    let mut client = client::ssh(&target, &Keys::of_user().unwrap()).unwrap();
    let mut owner = client.args(["--", "bench"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = [0; 1];
    owner.stderr.take().unwrap().read_exact(&mut said).unwrap();
    owner.kill().unwrap();
    owner.wait().unwrap();
    wait_until("its job to end", || job(&operator, 1)["state"] == "cancelled");
    assert_eq!(mode(&operator), "native");
}
