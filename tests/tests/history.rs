//! What clients have seen of a store that was frozen, went on, lost power, and was restored: the history of a store that went back to the
//! instant of the freeze, and on, and nothing else. On a tap device, whose connections outlive the machine. The test runs itself again in a
//! network namespace of its own.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use image_builder::Machine;
use image_builder::control::{self, Keys};
use image_builder::machine::Builder;
use tests::apart::{self, Apart};
use tests::guest::{self, Guest, PATIENCE, wait_until};
use tests::namespace;
use tests::operator::Operator;
use tests::program;
use tests::remote::{self, Place};
use tests::store::Client;

const HOST: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
/// The machine that is frozen, and then the restored one.
const STORE: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
/// Those that receive it, until they do.
const FRESH: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 9, 0, 3), Ipv4Addr::new(10, 9, 0, 4)];
const WRITERS: usize = 4;
/// What each writer has done at least before the freeze, after it, and after the restore.
const STEPS: u64 = 100;

/// A client of the store, which may be away for a while.
fn connect() -> io::Result<Client> {
    let stream = TcpStream::connect_timeout(&SocketAddr::new(STORE.into(), 6379), PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    Ok(Client::of(stream))
}

/// The bulk string that answers, as a number; 0 where there is none.
fn count(client: &mut Client, words: &str) -> io::Result<u64> {
    Ok(client.bulk(words)?.map_or(0, |number| number.parse().unwrap()))
}

/// The same where there is one.
fn number(client: &mut Client, words: &str) -> u64 {
    let value = count(client, words).unwrap();
    assert_ne!(value, 0, "{words}");
    value
}

/// A `redis-cli` that is asked line by line, and keeps its connection meanwhile.
struct Cli {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Cli {
    fn new() -> Self {
        // It lives as long as the test, at most.
        let mut command = program::command("redis-cli", PATIENCE * 5);
        command.args(["-h", &STORE.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, input, output: BufReader::new(output) }
    }

    /// The line that it prints for a command.
    fn ask(&mut self, words: &str) -> String {
        self.input.write_all(format!("{words}\n").as_bytes()).unwrap();
        let mut line = String::new();
        assert_ne!(self.output.read_line(&mut line).unwrap(), 0, "{words}: redis-cli has ended");
        line.trim_end().to_owned()
    }

    /// The number of its connection. It connects again by itself where it has lost one, and then has another.
    fn id(&mut self) -> u64 {
        self.ask("CLIENT ID").parse().unwrap()
    }

    fn end(self) {
        let Self { mut child, input, .. } = self;
        drop(input);
        assert!(child.wait().unwrap().success());
    }
}

/// A value that was set: when that was asked for, and when it was answered.
struct Step {
    value: u64,
    asked: Instant,
    answered: Option<Instant>,
}

/// A value that was read of another writer's key, 0 where it was not set yet.
struct Seen {
    value: u64,
    asked: Instant,
    answered: Instant,
}

/// What a client did, and what it was answered: its writes of its own key, its reads of the next writer's.
#[derive(Default)]
struct History {
    steps: Vec<Step>,
    reads: Vec<Seen>,
}

impl History {
    /// Whether each read, of what these steps have written, found a value that its key may have had between question and answer, and none
    /// older than the one before.
    fn assert_reads(&self, written: &[Step]) {
        let mut last = 0;
        for Seen { value, asked, answered } in &self.reads {
            let set =
                written.iter().filter(|step| step.answered.is_some_and(|at| at < *asked)).count() as u64;
            let possible = written.iter().filter(|step| step.asked < *answered).count() as u64;
            assert!((set.max(last)..=possible).contains(value), "{last} {set} {value} {possible}");
            last = *value;
        }
    }
}

/// Sets its own key to 1, 2, 3, reads the next writer's, and counts each time, until the machine answers no more.
fn writes(writer: usize, done: &AtomicU64, over: &AtomicBool) -> History {
    let mut client = connect().unwrap();
    let mut history = History::default();
    let other = (writer + 1) % WRITERS;
    loop {
        let steps = &mut history.steps;
        let value = steps.len() as u64 + 1;
        let asked = Instant::now();
        let answer = client.ask(&format!("SET writer{writer} {value}"));
        let answered = answer.as_ref().ok().map(|answer| {
            assert_eq!(answer, "+OK");
            Instant::now()
        });
        steps.push(Step { value, asked, answered });
        let asked = Instant::now();
        let Ok(value) = answer.and_then(|_| count(&mut client, &format!("GET writer{other}"))) else { break };
        history.reads.push(Seen { value, asked, answered: Instant::now() });
        let Ok(answer) = client.ask("INCR steps") else { break };
        assert!(answer.starts_with(':'), "{answer}");
        done.fetch_add(1, Ordering::SeqCst);
    }
    assert!(over.load(Ordering::SeqCst), "the machine left a client without an answer");
    history
}

fn on_tap(image: &Path, tap: &str, address: Ipv4Addr) -> Builder {
    Machine::builder().elf(image).cpus(2).tap(tap).append(&format!("ip={address}/24,gw={HOST}"))
}

#[test]
fn goes_back_to_the_freeze_and_on() {
    // Outside, where there may be a network for what a build has to fetch.
    let image = guest::image(guest::ALL);
    if apart::enter("goes_back_to_the_freeze_and_on", "tap devices") != Apart::Inside {
        return;
    }
    namespace::bridge("bridge0", HOST, &["tap0", "tap1"]).unwrap();
    let place = Place::new("history");
    let guest = Guest::serving(on_tap(&image, "tap0", STORE));
    // One that says nothing until the restored store is asked, and one that has asked and waits.
    let (mut idle, mut waits) = (connect().unwrap(), connect().unwrap());
    assert_eq!(idle.ask("PING").unwrap(), "+PONG");
    waits.send("BLPOP queue 0").unwrap();
    let mut cli = Cli::new();
    let connection = cli.id();
    let done: [AtomicU64; WRITERS] = Default::default();
    let over = AtomicBool::new(false);
    let (histories, begin, frozen) = thread::scope(|scope| {
        let (done, over) = (&done, &over);
        let writers: Vec<_> =
            (0..WRITERS).map(|writer| scope.spawn(move || writes(writer, &done[writer], over))).collect();
        let all_have_done = |more: u64| {
            let before: Vec<_> = done.iter().map(|count| count.load(Ordering::SeqCst)).collect();
            wait_until("the writers", || {
                done.iter().zip(&before).all(|(done, before)| done.load(Ordering::SeqCst) >= before + more)
            });
        };
        all_have_done(STEPS);
        let begin = Instant::now();
        let mut taken = remote::client(&guest, "checkpoint", Stdio::piped());
        let mut out = taken.stdout.take().unwrap();
        let mut bytes = vec![0];
        out.read_exact(&mut bytes).unwrap();
        let frozen = Instant::now();
        out.read_to_end(&mut bytes).unwrap();
        File::create(&place.0).unwrap().write_all(&bytes).unwrap();
        let told = taken.wait_with_output().unwrap();
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
        all_have_done(STEPS);
        over.store(true, Ordering::SeqCst);
        guest.kill().unwrap();
        let histories: Vec<_> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        (histories, begin, frozen)
    });
    drop(guest);

    let guest = Guest::serving(on_tap(&image, "tap0", FRESH[0]));
    control::restore(&guest, &Keys::of_user().unwrap(), &place.0, false).unwrap();
    idle.0.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(idle.ask("PING").unwrap(), "+PONG");
    let mut sum = 0;
    for (writer, History { steps, reads }) in histories.iter().enumerate() {
        assert!(reads.iter().any(|read| read.asked > frozen), "nothing was read after the freeze");
        histories[(writer + WRITERS - 1) % WRITERS].assert_reads(steps);
        let value = number(&mut idle, &format!("GET writer{writer}"));
        let before = steps.iter().filter(|step| step.answered.is_some_and(|at| at < begin)).count() as u64;
        let possible = steps.iter().filter(|step| step.asked < frozen).map(|step| step.value).max().unwrap();
        assert!((before..=possible).contains(&value), "writer {writer}: {before} {value} {possible}");
        assert!(possible < steps.len() as u64, "nothing was written after the freeze");
        sum += value;
    }
    // Each counts after its value is set.
    let counted = number(&mut idle, "GET steps");
    assert!((sum - WRITERS as u64..=sum).contains(&counted), "{counted} of {sum}");
    assert_eq!(idle.ask("DBSIZE").unwrap(), format!(":{}", WRITERS + 1));
    // The same process on the same connection.
    assert_eq!((cli.id(), cli.ask("GET steps")), (connection, counted.to_string()));
    // And on: nobody is told a number twice.
    let numbers: Vec<_> = thread::scope(|scope| {
        let counts = || {
            let mut client = connect().unwrap();
            (0..STEPS)
                .map(|_| client.ask("INCR steps").unwrap()[1..].parse::<u64>().unwrap())
                .collect::<Vec<_>>()
        };
        let counters: Vec<_> = (0..WRITERS).map(|_| scope.spawn(counts)).collect();
        counters.into_iter().flat_map(|counter| counter.join().unwrap()).collect()
    });
    let unique: BTreeSet<_> = numbers.iter().copied().collect();
    assert!(unique.into_iter().eq(counted + 1..=counted + STEPS * WRITERS as u64));
    // Who waited when the machine was frozen waits still.
    assert_eq!(idle.ask("RPUSH queue served").unwrap(), ":1");
    waits.0.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
    let answer: Vec<_> = (0..5).map(|_| waits.line().unwrap()).collect();
    assert_eq!(answer, ["*2", "$5", "queue", "$6", "served"]);
    cli.end();
    drop((idle, waits));
    a_twin_holds(guest, &image, &place, counted);
}

/// Another machine is restored from the same checkpoint while the first has its address: it waits until that is gone.
fn a_twin_holds(guest: Guest, image: &Path, place: &Place, counted: u64) {
    let twin = Guest::serving(on_tap(image, "tap1", FRESH[1]));
    thread::scope(|scope| {
        let restored = scope.spawn(|| control::restore(&twin, &Keys::of_user().unwrap(), &place.0, false));
        twin.wait_for_line("restored: holds: 10.9.0.2 is answered for by ", PATIENCE).unwrap();
        let mut client = connect().unwrap();
        assert_eq!(client.ask("INCR steps").unwrap(), format!(":{}", counted + STEPS * WRITERS as u64 + 1));
        assert!(!restored.is_finished());
        guest.kill().unwrap();
        restored.join().unwrap().unwrap();
    });
    assert_eq!(connect().unwrap().ask("INCR steps").unwrap(), format!(":{}", counted + 1));
    drop(guest);
    // As another host it need not wait, and is in nobody's way.
    let other = Guest::serving(on_tap(image, "tap0", FRESH[0]));
    control::restore(&other, &Keys::of_user().unwrap(), &place.0, true).unwrap();
    // What had come when the machine was frozen, and was not read yet, went with its connection.
    let steps: u64 = other.redis_cli(&["GET", "steps"]).parse().unwrap();
    assert!((counted - WRITERS as u64..=counted).contains(&steps), "{steps} of {counted}");
    assert_eq!(Operator::of(&other).status()["network"]["addresses"][0], format!("{}/24", FRESH[0]));
    assert_eq!(connect().unwrap().ask("INCR steps").unwrap(), format!(":{}", counted + 2));
}
