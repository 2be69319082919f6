//! The named machines of this user: one directory each, with a state file that is written in one step.
//!
//! `${XDG_RUNTIME_DIR}/quicksilver/NAME`, else `${XDG_STATE_HOME}/quicksilver/NAME`, else
//! `/tmp/quicksilver-UID/NAME`. A directory is left behind when its machine has ended: the log of the serial line stays
//! readable until the name is used again.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::{env, io, process};

use serde::{Deserialize, Serialize};

use crate::plug::Site;
use crate::process::Identity;

const STATE_FILE: &str = "state.json";
const SERIAL_FILE: &str = "serial.log";

/// A socket's path must fit into 108 bytes, so names stay short.
const NAME_LENGTH: usize = 40;

#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error(
        "machine name '{0}': 1 to {NAME_LENGTH} of a-z, A-Z, 0-9, '-', '_' and '.', beginning with a letter or digit"
    )]
    BadName(String),
    #[error("a machine named '{name}' is running (process {pid}): stop it, or give another --name")]
    Taken { name: String, pid: u32 },
    #[error("no machine named '{name}' is running{}", list_names(.running))]
    NotRunning { name: String, running: Vec<String> },
    #[error("no machine named '{0}' has left a log")]
    NoLog(String),
    #[error("{path} belongs to somebody else")]
    Foreign { path: PathBuf },
    #[error("{path}: {error}")]
    Io { path: PathBuf, error: io::Error },
    #[error("process {pid} of machine '{name}' cannot be ended: {error}")]
    Unstoppable { name: String, pid: u32, error: io::Error },
}

fn list_names(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!(" (running: {})", names.join(", ")) }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> StateError {
    let path = path.to_owned();
    move |error| StateError::Io { path, error }
}

/// What is known about a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    pub name: String,
    pub app: String,
    /// QEMU; while the machine is being built, the `qs` that builds it.
    pub process: Identity,
    /// Host ports by service.
    pub ports: BTreeMap<String, u16>,
    pub qmp: PathBuf,
    pub serial: PathBuf,
    pub machine: String,
    pub cpus: u32,
    pub memory: String,
    /// Seconds since the epoch.
    pub started: u64,
    /// False until QEMU runs.
    pub running: bool,
    /// Where devices are plugged in; none where that is impossible.
    #[serde(default)]
    pub site: Option<Site>,
}

/// All machines of this user.
#[derive(Clone, Debug)]
pub struct Registry {
    root: PathBuf,
}

impl Registry {
    /// The registry of this user.
    pub fn of_user() -> Result<Self, StateError> {
        let base = ["XDG_RUNTIME_DIR", "XDG_STATE_HOME"]
            .into_iter()
            .filter_map(env::var_os)
            .map(PathBuf::from)
            .find(|path| path.is_absolute() && path.is_dir());
        let uid = rustix::process::getuid().as_raw();
        let root = match base {
            Some(base) => base.join("quicksilver"),
            None => PathBuf::from(format!("/tmp/quicksilver-{uid}")),
        };
        let registry = Self::at(root)?;
        // Below /tmp somebody else could have been there first.
        if fs::symlink_metadata(&registry.root).map_err(at(&registry.root))?.uid() != uid {
            return Err(StateError::Foreign { path: registry.root });
        }
        Ok(registry)
    }

    /// A registry in a directory of the caller's choice, made if need be.
    pub fn at(root: PathBuf) -> Result<Self, StateError> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&root).map_err(at(&root))?;
        Ok(Self { root })
    }

    /// Takes a name for a machine to be started by this process. Without a wish, the app's name is taken, numbered where
    /// it is in use.
    pub fn claim(&self, wish: Option<&str>, app: &str) -> Result<Claim, StateError> {
        let _lock = self.lock()?;
        let name = match wish {
            Some(name) => {
                check_name(name)?;
                if let Some(state) = self.read(name) {
                    return Err(StateError::Taken { name: name.to_owned(), pid: state.process.pid });
                }
                name.to_owned()
            }
            None => {
                let base: String =
                    app.chars().take(NAME_LENGTH - 6).map(|c| if c == ',' { '-' } else { c }).collect();
                check_name(&base)?;
                let candidates =
                    std::iter::once(base.clone()).chain((2..).map(|number| format!("{base}-{number}")));
                candidates.into_iter().find(|name| self.read(name).is_none()).expect("the numbers do not end")
            }
        };
        let directory = self.root.join(&name);
        if directory.exists() {
            fs::remove_dir_all(&directory).map_err(at(&directory))?;
        }
        fs::DirBuilder::new().mode(0o700).create(&directory).map_err(at(&directory))?;
        let claim = Claim { name, directory };
        claim.record(&State {
            name: claim.name.clone(),
            app: app.to_owned(),
            process: Identity::of(process::id()).expect("this process is alive"),
            ports: BTreeMap::new(),
            qmp: PathBuf::new(),
            serial: claim.directory.join(SERIAL_FILE),
            machine: String::new(),
            cpus: 0,
            memory: String::new(),
            started: 0,
            running: false,
            site: None,
        })?;
        Ok(claim)
    }

    /// The machines that are alive, by name. What ended machines have left is cleaned away, except their logs.
    pub fn list(&self) -> Result<Vec<State>, StateError> {
        let _lock = self.lock()?;
        let mut states = Vec::new();
        for entry in fs::read_dir(&self.root).map_err(at(&self.root))? {
            let name = entry.map_err(at(&self.root))?.file_name();
            let Some(name) = name.to_str().filter(|name| check_name(name).is_ok()) else { continue };
            match self.read(name) {
                Some(state) => states.push(state),
                None => sweep(&self.root.join(name)),
            }
        }
        states.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(states)
    }

    /// The machine of this name, if it is alive.
    pub fn find(&self, name: &str) -> Result<State, StateError> {
        check_name(name)?;
        let states = self.list()?;
        let names = states.iter().map(|state| state.name.clone()).collect();
        states
            .into_iter()
            .find(|state| state.name == name)
            .ok_or_else(|| StateError::NotRunning { name: name.to_owned(), running: names })
    }

    /// The serial log of a machine, alive or not.
    pub fn serial_log(&self, name: &str) -> Result<PathBuf, StateError> {
        check_name(name)?;
        let path = self.root.join(name).join(SERIAL_FILE);
        if path.is_file() { Ok(path) } else { Err(StateError::NoLog(name.to_owned())) }
    }

    /// The state of a machine that is alive.
    fn read(&self, name: &str) -> Option<State> {
        let text = fs::read(self.root.join(name).join(STATE_FILE)).ok()?;
        let state: State = serde_json::from_slice(&text).ok()?;
        state.process.is_alive().then_some(state)
    }

    /// Held over every look at several machines and every change of the set; released when dropped.
    fn lock(&self) -> Result<File, StateError> {
        let path = self.root.join(".lock");
        let file = File::create(&path).map_err(at(&path))?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)
            .map_err(|error| at(&path)(error.into()))?;
        Ok(file)
    }
}

