//! Suites with clients of this host. Both systems run at the same time, and the one whose turn it is not stands still:
//! rounds alternate A B A B within the same minute of the host.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::row::{Goal, Row};
use super::system::{Setting, System, connect, median_us, timed};
use super::{Bench, BenchError, footprint, load};

pub(super) const PING: (&str, &str) = ("PING\r\n", "+PONG");
const HTTP: (&str, &str) = ("GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n", "HTTP/1.1 200");
const PATIENCE: Duration = Duration::from_secs(300);

/// Both systems with one service, ready and standing still.
struct Pair {
    ours: System,
    /// Not there when only ours is measured.
    linux: Option<System>,
}

impl Pair {
    fn start(
        bench: &Bench<'_>,
        (app, service): (&str, &str),
        port: u16,
        (question, answer): (&str, &str),
        setting: Setting<'_>,
    ) -> Result<Self, BenchError> {
        let ready = |system: System| -> Result<System, BenchError> {
            system.wait(port, question, answer)?;
            system.pause()?;
            Ok(system)
        };
        let ours = ready(bench.quicksilver(app, setting)?)?;
        Ok(Self { ours, linux: bench.linux(service, setting)?.map(ready).transpose()? })
    }

    /// Measures both in turn. `measure` returns a figure for each row.
    fn alternate(
        &self,
        rounds: u32,
        port: u16,
        rows: &mut [Row],
        mut measure: impl FnMut(SocketAddr) -> Result<Vec<f64>, BenchError>,
    ) -> Result<(), BenchError> {
        let mut turn = |system: &System| -> Result<Vec<f64>, BenchError> {
            system.resume()?;
            let figures = measure(system.address(port)?)?;
            system.pause()?;
            Ok(figures)
        };
        for _ in 0..rounds {
            rows.iter_mut().zip(turn(&self.ours)?).for_each(|(row, figure)| row.ours.push(figure));
            if let Some(linux) = &self.linux {
                rows.iter_mut().zip(turn(linux)?).for_each(|(row, figure)| row.peer.push(figure));
            }
        }
        Ok(())
    }
}

/// The rates of SET and GET, in this order.
pub(super) fn set_get(
    address: SocketAddr,
    clients: u32,
    pipeline: u32,
    requests: u32,
) -> Result<Vec<load::Benchmark>, BenchError> {
    let (clients, pipeline, requests) = (clients.to_string(), pipeline.to_string(), requests.to_string());
    let arguments = ["-t", "set,get", "-c", &clients, "-P", &pipeline, "-n", &requests];
    // QEMU's user network resets or forgets some of many connections that come at once, whatever the guest.
    let (tries, patience) = if address.ip().is_loopback() { (5, 20) } else { (1, 300) };
    let run = || load::redis_benchmark(address, Duration::from_secs(patience), &arguments);
    let mut results = run();
    for _ in 1..tries {
        if results.is_err() {
            results = run();
        }
    }
    Ok(results?)
}

pub(super) fn kv(bench: &Bench<'_>) -> Result<Vec<Row>, BenchError> {
    kv_rates(bench, "kv", Setting::default())
}

pub(super) fn user_network(bench: &Bench<'_>) -> Result<Vec<Row>, BenchError> {
    kv_rates(bench, "user-network", Setting { user_network: true, ..Setting::default() })
}

