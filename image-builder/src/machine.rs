//! A running machine.

mod builder;
mod control;
mod echo;
mod end;
mod probe;
mod serial;
mod start;

pub use builder::Builder;
pub use end::End;
pub use serial::SerialLog;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use serde_json::Value;

use crate::config::{Boot, Config, Emulator, Network};
use crate::plug::{Leave, PlugError, Plugged, Port, Site, Wish};
use crate::ports::Granted;
use crate::process::{Identity, POLL};
use crate::qmp::{Qmp, QmpError};

use control::Control;
use echo::Echo;

/// Lines of the serial log shown when something goes wrong.
const LAST_LINES: usize = 20;

/// The line that says that all applications are up.
pub const SERVING: &str = "boot: serving after";

#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    #[error("{emulator} did not start: {message}")]
    Start { emulator: &'static str, message: String },
    #[error("the machine ended ({end}) before {awaited}; its last lines:\n{last_lines}")]
    Ended { awaited: String, end: End, last_lines: String },
    #[error("{awaited}: not within {} s; the machine's last lines:\n{last_lines}", patience.as_secs())]
    Timeout { awaited: String, patience: Duration, last_lines: String },
    #[error("the machine still runs after {} s", .0.as_secs())]
    StillRunning(Duration),
    #[error("{what}: {error}")]
    Io { what: String, error: io::Error },
}

/// A running machine. Dropping it ends it and removes its files, unless it was detached.
#[derive(Debug)]
pub struct Machine {
    name: String,
    config: Config,
    directory: PathBuf,
    /// Whether the directory goes when the machine goes.
    owns_directory: bool,
    qmp_socket: Option<PathBuf>,
    serial_path: PathBuf,
    ports: Vec<Granted>,
    started: Instant,
    identity: Identity,
    child: Mutex<Child>,
    control: Mutex<Control>,
    serial: Mutex<SerialLog>,
    echo: Echo,
    detached: bool,
}

impl Machine {
    /// A machine yet to be started.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The emulator's process.
    pub fn process(&self) -> Identity {
        self.identity
    }

    /// Path of the QMP socket that is free for others, if the emulator is QEMU.
    pub fn qmp_socket(&self) -> Option<&Path> {
        self.qmp_socket.as_deref()
    }

    /// Path of the serial line's log.
    pub fn serial_path(&self) -> &Path {
        &self.serial_path
    }

    /// When the emulator was started.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// The forwarded ports, with those that replace taken ones.
    pub fn forwards(&self) -> &[Granted] {
        &self.ports
    }

    /// Host ports by service (`kv`, `http`, `metrics`, `ssh`; other guest ports by service name or number). On a tap
    /// device nothing is forwarded: the guest's own ports.
    pub fn ports(&self) -> BTreeMap<String, u16> {
        crate::ports::by_name(&self.ports)
    }

    /// The port at which a service is reached, at [`Machine::address`].
    pub fn port(&self, service: &str) -> Option<u16> {
        self.ports.iter().find(|grant| grant.name == service).map(|grant| grant.host)
    }

    /// The address of the machine's services: the loopback address with forwarded ports; on a tap device the one in the
    /// command line's `ip=`, if it is static.
    pub fn address(&self) -> Option<IpAddr> {
        match self.config.network {
            Network::User => Some(Ipv4Addr::LOCALHOST.into()),
            Network::Tap { .. } => {
                let setting =
                    self.config.command_line.split_whitespace().find_map(|word| word.strip_prefix("ip="))?;
                setting.split(['/', ',']).next()?.parse().ok()
            }
        }
    }

    /// Everything on the serial line so far.
    pub fn serial_text(&self) -> String {
        let mut serial = lock(&self.serial);
        // What cannot be read now is as good as not yet written.
        drop(serial.read().map(drop));
        serial.text()
    }

