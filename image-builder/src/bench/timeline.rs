//! Requests over time while the mode changes, and what each CPU does in a switch.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::modes::{KV, Operator, start};
use super::record::Record;
use super::system::{Setting, connect};
use super::{Bench, BenchError};

/// How often the requests are counted.
const PERIOD: Duration = Duration::from_millis(100);
/// Time between two switches.
const PAUSE: Duration = Duration::from_millis(1500);
/// Clients, each with one request at a time.
const CLIENTS: usize = 8;
/// CPUs of the machine.
const CPUS: u32 = 2;

/// Requests over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timeline {
    /// What is asked.
    pub what: String,
    /// Length of a sample in milliseconds.
    pub period: f64,
    /// One after the other.
    pub samples: Vec<Sample>,
    /// In the order in which they came.
    pub switches: Vec<Mark>,
}

/// What happened in a period.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Its end, in milliseconds since the beginning.
    pub at: f64,
    /// Answers a second.
    pub rate: f64,
    /// The longest wait for an answer that came in it, in milliseconds.
    pub worst: f64,
}

/// A switch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// When it was asked for, in milliseconds since the beginning.
    pub at: f64,
    /// The mode that it led to.
    pub mode: String,
}

/// What all clients count.
#[derive(Default)]
struct Counts {
    answers: AtomicU64,
    /// In nanoseconds.
    worst: AtomicU64,
    over: AtomicBool,
}

pub(super) fn measure(bench: &Bench<'_>, record: &mut Record) -> Result<(), BenchError> {
    let system = start(bench, "kv", Setting { cpus: CPUS, ..Setting::default() })?;
    let operator = Operator::of(&system)?;
    let address = system.address(KV)?;
    let switches = if bench.plan.quick { 3 } else { 7 };
    record.timeline = Some(timeline(address, &operator, switches)?);
    // One in each direction, with nothing else to do.
    operator.switch("guest")?;
    operator.switch("native")?;
    let trace = serde_json::from_str(&operator.tell("trace --json")?);
    record.trace = Some(trace.map_err(|_| BenchError::Figures("the trace"))?);
    Ok(())
}

fn timeline(address: SocketAddr, operator: &Operator, switches: u32) -> Result<Timeline, BenchError> {
    let counts = Counts::default();
    let begin = Instant::now();
    let since = |moment: Instant| moment.duration_since(begin).as_secs_f64() * 1e3;
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(|| client(address, &counts))).collect();
        let counter = scope.spawn(|| {
            let mut samples = Vec::new();
            let mut last = Instant::now();
            while !counts.over.load(Ordering::Relaxed) {
                thread::sleep((last + PERIOD).saturating_duration_since(Instant::now()));
                let now = Instant::now();
                let answers = counts.answers.swap(0, Ordering::Relaxed) as f64;
                let worst = counts.worst.swap(0, Ordering::Relaxed) as f64 / 1e6;
                let rate = answers / now.duration_since(last).as_secs_f64();
                samples.push(Sample { at: since(now), rate, worst });
                last = now;
            }
            samples
        });
        let mut marks = Vec::new();
        let mut switch = |mode: &str| -> Result<(), BenchError> {
            thread::sleep(PAUSE);
            marks.push(Mark { at: since(Instant::now()), mode: mode.to_owned() });
            operator.switch(mode)
        };
        let switched = (0..switches).try_for_each(|at| switch(["guest", "native"][at as usize % 2]));
        thread::sleep(PAUSE);
        counts.over.store(true, Ordering::Relaxed);
        let samples = counter.join().map_err(|_| BenchError::Figures("the sampler"))?;
        for client in clients {
            client.join().map_err(|_| BenchError::Figures("a client"))??;
        }
        switched?;
        let what = format!("GET, {CLIENTS} clients, one request at a time each, {CPUS} CPUs");
        Ok(Timeline { what, period: PERIOD.as_secs_f64() * 1e3, samples, switches: marks })
    })
}

/// Asks for a key that is not there, again and again.
fn client(address: SocketAddr, counts: &Counts) -> Result<(), BenchError> {
    let mut stream = connect(address)?;
    while !counts.over.load(Ordering::Relaxed) {
        let start = Instant::now();
        stream.write_all(b"GET key\r\n")?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer)?;
        if &answer != b"$-1\r\n" {
            return Err(BenchError::Figures("the store"));
        }
        counts.answers.fetch_add(1, Ordering::Relaxed);
        let waited = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        counts.worst.fetch_max(waited, Ordering::Relaxed);
    }
    Ok(())
}
