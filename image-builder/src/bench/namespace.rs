//! A network namespace of one's own.
//!
//! The process runs itself again inside the namespace, so that everything it starts there (QEMU, the clients) is inside
//! too, and all of it, tap devices included, is gone when the process is. Root is not needed where the system lets users
//! make user namespaces and open `/dev/net/tun`.

use std::env;
use std::io;
use std::net::Ipv4Addr;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use crate::program::{self, ProgramError};

const MARK: &str = "QS_IN_NAMESPACE";
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    #[error("no network namespace with tap devices can be made here: {0}")]
    Refused(String),
    #[error("starting this program again: {0}")]
    Again(#[from] io::Error),
    #[error(transparent)]
    Program(#[from] ProgramError),
}

/// Whether this process runs inside a namespace that [`again`] made.
pub fn inside() -> bool {
    env::var_os(MARK).is_some()
}

/// The words before a command that has to run in a new namespace, tried out with a tap device.
pub fn entrance() -> Result<Vec<&'static str>, NamespaceError> {
    let root = vec!["unshare", "--net", "--"];
    let user = vec!["unshare", "--user", "--map-root-user", "--net", "--"];
    let mut refusals = Vec::new();
    for words in [root, user] {
        let arguments = words[1..].iter().chain(&["ip", "tuntap", "add", "name", "probe0", "mode", "tap"]);
        match program::run(words[0], PATIENCE, arguments) {
            Ok(_) => return Ok(words),
            Err(error) => refusals.push(error.to_string()),
        }
    }
    Err(NamespaceError::Refused(refusals.join("; ")))
}

/// Runs this program again, inside a new namespace, with these arguments, and waits for its end.
pub fn again(arguments: &[String]) -> Result<ExitStatus, NamespaceError> {
    let entrance = entrance()?;
    let mut command = Command::new(entrance[0]);
    command.args(&entrance[1..]).args(["setpriv", "--pdeathsig", "KILL", "--"]);
    command.arg(env::current_exe()?).args(arguments).env(MARK, "1");
    Ok(command.status()?)
}

/// Brings up the loopback device, which a new namespace has down.
pub fn set_up() -> Result<(), NamespaceError> {
    program::run("ip", PATIENCE, ["link", "set", "lo", "up"])?;
    Ok(())
}

/// Makes tap devices that are on one network with the host, which is `host` there, by a bridge of this name.
pub fn bridge(name: &str, host: Ipv4Addr, taps: &[&str]) -> Result<(), NamespaceError> {
    let ip = |words: &[&str]| program::run("ip", PATIENCE, words).map(drop);
    ip(&["link", "add", name, "type", "bridge"])?;
    ip(&["addr", "add", &format!("{host}/24"), "dev", name])?;
    ip(&["link", "set", name, "up"])?;
    for tap in taps {
        ip(&["tuntap", "add", "name", tap, "mode", "tap"])?;
        ip(&["link", "set", tap, "master", name, "up"])?;
    }
    Ok(())
}

/// Makes a tap device with the host's address (`/24`) on it.
pub fn tap(name: &str, host: Ipv4Addr) -> Result<(), NamespaceError> {
    program::run("ip", PATIENCE, ["tuntap", "add", "name", name, "mode", "tap"])?;
    program::run("ip", PATIENCE, ["addr", "add", &format!("{host}/24"), "dev", name])?;
    program::run("ip", PATIENCE, ["link", "set", name, "up"])?;
    // Clients that come before the guest ask for its address every 10 ms, not once a second. Where the setting cannot
    // be written, they wait longer.
    let setting = format!("/proc/sys/net/ipv4/neigh/{name}/retrans_time_ms");
    drop(std::fs::write(setting, "10"));
    Ok(())
}
