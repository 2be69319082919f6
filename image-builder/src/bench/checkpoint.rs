//! The store while a checkpoint of its machine drains to the host, before and after, and when it is restored; and the stop in
//! instructions.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use ::control::checkpoints::FROZEN;

use crate::config::Memory;
use crate::control::{Keys, Target, ssh};
use crate::machine::Machine;
use crate::{Error, checkpoint as file};

use super::answers::{Answer, CLIENTS, Phase, VALUE, fill, under};
use super::modes::{KV, Operator, start};
use super::record::{QUICKSILVER, Record, Taken};
use super::row::{Goal, Row};
use super::system::{Setting, System};
use super::timeline::{Mark, Sample, Timeline};
use super::{Bench, BenchError, Suite, inside, restored};

/// A checkpoint of all the data takes minutes.
const ROUNDS: u32 = 2;
/// How often the requests are counted for the picture.
const PERIOD: Duration = Duration::from_millis(100);
/// The machine's memory, and how much of it copies of what is written meanwhile may take, in MiB.
const MEMORY: Memory = Memory::gibibytes(1);
const ROOM: u64 = 256;
/// How many times the p99 before a request may take while a checkpoint drains.
const MOST_TIMES: f64 = 10.0;
/// Memory of the machines whose stops are compared.
const STOPS: [Memory; 2] = [Memory::mebibytes(128), Memory::gibibytes(16)];

/// A checkpoint, as the client that asked for it saw it. Times are since the beginning.
#[derive(Clone, Copy, Debug)]
struct Made {
    /// It was asked for.
    asked: Duration,
    /// Memory was frozen, a little ago.
    frozen: Duration,
    /// The client had all of it, and the machine was back in the mode it was in.
    ended: Duration,
    bytes: u64,
    /// Nanoseconds.
    stop: u64,
}

/// Adds the rows, the picture and the figures.
pub(super) fn measure(bench: &Bench<'_>, record: &mut Record) -> Result<(), BenchError> {
    stops(bench, record)?;
    let data = if bench.plan.quick { 20_000_000 } else { 200_000_000 };
    let system = start(bench, "kv", Setting { memory: Some(MEMORY), ..Setting::default() })?;
    let (mut operator, address, keys) = (Operator::of(&system)?, system.address(KV)?, data / VALUE);
    fill(address, keys)?;
    let (mut rows, mut back) = (Rows::new(data), restored::row(data));
    for _ in 0..ROUNDS {
        let free = free(&operator)?;
        let to = bench.directory().join("checkpoint.qsc");
        let calm = Duration::from_secs(if bench.plan.quick { 3 } else { 30 });
        let (answers, made, end) = under(address, keys, |begin| {
            thread::sleep(calm);
            let made = checkpoint(&system, &to, begin)?;
            thread::sleep(calm);
            Ok((made, begin.elapsed()))
        })?;
        // Not while others ask: it takes the host's time.
        file::verify(&to, None).map_err(Error::from)?;
        let phase = |from, to| Phase::of(&answers, from, to).ok_or(BenchError::Figures("the clients"));
        // Not the first second: what is measured is not how connections are opened.
        let phases = [phase(calm / 5, made.asked)?, phase(made.frozen, made.ended)?, phase(made.ended, end)?];
        let limit = phases[0].p99 * MOST_TIMES;
        let slow = |from, to| Phase::slow(&answers, from, to, limit);
        let slow = [slow(calm / 5, made.asked), slow(made.frozen, made.ended)];
        rows.push(&made, phases, slow, [free, self::free(&operator)?]);
        let (seconds, read) = restored::measure(&system, &to)?;
        fs::remove_file(&to)?;
        back.ours.push(seconds);
        back.peer.push(read);
        // Its connection was cut by what was restored.
        operator = Operator::of(&system)?;
        record.checkpoint = Some(picture(&answers, &made, end, data));
    }
    record.rows.extend(rows.0);
    record.rows.push(back);
    Ok(())
}

/// Rows of the suite.
struct Rows(Vec<Row>);

