//! The serial log: one line a record, as it happens. Also the `log` crate's back end.

use crate::{cpu, io, journal, time};
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use log::{Level, LevelFilter, Log, Metadata, Record};

static PORT: AtomicU16 = AtomicU16::new(0x3f8);
static PRESENT: AtomicBool = AtomicBool::new(false);
static LOCK: spin::Mutex<()> = spin::Mutex::new(());

/// Programs the 16550 at `port` for 115,200 baud, 8N1, FIFOs on, polled. A missing device is noticed and left alone.
pub fn init(port: u16) {
    PORT.store(port, Ordering::Relaxed);
    // SAFETY: the standard registers of a 16550 (National Semiconductor PC16550D, 8.0); absent hardware ignores writes
    // and reads all ones.
    unsafe {
        io::outb(port + 7, 0x5a);
        let scratch = io::inb(port + 7);
        PRESENT.store(scratch == 0x5a, Ordering::Relaxed);
        if scratch != 0x5a {
            return;
        }
        for (register, value) in [(1, 0), (3, 0x80), (0, 1), (1, 0), (3, 3), (2, 0xc7), (4, 3)] {
            io::outb(port + register, value);
        }
    }
}

/// Writes to the serial line without taking the lock; for last words.
pub(crate) struct Raw;

impl Write for Raw {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if !PRESENT.load(Ordering::Relaxed) {
            return Ok(());
        }
        let port = PORT.load(Ordering::Relaxed);
        for byte in text.bytes() {
            if byte == b'\n' {
                send(port, b'\r');
            }
            send(port, byte);
        }
        Ok(())
    }
}

fn send(port: u16, byte: u8) {
    // SAFETY: the 16550 found by `init`. The wait for an empty transmitter is bounded: a stuck line loses bytes.
    unsafe {
        for _ in 0..100_000 {
            if io::inb(port + 5) & 0x20 != 0 {
                break;
            }
        }
        io::outb(port, byte);
    }
}

/// Waits until the last byte has left the shift register.
pub(crate) fn drain() {
    let port = PORT.load(Ordering::Relaxed);
    for _ in 0..100_000 {
        // SAFETY: reading the line status register.
        if unsafe { io::inb(port + 5) } & 0x40 != 0 {
            break;
        }
    }
}

struct Serial;

impl Log for Serial {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let nanos = time::Instant::now().as_nanos();
        let level = match record.level() {
            Level::Error => "ERROR",
            Level::Warn => "WARN ",
            Level::Info => "INFO ",
            Level::Debug => "DEBUG",
            Level::Trace => "TRACE",
        };
        let module = record.target().split("::").next().unwrap_or("");
        journal::LOG.push_at(nanos, level.trim_end(), format_args!("{module}: {}", record.args()));
        cpu::without_interrupts(|| {
            let _guard = LOCK.lock();
            let (seconds, micros) = (nanos / 1_000_000_000, nanos / 1000 % 1_000_000);
            // Writing to the serial line never fails.
            let _ = writeln!(Raw, "[{seconds:5}.{micros:06}] {level} {module}: {}", record.args());
        });
    }

    fn flush(&self) {}
}

/// Makes the serial line the destination of `log`, up to `level`.
pub fn install_logger(level: LevelFilter) {
    if log::set_logger(&Serial).is_ok() {
        log::set_max_level(level);
    }
}
