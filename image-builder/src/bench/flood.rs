//! What a flood on the control port does to an application.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::modes::{KV, start};
use super::row::{Goal, Row};
use super::served::set_get;
use super::system::Setting;
use super::{Bench, BenchError};

const CONTROL: u16 = 22;
/// Connections a second that begin a key exchange: what the flooders reach, most of which wait in vain for an answer.
const RATE: u32 = 250;
const FLOODERS: u32 = 32;

/// Latency while the control port is flooded, and while the same flood goes to a port of the host: so that what the flood
/// takes of the host's CPUs is in both.
pub(super) fn flood(bench: &Bench<'_>) -> Result<Vec<Row>, BenchError> {
    let system = start(bench, "kv", Setting::default())?;
    let (address, control) = (system.address(KV)?, system.address(CONTROL)?);
    let decoy = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let elsewhere = decoy.local_addr()?;
    thread::spawn(move || decoy.incoming().for_each(drop));
    let row = |test: &str, goal| {
        let what = format!("{test} p99, 50 clients, -P 1");
        Row::new("flood", what, "ms", goal).between(["flooded", "calm"])
    };
    let mut rows = [row("SET", Goal::TimesAtMost(1.2)), row("GET", Goal::TimesAtMost(1.2))];
    for _ in 0..bench.rounds {
        for (target, is_ours) in [(control, true), (elsewhere, false)] {
            let (results, tried) = under(target, || set_get(address, 50, 1, bench.scaled(200_000)));
            (bench.say)(&format_args!("{tried} connections a second to {target}"));
            for (row, result) in rows.iter_mut().zip(results?) {
                if is_ours { &mut row.ours } else { &mut row.peer }.push(result.p99);
            }
        }
    }
    Ok(rows.into())
}

/// Does `work` while `target` is flooded; with it, the connections a second that were tried.
fn under<T>(target: SocketAddr, work: impl FnOnce() -> T) -> (T, u32) {
    let whole = handshake();
    let (over, tried) = (AtomicBool::new(false), AtomicU32::new(0));
    let begin = Instant::now();
    let result = thread::scope(|scope| {
        for flooder in 0..FLOODERS {
            let (whole, over, tried) = (&whole, &over, &tried);
            scope.spawn(move || {
                let mut due = begin + Duration::from_secs(1) * flooder / RATE;
                while !over.load(Ordering::Relaxed) {
                    strike(target, whole);
                    tried.fetch_add(1, Ordering::Relaxed);
                    // Nothing is made up for: a slow answer must not bring a burst.
                    due = (due + Duration::from_secs(1) * FLOODERS / RATE).max(Instant::now());
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                }
            });
        }
        let result = work();
        over.store(true, Ordering::Relaxed);
        result
    });
    (result, (f64::from(tried.into_inner()) / begin.elapsed().as_secs_f64()) as u32)
}

/// A greeting and a key exchange as far as it goes without keys: KEXINIT (RFC 4253, 7.1), the client's half of the exchange
/// (RFC 8731), and NEWKEYS.
pub fn handshake() -> Vec<u8> {
    let lists = [
        "curve25519-sha256,kex-strict-c-v00@openssh.com",
        "ssh-ed25519",
        "chacha20-poly1305@openssh.com",
        "chacha20-poly1305@openssh.com",
        "hmac-sha2-256",
        "hmac-sha2-256",
        "none",
        "none",
        "",
        "",
    ];
    let string = |bytes: &[u8]| [&(bytes.len() as u32).to_be_bytes(), bytes].concat();
    let mut init = vec![20];
    init.extend([1; 16]);
    lists.iter().for_each(|list| init.extend(string(list.as_bytes())));
    init.extend([0; 5]);
    let mut half = vec![30];
    half.extend(string(&[9; 32]));
    let mut said = b"SSH-2.0-flood\r\n".to_vec();
    for payload in [init, half, vec![21]] {
        let padding = 4 + (8 - (payload.len() + 9) % 8) % 8;
        said.extend((payload.len() as u32 + 1 + padding as u32).to_be_bytes());
        said.push(padding as u8);
        said.extend(payload);
        said.extend(vec![0; padding]);
    }
    said
}

/// One connection that is refused.
fn strike(target: SocketAddr, said: &[u8]) {
    const SHORT: Duration = Duration::from_millis(100);
    if let Ok(mut stream) = TcpStream::connect_timeout(&target, SHORT) {
        drop(stream.set_read_timeout(Some(SHORT)));
        drop(stream.write_all(said).and_then(|()| stream.read(&mut [0; 64])));
    }
}
