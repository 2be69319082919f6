//! Benchmarks: what the machine does natively and in guest mode, and what Linux does on the same emulated machine.
//!
//! Suites of the first kind run inside the machine and print figures on the serial line: the image `bench` does, and on
//! Linux the program in `peer/latency`, with the same names, definitions and counts. Suites of the second kind are driven by
//! clients of this host, over tap devices in a network namespace that goes when the benchmark goes. Where there are two
//! systems they take turns, A B A B, in the same minutes of the same host. No time is asserted; that instructions a request are
//! the same with a sleeping VMM and without one is (suite `asleep`).
//!
//! | module | what it is for |
//! |---|---|
//! | [`suite`] | which suites there are |
//! | [`record`] | what came out, as it is kept in a file |
//! | [`report`] | the same for people: tables, and a page with plots |
//! | [`load`] | `redis-benchmark` and `wrk`, and the figures they report |
//! | [`namespace`] | a network namespace of one's own, with tap devices |

mod answers;
mod checkpoint;
mod cpio;
pub mod facts;
pub mod flood;
mod footprint;
mod inside;
pub mod load;
mod modes;
pub mod namespace;
mod peer;
pub mod record;
pub mod report;
mod restored;
pub mod row;
mod served;
pub mod suite;
mod swap;
mod system;
pub mod timeline;

pub use peer::PeerError;
pub use suite::Suite;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fmt, fs, io, process};

use crate::control::ControlError;
use crate::kernel::{self, Content};
use crate::machine::{Builder, MachineError};
use crate::program::ProgramError;
use crate::workspace::Workspace;
use crate::{Error, qmp, tools};

use self::record::Record;
use self::row::Row;
use self::suite::Place;

/// Why something was not measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// An image was not built, or a machine not started.
    #[error(transparent)]
    Builder(#[from] Error),
    /// The Linux peer was not built.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// A client failed.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// There is no network for machines and clients.
    #[error(transparent)]
    Namespace(#[from] namespace::NamespaceError),
    /// A file or a connection failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A system did not come up.
    #[error("no answer from {0}")]
    NoAnswer(SocketAddr),
    /// A system has no such port, or no address.
    #[error("guest port {0} is not reachable")]
    Unreachable(u16),
    /// A suite inside the machine reported what went wrong, or did not end well.
    #[error("{0}")]
    Inside(String),
    /// A client or a system said something else than expected.
    #[error("{0} gave other figures than expected")]
    Figures(&'static str),
    /// `--icount` was asked of a suite that has clients: their time is the host's.
    #[error("suite {0} has clients on the host, so --icount does not fit: instructions has that")]
    Icount(Suite),
}

impl From<MachineError> for BenchError {
    fn from(error: MachineError) -> Self {
        Self::Builder(error.into())
    }
}

impl From<qmp::QmpError> for BenchError {
    fn from(error: qmp::QmpError) -> Self {
        Self::Builder(error.into())
    }
}

impl From<ControlError> for BenchError {
    fn from(error: ControlError) -> Self {
        Self::Builder(error.into())
    }
}

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// In this order.
    pub suites: Vec<Suite>,
    /// CPUs of the machines of suites that run inside; the others have one.
    pub cpus: u32,
    /// Count instructions instead of time.
    pub icount: bool,
    /// Measure Linux, too.
    pub against_linux: bool,
    /// Fewer rounds and requests.
    pub quick: bool,
}

impl Plan {
    /// Checks what does not go together.
    pub fn validate(&self) -> Result<(), BenchError> {
        let served = self.suites.iter().find(|suite| suite.place() != Place::Inside);
        match served.filter(|_| self.icount) {
            Some(suite) => Err(BenchError::Icount(*suite)),
            None => Ok(()),
        }
    }

    /// Whether clients and machines need a network namespace.
    pub fn needs_namespace(&self) -> bool {
        self.suites.iter().any(|suite| suite.place() != Place::Inside)
    }
}

/// All that suites need: built, but nothing runs.
pub struct Bench<'a> {
    plan: Plan,
    peer: Option<peer::Peer>,
    /// The plugin that counts instructions.
    counter: Option<PathBuf>,
    /// Finished images by application.
    images: BTreeMap<&'static str, PathBuf>,
    rounds: u32,
    /// Files of machines, gone with this value.
    directory: PathBuf,
    machines: AtomicU32,
    say: &'a dyn Fn(&dyn fmt::Display),
}

