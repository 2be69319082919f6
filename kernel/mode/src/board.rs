//! What is known about the switches so far, for readers whom nobody waits for: they take no lock, and a switch that is under
//! way does not keep them.

use crate::Direction;
use crate::trace::{CpuTrace, Mark, Marks, Record};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering, fence};
use machine::histogram::{Counter, Histogram, Tally};
use machine::stopwatch::Stopwatch;

/// Why requests change nothing, with the names in reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Reason {
    /// Another was being carried out.
    Busy,
    /// Somebody held a pin.
    Pinned,
    /// A CPU did not answer.
    NoAnswer,
    /// A CPU could not.
    Failed,
}

impl Reason {
    /// All of them, with their names in reports.
    pub const ALL: [(Self, &'static str); 4] = [
        (Self::Busy, "busy"),
        (Self::Pinned, "pinned"),
        (Self::NoAnswer, "no_answer"),
        (Self::Failed, "failed"),
    ];
}

/// A kept switch.
struct Slot {
    /// Twice the switch's number, and 1 more while it is being written, 2 when it is there.
    sequence: AtomicU64,
    /// When it ended, in nanoseconds since boot, times 4; 2 if it left guest mode; 1 if the machine went over.
    head: AtomicU64,
    cpus: Vec<Marks>,
}

/// What is known.
pub struct Board {
    /// Ticks a second.
    hertz: u64,
    slots: Vec<Slot>,
    next: AtomicU64,
    /// Runs in native mode. Not what the other leaves of the time: a difference of two readings may go back.
    native: Stopwatch,
    /// Runs in guest mode.
    guest: Stopwatch,
    done: [AtomicU64; 2],
    refused: [AtomicU64; Reason::ALL.len()],
    durations: [Arc<Tally>; 2],
    windows: [Arc<Tally>; 2],
}

/// The one who carries out switches writes it.
pub struct Writer {
    board: Arc<Board>,
    durations: [Counter; 2],
    windows: [Counter; 2],
}

impl core::fmt::Debug for Writer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Writer").field("next", &self.board.next).finish_non_exhaustive()
    }
}

impl Writer {
    /// Room for the last `capacity` switches of `cpus` CPUs with so many ticks a second. Nothing is allocated later.
    pub fn new(capacity: usize, cpus: usize, hertz: u64) -> Self {
        let slot = || Slot {
            sequence: AtomicU64::new(0),
            head: AtomicU64::new(0),
            cpus: (0..cpus).map(|_| Marks::new()).collect(),
        };
        let counters = || [Counter::new(), Counter::new()];
        let (durations, windows) = (counters(), counters());
        let board = Board {
            hertz,
            slots: (0..capacity).map(|_| slot()).collect(),
            next: AtomicU64::new(0),
            native: Stopwatch::new(),
            guest: Stopwatch::new(),
            done: Default::default(),
            refused: Default::default(),
            durations: durations.each_ref().map(Counter::tally),
            windows: windows.each_ref().map(Counter::tally),
        };
        // Native since boot.
        board.native.begin(0);
        Self { board: Arc::new(board), durations, windows }
    }

    /// What is written.
    pub fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// Keeps a switch in the place of the oldest, and counts it if the machine went over. It ended at `nanos`.
    pub fn push(
        &mut self,
        nanos: u64,
        direction: Direction,
        done: bool,
        marks: impl Fn(usize) -> [u64; Mark::ALL.len()],
    ) {
        let board = &*self.board;
        let number = board.next.load(Ordering::Relaxed);
        let slot = &board.slots[(number % board.slots.len() as u64) as usize];
        slot.sequence.store(2 * number + 1, Ordering::Relaxed);
        // Whoever sees something of what follows sees that it is being written.
        fence(Ordering::Release);
        let leaves = u64::from(direction == Direction::Leave);
        slot.head.store(nanos << 2 | leaves << 1 | u64::from(done), Ordering::Relaxed);
        let (mut window, mut begin, mut end) = (0, u64::MAX, 0);
        for (cpu, kept) in slot.cpus.iter().enumerate() {
            let trace = CpuTrace { marks: marks(cpu) };
            kept.write(&trace.marks);
            window = window.max(trace.window());
            begin = trace.marks.iter().copied().filter(|ticks| *ticks > 0).fold(begin, u64::min);
            end = trace.marks.iter().copied().fold(end, u64::max);
        }
        slot.sequence.store(2 * number + 2, Ordering::Release);
        board.next.store(number + 1, Ordering::Release);
        if done {
            let place = direction as usize;
            board.done[place].fetch_add(1, Ordering::Relaxed);
            self.windows[place].add(board.nanos(window), 1);
            self.durations[place].add(board.nanos(end.saturating_sub(begin)), 1);
            match direction {
                Direction::Enter => {
                    board.native.end(nanos);
                    board.guest.begin(nanos);
                }
                Direction::Leave => {
                    board.guest.end(nanos);
                    board.native.begin(nanos);
                }
            }
        }
    }
}

impl Board {
    fn nanos(&self, ticks: u64) -> u64 {
        (u128::from(ticks) * 1_000_000_000 / u128::from(self.hertz.max(1))) as u64
    }