impl Rows {
    fn new(data: usize) -> Self {
        let load = format!("{CLIENTS} clients, {} MB", data / 1_000_000);
        let row = |what: &str, unit, goal| Row::new("checkpoint", format!("{what}, {load}"), unit, goal);
        let rate = |goal| row("SET and GET", "requests/s", goal);
        let sides = |row: Row, ours| row.between([ours, "before"]);
        Self(vec![
            sides(rate(Goal::TimesAtLeast(0.6)), "draining"),
            sides(row("p50", "ms", Goal::None), "draining"),
            sides(row("p99", "ms", Goal::None), "draining"),
            sides(row("longest", "ms", Goal::None), "draining"),
            sides(rate(Goal::TimesAtLeast(0.98)), "after"),
            sides(row("p50", "ms", Goal::None), "after"),
            sides(row("p99", "ms", Goal::None), "after"),
            sides(row("longest", "ms", Goal::None), "after"),
            sides(row("memory free, idle", "MiB", Goal::TimesAtLeast(0.99)), "after"),
            row("longest wait while draining, p99 before", "ms", Goal::TimesAtMost(MOST_TIMES))
                .between(["longest", "p99 before"]),
            sides(row("slower than ten times the p99 before", "in a million", Goal::None), "draining"),
            row("stop", "µs", Goal::None).between(ALONE),
            row("from the stop to the last byte", "s", Goal::None).between(ALONE),
            row("size", "MB", Goal::None).between(ALONE),
            row("drained", "MB/s", Goal::None).between(ALONE),
        ])
    }

    /// Adds a round: the phases before, while draining and after; of a million, slow answers before and while draining; bytes that
    /// were free before and after.
    fn push(&mut self, made: &Made, [before, draining, after]: [Phase; 3], slow: [f64; 2], free: [u64; 2]) {
        const MIB: f64 = 1024.0 * 1024.0;
        let seconds = (made.ended - made.frozen).as_secs_f64();
        let megabytes = made.bytes as f64 / 1e6;
        let all = |phase: Phase| [phase.rate, phase.p50, phase.p99, phase.max];
        let pairs = [draining, after].into_iter().flat_map(|phase| all(phase).into_iter().zip(all(before)));
        let free = free.map(|bytes| bytes as f64 / MIB);
        let more = [(free[1], free[0]), (draining.max, before.p99), (slow[1], slow[0])];
        let compared = pairs.chain(more).map(|(ours, peer)| (ours, Some(peer)));
        let alone = [made.stop as f64 / 1e3, seconds, megabytes, megabytes / seconds];
        for (row, (ours, peer)) in self.0.iter_mut().zip(compared.chain(alone.map(|ours| (ours, None)))) {
            row.ours.push(ours);
            row.peer.extend(peer);
        }
    }
}

/// The columns of what is compared with nothing.
const ALONE: [&str; 2] = ["checkpoint", "-"];

/// The stop and the first writes in instructions, with little memory and with much.
fn stops(bench: &Bench<'_>, record: &mut Record) -> Result<(), BenchError> {
    let mut stop = Row::new("checkpoint", "stop, 16 GiB and 128 MiB", "instructions", Goal::TimesAtMost(1.1))
        .between(["16 GiB", "128 MiB"]);
    for memory in STOPS {
        let settings = format!("bench=snapshot bench.quick=on {}", inside::COUNTED);
        let machine = bench.named(Machine::builder())?.memory(memory).icount_alone();
        let (figures, judged) =
            inside::finish(&machine.elf(bench.image("bench")).append(&settings).spawn()?)?;
        judged.map_err(BenchError::Inside)?;
        let most =
            figures.iter().find(|figure| figure.name == "snapshot.stop").map(|figure| figure.max as f64);
        if memory == STOPS[0] { &mut stop.peer } else { &mut stop.ours }.extend(most);
        let taken = figures.into_iter().map(|figure| Taken {
            system: format!("{QUICKSILVER}, {memory}"),
            suite: Suite::Checkpoint.to_string(),
            round: 0,
            figure,
        });
        record.figures.extend(taken);
    }
    record.rows.push(stop);
    Ok(())
}

/// Bytes that are free, in native mode: what the machine has to be in before and after.
fn free(operator: &Operator) -> Result<u64, BenchError> {
    let status: serde_json::Value =
        serde_json::from_str(&operator.tell("status --json")?).unwrap_or_default();
    if status["mode"] != "native" {
        return Err(BenchError::Inside(format!("the machine is in mode {}", status["mode"])));
    }
    status["memory"]["free"].as_u64().ok_or(BenchError::Figures("the machine's status"))
}

