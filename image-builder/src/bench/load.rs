//! Load generators and the figures they report.

use std::net::SocketAddr;
use std::time::Duration;

use crate::program::{self, ProgramError};

/// One line of `redis-benchmark --csv`.
#[derive(Clone, Debug, PartialEq)]
pub struct Benchmark {
    pub test: String,
    pub requests_a_second: f64,
    /// 99th percentile of the latency, in milliseconds.
    pub p99: f64,
}

/// Runs `redis-benchmark` with further arguments, such as `["-t", "set,get", "-n", "1000"]`.
pub fn redis_benchmark(
    address: SocketAddr,
    patience: Duration,
    arguments: &[&str],
) -> Result<Vec<Benchmark>, ProgramError> {
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let fixed = ["-h", &host, "-p", &port, "--csv"];
    let said = program::run("redis-benchmark", patience, fixed.iter().chain(arguments))?;
    parse_csv(&said).ok_or(ProgramError::Unintelligible { program: "redis-benchmark".into(), said })
}

/// What `wrk` reports.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wrk {
    pub requests_a_second: f64,
    /// Answers with a status of 400 and above.
    pub refused: u64,
    /// Connections that failed, and requests without an answer.
    pub socket_errors: u64,
}

/// Runs `wrk` with one thread for whole `seconds`.
pub fn wrk(address: SocketAddr, path: &str, connections: u32, seconds: u32) -> Result<Wrk, ProgramError> {
    let url = format!("http://{address}{path}");
    let (connections, duration) = (connections.to_string(), format!("{seconds}s"));
    let patience = Duration::from_secs(u64::from(seconds) + 30);
    let said = program::run(
        "wrk",
        patience,
        ["-t", "1", "-c", &connections, "-d", &duration, "--timeout", "30s", &url],
    )?;
    parse_wrk(&said).ok_or(ProgramError::Unintelligible { program: "wrk".into(), said })
}

/// `"GET","14450.87","3.1","0.5","3.0","6.0","6.9","9.3"`: test, rate, then average, minimum, p50, p95, p99, maximum.
fn parse_csv(text: &str) -> Option<Vec<Benchmark>> {
    let rows = text.lines().filter(|line| line.starts_with('"') && !line.starts_with("\"test\""));
    let rows = rows.map(|line| {
        let fields: Vec<&str> = line.trim().trim_matches('"').split("\",\"").collect();
        Some(Benchmark {
            test: (*fields.first()?).to_owned(),
            requests_a_second: fields.get(1)?.parse().ok()?,
            p99: fields.get(6)?.parse().ok()?,
        })
    });
    rows.collect::<Option<Vec<_>>>().filter(|rows| !rows.is_empty())
}

fn parse_wrk(text: &str) -> Option<Wrk> {
    let after = |label: &str| text.lines().find_map(|line| line.trim().strip_prefix(label));
    let errors = after("Socket errors:").map_or(Some(0), |counts| {
        counts.split(',').map(|count| count.trim().rsplit(' ').next()?.parse::<u64>().ok()).sum()
    });
    Some(Wrk {
        requests_a_second: after("Requests/sec:")?.trim().parse().ok()?,
        refused: after("Non-2xx or 3xx responses:").map_or(Some(0), |count| count.trim().parse().ok())?,
        socket_errors: errors?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_benchmarks_table_is_read() {
        let text = "\"test\",\"rps\",\"avg_latency_ms\",\"min\",\"p50\",\"p95\",\"p99\",\"max\"\n\
                    \"SET\",\"100.50\",\"1\",\"2\",\"3\",\"4\",\"5.5\",\"6\"\n\
                    \"LRANGE_100 (first 100 elements)\",\"7.00\",\"1\",\"2\",\"3\",\"4\",\"5\",\"6\"\n";
        let rows = parse_csv(text).unwrap();
        assert_eq!(rows[0], Benchmark { test: "SET".into(), requests_a_second: 100.5, p99: 5.5 });
        assert_eq!(rows[1].test, "LRANGE_100 (first 100 elements)");
        assert_eq!(parse_csv("Could not connect"), None);
    }

    #[test]
    fn errors_of_wrk_are_seen() {
        let text = "  Socket errors: connect 1, read 2, write 0, timeout 4\n  Non-2xx or 3xx responses: 9\n\
                    Requests/sec:   5000.25\nTransfer/sec: 1MB\n";
        let expected = Wrk { requests_a_second: 5000.25, refused: 9, socket_errors: 7 };
        assert_eq!(parse_wrk(text), Some(expected));
        assert_eq!(parse_wrk("unable to connect"), None);
    }
}
