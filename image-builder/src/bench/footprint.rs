//! Memory in use, as each system says it, in bytes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::BenchError;
use super::system::System;

/// From the status page: what is not free, without the reserve that the serial log names.
pub(super) fn ours(system: &System) -> Result<f64, BenchError> {
    let unclear = BenchError::Figures("our status page");
    let log = system.machine().serial_text();
    let reserve =
        log.split("VMM reserve ").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<f64>().ok());
    let Some(reserve) = reserve else { return Err(unclear) };
    let text = talk(system.address(80)?, "GET /status HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
    let body = text.split("\r\n\r\n").nth(1).unwrap_or_default();
    let status: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let bytes = |name: &str| status["memory"][name].as_f64();
    let used = bytes("total_bytes").zip(bytes("free_bytes")).map(|(total, free)| total - free);
    used.map(|used| used - reserve * 1024.0 * 1024.0).ok_or(unclear)
}

/// From `/proc/meminfo`: what is neither free nor reclaimable. It leaves out the kernel's own image, and here the files of
/// the initial RAM disk, too: on a usual system they are on a disk.
pub(super) fn linux(address: SocketAddr, files: u64) -> Result<f64, BenchError> {
    let text = talk(address, "")?;
    let field = |name: &str| -> Option<f64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().trim_end_matches(" kB").parse::<f64>().ok()
    };
    let used =
        field("MemTotal:").zip(field("MemAvailable:")).map(|(total, available)| (total - available) * 1024.0);
    used.map(|used| used - files as f64).ok_or(BenchError::Figures("/proc/meminfo"))
}

/// Says something and returns all that is answered until the other end closes.
fn talk(address: SocketAddr, question: &str) -> Result<String, BenchError> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(10))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(question.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
