//! What goes on for a while: rings of entries, a live picture.

use super::status::{Counters, Status};
use super::{line, show};
use alloc::format;
use alloc::string::String;
use core::time::Duration;
use machine::journal::{Entry, Ring};
use machine::thread;
use machine::time::Instant;
use net::ssh::{Gone, Output, exit};
use serde::Serialize;

/// How often a ring is looked at: entries are written where nobody may be woken, in interrupt handlers and under locks.
const LOOK: Duration = Duration::from_millis(50);
/// Between two pictures.
const REFRESH: Duration = Duration::from_secs(1);

#[derive(Serialize)]
struct Line<'a> {
    number: u64,
    time_ns: u64,
    kind: &'a str,
    text: &'a str,
}

fn tell(entry: &Entry, json: bool, output: &mut dyn Output) -> Result<(), Gone> {
    let Entry { number, nanos, kind, .. } = *entry;
    if json {
        return line(output, &Line { number, time_ns: nanos, kind, text: entry.text() });
    }
    let (seconds, micros) = (nanos / 1_000_000_000, nanos / 1000 % 1_000_000);
    output.out(&format!("[{seconds:5}.{micros:06}] {kind:<5} {}\n", entry.text()))
}

/// What a ring has, and with `follow` what comes, until nobody reads it any more.
pub fn ring(ring: &Ring, follow: bool, json: bool, output: &mut dyn Output) -> u8 {
    let (mut next, last) = (0, ring.next());
    loop {
        while let Some(entry) = ring.read(next).filter(|entry| follow || entry.number < last) {
            if follow && next > 0 && entry.number > next {
                let _ = output.err(&format!("{} entries were missed\n", entry.number - next));
            }
            if tell(&entry, json, output).is_err() {
                return exit::UNKNOWN;
            }
            next = entry.number + 1;
        }
        if !follow {
            return exit::DONE;
        }
        if output.is_gone() {
            return exit::UNKNOWN;
        }
        thread::sleep(LOOK);
    }
}

#[derive(Serialize)]
struct Picture {
    #[serde(flatten)]
    status: Status,
    received_bytes_per_second: u64,
    sent_bytes_per_second: u64,
}

impl Picture {
    fn text(&self) -> String {
        format!(
            "{}traffic    {} KiB/s in, {} KiB/s out\n",
            self.status.text(),
            self.received_bytes_per_second >> 10,
            self.sent_bytes_per_second >> 10
        )
    }
}

/// The state, drawn again each second.
pub fn top(once: bool, json: bool, output: &mut dyn Output) -> u8 {
    let mut before = Counters::now();
    let mut at = Instant::now();
    loop {
        thread::sleep(REFRESH);
        let (counters, now) = (Counters::now(), Instant::now());
        let (received, sent) = counters.traffic_since(&before);
        let millis = (now.as_nanos() - at.as_nanos()) / 1_000_000;
        let rate = |bytes: u64| bytes * 1000 / millis.max(1);
        let picture = Picture {
            status: Status::now(),
            received_bytes_per_second: rate(received),
            sent_bytes_per_second: rate(sent),
        };
        (before, at) = (counters, now);
        if once {
            return show(output, json, &picture, Picture::text);
        }
        // Home, each line cleared to its end, and what is below.
        let drawn = || format!("\x1b[H{}\x1b[J", picture.text().replace('\n', "\x1b[K\r\n"));
        let told = if json { line(output, &picture) } else { output.out(&drawn()) };
        if told.is_err() || output.is_gone() {
            return exit::UNKNOWN;
        }
    }
}

/// What runs in the background: no command of ours does yet.
pub fn jobs(json: bool, output: &mut dyn Output) -> u8 {
    let told = if json { Ok(()) } else { output.out("no jobs\n") };
    if told.is_ok() { exit::DONE } else { exit::UNKNOWN }
}
