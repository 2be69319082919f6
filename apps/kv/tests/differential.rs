//! Sends the same commands to the store and to a Redis server, and compares the replies byte for byte.
//!
//! `scripts/*.txt` hold one inline command a line. `~` in front: the order of the elements means nothing. `?`: only the
//! first byte of the reply is compared. `#`: a comment. Every script runs in both versions of the protocol.
mod common;

use common::{reply_length, sorted_elements};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

struct Redis {
    process: Child,
    stream: TcpStream,
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Redis {
    /// Starts a server; `None` if there is none on this computer.
    fn start() -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
        let process = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--enable-debug-command", "local"])
            .stdout(Stdio::null())
            .spawn()
            .ok()?;
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            match TcpStream::connect(("127.0.0.1", port)) {
                Ok(stream) => {
                    stream.set_nodelay(true).expect("a TCP option");
                    return Some(Self { process, stream });
                }
                Err(_) if Instant::now() < deadline => std::thread::yield_now(),
                Err(error) => panic!("redis-server does not answer: {error}"),
            }
        }
    }

    fn send(&mut self, line: &str) -> Vec<u8> {
        self.stream.write_all(format!("{line}\r\n").as_bytes()).expect("redis-server takes commands");
        let mut reply = Vec::new();
        let mut buffer = [0; 64 * 1024];
        loop {
            if let Some(length) = reply_length(&reply).filter(|_| !reply.is_empty()) {
                assert_eq!(length, reply.len(), "one reply to {line}");
                return reply;
            }
            let length = self.stream.read(&mut buffer).expect("redis-server replies");
            assert!(length > 0, "redis-server ended at {line}");
            reply.extend_from_slice(&buffer[..length]);
        }
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_millis() as u64
}

fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// Runs a script against both and returns the differences.
fn compare(redis: &mut Redis, name: &str, script: &str, protocol: u8) -> Vec<String> {
    let mut store = kv::Store::new([1, 2], now());
    let mut session = kv::Session::new(&mut store, "127.0.0.1:1".into(), now());
    let mut differences = Vec::new();
    redis.send("RESET");
    redis.send("FLUSHALL");
    let hello = format!("?HELLO {protocol}");
    for line in std::iter::once(hello.as_str()).chain(script.lines()) {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let command = line.trim_start_matches(['~', '?']);
        let expected = redis.send(command);
        let mut reply = Vec::new();
        session.feed(&mut store, now(), format!("{command}\r\n").as_bytes(), &mut reply);
        let same = match line.as_bytes()[0] {
            b'~' => sorted_elements(&expected) == sorted_elements(&reply),
            b'?' => expected[0] == *reply.first().unwrap_or(&0),
            _ => expected == reply,
        };
        if !same {
            let (expected, reply) = (text(&expected), text(&reply));
            differences.push(format!(
                "{name} (protocol {protocol}): {command}\n  Redis: {expected}\n  kv:    {reply}"
            ));
        }
    }
    differences
}

#[test]
fn replies_are_those_of_redis() {
    let Some(mut redis) = Redis::start() else {
        // Not eprintln!, which the test harness keeps to itself.
        let _ = writeln!(std::io::stderr(), "SKIPPED: there is no redis-server to compare with");
        return;
    };
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts");
    let mut paths: Vec<_> = std::fs::read_dir(directory)
        .expect("the scripts")
        .map(|entry| entry.expect("a script").path())
        .collect();
    paths.sort();
    let mut differences = Vec::new();
    for path in paths {
        let script = std::fs::read_to_string(&path).expect("a script");
        for protocol in [2, 3] {
            differences.extend(compare(
                &mut redis,
                &path.file_name().expect("a name").to_string_lossy(),
                &script,
                protocol,
            ));
        }
    }
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
}
