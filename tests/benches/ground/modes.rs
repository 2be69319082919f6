//! The same system in both modes, while it changes them, and without a VMM in its image.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::suites::{PING, instructions_a_get, set_get};
use crate::system::{Setting, System};
use crate::table::{Goal, Row, Systems};
use crate::{Bench, Failure};

const MODES: Systems = ["guest", "native"];
pub const KV: u16 = 6379;

/// Our store, answering; `None` when only the peer is measured.
pub fn start(bench: &Bench, app: &str, setting: Setting<'_>) -> Result<Option<System>, Failure> {
    let Some(elf) = bench.image(app) else { return Ok(None) };
    let system = System::quicksilver(elf, &bench.peer, setting)?;
    system.wait(KV, PING.0, PING.1)?;
    Ok(Some(system))
}

/// Operates a machine.
struct Operator(tests::operator::Operator);

impl Operator {
    fn of(system: &System) -> Result<Self, Failure> {
        Ok(Self(tests::operator::Operator::at(system.address(22)?)))
    }

    /// Switches to a mode: `native`, `guest` or `toggle`.
    fn switch(&self, mode: &str) -> Result<(), Failure> {
        match self.0.tell(&format!("mode {mode}")).status {
            0 => Ok(()),
            _ => Err(Failure::Figures("the switch")),
        }
    }
}

/// Throughput in guest mode and natively, in turn on one machine.
pub fn guest(bench: &Bench) -> Result<Vec<Row>, Failure> {
    let Some(system) = start(bench, "kv", Setting::default())? else { return Ok(Vec::new()) };
    let (operator, address) = (Operator::of(&system)?, system.address(KV)?);
    let mut all = Vec::new();
    for (pipeline, requests) in [(1, 60_000), (16, 400_000)] {
        let what = |test| format!("{test}, 50 clients, -P {pipeline}");
        let row = |test| Row::new("guest", what(test), "requests/s", Goal::TimesAtLeast(0.98)).between(MODES);
        let mut rows = [row("SET"), row("GET")];
        for _ in 0..bench.rounds {
            for mode in MODES {
                operator.switch(mode)?;
                for (row, result) in
                    rows.iter_mut().zip(set_get(address, 50, pipeline, bench.scaled(requests))?)
                {
                    let column = if mode == MODES[0] { &mut row.ours } else { &mut row.peer };
                    column.push(result.requests_a_second);
                }
            }
        }
        all.extend(rows);
    }
    Ok(all)
}

/// Latency while the mode changes ten times a second, and while it does not.
pub fn toggling(bench: &Bench) -> Result<Vec<Row>, Failure> {
    const PERIOD: Duration = Duration::from_millis(100);
    let Some(system) = start(bench, "kv", Setting::default())? else { return Ok(Vec::new()) };
    let (operator, address) = (Operator::of(&system)?, system.address(KV)?);
    let row = |test: &str, goal| {
        let what = format!("{test} p99, 50 clients, -P 1");
        Row::new("toggling", what, "ms", goal).between(["toggling", "native"])
    };
    let mut rows = [row("SET", Goal::TimesAtMost(2.0)), row("GET", Goal::TimesAtMost(2.0))];
    let measure = |address: SocketAddr| set_get(address, 50, 1, bench.scaled(60_000));
    for _ in 0..bench.rounds {
        let over = AtomicBool::new(false);
        let toggled = thread::scope(|scope| {
            let toggler = scope.spawn(|| -> Result<(), Failure> {
                let mut due = Instant::now();
                while !over.load(Ordering::Relaxed) {
                    operator.switch("toggle")?;
                    due += PERIOD;
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                }
                operator.switch("native")
            });
            let results = measure(address);
            over.store(true, Ordering::Relaxed);
            toggler.join().map_err(|_| Failure::Figures("the toggler"))??;
            results
        })?;
        for (row, (toggled, calm)) in rows.iter_mut().zip(toggled.iter().zip(measure(address)?)) {
            row.ours.push(toggled.p99);
            row.peer.push(calm.p99);
        }
    }
    Ok(rows.into())
}

/// Instructions a request with the VMM asleep, in guest mode, and with an image that has none.
pub fn asleep(bench: &Bench) -> Result<Vec<Row>, Failure> {
    let directory = std::env::temp_dir().join(format!("qs-asleep-{}", std::process::id()));
    fs::create_dir_all(&directory)?;
    let rows = instructions(bench, &directory);
    fs::remove_dir_all(&directory)?;
    rows
}

fn instructions(bench: &Bench, directory: &Path) -> Result<Vec<Row>, Failure> {
    let row = |clients: u32, systems| {
        let what = format!("instructions per GET, {clients} clients, -P 1");
        // Fifty clients come in other batches each time.
        let goal = if clients == 1 { Goal::TimesAtMost(1.005) } else { Goal::None };
        Row::new("asleep", what, "instructions", goal).between(systems)
    };
    let mut rows = Vec::new();
    for clients in [1, 50] {
        let mut without = row(clients, ["VMM asleep", "no VMM"]);
        let mut guest = row(clients, MODES);
        for (app, has_vmm) in [("kv", true), (WITHOUT, false)] {
            let counter = directory.join(app);
            let setting = Setting { counter: Some(&counter), ..Setting::default() };
            let Some(system) = start(bench, app, setting)? else { return Ok(Vec::new()) };
            let address = system.address(KV)?;
            let each = || instructions_a_get(&counter, address, clients, bench.scaled(4_000));
            for _ in 0..bench.rounds {
                if !has_vmm {
                    without.peer.push(each()?);
                    continue;
                }
                let operator = Operator::of(&system)?;
                let native = each()?;
                operator.switch("guest")?;
                guest.ours.push(each()?);
                operator.switch("native")?;
                guest.peer.push(native);
                without.ours.push(native);
            }
        }
        rows.extend([without, guest]);
    }
    Ok(rows)
}

/// The name under which the benchmark keeps the store's image without a VMM.
pub const WITHOUT: &str = "kv-without-vmm";