/// A name and its directory, held by this process.
#[derive(Debug)]
pub struct Claim {
    pub name: String,
    pub directory: PathBuf,
}

impl Claim {
    /// Writes the machine's state: readers see the old one or the new one, never a part.
    pub fn record(&self, state: &State) -> Result<(), StateError> {
        let path = self.directory.join(STATE_FILE);
        let new = self.directory.join("state.json.new");
        let text = serde_json::to_vec_pretty(state).expect("a state is plain data");
        fs::write(&new, text).and_then(|()| fs::rename(&new, &path)).map_err(at(&path))
    }

    /// Gives the name back; the log stays.
    pub fn release(self) {
        sweep(&self.directory);
    }
}

/// Removes everything but the log. Somebody else may be at it as well, so nothing here fails.
fn sweep(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        if entry.file_name() != SERIAL_FILE {
            drop(fs::remove_file(entry.path()));
        }
    }
    // Succeeds only where there is no log either.
    drop(fs::remove_dir(directory));
}

fn check_name(name: &str) -> Result<(), StateError> {
    let fits = (1..=NAME_LENGTH).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if fits { Ok(()) } else { Err(StateError::BadName(name.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(test: &str) -> Registry {
        let root = env::temp_dir().join(format!("qs-state-{test}-{}", process::id()));
        Registry::at(root).unwrap()
    }

    fn remove(registry: Registry) {
        fs::remove_dir_all(registry.root).unwrap();
    }

    #[test]
    fn a_name_belongs_to_one_machine_at_a_time() {
        let registry = registry("unique");
        let claim = registry.claim(Some("a"), "kv").unwrap();
        assert!(matches!(registry.claim(Some("a"), "kv"), Err(StateError::Taken { .. })));
        let numbered = [registry.claim(None, "kv").unwrap().name, registry.claim(None, "kv").unwrap().name];
        assert_eq!(numbered, ["kv", "kv-2"]);
        claim.release();
        assert_eq!(registry.claim(Some("a"), "kv").unwrap().name, "a");
        remove(registry);
    }

    #[test]
    fn a_dead_machine_leaves_its_log_and_nothing_else() {
        let registry = registry("stale");
        let claim = registry.claim(Some("dead"), "kv").unwrap();
        let mut state = registry.find("dead").unwrap();
        // The process id lives on, but belongs to somebody else.
        state.process.start_time += 1;
        claim.record(&state).unwrap();
        fs::write(&state.serial, "last words").unwrap();
        assert!(registry.list().unwrap().is_empty());
        assert!(matches!(registry.find("dead"), Err(StateError::NotRunning { .. })));
        assert!(!claim.directory.join(STATE_FILE).exists());
        assert_eq!(fs::read_to_string(registry.serial_log("dead").unwrap()).unwrap(), "last words");
        remove(registry);
    }

    #[test]
    fn a_torn_state_file_is_no_machine() {
        let registry = registry("torn");
        let claim = registry.claim(Some("torn"), "kv").unwrap();
        fs::write(claim.directory.join(STATE_FILE), "{\"name\": \"to").unwrap();
        assert!(registry.list().unwrap().is_empty());
        remove(registry);
    }

    #[test]
    fn names_stay_inside_the_directory() {
        let registry = registry("names");
        for name in ["", "..", ".lock", "a/b", "../x", "a b", &"x".repeat(41)] {
            assert!(matches!(registry.claim(Some(name), "kv"), Err(StateError::BadName(_))), "{name}");
        }
        remove(registry);
    }
}
