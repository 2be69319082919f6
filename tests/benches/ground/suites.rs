//! What is measured. Both systems run at the same time, and the one whose turn it is not stands still: rounds alternate
//! A B A B within the same minute of the host.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use tests::load;

use crate::system::{Setting, System};
use crate::table::{Goal, Row};
use crate::{Bench, Failure, flood, modes};

/// Measures one thing.
type Suite = fn(&Bench) -> Result<Vec<Row>, Failure>;

pub const SUITES: &[(&str, Suite)] = &[
    ("kv", kv),
    ("web", web),
    ("stream", stream),
    ("idle", idle),
    ("start", start),
    ("memory", memory),
    ("icount", icount),
    ("user-network", user_network),
    ("guest", modes::guest),
    ("toggling", modes::toggling),
    ("asleep", modes::asleep),
    ("flood", flood::flood),
];

pub const PING: (&str, &str) = ("PING\r\n", "+PONG");
const HTTP: (&str, &str) = ("GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n", "HTTP/1.1 200");
const PATIENCE: Duration = Duration::from_secs(300);

/// Both systems with one service, ready and standing still.
struct Pair {
    /// Not there when only the peer is measured.
    ours: Option<System>,
    linux: System,
}

impl Pair {
    fn start(
        bench: &Bench,
        (app, service): (&str, &str),
        port: u16,
        (question, answer): (&str, &str),
        setting: Setting<'_>,
    ) -> Result<Self, Failure> {
        let ready = |mut system: System| -> Result<System, Failure> {
            system.wait(port, question, answer)?;
            system.pause()?;
            Ok(system)
        };
        let ours = match bench.image(app) {
            Some(elf) => Some(ready(System::quicksilver(elf, &bench.peer, setting)?)?),
            None => None,
        };
        Ok(Self { ours, linux: ready(System::linux(service, &bench.peer, setting)?)? })
    }

    /// Measures both in turn. `measure` returns a figure for each row.
    fn alternate(
        &mut self,
        rounds: u32,
        port: u16,
        rows: &mut [Row],
        mut measure: impl FnMut(SocketAddr) -> Result<Vec<f64>, Failure>,
    ) -> Result<(), Failure> {
        let mut turn = |system: &mut System| -> Result<Vec<f64>, Failure> {
            system.resume()?;
            let figures = measure(system.address(port)?)?;
            system.pause()?;
            Ok(figures)
        };
        for _ in 0..rounds {
            if let Some(ours) = &mut self.ours {
                rows.iter_mut().zip(turn(ours)?).for_each(|(row, figure)| row.ours.push(figure));
            }
            rows.iter_mut().zip(turn(&mut self.linux)?).for_each(|(row, figure)| row.peer.push(figure));
        }
        Ok(())
    }
}

/// The rates of SET and GET, in this order.
pub fn set_get(
    address: SocketAddr,
    clients: u32,
    pipeline: u32,
    requests: u32,
) -> Result<Vec<load::Benchmark>, Failure> {
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

fn kv(bench: &Bench) -> Result<Vec<Row>, Failure> {
    kv_rates(bench, "kv", Setting::default())
}

fn user_network(bench: &Bench) -> Result<Vec<Row>, Failure> {
    kv_rates(bench, "user-network", Setting { user_network: true, ..Setting::default() })
}

fn kv_rates(bench: &Bench, suite: &'static str, setting: Setting<'_>) -> Result<Vec<Row>, Failure> {
    let mut pair = Pair::start(bench, ("kv", "redis"), 6379, PING, setting)?;
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
            let [set, get] = results.as_slice() else { return Err(Failure::Figures("redis-benchmark")) };
            Ok(vec![set.requests_a_second, get.requests_a_second, get.p99])
        })?;
        all.extend(rows);
    }
    Ok(all)
}

fn web(bench: &Bench) -> Result<Vec<Row>, Failure> {
    let mut pair = Pair::start(bench, ("web", "nginx"), 80, HTTP, Setting::default())?;
    let goal = Goal::TimesAtLeast(2.0);
    let mut rows = [Row::new("web", "GET /index.html, wrk, 50 connections", "requests/s", goal)];
    pair.alternate(bench.rounds, 80, &mut rows, |address| {
        let result = load::wrk(address, "/index.html", 50, if bench.quick { 2 } else { 5 })?;
        if result.refused > 0 {
            return Err(Failure::Figures("wrk"));
        }
        Ok(vec![result.requests_a_second])
    })?;
    Ok(rows.into())
}

fn stream(bench: &Bench) -> Result<Vec<Row>, Failure> {
    // chargen speaks first, and nothing in particular: that it accepts has to do.
    let mut pair = Pair::start(bench, ("stream", "stream"), 19, ("", ""), Setting::default())?;
    let duration = Duration::from_secs(if bench.quick { 1 } else { 3 });
    let mut inward = [Row::new("stream", "one TCP stream in", "MB/s", Goal::TimesAtLeast(1.0))];
    pair.alternate(bench.rounds, 9, &mut inward, |address| Ok(vec![send(address, duration)?]))?;
    let mut outward = [Row::new("stream", "one TCP stream out", "MB/s", Goal::TimesAtLeast(1.0))];
    pair.alternate(bench.rounds, 19, &mut outward, |address| Ok(vec![receive(address, duration)?]))?;
    Ok(inward.into_iter().chain(outward).collect())
}

fn connect(address: SocketAddr) -> Result<TcpStream, Failure> {
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(10))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.set_write_timeout(Some(Duration::from_secs(30)))?;
    Ok(stream)
}