    /// How many complete lines of the serial log contain `pattern`.
    pub fn count_lines(&self, pattern: &str) -> Result<usize, MachineError> {
        let mut serial = lock(&self.serial);
        serial.read().map_err(self.failed("serial log"))?;
        Ok(serial.lines(&[pattern], false).count())
    }

    /// Waits for the first complete line of the serial log, from its beginning, that contains `pattern`.
    pub fn wait_for_line(&self, pattern: &str, patience: Duration) -> Result<String, MachineError> {
        self.wait_for_another_line(&[pattern], 0, patience)
    }

    /// The same for the first line behind so many that contain one of these.
    pub fn wait_for_another_line(
        &self,
        patterns: &[&str],
        before: usize,
        patience: Duration,
    ) -> Result<String, MachineError> {
        let deadline = Instant::now() + patience;
        loop {
            // Looked at before the log: what an ended machine has written is then all there.
            let ended = self.try_status()?;
            let mut serial = lock(&self.serial);
            serial.read().map_err(self.failed("serial log"))?;
            let line = serial.lines(patterns, ended.is_some()).nth(before);
            if let Some(line) = line {
                return Ok(line);
            }
            let awaited = || format!("'{}' on the serial line", patterns.join("' or '"));
            if let Some(status) = ended {
                let last_lines = serial.tail(LAST_LINES);
                drop(serial);
                return Err(MachineError::Ended { awaited: awaited(), end: self.end(status), last_lines });
            }
            if Instant::now() >= deadline {
                return Err(MachineError::Timeout {
                    awaited: awaited(),
                    patience,
                    last_lines: serial.tail(LAST_LINES),
                });
            }
            drop(serial);
            thread::sleep(POLL);
        }
    }

    /// How long this kind of machine may take to answer: firmware and slow hosts included.
    pub fn boot_patience(&self) -> Duration {
        let slow = self.config.boot == Boot::Uefi || self.config.icount;
        Duration::from_secs(if slow || self.config.emulator != Emulator::Qemu { 120 } else { 60 })
    }

    /// Waits until a service has said that it is ready, and then until it answers in its own protocol. The latter is
    /// left out where the host does not know its address.
    pub fn wait_ready(&self, service: &str) -> Result<(), MachineError> {
        let deadline = Instant::now() + self.boot_patience();
        let line = self.wait_for_line(&format!("ready: {service} on tcp port "), self.boot_patience())?;
        let guest = line.rsplit(' ').next().and_then(|word| word.parse::<u16>().ok());
        match guest {
            Some(guest) => self.wait_answer(service, guest, deadline),
            None => Ok(()),
        }
    }

    /// Waits until all applications are up, and until each service that has said it is ready answers.
    pub fn wait_serving(&self) -> Result<(), MachineError> {
        self.wait_for_line(SERVING, self.boot_patience())?;
        self.wait_announced()
    }

    /// Waits until each service that has said it is ready answers.
    pub fn wait_announced(&self) -> Result<(), MachineError> {
        let deadline = Instant::now() + self.boot_patience();
        for grant in &self.ports {
            let announced = format!("ready: {} on tcp port ", grant.name);
            if lock(&self.serial).line(&announced, false).is_some() {
                self.wait_answer(&grant.name, grant.guest, deadline)?;
            }
        }
        Ok(())
    }

