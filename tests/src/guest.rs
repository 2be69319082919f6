//! Machines that run an image of this project, and what is said to them. Made for tests: what goes wrong is a panic.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use image_builder::kernel::{self, CheckpointKey, Content};
use image_builder::tools::{self, TABLE, Tool};
use image_builder::workspace::Workspace;
use image_builder::{Machine, machine::Builder, ports};

use crate::program;
use crate::slots::{self, Slots};

/// The applications that most tests need together.
pub const ALL: &str = "kv,web,stream";

/// How long anything may take that should be done at once. Generous: the host may be busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The image of some applications, built by the first who asks. Gets missing host tools, too.
///
/// # Panics
/// When it cannot be built.
pub fn image(apps: &str) -> PathBuf {
    image_of(&Content::of(apps))
}

/// The same with assertions, and the manual's rules checked before each entry into guest mode.
///
/// # Panics
/// When it cannot be built.
pub fn checked_image(apps: &str) -> PathBuf {
    image_of(&Content { checked: true, ..Content::of(apps) })
}

/// The same with assertions and without a host key.
///
/// # Panics
/// When it cannot be built.
pub fn checked_image_without_host_key(apps: &str) -> PathBuf {
    image_of(&Content { checked: true, host_key: false, ..Content::of(apps) })
}

/// The same for others than the user to operate: their keys are in a file like OpenSSH's authorized_keys.
///
/// # Panics
/// When it cannot be built.
pub fn image_for(apps: &str, operators: &Path) -> PathBuf {
    image_of(&Content { operators: Some(operators), ..Content::of(apps) })
}

/// The same with another key for checkpoints than the user's, or none.
///
/// # Panics
/// When it cannot be built.
pub fn image_with_checkpoint_key(apps: &str, checkpoint_key: CheckpointKey<'_>) -> PathBuf {
    image_of(&Content { checkpoint_key, ..Content::of(apps) })
}

/// The same without a host key: a machine makes its own.
///
/// # Panics
/// When it cannot be built.
pub fn image_without_host_key(apps: &str) -> PathBuf {
    image_of(&Content { host_key: false, ..Content::of(apps) })
}

fn image_of(content: &Content<'_>) -> PathBuf {
    // A failure is kept, too: the next test would only fail the same way.
    static BUILT: Mutex<BTreeMap<String, Result<PathBuf, String>>> = Mutex::new(BTreeMap::new());
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let image = built
        .entry(format!("{content:?}"))
        .or_insert_with(|| build(content).map_err(|error| error.to_string()))
        .clone();
    drop(built);
    image.unwrap_or_else(|error| panic!("{error}"))
}

fn build(content: &Content<'_>) -> Result<PathBuf, image_builder::Error> {
    // What few tests need is got by them: see `has`.
    let few = |tool: &Tool| tools::BOCHS_TOOLS.contains(tool) || tools::METRICS_TOOLS.contains(tool);
    let needed = TABLE.iter().map(|info| info.tool).filter(|tool| !few(tool));
    tools::require(&needed.collect::<Vec<Tool>>())?;
    Ok(kernel::image(&Workspace::find()?, content)?.elf)
}

/// Whether there are these tools, installed if need be. Where they cannot be had, says that `what` is skipped.
pub fn has(needed: &[Tool], what: &str) -> bool {
    tools::require(needed).inspect_err(|error| skip(what, error)).is_ok()
}

/// The same for a Bochs.
pub fn has_bochs(what: &str) -> bool {
    has(tools::BOCHS_TOOLS, what)
}

/// A machine with all applications, the ports of `stream` forwarded, too.
pub fn machine() -> Builder {
    Machine::builder().elf(&image(ALL)).forward(7).forward(9).forward(19)
}

/// A running machine and its slot. When the test fails, the end of its serial log is printed.
#[derive(Debug)]
pub struct Guest {
    machine: Machine,
    _slot: Slots,
}

impl Guest {
    /// Starts a machine as soon as there is a slot for it.
    ///
    /// # Panics
    /// When QEMU does not start.
    pub fn start(builder: Builder) -> Self {
        Self::start_in(slots::take(1), builder)
    }

    /// The same with slots that are held already.
    ///
    /// # Panics
    /// When QEMU does not start.
    pub fn start_in(slot: Slots, builder: Builder) -> Self {
        let machine = builder.spawn().unwrap_or_else(|error| panic!("{error}"));
        Self { machine, _slot: slot }
    }

    /// Starts a machine and waits until its applications answer.
    ///
    /// # Panics
    /// When they do not.
    pub fn serving(builder: Builder) -> Self {
        let guest = Self::start(builder);
        guest.wait_serving().unwrap_or_else(|error| panic!("{error}"));
        guest
    }