fn kv_rates(bench: &Bench<'_>, suite: &'static str, setting: Setting<'_>) -> Result<Vec<Row>, BenchError> {
    let pair = Pair::start(bench, ("kv", "redis"), 6379, PING, setting)?;
    let mut all = Vec::new();
    // Fifty clients at once are more than the user network bears.
    let many = if setting.user_network { 10 } else { 50 };
    for (clients, pipeline, requests) in [(many, 1, 60_000), (many, 16, 400_000), (1, 1, 15_000)] {
        let goal = match (clients, setting.user_network) {
            (50, false) => Goal::TimesAtLeast(2.0),
            _ => Goal::None,
        };
        let what = |test| format!("{test}, {clients} clients, -P {pipeline}");
        let mut rows = vec![
            Row::new(suite, what("SET"), "requests/s", goal),
            Row::new(suite, what("GET"), "requests/s", goal),
            Row::new(suite, what("GET p99"), "ms", Goal::None),
        ];
        pair.alternate(bench.rounds, 6379, &mut rows, |address| {
            let results = set_get(address, clients, pipeline, bench.scaled(requests))?;
            let [set, get] = results.as_slice() else { return Err(BenchError::Figures("redis-benchmark")) };
            Ok(vec![set.requests_a_second, get.requests_a_second, get.p99])
        })?;
        all.extend(rows);
    }
    Ok(all)
}

pub(super) fn web(bench: &Bench<'_>) -> Result<Vec<Row>, BenchError> {
    let pair = Pair::start(bench, ("web", "nginx"), 80, HTTP, Setting::default())?;
    let goal = Goal::TimesAtLeast(2.0);
    let mut rows = [Row::new("web", "GET /index.html, wrk, 50 connections", "requests/s", goal)];
    pair.alternate(bench.rounds, 80, &mut rows, |address| {
        let result = load::wrk(address, "/index.html", 50, if bench.plan.quick { 2 } else { 5 })?;
        if result.refused > 0 {
            return Err(BenchError::Figures("wrk"));
        }
        Ok(vec![result.requests_a_second])
    })?;
    Ok(rows.into())
}

pub(super) fn network(bench: &Bench<'_>) -> Result<Vec<Row>, BenchError> {
    // chargen speaks first, and nothing in particular: that it accepts has to do.
    let pair = Pair::start(bench, ("stream", "stream"), 19, ("", ""), Setting::default())?;
    let trips = bench.scaled(10_000);
    let mut round_trip = [Row::new("network", "TCP round trip of one byte", "µs", Goal::None)];
    pair.alternate(bench.rounds, 7, &mut round_trip, |address| Ok(vec![round_trips(address, trips)?]))?;
    let mut connection = [Row::new("network", "TCP connection, a byte and back", "µs", Goal::None)];
    let tries = bench.scaled(1_000);
    pair.alternate(bench.rounds, 7, &mut connection, |address| {
        let each = (0..tries).map(|_| timed(|| round_trips(address, 1)));
        let durations = each.collect::<Result<Vec<_>, _>>()?;
        Ok(vec![median_us(durations).ok_or(BenchError::Figures("the echo service"))?])
    })?;
    let duration = Duration::from_secs(if bench.plan.quick { 1 } else { 3 });
    let mut inward = [Row::new("network", "one TCP stream in", "MB/s", Goal::TimesAtLeast(1.0))];
    pair.alternate(bench.rounds, 9, &mut inward, |address| Ok(vec![send(address, duration)?]))?;
    let mut outward = [Row::new("network", "one TCP stream out", "MB/s", Goal::TimesAtLeast(1.0))];
    pair.alternate(bench.rounds, 19, &mut outward, |address| Ok(vec![receive(address, duration)?]))?;
    Ok([round_trip, connection, inward, outward].into_iter().flatten().collect())
}

/// Median time of a byte there and back on one connection, in microseconds.
fn round_trips(address: SocketAddr, count: u32) -> Result<f64, BenchError> {
    let mut stream = connect(address)?;
    let trip = |_| {
        timed(|| {
            stream.write_all(b"q")?;
            Ok(stream.read_exact(&mut [0])?)
        })
    };
    let durations = (0..count).map(trip).collect::<Result<Vec<_>, _>>()?;
    median_us(durations).ok_or(BenchError::Figures("the echo service"))
}

