//! What this machine says about itself, read-only, over HTTP: `/metrics` for Prometheus, `/api/now` and `/api/history`, and a
//! dashboard.
//!
//! Reading stops nothing: what the switch counts is read from [`mode::board`], and no lock that it needs is taken. The server
//! has the priority of applications, not a lower one: a thread below them would be left holding the network's lock while they
//! compute. What it takes from them is bounded by [`LIMITS`] instead.

use crate::operator::{changes, modes};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use app::{File, ListenOptions, TcpListener};
use core::sync::atomic::Ordering::Relaxed;
use core::time::Duration;
use http::{Limits, Live, RECEIVE_BUFFER, Server, Site};
use machine::bootinfo::setting;
use machine::cpu;
use machine::paging::PAGE;
use machine::sync::SpinLock;
use machine::thread::{self, Builder, Priority};
use machine::time::{Instant, wall_clock};
use metrics::history::{INTERVAL, Totals};
use metrics::snapshot::{Build, Cpu, Memory, Source};
use metrics::{History, Sample, Snapshot, exposition, json, page, text};
use net::Network;

/// Where the server listens unless `metrics.port=` says otherwise.
const PORT: u16 = 9100;

/// What the server may take: so many connections, and so many answers a second.
const LIMITS: Limits = Limits { connections: 16, gap: Duration::from_millis(20) };

const STACK: usize = 96 * 1024;

/// Memory that there has to be for a sample to be taken, in bytes.
const ROOM: usize = 64 * 1024;

static PAGE_FILE: [File; 1] = [File { path: "index.html", data: page::HTML.as_bytes() }];

static HISTORY: SpinLock<History> = SpinLock::new(History::new());

/// Starts server and sampler, unless they are not wanted. `network`: where operators are served; on none, nor is this.
pub fn start(command_line: &str, network: Option<Network>) {
    let port = match setting(command_line, "metrics.port") {
        None => PORT,
        Some("0" | "off") => return log::info!("metrics: off"),
        Some(text) => match text.parse() {
            Ok(port) => port,
            Err(_) => return log::error!("metrics.port is neither a port nor off; the metrics stay off"),
        },
    };
    let Some(network) = network else {
        return log::error!("the metrics stay off: the operators' network is not there");
    };
    let options = ListenOptions {
        network,
        backlog: LIMITS.connections,
        receive_buffer: RECEIVE_BUFFER,
        ..ListenOptions::default()
    };
    let listener = match TcpListener::bind(port, options) {
        Ok(listener) => listener,
        Err(error) => return log::error!("the metrics stay off: {error}"),
    };
    if !HISTORY.lock().reserve() {
        return log::error!("the metrics stay off: no memory for their history");
    }
    let sampler = Builder::new("sampler").priority(Priority::High).stack_size(STACK).spawn(sample);
    let server = Builder::new("metrics").stack_size(STACK).spawn(move || serve(&listener));
    if let (Err(error), _) | (_, Err(error)) = (sampler.map(drop), server.map(drop)) {
        return log::error!("no thread for the metrics: {error:?}");
    }
    log::info!(target: "metrics", "ready: metrics on tcp port {port} of the {network} network");
}

fn serve(listener: &TcpListener) {
    let live =
        |path, media_type, make: fn(&Server, u64) -> String| Live { path, media_type, make: Box::new(make) };
    let live = alloc::vec![
        live("metrics", text::MEDIA_TYPE, |server, _| exposition::text(&snapshot(server.requests()))),
        live("api/now", json::MEDIA_TYPE, |server, _| {
            json::now(&snapshot(server.requests()), &modes::marks(), &modes::events())
        }),
        live("api/history", json::MEDIA_TYPE, |_, from| history(from)),
    ];
    let served = Site::new(&PAGE_FILE, &page::fields())
        .map_err(app::AppError::from)
        .and_then(|site| Ok(http::serve(listener, Server::new(site, live), LIMITS, None)?));
    if let Err(error) = served {
        log::error!("the metrics are no longer served: {error}");
    }
}

fn history(from: u64) -> String {
    // One at a time: interrupts are off meanwhile.
    let read = |from| HISTORY.lock().read(from);
    let next = HISTORY.lock().next();
    let samples = core::iter::successors(read(from), |last| read(last.number + 1));
    json::history(next, samples.take_while(|sample| sample.number < next))
}

/// Takes a sample a second, for ever.
fn sample() {
    let interval = Duration::from_millis(INTERVAL);
    let mut before = Totals::of(&collect(0, false));
    let mut due = Instant::now();
    loop {
        due = due.saturating_add(interval).max(Instant::now());
        thread::sleep(due.saturating_since(Instant::now()));
        if Vec::<u8>::new().try_reserve_exact(ROOM).is_ok() {
            let now = Totals::of(&collect(0, false));
            let sample = Sample::between(HISTORY.lock().next(), &before, &now);
            HISTORY.lock().push(sample);
            before = now;
        }
    }
}

/// Everything that is measured, as it is now.
pub fn snapshot(scrapes: u64) -> Snapshot {
    collect(scrapes, true)
}

fn collect(scrapes: u64, with_exits: bool) -> Snapshot {
    let frames = machine::frames::statistics();
    let heap = machine::heap::statistics().used as u64;
    let health = drivers::entropy::health();
    let names: Vec<&str> = crate::apps::APPS.iter().map(|app| app.name()).collect();
    let source = |(name, source): (_, drivers::entropy::SourceHealth)| Source {
        name,
        samples: source.samples,
        failures: source.failures,
    };
    let networks = Network::ALL.into_iter().filter(|network| network.is_running());
    let networks = networks.map(|network| (network.name(), network.statistics())).collect();
    let uptime = Instant::now().as_nanos();
    Snapshot {
        build: Build { version: env!("CARGO_PKG_VERSION"), applications: names.join(",") },
        uptime,
        booted: wall_clock().saturating_sub(Duration::from_nanos(uptime)).as_secs(),
        generation: changes::generation(),
        modes: modes::measured(with_exits),
        nmis: machine::nmis(),
        cpus: (0..cpu::count()).map(cpu_counts).collect(),
        requests: app::requests::all(),
        memory: Memory { total: frames.total * PAGE, free: frames.free * PAGE, heap },
        networks,
        control: net::ssh::counts(),
        scrapes,
        entropy_good: health.is_good(),
        entropy: health.all().map(source).to_vec(),
    }
}

fn cpu_counts(number: usize) -> Cpu {
    let of = |counter: fn(&cpu::PerCpu) -> &core::sync::atomic::AtomicU64| {
        cpu::block(number).map_or(0, |block| counter(block).load(Relaxed))
    };
    Cpu {
        idle_nanos: thread::idle_time(number).as_nanos() as u64,
        interrupts: of(|block| &block.interrupts),
        thread_switches: of(|block| &block.switches),
    }
}
