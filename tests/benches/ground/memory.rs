//! Memory in use, as each system says it, in bytes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::Failure;

/// From our metrics, in Prometheus' text format.
pub fn ours(metrics: SocketAddr) -> Result<f64, Failure> {
    let text = talk(metrics, "GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
    let line = text.lines().find_map(|line| line.strip_prefix("quicksilver_memory_used_bytes "));
    line.and_then(|value| value.trim().parse().ok()).ok_or(Failure::Figures("our metrics"))
}

/// From `/proc/meminfo`: what is neither free nor reclaimable. It leaves out the kernel's own image, and here the files of
/// the initial RAM disk, too: on a usual system they are on a disk.
pub fn linux(address: SocketAddr, files: u64) -> Result<f64, Failure> {
    let text = talk(address, "")?;
    let field = |name: &str| -> Option<f64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().trim_end_matches(" kB").parse::<f64>().ok()
    };
    let used =
        field("MemTotal:").zip(field("MemAvailable:")).map(|(total, available)| (total - available) * 1024.0);
    used.map(|used| used - files as f64).ok_or(Failure::Figures("/proc/meminfo"))
}

/// Says something and returns all that is answered until the other end closes.
fn talk(address: SocketAddr, question: &str) -> Result<String, Failure> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(10))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(question.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