/// Megabytes a second into the guest: until it has read the last byte and closed.
fn send(address: SocketAddr, duration: Duration) -> Result<f64, BenchError> {
    let mut stream = connect(address)?;
    let buffer = vec![0x71; 256 << 10];
    let (start, mut sent) = (Instant::now(), 0_u64);
    while start.elapsed() < duration {
        sent += stream.write(&buffer)? as u64;
    }
    stream.shutdown(Shutdown::Write)?;
    while stream.read(&mut [0; 64])? > 0 {}
    Ok(sent as f64 / start.elapsed().as_secs_f64() / 1e6)
}

/// Megabytes a second out of the guest.
fn receive(address: SocketAddr, duration: Duration) -> Result<f64, BenchError> {
    let mut stream = connect(address)?;
    let mut buffer = vec![0; 256 << 10];
    let (start, mut received) = (Instant::now(), 0_u64);
    while start.elapsed() < duration {
        match stream.read(&mut buffer)? {
            0 => return Err(BenchError::Figures("chargen")),
            count => received += count as u64,
        }
    }
    Ok(received as f64 / start.elapsed().as_secs_f64() / 1e6)
}

pub(super) fn idle(bench: &Bench<'_>) -> Result<Vec<Row>, BenchError> {
    const CONNECTIONS: usize = 1000;
    let pair = Pair::start(bench, ("kv", "redis"), 6379, PING, Setting::default())?;
    let mut rows = [
        Row::new("idle", "GET, 50 clients, nothing else", "requests/s", Goal::None),
        Row::new("idle", "GET, 50 clients, 1,000 idle connections", "requests/s", Goal::None),
        Row::new("idle", "rate kept with 1,000 idle connections", "%", Goal::AtLeast(90.0)),
    ];
    let rate = |address| -> Result<f64, BenchError> {
        let results = set_get(address, 50, 1, bench.scaled(60_000))?;
        Ok(results.last().ok_or(BenchError::Figures("redis-benchmark"))?.requests_a_second)
    };
    pair.alternate(bench.rounds, 6379, &mut rows, |address| {
        let alone = rate(address)?;
        let mut idle = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut stream = connect(address)?;
            stream.write_all(PING.0.as_bytes())?;
            stream.read_exact(&mut [0; 7])?;
            idle.push(stream);
        }
        let beside = rate(address)?;
        Ok(vec![alone, beside, beside / alone * 100.0])
    })?;
    Ok(rows.into())
}

pub(super) fn start(bench: &Bench<'_>) -> Result<Vec<Row>, BenchError> {
    let mut row = Row::new("start", "QEMU's start to the first PONG", "ms", Goal::TimesAtMost(0.1));
    let answer = |system: System| -> Result<f64, BenchError> {
        Ok(system.wait(6379, PING.0, PING.1)?.as_secs_f64() * 1e3)
    };
    for _ in 0..bench.rounds {
        row.ours.push(answer(bench.quicksilver("kv", Setting::default())?)?);
        if let Some(linux) = bench.linux("redis", Setting::default())? {
            row.peer.push(answer(linux)?);
        }
    }
    Ok(vec![row])
}

pub(super) fn footprint(bench: &Bench<'_>) -> Result<Vec<Row>, BenchError> {
    const MIB: f64 = 1024.0 * 1024.0;
    let mut size = Row::new("footprint", "ELF image with kv", "MiB", Goal::AtMost(4.0));
    let mut used = Row::new("footprint", "in use when idle, VMM reserve left out", "MiB", Goal::AtMost(16.0));
    size.ours.push(fs::metadata(bench.image("kv"))?.len() as f64 / MIB);
    // With the web server beside the store, since that tells how much memory is free.
    let pair = Pair::start(bench, ("kv,web", "redis"), 6379, PING, Setting::default())?;
    pair.ours.resume()?;
    used.ours.push(footprint::ours(&pair.ours)? / MIB);
    if let (Some(linux), Some(peer)) = (&pair.linux, &bench.peer) {
        linux.resume()?;
        let files = fs::metadata(&peer.initrd)?.len();
        used.peer.push(footprint::linux(linux.address(9100)?, files)? / MIB);
    }
    Ok(vec![size, used])
}

