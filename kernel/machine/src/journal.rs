//! What was said and what has happened lately, kept in memory for operators: the [`LOG`] and the [`EVENTS`].
//!
//! A ring forgets its oldest entries. Its entries are numbered from 0 on, so whoever reads knows what was missed. Writing
//! allocates nothing and may happen anywhere, interrupt handlers included; therefore it wakes nobody either.

use crate::{cpu, time};
use core::fmt::{self, Write};
use spin::Mutex;

/// Entries that a ring keeps.
pub const LENGTH: usize = 512;
/// Bytes of an entry's text; longer ones are cut.
pub const TEXT: usize = 200;

/// The log, as far as the log level lets it through. The kind is the level.
pub static LOG: Ring = Ring::new();
/// What has happened to the machine.
pub static EVENTS: Ring = Ring::new();

/// A line of a ring.
#[derive(Clone, Copy)]
pub struct Entry {
    /// Counts from 0.
    pub number: u64,
    /// Nanoseconds since boot.
    pub nanos: u64,
    /// Of what kind it is.
    pub kind: &'static str,
    length: usize,
    text: [u8; TEXT],
}

impl Entry {
    const NONE: Self = Self { number: 0, nanos: 0, kind: "", length: 0, text: [0; TEXT] };

    /// Its text.
    pub fn text(&self) -> &str {
        // Filled with whole characters.
        core::str::from_utf8(&self.text[..self.length]).unwrap_or_default()
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {:?}", self.number, self.kind, self.text())
    }
}

impl Write for Entry {
    /// Takes as many whole characters as there is room for.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = text.floor_char_boundary(TEXT - self.length);
        self.text[self.length..self.length + room].copy_from_slice(&text.as_bytes()[..room]);
        self.length += room;
        if room < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

/// The last [`LENGTH`] entries of something.
pub struct Ring(Mutex<Entries>);

struct Entries {
    next: u64,
    entries: [Entry; LENGTH],
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ring").field(&self.next()).finish()
    }
}

impl Default for Ring {
    fn default() -> Self {
        Self::new()
    }
}

impl Ring {
    /// Nothing has happened.
    pub const fn new() -> Self {
        Self(Mutex::new(Entries { next: 0, entries: [Entry::NONE; LENGTH] }))
    }

    /// Writes an entry, now.
    pub fn push(&self, kind: &'static str, text: fmt::Arguments<'_>) {
        self.push_at(time::Instant::now().as_nanos(), kind, text);
    }

    /// Writes an entry with a time of its own.
    pub fn push_at(&self, nanos: u64, kind: &'static str, text: fmt::Arguments<'_>) {
        let mut entry = Entry { nanos, kind, ..Entry::NONE };
        // What does not fit is cut.
        let _ = entry.write_fmt(text);
        cpu::without_interrupts(|| {
            let mut ring = self.0.lock();
            entry.number = ring.next;
            let place = (ring.next % LENGTH as u64) as usize;
            ring.entries[place] = entry;
            ring.next += 1;
        });
    }

    /// The oldest entry there is with this number or a higher one.
    pub fn read(&self, from: u64) -> Option<Entry> {
        cpu::without_interrupts(|| {
            let ring = self.0.lock();
            let number = from.max(ring.next.saturating_sub(LENGTH as u64));
            (number < ring.next).then(|| ring.entries[(number % LENGTH as u64) as usize])
        })
    }

    /// The number that the next entry will have.
    pub fn next(&self) -> u64 {
        cpu::without_interrupts(|| self.0.lock().next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_in_order_and_the_oldest_are_forgotten() {
        let ring = Ring::new();
        assert!(ring.read(0).is_none());
        for number in 0..LENGTH as u64 + 3 {
            ring.push_at(number * 10, "test", format_args!("entry {number}"));
        }
        let oldest = ring.read(0).unwrap();
        assert_eq!((oldest.number, oldest.nanos, oldest.kind, oldest.text()), (3, 30, "test", "entry 3"));
        assert_eq!(ring.read(LENGTH as u64).unwrap().number, LENGTH as u64);
        assert!(ring.read(ring.next()).is_none());
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let ring = Ring::new();
        ring.push_at(0, "test", format_args!("x{}", "é".repeat(TEXT)));
        let entry = ring.read(0).unwrap();
        assert_eq!(entry.text().len(), TEXT - 1);
        assert!(entry.text().ends_with('é'));
    }
}