impl<'a> Bench<'a> {
    /// Builds the images that the plan's suites need, and fetches and builds the Linux peer. To be called outside a namespace
    /// first: inside there is no network, and everything is there already.
    pub fn prepare(
        workspace: &Workspace,
        plan: Plan,
        say: &'a dyn Fn(&dyn fmt::Display),
    ) -> Result<Self, BenchError> {
        plan.validate()?;
        tools::require(&plan.suites.iter().flat_map(|suite| suite.tools()).copied().collect::<Vec<_>>())
            .map_err(Error::from)?;
        let mut images = BTreeMap::new();
        for app in plan.suites.iter().flat_map(|suite| suite.images()).copied() {
            if !images.contains_key(app) {
                if !namespace::inside() {
                    say(&format_args!("building {app}"));
                }
                let content = match app.strip_suffix(WITHOUT_VMM) {
                    Some(apps) => Content { vmm: false, ..Content::of(apps) },
                    None => Content::of(app),
                };
                images.insert(app, kernel::image(workspace, &content)?.elf);
            }
        }
        let build = workspace.target.join("peer");
        let sources = workspace.root.join("image-builder/src/bench/peer");
        let site = workspace.root.join("apps/web/files");
        let peer = match plan.against_linux {
            true => Some(peer::build(&build, &sources, &site, say)?),
            false => None,
        };
        let counts = plan.suites.iter().any(|suite| suite.counts_instructions());
        let counter = counts.then(|| peer::counter(&build, &sources)).transpose()?;
        let directory = env::temp_dir().join(format!("qs-bench-{}", process::id()));
        fs::create_dir_all(&directory)?;
        let rounds = if plan.quick { 2 } else { 5 };
        Ok(Self { plan, peer, counter, images, rounds, directory, machines: AtomicU32::new(0), say })
    }

    /// Where the machines' files are. Whoever ends the process early removes it.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Measures all suites of the plan. A suite that fails is told in the record; the others are worth having all the same.
    pub fn measure(&self) -> Result<Record, BenchError> {
        let kernel = self.peer.as_ref().map(|peer| peer.versions.clone());
        let mut record = Record::new(facts::Facts::gather(&self.plan, kernel.unwrap_or_default())?);
        if self.plan.needs_namespace() {
            namespace::set_up()?;
            for (tap, host, _) in [system::OUR_TAP, system::LINUX_TAP] {
                namespace::tap(tap, host)?;
            }
        }
        for &suite in &self.plan.suites {
            (self.say)(&format_args!("measuring {suite}"));
            let before = record.rows.len();
            let failed = suite.measure(self, &mut record).err().map(|error| error.to_string());
            let different: Vec<String> = record.rows[before..].iter().filter_map(Row::difference).collect();
            record
                .errors
                .extend(failed.into_iter().chain(different).map(|error| format!("{suite}: {error}")));
        }
        Ok(record)
    }

    /// The finished image of applications.
    fn image(&self, app: &str) -> &Path {
        self.images.get(app).expect("a suite names its images beforehand")
    }

    /// A number of requests, fewer for a quick run.
    fn scaled(&self, requests: u32) -> u32 {
        if self.plan.quick { requests / 5 } else { requests }
    }

    /// A new directory for a machine's files.
    fn machine_directory(&self) -> io::Result<PathBuf> {
        let number = self.machines.fetch_add(1, Ordering::Relaxed);
        let directory = self.directory.join(number.to_string());
        fs::create_dir(&directory)?;
        Ok(directory)
    }

    /// A machine with a name and a directory of its own.
    fn named(&self, builder: Builder) -> io::Result<Builder> {
        let directory = self.machine_directory()?;
        let name = directory.file_name().expect("it has a number for a name").to_string_lossy().into_owned();
        Ok(builder.named(&name, &directory))
    }
}

impl Drop for Bench<'_> {
    fn drop(&mut self) {
        // Fails only where it is gone already.
        drop(fs::remove_dir_all(&self.directory));
    }
}

/// What ends the name of an image that has no VMM.
const WITHOUT_VMM: &str = " without the VMM";
