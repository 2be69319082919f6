//! Clients of the store that remember when each answer came, and how long they had waited for it.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::BenchError;
use super::system::connect;

/// Bytes of a value.
pub(super) const VALUE: usize = 1000;
/// Clients, each with one request at a time: of four one writes.
pub(super) const CLIENTS: usize = 16;
/// Requests that are under way at once while the store is filled.
const FILLED: usize = 64;

/// An answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    /// When it came, since the beginning.
    pub at: Duration,
    /// How long it was waited for.
    pub waited: Duration,
}

/// What was answered in a time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Phase {
    /// Answers a second.
    pub rate: f64,
    /// Milliseconds.
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
}

impl Phase {
    /// `None` without an answer between the two.
    pub(super) fn of(answers: &[Answer], from: Duration, to: Duration) -> Option<Self> {
        let within = answers.iter().filter(|answer| (from..to).contains(&answer.at));
        let mut waited: Vec<f64> = within.map(|answer| answer.waited.as_secs_f64() * 1e3).collect();
        waited.sort_by(f64::total_cmp);
        let part = |of: usize| waited.get((waited.len() * of / 100).min(waited.len().saturating_sub(1)));
        let rate = waited.len() as f64 / (to - from).as_secs_f64();
        Some(Self { rate, p50: *part(50)?, p99: *part(99)?, max: *waited.last()? })
    }

    /// Of a million answers between the two, how many were waited for longer than `limit`, in milliseconds.
    pub(super) fn slow(answers: &[Answer], from: Duration, to: Duration, limit: f64) -> f64 {
        let within = answers.iter().filter(|answer| (from..to).contains(&answer.at));
        let (mut all, mut slow) = (0_u32, 0_u32);
        for answer in within {
            all += 1;
            slow += u32::from(answer.waited.as_secs_f64() * 1e3 > limit);
        }
        f64::from(slow) / f64::from(all.max(1)) * 1e6
    }
}

/// Numbers without a pattern, so that nothing is compressed.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        bytes
            .chunks_mut(8)
            .for_each(|chunk| chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]));
    }
}

fn set(key: usize, value: &[u8]) -> Vec<u8> {
    let head = format!("*3\r\n$3\r\nSET\r\n$8\r\n{key:08}\r\n${VALUE}\r\n");
    [head.as_bytes(), value, b"\r\n"].concat()
}

/// Gives each key a value.
pub(super) fn fill(address: SocketAddr, keys: usize) -> Result<(), BenchError> {
    let (mut stream, mut noise) = (connect(address)?, Noise(0x9e37_79b9_7f4a_7c15));
    let mut value = [0; VALUE];
    for first in (0..keys).step_by(FILLED) {
        let some = first..keys.min(first + FILLED);
        let mut batch = Vec::new();
        for key in some.clone() {
            noise.fill(&mut value);
            batch.extend(set(key, &value));
        }
        stream.write_all(&batch)?;
        let mut answers = vec![0; b"+OK\r\n".len() * some.len()];
        stream.read_exact(&mut answers)?;
        if answers.chunks(5).any(|answer| answer != b"+OK\r\n") {
            return Err(BenchError::Figures("the store"));
        }
    }
    Ok(())
}

/// Does `work`, which is told when it all began, while clients ask. Returns the answers, in no order, and what came of it.
pub(super) fn under<T>(
    address: SocketAddr,
    keys: usize,
    work: impl FnOnce(Instant) -> Result<(T, Duration), BenchError>,
) -> Result<(Vec<Answer>, T, Duration), BenchError> {
    let over = AtomicBool::new(false);
    let begin = Instant::now();
    thread::scope(|scope| {
        let over = &over;
        let ask = |number: usize| move || client(address, keys, Noise(number as u64 + 1), begin, over);
        let clients: Vec<_> = (0..CLIENTS).map(|number| scope.spawn(ask(number))).collect();
        let done = work(begin);
        over.store(true, Ordering::Relaxed);
        let mut answers = Vec::new();
        for client in clients {
            answers.extend(client.join().map_err(|_| BenchError::Figures("a client"))??);
        }
        let (done, end) = done?;
        Ok((answers, done, end))
    })
}

/// Reads three values for each that it writes, somewhere in the store.
fn client(
    address: SocketAddr,
    keys: usize,
    mut noise: Noise,
    begin: Instant,
    over: &AtomicBool,
) -> Result<Vec<Answer>, BenchError> {
    let mut stream = connect(address)?;
    let mut pool = vec![0; 64 * VALUE];
    noise.fill(&mut pool);
    let mut buffer = [0; VALUE + 16];
    let got = format!("${VALUE}\r\n");
    let mut answers = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let key = noise.next() as usize % keys;
        let is_set = noise.next().is_multiple_of(4);
        let (request, head, rest) = if is_set {
            let from = noise.next() as usize % (pool.len() - VALUE);
            (set(key, &pool[from..from + VALUE]), "+OK\r\n", 0)
        } else {
            (format!("*2\r\n$3\r\nGET\r\n$8\r\n{key:08}\r\n").into_bytes(), &*got, VALUE + 2)
        };
        let asked = Instant::now();
        stream.write_all(&request)?;
        let answer = &mut buffer[..head.len() + rest];
        stream.read_exact(answer)?;
        if !answer.starts_with(head.as_bytes()) {
            return Err(BenchError::Figures("the store"));
        }
        answers.push(Answer { at: begin.elapsed(), waited: asked.elapsed() });
    }
    Ok(answers)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// One each millisecond for a second.
    pub(in crate::bench) fn answers() -> Vec<Answer> {
        let millis = Duration::from_millis;
        (0..1000).map(|n| Answer { at: millis(n), waited: millis(n % 100) }).collect()
    }

    #[test]
    fn a_phase_is_what_was_answered_in_it() {
        let phase = Phase::of(&answers(), Duration::from_millis(100), Duration::from_millis(300));
        assert_eq!(phase, Some(Phase { rate: 1000.0, p50: 50.0, p99: 99.0, max: 99.0 }));
        let slow = |to| Phase::slow(&answers(), Duration::ZERO, Duration::from_millis(to), 97.0);
        assert_eq!((slow(100), slow(90)), (20_000.0, 0.0));
        assert_eq!(Phase::of(&answers(), Duration::from_secs(2), Duration::from_secs(3)), None);
    }
}