    fn wait_answer(&self, service: &str, guest: u16, deadline: Instant) -> Result<(), MachineError> {
        let port = self.ports.iter().find(|grant| grant.guest == guest).map(|grant| grant.host);
        let (Some(address), Some(port)) = (self.address(), port) else { return Ok(()) };
        let awaited = || format!("an answer of {service}");
        loop {
            let error = match probe::try_once(service, SocketAddr::new(address, port), Duration::from_secs(2))
            {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if let Some(status) = self.try_status()? {
                let end = self.end(status);
                return Err(MachineError::Ended { awaited: awaited(), end, last_lines: self.last_lines() });
            }
            if Instant::now() >= deadline {
                let awaited = format!("{} ({error})", awaited());
                let patience = self.boot_patience();
                return Err(MachineError::Timeout { awaited, patience, last_lines: self.last_lines() });
            }
            thread::sleep(POLL);
        }
    }

    /// Runs a QMP command, such as `("query-status", Value::Null)`, and returns what it returns. Bochs has
    /// none.
    pub fn qmp(&self, command: &str, arguments: Value) -> Result<Value, QmpError> {
        lock(&self.control).execute(command, arguments)
    }

    /// Waits for a QMP event that nobody has waited for yet, such as `DEVICE_DELETED`, of the device with this ID.
    pub fn qmp_event(&self, event: &str, device: &str, patience: Duration) -> Option<Value> {
        let is_it = |told: &Value| told["event"] == event && told["data"]["device"] == device;
        lock(&self.control).event(is_it, Instant::now() + patience)
    }

    /// Where devices are plugged in; none where that is impossible.
    pub fn site(&self) -> Option<Site> {
        Site::of(&self.config, &self.directory)
    }

    /// The ports, and what is in them.
    pub fn hot_plug_ports(&self) -> Result<Vec<Port>, PlugError> {
        self.at_site(|site, qmp| site.ports(qmp))
    }

    /// Plugs a device in while the machine runs.
    pub fn plug(&self, wish: &Wish) -> Result<Plugged, PlugError> {
        self.at_site(|site, qmp| site.plug(qmp, wish))
    }

    /// Takes a device out, and waits until it has left.
    pub fn unplug(&self, device: &str, how: Leave, patience: Duration) -> Result<(), PlugError> {
        self.at_site(|site, qmp| site.unplug(qmp, device, how, patience))
    }

    fn at_site<T>(&self, work: impl FnOnce(&Site, &mut Qmp) -> Result<T, PlugError>) -> Result<T, PlugError> {
        let site = self.site().ok_or_else(|| PlugError::NoPci(self.name.clone()))?;
        work(&site, lock(&self.control).qmp()?)
    }

    /// Whether the emulator still runs.
    pub fn is_running(&self) -> bool {
        matches!(self.try_status(), Ok(None))
    }

    /// Waits until the machine has ended by itself, and says how. [`Duration::MAX`] waits for ever.
    pub fn wait_exit(&self, patience: Duration) -> Result<End, MachineError> {
        let deadline = Instant::now().checked_add(patience);
        loop {
            if let Some(status) = self.try_status()? {
                return Ok(self.end(status));
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(MachineError::StillRunning(patience));
            }
            thread::sleep(POLL);
        }
    }

    /// Ends the machine at once. Its serial text can still be read.
    pub fn kill(&self) -> Result<(), MachineError> {
        let mut child = lock(&self.child);
        child.kill().and_then(|()| child.wait()).map(drop).map_err(self.failed("the emulator"))
    }

    /// Lets the machine go on when this value and this process are gone. It must have been built as detached.
    pub fn detach(mut self) {
        self.detached = true;
    }

    fn try_status(&self) -> Result<Option<ExitStatus>, MachineError> {
        lock(&self.child).try_wait().map_err(self.failed("the emulator"))
    }

    /// How it ended, told when all that it said is shown.
    fn end(&self, status: ExitStatus) -> End {
        self.echo.finish();
        lock(&self.control).end(status)
    }

    fn last_lines(&self) -> String {
        let mut serial = lock(&self.serial);
        drop(serial.read().map(drop));
        serial.tail(LAST_LINES)
    }

    fn failed(&self, what: &str) -> impl FnOnce(io::Error) -> MachineError + use<> {
        let what = format!("{what} of machine '{}'", self.name);
        move |error| MachineError::Io { what, error }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if self.detached {
            return;
        }
        // Both fail only where the machine or its directory is gone already.
        drop(self.kill());
        if self.owns_directory {
            drop(fs::remove_dir_all(&self.directory));
        }
    }
}

/// A panic of another thread does not spoil what the lock guards: each step leaves it whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
