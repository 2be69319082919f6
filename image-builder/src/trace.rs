//! When each CPU did what in a switch: the answer to `trace --json`.

use serde::{Deserialize, Serialize};

/// What a machine remembers of its switches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// Ticks of the time-stamp counter a second; 0 where it is not known.
    pub hertz: u64,
    /// The oldest first.
    pub switches: Vec<Switch>,
}

/// A switch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switch {
    /// `enter` or `leave`.
    pub direction: String,
    /// It was gone through with, and not undone.
    pub done: bool,
    /// All CPUs.
    pub cpus: Vec<Cpu>,
}

/// A CPU's part in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cpu {
    /// Its number.
    pub cpu: u32,
    /// Its moments.
    #[serde(default)]
    pub marks: Marks,
}

/// When a CPU passed the points between phases, in ticks; 0 where it did not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Marks {
    /// The call to the others went out; on the CPU that leads only.
    pub call: u64,
    /// It came.
    pub arrive: u64,
    /// It was prepared.
    pub prepared: u64,
    /// All had voted.
    pub verdict: u64,
    /// It was on the other side.
    pub over: u64,
    /// All were.
    pub release: u64,
    /// It went on.
    pub end: u64,
}

/// What a CPU does between two marks: a character and its meaning.
pub const PHASES: [(char, &str); 6] = [
    ('c', "calling the others"),
    ('P', "prepare"),
    ('.', "wait for the vote"),
    ('#', "go over"),
    ('-', "wait for the release"),
    ('=', "go on"),
];

impl Marks {
    fn all(&self) -> [u64; 7] {
        [self.call, self.arrive, self.prepared, self.verdict, self.over, self.release, self.end]
    }

    /// Index in [`PHASES`], begin and end of each phase that the CPU has gone through.
    pub fn phases(&self) -> impl Iterator<Item = (usize, u64, u64)> {
        let all = self.all();
        // A mark that was not passed leaves its neighbours apart: the time between them is not one phase.
        (0..6)
            .filter(move |&at| all[at] != 0 && all[at + 1] >= all[at])
            .map(move |at| (at, all[at], all[at + 1]))
    }
}

impl Switch {
    /// The first and the last mark of all CPUs; `None` where nothing was recorded.
    pub fn span(&self) -> Option<(u64, u64)> {
        let marks = || self.cpus.iter().flat_map(|cpu| cpu.marks.all()).filter(|&mark| mark != 0);
        marks().min().zip(marks().max())
    }
}

/// A time in microseconds or, from ten thousand of them, milliseconds; in ticks where `hertz` is not known.
pub fn time(ticks: u64, hertz: u64) -> String {
    if hertz == 0 {
        return format!("{ticks} ticks");
    }
    match ticks as f64 * 1e6 / hertz as f64 {
        microseconds if microseconds < 10_000.0 => format!("{microseconds:.2} µs"),
        microseconds => format!("{:.2} ms", microseconds / 1e3),
    }
}
