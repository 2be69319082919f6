//! Two columns of figures, and how many times the first is better.

use crate::bench::record::{LINUX, QUICKSILVER, Record};
use crate::bench::row::{median, number};
use crate::figures::is_rate;

/// A quantity of two systems or modes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Comparison {
    pub suite: String,
    pub what: String,
    pub unit: String,
    /// A figure a round.
    pub ours: Vec<f64>,
    /// A figure a round.
    pub peer: Vec<f64>,
}

impl Comparison {
    /// How many times ours is better: above 1 it is. `None` where one has no figures, or nought.
    pub(super) fn times(&self) -> Option<f64> {
        self.oriented(median(&self.ours)?, median(&self.peer)?)
    }

    /// The worst and the best that the rounds allow.
    pub(super) fn range(&self) -> Option<(f64, f64)> {
        let bounds = |figures: &[f64]| {
            let least = figures.iter().copied().reduce(f64::min)?;
            Some((least, figures.iter().copied().reduce(f64::max)?))
        };
        let (ours, peer) = (bounds(&self.ours)?, bounds(&self.peer)?);
        let ends = (self.oriented(ours.0, peer.1)?, self.oriented(ours.1, peer.0)?);
        Some((ends.0.min(ends.1), ends.0.max(ends.1)))
    }

    fn oriented(&self, ours: f64, peer: f64) -> Option<f64> {
        let times = if is_rate(&self.unit) { ours / peer } else { peer / ours };
        (times.is_finite() && times > 0.0).then_some(times)
    }

    /// Both medians, with their unit.
    pub(super) fn medians(&self) -> String {
        let of = |figures: &[f64]| {
            median(figures).map_or_else(|| "-".to_owned(), |figure| amount(figure, &self.unit).0)
        };
        format!("{} | {} {}", of(&self.ours), of(&self.peer), amount(0.0, &self.unit).1)
    }
}

/// A figure as people read it, and its unit.
pub(super) fn amount(figure: f64, unit: &str) -> (String, String) {
    let text = match unit {
        "bytes_per_second" => return (number(figure / 1e6), "MB/s".to_owned()),
        "tsc" => "ticks",
        "instructions" => "instr.",
        unit => return (number(figure), unit.replace("_per_second", "/s").replace("_per_", " per ")),
    };
    (number(figure), text.to_owned())
}

/// Medians of the rounds of a figure of one system in one mode.
fn rounds(
    record: &Record,
    system: &str,
    suite: &str,
    name: &str,
    is_mode: impl Fn(&str) -> bool,
) -> Vec<f64> {
    let all = record.figures.iter();
    all.filter(|taken| taken.system == system && taken.suite == suite && taken.figure.name == name)
        .filter(|taken| is_mode(&taken.figure.mode))
        .map(|taken| taken.figure.p50 as f64)
        .collect()
}

/// Suite, name and unit of all figures, in the order in which they were measured first.
pub(super) fn names(record: &Record) -> Vec<[&str; 3]> {
    let mut names = Vec::new();
    for taken in &record.figures {
        let name = [&*taken.suite, &*taken.figure.name, &*taken.figure.unit];
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Us natively, and Linux.
pub(super) fn with_linux(record: &Record) -> Vec<Comparison> {
    let figures = names(record).into_iter().map(|[suite, what, unit]| Comparison {
        suite: suite.to_owned(),
        what: what.to_owned(),
        unit: unit.to_owned(),
        ours: rounds(record, QUICKSILVER, suite, what, |mode| mode == "native"),
        peer: rounds(record, LINUX, suite, what, |_| true),
    });
    complete(figures.chain(rows(record, [QUICKSILVER, LINUX])))
}

/// Guest mode, and natively.
pub(super) fn with_native(record: &Record) -> Vec<Comparison> {
    let figures = names(record).into_iter().map(|[suite, what, unit]| Comparison {
        suite: suite.to_owned(),
        what: what.to_owned(),
        unit: unit.to_owned(),
        ours: rounds(record, QUICKSILVER, suite, what, |mode| mode == "guest"),
        peer: rounds(record, QUICKSILVER, suite, what, |mode| mode == "native"),
    });
    complete(figures.chain(rows(record, ["guest", "native"])))
}

fn rows(record: &Record, systems: [&str; 2]) -> impl Iterator<Item = Comparison> {
    record.rows.iter().filter(move |row| row.systems == systems).map(|row| Comparison {
        suite: row.suite.clone(),
        what: row.what.clone(),
        unit: row.unit.clone(),
        ours: row.ours.clone(),
        peer: row.peer.clone(),
    })
}

fn complete(all: impl Iterator<Item = Comparison>) -> Vec<Comparison> {
    all.filter(|comparison| comparison.times().is_some()).collect()
}