/// Instructions a request, from a run of N and one of 2N requests: what both have in common (connecting, the client's
/// own questions) drops out. The plugin counts instructions and no idle time, so that it does not matter how much of it
/// there is.
pub(super) fn instructions_a_get(
    counter: &Path,
    address: SocketAddr,
    clients: u32,
    requests: u32,
) -> Result<f64, BenchError> {
    let count = |requests: u32| -> Result<u64, BenchError> {
        let before = counted(counter)?;
        let (clients, requests) = (clients.to_string(), requests.to_string());
        let arguments = ["-t", "get", "-c", &clients, "-P", "1", "-n", &requests];
        load::redis_benchmark(address, PATIENCE, &arguments)?;
        Ok(counted(counter)? - before)
    };
    let (once, twice) = (count(requests)?, count(2 * requests)?);
    Ok((twice as f64 - once as f64) / f64::from(requests))
}

/// Instructions of a GET by one client who waits until the guest is idle before each: those of most requests. What they are
/// depends on nothing that happens on the host, but for a few that something else of the guest's fell into.
pub(super) fn instructions_of_a_get(
    counter: &Path,
    address: SocketAddr,
    requests: u32,
) -> Result<f64, BenchError> {
    const ANSWER: &[u8] = b"$-1\r\n";
    let mut stream = connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut counts = BTreeMap::<u64, u32>::new();
    let mut before = counted_when_idle(counter)?;
    for _ in 0..requests {
        stream.write_all(b"*2\r\n$3\r\nGET\r\n$7\r\nnothing\r\n")?;
        let mut answer = [0; ANSWER.len()];
        stream.read_exact(&mut answer)?;
        if answer != ANSWER {
            return Err(BenchError::Figures("the store"));
        }
        let after = counted_when_idle(counter)?;
        *counts.entry(after - before).or_default() += 1;
        before = after;
    }
    let most = counts.into_iter().max_by_key(|(_, times)| *times);
    most.map(|(count, _)| count as f64).ok_or(BenchError::Figures("the counting plugin"))
}

/// The counter once it has stood still for a while.
fn counted_when_idle(counter: &Path) -> Result<u64, BenchError> {
    const STILL: Duration = Duration::from_millis(2);
    let mut before = counted(counter)?;
    loop {
        thread::sleep(STILL);
        let now = counted(counter)?;
        if now == before {
            return Ok(now);
        }
        before = now;
    }
}

pub(super) fn instructions(bench: &Bench<'_>) -> Result<Vec<Row>, BenchError> {
    let mut rows = Vec::new();
    for (clients, goal) in [(1, Goal::None), (50, Goal::TimesAtMost(1.0 / 3.0))] {
        let what = format!("instructions per GET, {clients} clients, -P 1");
        rows.push(Row::new("instructions", what, "instructions", goal));
    }
    for is_ours in [true, false] {
        let counter = bench.directory.join(if is_ours { "ours" } else { "linux" });
        let setting = Setting { counter: Some(&counter), ..Setting::default() };
        let system = match is_ours {
            true => Some(bench.quicksilver("kv", setting)?),
            false => bench.linux("redis", setting)?,
        };
        let Some(system) = system else { continue };
        system.wait(6379, PING.0, PING.1)?;
        let address = system.address(6379)?;
        for _ in 0..bench.rounds {
            for (row, clients) in rows.iter_mut().zip([1, 50]) {
                let each = instructions_a_get(&counter, address, clients, bench.scaled(4_000))?;
                if is_ours { row.ours.push(each) } else { row.peer.push(each) }
            }
        }
    }
    Ok(rows)
}

fn counted(counter: &Path) -> Result<u64, BenchError> {
    let bytes = fs::read(counter)?.try_into().map_err(|_| BenchError::Figures("the counting plugin"))?;
    Ok(u64::from_le_bytes(bytes))
}
