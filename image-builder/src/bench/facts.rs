//! What has to be known about a session to make sense of its figures. Neither the host's name nor the user's.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use std::{env, fs, thread};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::config::Config;
use crate::date::date;
use crate::{Error, program, tools};

use super::{BenchError, Plan};

const PATIENCE: Duration = Duration::from_secs(10);

/// Facts of a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// When it began: RFC 3339, in UTC.
    pub date: String,
    /// The arguments of `qs`.
    pub command: Vec<String>,
    /// Version of this program, and of the sources where git knows it.
    pub version: String,
    /// The emulator.
    pub emulator: String,
    /// Its `-machine`, `-accel`, `-cpu`, `-m`, and the network card.
    pub machine: String,
    /// CPUs of machines of suites that run inside.
    pub cpus: u32,
    /// Whether instructions are counted instead of time.
    pub icount: bool,
    /// Whether rounds and requests were few.
    pub quick: bool,
    /// The host's CPU, how many of them, and its kernel.
    pub host: String,
    /// Load of the host when it began: processes that ran or waited in the last minute.
    pub load: f64,
    /// Packages that Linux is made of, with their versions; empty where it was not measured.
    pub peer: BTreeMap<String, String>,
}

impl Facts {
    /// The facts now.
    pub(super) fn gather(plan: &Plan, peer: BTreeMap<String, String>) -> Result<Self, BenchError> {
        let qemu = tools::qemu(None).map_err(Error::from)?;
        let emulator = program::run(&qemu.to_string_lossy(), PATIENCE, ["--version"])?;
        let config = Config::default();
        let Config { machine, accelerator, memory, nic, .. } = &config;
        Ok(Self {
            date: date(OffsetDateTime::now_utc()),
            command: env::args().skip(1).collect(),
            version: version(),
            emulator: emulator.lines().next().unwrap_or_default().to_owned(),
            machine: format!("{machine}, {accelerator}, -cpu max, {memory}, {nic}"),
            cpus: plan.cpus,
            icount: plan.icount,
            quick: plan.quick,
            host: host(),
            load: load(&fs::read_to_string("/proc/loadavg")?).ok_or(BenchError::Figures("/proc/loadavg"))?,
            peer,
        })
    }
}

fn version() -> String {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).display().to_string();
    let words = ["-C", &sources, "describe", "--always", "--dirty"];
    let revision = program::run("git", PATIENCE, words).unwrap_or_default();
    format!("{} {}", env!("CARGO_PKG_VERSION"), revision.trim()).trim_end().to_owned()
}

fn host() -> String {
    let count = thread::available_parallelism().map_or(1, usize::from);
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{count} CPUs, {}, Linux {}", model.unwrap_or("unknown"), kernel.trim()).trim_end().to_owned()
}

fn load(text: &str) -> Option<f64> {
    text.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_loads() {
        assert_eq!(load("0.52 0.58 0.59 1/467 1234\n"), Some(0.52));
        assert_eq!(load("no"), None);
        assert!(host().contains(" CPUs, ") && !host().ends_with("Linux"));
    }
}
