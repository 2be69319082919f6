//! What goes on for a while: rings of entries, jobs.

use super::line;
use alloc::format;
use core::time::Duration;
use machine::journal::{Entry, Ring};
use machine::thread;
use net::ssh::{Gone, Output, exit};
use serde::Serialize;

/// How often a ring is looked at: entries are written where nobody may be woken, in interrupt handlers and under locks.
const LOOK: Duration = Duration::from_millis(50);

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
