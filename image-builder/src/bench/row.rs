//! Figures of both systems, and how they are printed.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::record::{LINUX, QUICKSILVER};

/// What a figure ought to be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Goal {
    /// It only informs.
    None,
    /// Ours is at least so many times the peer's.
    TimesAtLeast(f64),
    /// Ours is at most so many times the peer's.
    TimesAtMost(f64),
    /// Ours is at least this much.
    AtLeast(f64),
    /// Ours is at most this much.
    AtMost(f64),
    /// Both are the same but for this part: instructions of the same work. Anything else is an error, and not only a pity.
    SameWithin(f64),
}

/// Who is compared: we, and the peer.
pub type Systems = [&'static str; 2];

/// One measured quantity: a figure a round for each system, in the order in which they alternated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// The suite.
    pub suite: String,
    /// The quantity.
    pub what: String,
    /// Its unit.
    pub unit: String,
    /// What it ought to be.
    pub goal: Goal,
    /// Who is compared.
    pub systems: [String; 2],
    /// Our figures.
    pub ours: Vec<f64>,
    /// Those of the peer; empty where it has no such figure.
    pub peer: Vec<f64>,
}

impl Row {
    /// A row without figures that compares us and Linux.
    pub fn new(suite: &str, what: impl Into<String>, unit: &str, goal: Goal) -> Self {
        Self {
            suite: suite.to_owned(),
            what: what.into(),
            unit: unit.to_owned(),
            goal,
            systems: [QUICKSILVER, LINUX].map(str::to_owned),
            ours: Vec::new(),
            peer: Vec::new(),
        }
    }

    /// Compares others than us and Linux.
    pub fn between(self, systems: Systems) -> Self {
        Self { systems: systems.map(str::to_owned), ..self }
    }

    /// Our median in the peer's medians.
    fn times(&self) -> Option<f64> {
        median(&self.ours)
            .zip(median(&self.peer))
            .filter(|(_, peer)| *peer > 0.0)
            .map(|(ours, peer)| ours / peer)
    }

    /// Whether the goal is reached; `None` without a goal or without figures.
    pub fn reached(&self) -> Option<bool> {
        let ours = median(&self.ours)?;
        match self.goal {
            Goal::None => None,
            Goal::TimesAtLeast(goal) => Some(self.times()? >= goal),
            Goal::TimesAtMost(goal) => Some(self.times()? <= goal),
            Goal::AtLeast(goal) => Some(ours >= goal),
            Goal::AtMost(goal) => Some(ours <= goal),
            Goal::SameWithin(part) => Some((self.times()? - 1.0).abs() <= part),
        }
    }

    /// What to say where figures that have to be the same are not.
    pub(super) fn difference(&self) -> Option<String> {
        let is_wrong = matches!(self.goal, Goal::SameWithin(_)) && self.reached() == Some(false);
        let both = median(&self.ours).zip(median(&self.peer)).filter(|_| is_wrong)?;
        let [ours, peer] = &self.systems;
        Some(format!("{}: {} with {ours}, {} with {peer}", self.what, both.0, both.1))
    }

    fn goal_text(&self) -> String {
        match self.goal {
            Goal::None => String::new(),
            Goal::TimesAtLeast(goal) => format!(">= {goal:.2}x"),
            Goal::TimesAtMost(goal) => format!("<= {goal:.2}x"),
            Goal::AtLeast(goal) => format!(">= {}", number(goal)),
            Goal::AtMost(goal) => format!("<= {}", number(goal)),
            Goal::SameWithin(part) => format!("same within {}%", part * 100.0),
        }
    }
}

/// A table for each pair of systems, with one line a row: medians, and the spread of the rounds as minimum and maximum.
pub fn tables(rows: &[Row]) -> String {
    let mut pairs: Vec<&[String; 2]> = Vec::new();
    for row in rows {
        if !pairs.contains(&&row.systems) {
            pairs.push(&row.systems);
        }
    }
    let of = |pair: &[String; 2]| table(pair, rows.iter().filter(|row| row.systems == *pair));
    pairs.into_iter().map(of).collect::<Vec<_>>().join("\n")
}

