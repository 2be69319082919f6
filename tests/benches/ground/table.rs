//! Figures of both systems, and how they are printed.

use std::fmt::Write;

use serde_json::{Value, json};

/// What a figure ought to be.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    None,
    /// Ours is at least so many times Linux's.
    TimesAtLeast(f64),
    /// Ours is at most so many times Linux's.
    TimesAtMost(f64),
    /// Ours is at least this much.
    AtLeast(f64),
    /// Ours is at most this much.
    AtMost(f64),
}

/// One measured quantity: a figure a round for each system, in the order in which they alternated.
#[derive(Clone, Debug)]
pub struct Row {
    pub suite: &'static str,
    pub what: String,
    pub unit: &'static str,
    pub goal: Goal,
    pub ours: Vec<f64>,
    /// Empty where Linux has no such figure.
    pub linux: Vec<f64>,
}

impl Row {
    pub fn new(suite: &'static str, what: impl Into<String>, unit: &'static str, goal: Goal) -> Self {
        Self { suite, what: what.into(), unit, goal, ours: Vec::new(), linux: Vec::new() }
    }

    /// Our median in Linux's medians.
    fn times(&self) -> Option<f64> {
        median(&self.ours)
            .zip(median(&self.linux))
            .filter(|(_, linux)| *linux > 0.0)
            .map(|(ours, linux)| ours / linux)
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
            "ours": self.ours,
            "linux": self.linux,
            "ours_median": median(&self.ours),
            "linux_median": median(&self.linux),
            "times": self.times(),
            "goal": self.goal_text(),
            "reached": self.reached(),
        })
    }
}

/// A table with one line a row: medians, and the spread of the rounds as minimum and maximum.
pub fn table(rows: &[Row]) -> String {
    let mut cells = vec![
        ["", "Quicksilver", "(min - max)", "Linux", "(min - max)", "times", "goal", ""].map(String::from),
    ];
    for row in rows {
        let reached = row.reached().map_or("", |reached| if reached { "reached" } else { "missed" });
        cells.push([
            format!("{}: {} [{}]", row.suite, row.what, row.unit),
            median(&row.ours).map_or_else(String::new, number),
            spread(&row.ours),
            median(&row.linux).map_or_else(String::new, number),
            spread(&row.linux),
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