/// Has the machine write a checkpoint into a file.
fn checkpoint(system: &System, to: &Path, begin: Instant) -> Result<Made, BenchError> {
    let unclear = || BenchError::Figures("the checkpoint");
    let target = Target { address: system.address(22)?.to_string(), serial: None };
    let mut client = ssh(&target, &Keys::of_user().map_err(Error::from)?).map_err(Error::from)?;
    client.args(["--", &format!("checkpoint --room {ROOM}")]).stdin(Stdio::null());
    let asked = begin.elapsed();
    let mut child = client.stdout(File::create(to)?).stderr(Stdio::piped()).spawn()?;
    let (mut frozen, mut last) = (None, String::new());
    for line in BufReader::new(child.stderr.take().ok_or_else(unclear)?).lines() {
        last = line?;
        if last == FROZEN {
            frozen = Some(begin.elapsed());
        }
    }
    let status = child.wait()?;
    let ended = begin.elapsed();
    if !status.success() {
        return Err(BenchError::Inside(format!("checkpoint: {last}")));
    }
    // N bytes: N pages, N more are zero; stopped for N ns
    let numbers = last.split(|letter: char| !letter.is_ascii_digit()).filter_map(|word| word.parse().ok());
    let [bytes, _, _, stop] = *numbers.collect::<Vec<u64>>() else { return Err(unclear()) };
    Ok(Made { asked, frozen: frozen.ok_or_else(unclear)?, ended, bytes, stop })
}

/// Requests over time, with the stop marked and the end.
fn picture(answers: &[Answer], made: &Made, end: Duration, data: usize) -> Timeline {
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    let mut samples =
        vec![Sample { at: 0.0, rate: 0.0, worst: 0.0 }; (millis(end) / millis(PERIOD)) as usize];
    for (number, sample) in samples.iter_mut().enumerate() {
        sample.at = millis(PERIOD) * (number + 1) as f64;
    }
    for answer in answers {
        let number = (millis(answer.at) / millis(PERIOD)) as usize;
        if let Some(sample) = samples.get_mut(number) {
            sample.rate += 1e3 / millis(PERIOD);
            sample.worst = sample.worst.max(millis(answer.waited));
        }
    }
    let mark = |at, mode: &str| Mark { at: millis(at), mode: mode.to_owned() };
    let what = format!("SET and GET, {CLIENTS} clients, one request at a time each, {} MB", data / 1_000_000);
    let switches = vec![mark(made.frozen, "frozen"), mark(made.ended, "drained")];
    Timeline { what, period: millis(PERIOD), samples, switches }
}

#[cfg(test)]
mod tests {
    use super::super::answers::tests::answers;
    use super::*;

    fn made() -> Made {
        let millis = Duration::from_millis;
        Made { asked: millis(290), frozen: millis(300), ended: millis(600), bytes: 3_000_000, stop: 2_000 }
    }

    #[test]
    fn a_round_adds_a_figure_to_each_row() {
        let phase = |rate| Phase { rate, p50: 1.0, p99: 2.0, max: 3.0 };
        let mut rows = Rows::new(1_000_000);
        rows.push(&made(), [phase(10.0), phase(7.0), phase(9.9)], [5.0, 6.0], [2 << 20, 1 << 20]);
        assert!(rows.0.iter().all(|row| row.ours.len() == 1));
        let of = |what: &str, ours: &str| {
            let is_it = |row: &&Row| row.what.starts_with(what) && row.systems[0] == ours;
            let row = rows.0.iter().find(is_it).unwrap();
            (row.ours[0], row.peer.first().copied())
        };
        assert_eq!(of("SET and GET", "draining"), (7.0, Some(10.0)));
        assert_eq!(of("SET and GET", "after"), (9.9, Some(10.0)));
        assert_eq!(of("memory", "after"), (1.0, Some(2.0)));
        assert_eq!(of("longest wait", "longest"), (3.0, Some(2.0)));
        assert_eq!(of("slower", "draining"), (6.0, Some(5.0)));
        assert_eq!((of("stop", "checkpoint"), of("drained", "checkpoint")), ((2.0, None), (10.0, None)));
    }

    #[test]
    fn the_picture_has_the_stop_marked() {
        let Timeline { samples, switches, .. } =
            picture(&answers(), &made(), Duration::from_secs(1), 1_000_000);
        assert_eq!((samples.len(), samples[9].at), (10, 1000.0));
        assert!(samples.iter().all(|sample| sample.rate == 1000.0 && sample.worst == 99.0));
        let marks: Vec<_> = switches.iter().map(|mark| (mark.at, &*mark.mode)).collect();
        assert_eq!(marks, [(300.0, "frozen"), (600.0, "drained")]);
    }
}
