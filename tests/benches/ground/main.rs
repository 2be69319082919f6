//! Quicksilver beside Linux on the same emulated machine, in the same minutes of the same host.
//!
//!     cargo bench -p tests --bench ground -- [--quick] [--json] [--peer-only] [SUITE...]
//!
//! Suites: kv, web, stream, idle, start, memory, icount, user-network; guest, toggling, asleep, flood, which compare ourselves with
//! ourselves; all where none is named. Medians of rounds that
//! alternate between the systems go to the standard output, progress to the standard error. No figure is asserted.
//!
//! Both guests' taps and all clients live in a network namespace that goes when the benchmark goes.

mod cpio;
mod flood;
mod memory;
mod modes;
mod peer;
mod suites;
mod system;
mod table;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use image_builder::kernel::{self, Content};
use image_builder::workspace::Workspace;
use tests::namespace;

use crate::suites::SUITES;
use crate::table::Row;

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Builder(#[from] image_builder::Error),
    #[error(transparent)]
    Workspace(#[from] image_builder::workspace::WorkspaceError),
    #[error(transparent)]
    Qmp(#[from] image_builder::qmp::QmpError),
    #[error(transparent)]
    Peer(#[from] peer::PeerError),
    #[error(transparent)]
    Program(#[from] tests::program::ProgramError),
    #[error(transparent)]
    Namespace(#[from] namespace::NamespaceError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("no answer from {0}")]
    NoAnswer(SocketAddr),
    #[error("guest port {0} is not reachable")]
    Unreachable(u16),
    #[error("{0} ended by itself")]
    Ended(String),
    #[error("{0} gave other figures than expected")]
    Figures(&'static str),
    #[error("no such suite or option: {0}")]
    Usage(String),
}

/// What all suites need.
pub struct Bench {
    pub peer: peer::Peer,
    /// Finished images by application; none when only the peer is measured.
    images: BTreeMap<&'static str, PathBuf>,
    pub quick: bool,
    pub rounds: u32,
}

impl Bench {
    /// The finished image of an application; `None` when only the peer is measured.
    pub fn image(&self, app: &str) -> Option<&Path> {
        self.images.get(app).map(PathBuf::as_path)
    }

    /// A number of requests, fewer for a quick run.
    pub fn scaled(&self, requests: u32) -> u32 {
        if self.quick { requests / 5 } else { requests }
    }
}

struct Options {
    quick: bool,
    json: bool,
    peer_only: bool,
    suites: Vec<String>,
}

fn options(arguments: &[String]) -> Result<Options, Failure> {
    let mut options = Options { quick: false, json: false, peer_only: false, suites: Vec::new() };
    for argument in arguments {
        match argument.as_str() {
            "--quick" => options.quick = true,
            "--peer-only" => options.peer_only = true,
            "--json" => options.json = true,
            // Cargo adds this one.
            "--bench" => {}
            name if SUITES.iter().any(|(suite, _)| *suite == name) => options.suites.push(name.to_owned()),
            other => return Err(Failure::Usage(other.to_owned())),
        }
    }
    Ok(options)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("ground: {error}");
            ExitCode::from(if matches!(error, Failure::Usage(_)) { 2 } else { 1 })
        }
    }
}

fn run(arguments: &[String]) -> Result<ExitCode, Failure> {
    let options = options(arguments)?;
    let workspace = Workspace::find()?;
    // Outside the namespace there may be a network for what has to be fetched; inside everything is there already.
    let bench = prepare(&workspace, &options)?;
    if !namespace::inside() {
        let status = namespace::again(arguments)?;
        return Ok(ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1)));
    }
    namespace::set_up()?;
    for (tap, host, _) in [system::OUR_TAP, system::LINUX_TAP] {
        namespace::tap(tap, host)?;
    }
    let mut rows: Vec<Row> = Vec::new();
    for (name, suite) in SUITES {
        if options.suites.is_empty() || options.suites.iter().any(|wanted| wanted == name) {
            eprintln!("ground: {name} ...");
            match suite(&bench) {
                Ok(measured) => rows.extend(measured),
                // The other suites are worth having all the same.
                Err(error) => eprintln!("ground: {name}: {error}"),
            }
        }
    }
    if options.json {
        println!("{}", serde_json::Value::from(rows.iter().map(Row::json).collect::<Vec<_>>()));
    } else {
        print!("{}", table::tables(&rows));
    }
    Ok(ExitCode::SUCCESS)
}

fn prepare(workspace: &Workspace, options: &Options) -> Result<Bench, Failure> {
    let peer = peer::build(&workspace.target.join("peer"), &workspace.root.join("apps/web/files"))?;
    let mut images = BTreeMap::new();
    let apps = if options.peer_only { &[][..] } else { &["kv", "web", "stream", "kv,web"] };
    for app in apps.iter().copied() {
        images.insert(app, kernel::image(workspace, &Content::of(app))?.elf);
    }
    if !options.peer_only {
        let content = Content { vmm: false, ..Content::of("kv") };
        images.insert(modes::WITHOUT, kernel::image(workspace, &content)?.elf);
    }
    let quick = options.quick;
    Ok(Bench { peer, images, quick, rounds: if quick { 3 } else { 5 } })
}
