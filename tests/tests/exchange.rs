//! The card of a network is exchanged again and again while clients are served: the next one is plugged in, takes over, and the old one leaves, when
//! it is asked or at any moment. No connection is reset, no byte is another, and nothing is lost of memory and vectors.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use image_builder::Model;
use image_builder::plug::Plugged;
use tests::guest::{Guest, wait_until};
use tests::noise::Noise;
use tests::operator::DONE;
use tests::rig::{Rig, Way, vectors};
use tests::soaks;
use tests::store::Client;

/// In this order they take over from each other in every combination.
const MODELS: [Model; 6] =
    [Model::E1000e, Model::VirtioNet, Model::E1000, Model::E1000e, Model::E1000, Model::VirtioNet];
/// Bytes of one turn of a conversation, there and back; and of the download, meanwhile.
const TURN: usize = 16 * 1024;
const DOWNLOAD: usize = 64 * 1024;
/// What the heap may have taken of memory meanwhile, in bytes.
const GROWTH: i64 = 512 * 1024;

/// What the clients have come to.
#[derive(Default)]
struct Progress {
    is_over: AtomicBool,
    /// Turns of the conversation.
    turns: AtomicU64,
    /// What the store has counted to.
    counter: AtomicU64,
    /// Reads of all, which are short.
    steps: AtomicU64,
    /// The longest turn, in microseconds.
    longest: AtomicU64,
}

impl Progress {
    fn goes_on(&self) -> bool {
        !self.is_over.load(Ordering::Relaxed)
    }

    /// Waits until everybody has gone on.
    fn wait(&self) {
        for what in [&self.turns, &self.counter] {
            let before = what.load(Ordering::Relaxed);
            wait_until("clients to go on", || what.load(Ordering::Relaxed) > before + 1);
        }
    }

    /// Waits for so many reads, or for the end of them while there is no network.
    fn wait_steps(&self, count: u64) {
        let last = self.steps.load(Ordering::Relaxed) + count;
        let deadline = Instant::now() + Duration::from_secs(1);
        while self.steps.load(Ordering::Relaxed) < last && Instant::now() < deadline {
            thread::yield_now();
        }
    }
}

/// Ends the clients, also when the test fails.
struct Over<'a>(&'a Progress);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Relaxed);
    }
}

/// The characters of RFC 864: lines of 72, each beginning one further.
fn pattern() -> Vec<u8> {
    let line = |from: u8| (from..from + 72).map(|number| b' ' + number % 95).chain(*b"\r\n");
    (0..95).flat_map(line).collect()
}

fn fill(mut from: impl Read, buffer: &mut [u8], steps: &AtomicU64) {
    let mut filled = 0;
    while filled < buffer.len() {
        let count = from.read(&mut buffer[filled..]).unwrap_or_else(|error| panic!("a stream: {error}"));
        assert_ne!(count, 0, "a stream has ended");
        filled += count;
        steps.fetch_add(1, Ordering::Relaxed);
    }
}

/// Has noise come back, and downloads what is known, each on one connection: not a byte may be another.
fn converse(guest: &Guest, progress: &Progress) {
    let (mut echo, mut download) = (guest.connect("echo"), guest.connect("chargen"));
    let (mut noise, pattern) = (Noise::new(7), pattern().repeat(2 + DOWNLOAD / (95 * 74)));
    let (mut back, mut block, mut at) = (vec![0; TURN], vec![0; DOWNLOAD], 0);
    while progress.goes_on() {
        let begun = Instant::now();
        let sent = noise.bytes(TURN);
        echo.write_all(&sent).unwrap();
        fill(&mut echo, &mut back, &progress.steps);
        assert!(sent == back, "bytes have changed on the way");
        fill(&mut download, &mut block, &progress.steps);
        assert!(block == pattern[at..at + DOWNLOAD], "what was downloaded is not what was sent");
        at = (at + DOWNLOAD) % (95 * 74);
        progress.turns.fetch_add(1, Ordering::Relaxed);
        progress.longest.fetch_max(begun.elapsed().as_micros() as u64, Ordering::Relaxed);
    }
}

/// Counts in the store, on the same connections all the time.
struct Counting(Child);

impl Counting {
    fn start(guest: &Guest) -> Self {
        let port = guest.at("kv").port().to_string();
        let mut command = Command::new("redis-benchmark");
        command.args(["-p", &port, "-c", "8", "-n", "1000000000", "-q", "INCR", "counter"]);
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        // It ends by itself only if it has lost a connection.
        let ended = self.0.try_wait();
        drop(self.0.kill().and_then(|()| self.0.wait()));
        assert!(thread::panicking() || matches!(ended, Ok(None)), "redis-benchmark: {ended:?}");
    }
}

/// Looks how far it has counted.
fn count(guest: &Guest, progress: &Progress) {
    let mut client = Client::of(guest.connect("kv"));
    while progress.goes_on() {
        let counter = client.bulk("GET counter").unwrap().map_or(0, |counter| counter.parse().unwrap());
        progress.counter.store(counter, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(10));
    }
}

/// A machine, and who serves.
struct Exchange<'a> {
    rig: &'a Rig,
    /// The device outside, and its name inside.
    serving: (String, String),
}