    /// Where a service is reached.
    ///
    /// # Panics
    /// When it is not.
    pub fn at(&self, service: &str) -> SocketAddr {
        let address = self.address().unwrap_or_else(|| panic!("the machine's address is not known"));
        // On a tap device every port is the guest's own.
        let own = || ports::SERVICES.iter().find(|(name, _)| *name == service).map(|(_, port)| *port);
        let port = self.port(service).or_else(|| own().filter(|_| !address.is_loopback()));
        SocketAddr::new(address, port.unwrap_or_else(|| panic!("{service} is not forwarded")))
    }

    /// What `redis-cli` prints for a command, without the last line break.
    ///
    /// # Panics
    /// When it fails.
    pub fn redis_cli(&self, words: &[&str]) -> String {
        let port = self.at("kv").port().to_string();
        let host = self.at("kv").ip().to_string();
        let fixed = ["-h", &host, "-p", &port];
        let said = program::run("redis-cli", PATIENCE, fixed.iter().chain(words));
        said.unwrap_or_else(|error| panic!("{error}")).trim_end_matches('\n').to_owned()
    }

    /// What `curl` prints for a path of the web server, with further options before the URL.
    ///
    /// # Panics
    /// When it fails.
    pub fn curl(&self, options: &[&str], path: &str) -> String {
        self.curl_of("http", options, path)
    }

    /// The same of another service.
    ///
    /// # Panics
    /// When it fails.
    pub fn curl_of(&self, service: &str, options: &[&str], path: &str) -> String {
        let url = format!("http://{}{path}", self.at(service));
        let words =
            ["--silent", "--show-error", "--max-time", "30"].into_iter().chain(options.iter().copied());
        let said = program::run("curl", PATIENCE, words.chain([url.as_str()]));
        said.unwrap_or_else(|error| panic!("{error}"))
    }

    /// A connection to a service, with deadlines.
    ///
    /// # Panics
    /// When there is none.
    pub fn connect(&self, service: &str) -> TcpStream {
        let connect = || -> io::Result<TcpStream> {
            let stream = TcpStream::connect_timeout(&self.at(service), PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            stream.set_nodelay(true)?;
            Ok(stream)
        };
        connect().unwrap_or_else(|error| panic!("{service}: {error}"))
    }

    /// Asserts that all applications answer, and that the machine has not failed.
    ///
    /// # Panics
    /// When one does not.
    pub fn assert_well(&self) {
        assert_eq!(echo(self.connect("echo"), b"are you there?"), b"are you there?");
        self.assert_serving();
    }

    /// Asserts that store and web server answer, and that the machine has not failed.
    ///
    /// # Panics
    /// When one does not.
    pub fn assert_serving(&self) {
        assert_eq!(self.redis_cli(&["PING"]), "PONG");
        assert_eq!(self.curl(&["--output", "/dev/null", "--write-out", "%{http_code}"], "/"), "200");
        assert!(self.is_running());
        assert!(!self.serial_text().contains("last words"), "{}", self.serial_text());
    }
}

impl Deref for Guest {
    type Target = Machine;

    fn deref(&self) -> &Machine {
        &self.machine
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let text = self.machine.serial_text();
            let lines: Vec<&str> = text.lines().collect();
            eprintln!("the machine's last lines:\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
        }
    }
}

/// Sends bytes, closes that direction and returns what comes back until the other closes.
///
/// # Panics
/// When that takes too long. A connection that is reset is an answer, too.
pub fn exchange(mut stream: TcpStream, bytes: &[u8]) -> Vec<u8> {
    // The other end may have had enough before it has read everything.
    let sent = stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write));
    let mut answer = Vec::new();
    let received = stream.read_to_end(&mut answer);
    for result in [sent, received.map(drop)] {
        if let Err(error) = result {
            let late = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
            assert!(!late, "neither an answer nor an end; so far: {}", answer.escape_ascii());
        }
    }
    answer
}

/// Sends bytes and returns as many that come back.
///
/// # Panics
/// When they do not come.
pub fn echo(mut stream: TcpStream, bytes: &[u8]) -> Vec<u8> {
    let mut answer = vec![0; bytes.len()];
    let result = stream.write_all(bytes).and_then(|()| stream.read_exact(&mut answer));
    result.unwrap_or_else(|error| panic!("no echo: {error}"));
    answer
}

/// Asks until `condition` holds.
///
/// # Panics
/// When it does not within [`PATIENCE`].
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within {} s", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Says on the terminal, and not only in a failed test's output, that something could not be tested here.
pub fn skip(what: &str, why: &dyn std::fmt::Display) {
    // Where the terminal is gone nobody reads it either.
    drop(writeln!(io::stderr(), "SKIPPED: {what}: {why}"));
}
