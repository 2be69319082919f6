//! A figure, as one JSON object and as a row of a table.

use crate::statistics::{Summary, Thousandths};
use alloc::format;
use alloc::string::String;
use core::fmt;

/// The mode of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// On the bare machine.
    Native,
    /// On top of the VMM.
    Guest,
}

impl Mode {
    /// Both, in the order in which they are measured.
    pub const ALL: [Self; 2] = [Self::Native, Self::Guest];

    /// Its name in figures.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Guest => "guest",
        }
    }
}

/// What a sample is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Time of one operation, in ticks of the time-stamp counter.
    Ticks,
    /// Things in a second.
    Rate(&'static str),
}

impl Unit {
    /// Its name in figures. Where a tick is an instruction, a second is a thousand million of them.
    pub fn name(self, instructions: bool) -> String {
        match (self, instructions) {
            (Self::Ticks, false) => "tsc".into(),
            (Self::Ticks, true) => "instructions".into(),
            (Self::Rate(things), false) => format!("{things}_per_second"),
            (Self::Rate(things), true) => format!("{things}_per_1e9_instructions"),
        }
    }
}

/// A figure: one operation in one mode. Displayed as a JSON object without a line's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    /// What was measured.
    pub name: &'static str,
    /// In which mode.
    pub mode: Mode,
    /// CPUs of the machine.
    pub cpus: usize,
    /// What a sample is.
    pub unit: String,
    /// The samples.
    pub summary: Summary,
    /// In guest mode: its median as a multiple of the native one's of the same run.
    pub ratio: Option<Thousandths>,
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, mode, cpus, unit, summary, ratio } = self;
        let Summary { n, min, p50, p99, max, runs, spread, outliers } = summary;
        write!(
            f,
            r#"{{"name":"{name}","mode":"{}","cpus":{cpus},"unit":"{unit}","n":{n},"min":{min},"p50":{p50},"p99":{p99},"max":{max},"runs":{runs},"spread":{spread},"outliers":{outliers}"#,
            mode.name()
        )?;
        if let Some(ratio) = ratio {
            write!(f, r#","ratio":{ratio}"#)?;
        }
        f.write_str("}")
    }
}

impl Figure {
    /// The heads of the columns of [`Figure::row`].
    pub fn head() -> String {
        format!(
            "{:<22} {:<6} {:>11} {:>11} {:>11} {:>6} {:>4} {:>7} {:>5} {:>7}  UNIT\n",
            "NAME", "MODE", "MIN", "P50", "P99", "N", "RUNS", "SPREAD", "OUTL", "RATIO"
        )
    }

    /// For people.
    pub fn row(&self) -> String {
        let Summary { n, min, p50, p99, runs, spread, outliers, .. } = &self.summary;
        let ratio = self.ratio.map_or_else(String::new, |ratio| format!("{ratio}"));
        let (name, mode, unit) = (self.name, self.mode.name(), &self.unit);
        format!(
            "{name:<22} {mode:<6} {min:>11} {p50:>11} {p99:>11} {n:>6} {runs:>4} {spread:>7} {outliers:>5} {ratio:>7}  {unit}\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use alloc::vec;

    #[test]
    fn a_figure_is_an_object_and_a_row() {
        let summary = Summary::of(&[vec![1, 2, 3], vec![2, 2, 2]]).unwrap();
        let unit = Unit::Ticks.name(false);
        let native = Figure { name: "a.b", mode: Mode::Native, cpus: 2, unit, summary, ratio: None };
        assert_eq!(
            native.to_string(),
            r#"{"name":"a.b","mode":"native","cpus":2,"unit":"tsc","n":6,"min":1,"p50":2,"p99":2,"max":3,"runs":2,"spread":0.000,"outliers":2}"#
        );
        let guest = Figure { mode: Mode::Guest, ratio: Some(Thousandths(1_250)), ..native };
        assert!(guest.to_string().ends_with(r#""outliers":2,"ratio":1.250}"#), "{guest}");
        let column = |text: &str, word: &str| text.find(word).unwrap() + word.len();
        assert_eq!(column(&guest.row(), "1.250"), column(&Figure::head(), "RATIO"));
        assert_eq!(Unit::Rate("bytes").name(false), "bytes_per_second");
        assert_eq!(Unit::Rate("bytes").name(true), "bytes_per_1e9_instructions");
    }
}