impl Exchange<'_> {
    /// Plugs a card in, and waits until it is idle; its name inside.
    fn plug(&self, model: Model) -> (Plugged, String) {
        let plugged = self.rig.plug(model);
        let name = self.rig.arrived(&plugged)["name"].as_str().unwrap().to_owned();
        (plugged, name)
    }

    /// The next card takes over, and the old one leaves. How long the network was held, in nanoseconds.
    fn swap(&mut self, model: Model) -> u64 {
        let (new, name) = self.plug(model);
        let (status, body) = self.rig.operator.ask(&format!("device swap {} --to next", self.serving.1));
        assert_eq!((status, &body["new"]), (DONE, &name.as_str().into()), "{body}");
        self.rig.unplug(&self.serving.0);
        wait_until("the old one to be gone", || self.rig.devices("idle").is_empty());
        self.serving = (new.device, name);
        body["stopped_ns"].as_u64().unwrap()
    }

    /// The card is pulled out, so many reads after the next one was plugged in, or before it is.
    fn pull(&mut self, model: Model, delay: u64, is_spare: bool, progress: &Progress) {
        let spare = is_spare.then(|| self.plug(model).0);
        progress.wait_steps(delay);
        self.rig.pull(&self.serving.0);
        let new = spare.unwrap_or_else(|| self.rig.plug(model));
        let mut active = None;
        wait_until("the network to go on", || {
            active =
                self.rig.devices("active").into_iter().find(|it| it["place"] == *new.place.as_ref().unwrap());
            active.is_some()
        });
        self.serving = (new.device, active.unwrap()["name"].as_str().unwrap().to_owned());
    }
}

/// Does `work` while clients are served.
fn serve(exchange: &mut Exchange<'_>, work: impl FnOnce(&mut Exchange<'_>, &Progress)) -> Progress {
    let (progress, guest) = (Progress::default(), &exchange.rig.guest);
    thread::scope(|scope| {
        let _over = Over(&progress);
        let _counting = Counting::start(guest);
        scope.spawn(|| converse(guest, &progress));
        scope.spawn(|| count(guest, &progress));
        progress.wait();
        work(exchange, &progress);
        progress.wait();
    });
    progress
}

/// The same, and looks then whether everything is as before.
fn under_load(way: Way, cpus: u32, work: impl FnOnce(&mut Exchange<'_>, &Progress)) {
    let rig = way.start(cpus);
    let mut exchange = Exchange { rig: &rig, serving: ("nic0".into(), "net0".into()) };
    let heap = rig.operator.heap();
    // What is allocated once is there.
    serve(&mut exchange, |exchange, _| {
        for model in &MODELS[..3] {
            exchange.swap(*model);
        }
    });
    rig.operator.wait_for_heap(heap);
    let (heap, free) = (rig.operator.heap(), rig.free());
    let log = rig.guest.serial_text();
    let known = vectors(&log);
    let progress = serve(&mut exchange, work);
    // What a card takes of the heap is its driver's affair.
    exchange.swap(MODELS[2]);
    rig.operator.wait_for_heap(heap);
    let lost = free as i64 - rig.free() as i64;
    println!(
        "{way:?}, {cpus} CPUs: counted to {}, {} turns, the longest {} us; heap {:+}, memory {:+}",
        progress.counter.load(Ordering::Relaxed),
        progress.turns.load(Ordering::Relaxed),
        progress.longest.load(Ordering::Relaxed),
        rig.operator.heap() as i64 - heap as i64,
        -lost,
    );
    assert!(lost <= GROWTH, "{lost} bytes of memory are lost");
    let all = rig.guest.serial_text();
    let later = vectors(&all[log.len()..]);
    assert!(later.len() <= known.len(), "{known:?}, then {later:?}");
    rig.guest.assert_well();
}

/// Cards are asked to leave, then pulled out.
fn exchange(way: Way, cpus: u32) {
    let (asked, pulled) = times(way);
    let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64;
    println!("{way:?}, {cpus} CPUs: seed {seed}");
    let mut noise = Noise::new(seed);
    under_load(way, cpus, |exchange, progress| {
        let mut models = MODELS.iter().copied().cycle();
        let mut stops = Vec::new();
        for model in models.by_ref().take(asked) {
            stops.push(exchange.swap(model));
            progress.wait();
        }
        for model in models.take(pulled) {
            exchange.pull(model, noise.below(100) as u64, noise.below(2) == 0, progress);
            progress.wait();
        }
        stops.sort_unstable();
        let (median, most) = (stops[stops.len() / 2], stops[stops.len() - 1]);
        println!("{way:?}, {cpus} CPUs: held for {median} ns (median), {most} ns at most");
    });
}

/// How often cards are asked, and pulled out. ACPI's slots are ejected within a second; the button of a port is meant five seconds after it was pressed.
fn times(way: Way) -> (usize, usize) {
    match way {
        _ if soaks() => (100, 50),
        Way::Native => (2, 5),
        Way::Pc | Way::Acpi => (7, 5),
    }
}

#[test]
fn cards_are_exchanged_on_a_pc() {
    exchange(Way::Pc, 1);
}

#[test]
fn cards_are_exchanged_on_a_pc_with_four_cpus() {
    exchange(Way::Pc, 4);
}

#[test]
fn cards_are_exchanged_by_acpi() {
    exchange(Way::Acpi, 1);
}

#[test]
fn cards_are_exchanged_by_acpi_with_four_cpus() {
    exchange(Way::Acpi, 4);
}

#[test]
fn cards_are_exchanged_by_ports_of_their_own() {
    exchange(Way::Native, 1);
}

#[test]
fn cards_are_exchanged_by_ports_of_their_own_with_four_cpus() {
    exchange(Way::Native, 4);
}
