//! The same system in both modes, while it changes them, and without a VMM in its image.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::control::{Keys, Session, Target};
use crate::{Error, ExitCode};

use super::row::{Goal, Row, Systems};
use super::served::{PING, instructions_a_get, instructions_of_a_get, set_get};
use super::system::{Setting, System};
use super::{Bench, BenchError};

const MODES: Systems = ["guest", "native"];
pub(super) const KV: u16 = 6379;

/// The name of the store's image without a VMM.
pub(super) const WITHOUT: &str = "kv without the VMM";

/// The part by which instructions a request may differ between the modes, and with and without a VMM in the image.
const SAME: f64 = 0.001;

/// How long a command may take, beyond a switch's own deadline.
const PATIENCE: Duration = Duration::from_secs(60);

/// Our store, answering.
pub(super) fn start(bench: &Bench<'_>, app: &str, setting: Setting<'_>) -> Result<System, BenchError> {
    let system = bench.quicksilver(app, setting)?;
    system.wait(KV, PING.0, PING.1)?;
    Ok(system)
}

/// Operates a machine.
pub(super) struct Operator(Session);

impl Operator {
    /// Of a machine of ours that answers.
    pub(super) fn of(system: &System) -> Result<Self, BenchError> {
        let keys = Keys::of_user().map_err(Error::from)?;
        let target = Target { address: system.address(22)?.to_string(), serial: None };
        Ok(Self(Session::open(target, keys)?))
    }

    /// What the machine says to a command that it carries out.
    pub(super) fn tell(&self, line: &str) -> Result<String, BenchError> {
        let answer = self.0.tell(line, PATIENCE)?;
        match ExitCode::of_answer(answer.status) {
            ExitCode::Done => Ok(answer.out),
            _ => Err(BenchError::Inside(format!("{line}: {}{}", answer.out.trim(), answer.err.trim()))),
        }
    }

    /// Switches to a mode: `native`, `guest` or `toggle`.
    pub(super) fn switch(&self, mode: &str) -> Result<(), BenchError> {
        self.tell(&format!("mode {mode} --deadline 30000")).map(drop)
    }
}

/// Throughput in guest mode and natively, in turn on one machine.
pub(super) fn guest(bench: &Bench<'_>) -> Result<Vec<Row>, BenchError> {
    let system = start(bench, "kv", Setting::default())?;
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
pub(super) fn toggling(bench: &Bench<'_>) -> Result<Vec<Row>, BenchError> {
    const PERIOD: Duration = Duration::from_millis(100);
    let system = start(bench, "kv", Setting::default())?;
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
            let toggler = scope.spawn(|| -> Result<(), BenchError> {
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
            toggler.join().map_err(|_| BenchError::Figures("the toggler"))??;
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
pub(super) fn asleep(bench: &Bench<'_>) -> Result<Vec<Row>, BenchError> {
    let row = |clients: u32, systems| {
        let what = format!("instructions per GET, {clients} clients, -P 1");
        // Fifty clients come in other batches each time.
        let goal = if clients == 1 { Goal::SameWithin(SAME) } else { Goal::None };
        Row::new("asleep", what, "instructions", goal).between(systems)
    };
    let mut rows = Vec::new();
    // Those of fifty clients only inform.
    for clients in if bench.plan.quick { &[1][..] } else { &[1, 50] }.iter().copied() {
        let mut without = row(clients, ["VMM asleep", "no VMM"]);
        let mut guest = row(clients, MODES);
        for (app, has_vmm) in [("kv", true), (WITHOUT, false)] {
            let counter = bench.directory.join(if has_vmm { "vmm" } else { "without" });
            let setting = Setting { counter: Some(&counter), ..Setting::default() };
            let system = start(bench, app, setting)?;
            let address = system.address(KV)?;
            let each = || match clients {
                1 => instructions_of_a_get(&counter, address, bench.scaled(1_000)),
                _ => instructions_a_get(&counter, address, clients, bench.scaled(4_000)),
            };
            for _ in 0..bench.rounds {
                // Both have him connected: a connection more is a socket and a timer more to look at.
                let operator = Operator::of(&system)?;
                let native = each()?;
                if !has_vmm {
                    without.peer.push(native);
                    continue;
                }
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