fn table<'a>([ours, peer]: &'a [String; 2], rows: impl Iterator<Item = &'a Row>) -> String {
    let mut cells =
        vec![["", ours.as_str(), "(min - max)", peer, "(min - max)", "times", "goal", ""].map(String::from)];
    for row in rows {
        let reached = row.reached().map_or("", |reached| if reached { "reached" } else { "missed" });
        cells.push([
            format!("{}: {} [{}]", row.suite, row.what, row.unit),
            median(&row.ours).map_or_else(String::new, number),
            spread(&row.ours),
            median(&row.peer).map_or_else(String::new, number),
            spread(&row.peer),
            row.times().map_or_else(String::new, |times| format!("{times:.2}x")),
            row.goal_text(),
            reached.to_owned(),
        ]);
    }
    let width = |column: usize| cells.iter().map(|line| line[column].len()).max().unwrap_or(0);
    let widths: [usize; 8] = std::array::from_fn(width);
    let mut text = String::new();
    for line in &cells {
        let mut printed = format!("{:<1$}", line[0], widths[0]);
        for (cell, width) in line[1..7].iter().zip(&widths[1..7]) {
            write!(printed, "  {cell:>width$}").expect("a string takes everything");
        }
        writeln!(text, "{}", format!("{printed}  {}", line[7]).trim_end())
            .expect("a string takes everything");
    }
    text
}

/// The median, if there is one.
pub(super) fn median(figures: &[f64]) -> Option<f64> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = sorted[(sorted.len() - 1) / 2];
    Some((upper + lower) / 2.0)
}

fn least(figures: &[f64]) -> Option<f64> {
    figures.iter().copied().reduce(f64::min)
}

fn spread(figures: &[f64]) -> String {
    let greatest = figures.iter().copied().reduce(f64::max);
    match least(figures).zip(greatest).filter(|_| figures.len() > 1) {
        Some((least, greatest)) => format!("({} - {})", number(least), number(greatest)),
        None => String::new(),
    }
}

/// Three significant digits, or all of a whole number's, with its thousands apart.
pub(super) fn number(figure: f64) -> String {
    if figure.abs() < 100.0 {
        return format!("{figure:.*}", if figure.abs() < 10.0 { 2 } else { 1 });
    }
    let digits = format!("{:.0}", figure.abs());
    let mut text = String::from(if figure < 0.0 { "-" } else { "" });
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(goal: Goal, ours: &[f64], peer: &[f64]) -> Row {
        Row { ours: ours.to_vec(), peer: peer.to_vec(), ..Row::new("kv", "GET", "requests/s", goal) }
    }

    #[test]
    fn goals_are_of_medians() {
        let reached = |goal| row(goal, &[1.0, 30.0, 20.0], &[10.0]).reached();
        assert_eq!(reached(Goal::TimesAtLeast(2.0)), Some(true));
        assert_eq!(reached(Goal::TimesAtMost(1.9)), Some(false));
        assert_eq!(reached(Goal::AtLeast(21.0)), Some(false));
        assert_eq!(reached(Goal::AtMost(20.0)), Some(true));
        assert_eq!(reached(Goal::None), None);
        assert_eq!(row(Goal::TimesAtLeast(1.0), &[1.0], &[]).reached(), None);
    }

    #[test]
    fn what_has_to_be_the_same_is_an_error_when_it_is_not() {
        let difference = |ours| row(Goal::SameWithin(0.005), &[ours], &[1000.0]).difference();
        assert_eq!(difference(1004.0), None);
        assert_eq!(difference(996.0), None);
        assert_eq!(difference(1006.0).as_deref(), Some("GET: 1006 with Quicksilver, 1000 with Linux"));
        assert!(difference(994.0).is_some());
        assert_eq!(row(Goal::AtMost(1.0), &[2.0], &[]).difference(), None);
    }

    #[test]
    fn tables_have_columns() {
        let rows = [
            row(Goal::TimesAtLeast(2.0), &[52_900.0, 51_000.0], &[6_700.0, 6_600.0]),
            row(Goal::None, &[1.5], &[]).between(["guest", "native"]),
        ];
        let text = tables(&rows);
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[1].contains("51,950  (51,000 - 52,900)") && lines[1].ends_with("7.81x  >= 2.00x  reached")
        );
        assert_eq!(lines[0].find("times").unwrap() + 5, lines[1].find("7.81x").unwrap() + 5);
        assert!(lines[3].contains("guest") && lines[4].contains("1.50"));
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            [0.123, 9.99, 12.34, 1234.5, -1_234_567.0].map(number),
            ["0.12", "9.99", "12.3", "1,234", "-1,234,567"]
        );
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0]), Some(2.0));
    }
}