/// Megabytes a second into the guest: until it has read the last byte and closed.
fn send(address: SocketAddr, duration: Duration) -> Result<f64, Failure> {
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
fn receive(address: SocketAddr, duration: Duration) -> Result<f64, Failure> {
    let mut stream = connect(address)?;
    let mut buffer = vec![0; 256 << 10];
    let (start, mut received) = (Instant::now(), 0_u64);
    while start.elapsed() < duration {
        match stream.read(&mut buffer)? {
            0 => return Err(Failure::Figures("chargen")),
            count => received += count as u64,
        }
    }
    Ok(received as f64 / start.elapsed().as_secs_f64() / 1e6)
}

fn idle(bench: &Bench) -> Result<Vec<Row>, Failure> {
    const CONNECTIONS: usize = 1000;
    let mut pair = Pair::start(bench, ("kv", "redis"), 6379, PING, Setting::default())?;
    let mut rows = [
        Row::new("idle", "GET, 50 clients, nothing else", "requests/s", Goal::None),
        Row::new("idle", "GET, 50 clients, 1,000 idle connections", "requests/s", Goal::None),
        Row::new("idle", "rate kept with 1,000 idle connections", "%", Goal::AtLeast(90.0)),
    ];
    let rate = |address| -> Result<f64, Failure> {
        let results = set_get(address, 50, 1, bench.scaled(60_000))?;
        Ok(results.last().ok_or(Failure::Figures("redis-benchmark"))?.requests_a_second)
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

fn start(bench: &Bench) -> Result<Vec<Row>, Failure> {
    let mut row = Row::new("start", "QEMU's start to the first PONG", "ms", Goal::TimesAtMost(0.1));
    for _ in 0..bench.rounds {
        if let Some(elf) = bench.image("kv") {
            let ours = System::quicksilver(elf, &bench.peer, Setting::default())?;
            row.ours.push(ours.wait(6379, PING.0, PING.1)?.as_secs_f64() * 1e3);
        }
        let linux = System::linux("redis", &bench.peer, Setting::default())?;
        row.peer.push(linux.wait(6379, PING.0, PING.1)?.as_secs_f64() * 1e3);
    }
    Ok(vec![row])
}

fn memory(bench: &Bench) -> Result<Vec<Row>, Failure> {
    const MIB: f64 = 1024.0 * 1024.0;
    let mut size = Row::new("memory", "ELF image with kv", "MiB", Goal::AtMost(4.0));
    let mut used = Row::new("memory", "in use when idle, VMM reserve left out", "MiB", Goal::AtMost(16.0));
    if let Some(elf) = bench.image("kv") {
        size.ours.push(fs::metadata(elf)?.len() as f64 / MIB);
    }
    // With the web server beside the store, since that tells how much memory is free.
    let mut pair = Pair::start(bench, ("kv,web", "redis"), 6379, PING, Setting::default())?;
    if let Some(ours) = &mut pair.ours {
        ours.resume()?;
        if let System::Quicksilver(machine) = ours {
            used.ours.push(crate::memory::ours(machine)? / MIB);
        }
    }
    pair.linux.resume()?;
    let files = fs::metadata(&bench.peer.initrd)?.len();
    used.peer.push(crate::memory::linux(pair.linux.address(9100)?, files)? / MIB);
    Ok(vec![size, used])
}

/// Instructions a request, from a run of N and one of 2N requests: what both have in common (connecting, the client's
/// own questions) drops out. The plugin counts instructions and no idle time, so that it does not matter how much of it
/// there is.
pub fn instructions_a_get(
    counter: &Path,
    address: SocketAddr,
    clients: u32,
    requests: u32,
) -> Result<f64, Failure> {
    let count = |requests: u32| -> Result<u64, Failure> {
        let before = counted(counter)?;
        let (clients, requests) = (clients.to_string(), requests.to_string());
        let arguments = ["-t", "get", "-c", &clients, "-P", "1", "-n", &requests];
        load::redis_benchmark(address, PATIENCE, &arguments)?;
        Ok(counted(counter)? - before)
    };
    let (once, twice) = (count(requests)?, count(2 * requests)?);
    Ok((twice as f64 - once as f64) / f64::from(requests))
}

fn icount(bench: &Bench) -> Result<Vec<Row>, Failure> {
    let directory = std::env::temp_dir().join(format!("qs-count-{}", std::process::id()));
    fs::create_dir_all(&directory)?;
    let mut rows = Vec::new();
    for (clients, goal) in [(1, Goal::None), (50, Goal::TimesAtMost(1.0 / 3.0))] {
        let what = format!("instructions per GET, {clients} clients, -P 1");
        rows.push(Row::new("icount", what, "instructions", goal));
    }
    for is_ours in [true, false] {
        let counter = directory.join(if is_ours { "ours" } else { "linux" });
        let setting = Setting { counter: Some(&counter), ..Setting::default() };
        let system = match (is_ours, bench.image("kv")) {
            (true, Some(elf)) => System::quicksilver(elf, &bench.peer, setting)?,
            (true, None) => continue,
            (false, _) => System::linux("redis", &bench.peer, setting)?,
        };
        system.wait(6379, PING.0, PING.1)?;
        let address = system.address(6379)?;
        for _ in 0..bench.rounds {
            for (row, clients) in rows.iter_mut().zip([1, 50]) {
                let each = instructions_a_get(&counter, address, clients, bench.scaled(4_000))?;
                if is_ours { row.ours.push(each) } else { row.peer.push(each) }
            }
        }
    }
    fs::remove_dir_all(&directory)?;
    Ok(rows)
}

fn counted(counter: &Path) -> Result<u64, Failure> {
    let bytes = fs::read(counter)?.try_into().map_err(|_| Failure::Figures("the counting plugin"))?;
    Ok(u64::from_le_bytes(bytes))
}
