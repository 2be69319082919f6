//! Figures of both systems, and how they are printed.

use std::fmt::Write;

use serde_json::{Value, json};

/// What a figure ought to be.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    None,
    /// Ours is at least so many times the peer's.
    TimesAtLeast(f64),
    /// Ours is at most so many times the peer's.
    TimesAtMost(f64),
    /// Ours is at least this much.
    AtLeast(f64),
    /// Ours is at most this much.
    AtMost(f64),
}

/// Who is compared: we, and the peer.
pub type Systems = [&'static str; 2];

const LINUX: Systems = ["Quicksilver", "Linux"];

/// One measured quantity: a figure a round for each system, in the order in which they alternated.
#[derive(Clone, Debug)]
pub struct Row {
    pub suite: &'static str,
    pub what: String,
    pub unit: &'static str,
    pub goal: Goal,
    pub systems: Systems,
    pub ours: Vec<f64>,
    /// Empty where the peer has no such figure.
    pub peer: Vec<f64>,
}

impl Row {
    pub fn new(suite: &'static str, what: impl Into<String>, unit: &'static str, goal: Goal) -> Self {
        Self { suite, what: what.into(), unit, goal, systems: LINUX, ours: Vec::new(), peer: Vec::new() }
    }

    /// Compares others than us and Linux.
    pub fn between(self, systems: Systems) -> Self {
        Self { systems, ..self }
    }

    /// Our median in the peer's medians.
    fn times(&self) -> Option<f64> {
        median(&self.ours)
            .zip(median(&self.peer))
            .filter(|(_, peer)| *peer > 0.0)
            .map(|(ours, peer)| ours / peer)
    }

    /// Whether the goal is reached; `None` without a goal or without figures.
    fn reached(&self) -> Option<bool> {
        let ours = median(&self.ours)?;
        match self.goal {
            Goal::None => None,
            Goal::TimesAtLeast(goal) => Some(self.times()? >= goal),
            Goal::TimesAtMost(goal) => Some(self.times()? <= goal),
            Goal::AtLeast(goal) => Some(ours >= goal),
            Goal::AtMost(goal) => Some(ours <= goal),
        }
    }

    fn goal_text(&self) -> String {
        match self.goal {
            Goal::None => String::new(),
            Goal::TimesAtLeast(goal) => format!(">= {goal:.2}x"),
            Goal::TimesAtMost(goal) => format!("<= {goal:.2}x"),
            Goal::AtLeast(goal) => format!(">= {}", number(goal)),
            Goal::AtMost(goal) => format!("<= {}", number(goal)),
        }
    }

    pub fn json(&self) -> Value {
        json!({
            "suite": self.suite,
            "what": self.what,
            "unit": self.unit,
            "systems": self.systems,
            "ours": self.ours,
            "peer": self.peer,
            "ours_median": median(&self.ours),
            "peer_median": median(&self.peer),
            "times": self.times(),
            "goal": self.goal_text(),
            "reached": self.reached(),
        })
    }
}

/// A table for each pair of systems, with one line a row: medians, and the spread of the rounds as minimum and maximum.
pub fn tables(rows: &[Row]) -> String {
    let mut pairs: Vec<Systems> = Vec::new();
    for row in rows {
        if !pairs.contains(&row.systems) {
            pairs.push(row.systems);
        }
    }
    let of = |pair: &Systems| table(*pair, rows.iter().filter(|row| row.systems == *pair));
    pairs.iter().map(of).collect::<Vec<_>>().join("\n")
}

fn table<'a>([ours, peer]: Systems, rows: impl Iterator<Item = &'a Row>) -> String {
    let mut cells =
        vec![["", ours, "(min - max)", peer, "(min - max)", "times", "goal", ""].map(String::from)];
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

fn median(figures: &[f64]) -> Option<f64> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = sorted[(sorted.len() - 1) / 2];
    Some((upper + lower) / 2.0)
}

fn spread(figures: &[f64]) -> String {
    if figures.len() < 2 {
        return String::new();
    }
    let minimum = figures.iter().copied().fold(f64::INFINITY, f64::min);
    let maximum = figures.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("({} - {})", number(minimum), number(maximum))
}

/// Three significant digits, or all of a whole number's, with its thousands apart.
fn number(figure: f64) -> String {
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