    /// Counts a request that changed nothing.
    pub fn refused(&self, reason: Reason) {
        self.refused[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many requests changed nothing for this reason.
    pub fn refusals(&self, reason: Reason) -> u64 {
        self.refused[reason as usize].load(Ordering::Relaxed)
    }

    /// How many switches were carried out.
    pub fn done(&self, direction: Direction) -> u64 {
        self.done[direction as usize].load(Ordering::Relaxed)
    }

    /// How long switches took, from the call to the other CPUs until the last one went on.
    pub fn durations(&self, direction: Direction) -> Histogram {
        self.durations[direction as usize].read()
    }

    /// How long the busiest CPU of each switch worked for it with interrupts off.
    pub fn windows(&self, direction: Direction) -> Histogram {
        self.windows[direction as usize].read()
    }

    /// How long the machine has been in native and in guest mode, in nanoseconds, when it is `now`. Neither goes back.
    pub fn mode_nanos(&self, now: u64) -> (u64, u64) {
        (self.native.read(now), self.guest.read(now))
    }

    /// Whether it is in guest mode, a switch under way aside.
    pub fn is_guest(&self) -> bool {
        self.guest.is_running()
    }

    /// The switch with this number (they count from 0), if it is still kept.
    pub fn read(&self, number: u64) -> Option<Record> {
        let slot = &self.slots[(number % self.slots.len() as u64) as usize];
        if slot.sequence.load(Ordering::Acquire) != 2 * number + 2 {
            return None;
        }
        let head = slot.head.load(Ordering::Relaxed);
        let cpus = slot.cpus.iter().map(|marks| CpuTrace { marks: marks.read() }).collect();
        // What was read is of this switch if nobody began to write another until now.
        fence(Ordering::Acquire);
        if slot.sequence.load(Ordering::Relaxed) != 2 * number + 2 {
            return None;
        }
        Some(Record {
            number,
            nanos: head >> 2,
            direction: if head & 2 == 0 { Direction::Enter } else { Direction::Leave },
            done: head & 1 != 0,
            cpus,
        })
    }

    /// Those that are kept, the oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Record> {
        let next = self.next.load(Ordering::Acquire);
        (next.saturating_sub(self.slots.len() as u64)..next).filter_map(|number| self.read(number))
    }

    /// The last that went over.
    pub fn last_done(&self) -> Option<Record> {
        self.iter().rev().find(|record| record.done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::AtomicBool;

    #[test]
    fn the_oldest_makes_room() {
        let mut writer = Writer::new(3, 1, 1_000_000_000);
        assert!(writer.board().last_done().is_none());
        for number in 0..5 {
            writer.push(number * 10, Direction::Leave, number != 4, |_| [number; 7]);
        }
        let board = writer.board();
        let kept: Vec<_> =
            board.iter().map(|record| (record.number, record.nanos, record.cpus[0].marks[0])).collect();
        assert_eq!(kept, [(2, 20, 2), (3, 30, 3), (4, 40, 4)]);
        assert_eq!(board.last_done().map(|record| record.number), Some(3));
        assert!(board.read(1).is_none() && board.read(5).is_none());
    }

    #[test]
    fn durations_are_counted_by_direction() {
        // Two ticks a nanosecond; 600 ticks in all, and on the busier CPU 100 + 50 + 10 of work.
        let marks = [[100, 200, 300, 400, 450, 600, 610], [0, 250, 300, 400, 420, 690, 700]];
        let mut writer = Writer::new(2, 2, 2_000_000_000);
        writer.push(1_000, Direction::Enter, true, |cpu| marks[cpu]);
        writer.push(1_500, Direction::Leave, false, |cpu| marks[cpu]);
        writer.board().refused(Reason::Failed);
        let board = writer.board();
        let of = |direction| {
            (board.done(direction), board.durations(direction).sum(), board.windows(direction).sum())
        };
        assert_eq!((of(Direction::Enter), of(Direction::Leave)), ((1, 300, 80), (0, 0, 0)));
        assert_eq!((board.refusals(Reason::Failed), board.refusals(Reason::Busy)), (1, 0));
        assert_eq!((board.is_guest(), board.mode_nanos(3_000)), (true, (1_000, 2_000)));
        writer.push(4_000, Direction::Leave, true, |cpu| marks[cpu]);
        assert_eq!((writer.board().is_guest(), writer.board().mode_nanos(9_000)), (false, (6_000, 3_000)));
    }

    /// While it is written, whoever reads finds whole switches or none.
    #[test]
    fn nobody_sees_half_a_switch() {
        let mut writer = Writer::new(2, 4, 1_000_000_000);
        let board = writer.board().clone();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut seen = 0;
                while !over.load(Ordering::Relaxed) || seen == 0 {
                    for record in board.iter() {
                        assert!(record.cpus.iter().all(|cpu| cpu.marks == [record.number; 7]), "{record:?}");
                        assert_eq!(record.nanos, record.number);
                        seen += 1;
                    }
                }
            });
            for number in 0..200_000 {
                writer.push(number, Direction::Enter, true, |_| [number; 7]);
            }
            over.store(true, Ordering::Relaxed);
            reader.join().unwrap();
        });
    }
}
