//! Tables for a terminal.

use std::fmt::Write;

use crate::bench::record::{QUICKSILVER, Record, Taken};
use crate::bench::row;

use super::compare::{self, Comparison, amount};
use super::ratios::factor;
use super::sparkline;

/// How many of the worst are told.
const WORST: usize = 3;

/// All that was measured: figures by system and mode, rows, comparisons, the worst of them.
pub fn tables(record: &Record) -> String {
    let mut text = String::new();
    if !record.figures.is_empty() {
        let heading = ["NAME", "SYSTEM", "MODE", "CPUS", "UNIT", "N", "MIN", "P50", "P99", "MAX", "OUTLIERS"];
        let mut cells = vec![heading.map(String::from).to_vec()];
        cells.extend(record.figures.iter().filter(|taken| taken.round == 0).map(figure));
        text.push_str(&align(&cells));
    }
    if !record.rows.is_empty() {
        let _ = write!(text, "\n{}", row::tables(&record.rows));
    }
    if let Some(timeline) = &record.checkpoint {
        let _ = write!(text, "\n{}", sparkline::draw(timeline));
    }
    for (title, comparisons) in
        [("Linux", compare::with_linux(record)), ("native mode", compare::with_native(record))]
    {
        if !comparisons.is_empty() {
            let _ = write!(text, "\n{}", ratios(title, &comparisons));
        }
    }
    text
}

fn figure(taken: &Taken) -> Vec<String> {
    let figure = &taken.figure;
    let words = [&*figure.name, &*taken.system, &*figure.mode, &figure.cpus.to_string(), &*figure.unit];
    let numbers = [figure.n, figure.min, figure.p50, figure.p99, figure.max];
    let outliers = figure.outliers.map_or_else(String::new, |outliers| outliers.to_string());
    let numbers = numbers.map(|number| number.to_string()).into_iter().chain([outliers]);
    words.map(str::to_owned).into_iter().chain(numbers).collect()
}

fn ratios(other: &str, comparisons: &[Comparison]) -> String {
    let ours = if other == "Linux" { QUICKSILVER } else { "guest mode" };
    let heading = ["SUITE", "WHAT", "UNIT", ours, other, "TIMES", "ROUNDS"];
    let mut cells = vec![heading.map(String::from).to_vec()];
    for comparison in comparisons {
        let Comparison { suite, what, unit, ours, peer } = comparison;
        let median =
            |figures: &[f64]| row::median(figures).map_or_else(String::new, |median| amount(median, unit).0);
        let times = comparison.times().map_or_else(String::new, times);
        let range = comparison.range().filter(|_| ours.len() > 1);
        let range = range
            .map_or_else(String::new, |(low, high)| format!("{} - {}", times_short(low), times_short(high)));
        cells.push(vec![
            suite.clone(),
            what.clone(),
            amount(0.0, unit).1,
            median(ours),
            median(peer),
            times,
            range,
        ]);
    }
    let mut worst: Vec<(&Comparison, f64)> =
        comparisons.iter().filter_map(|comparison| Some((comparison, comparison.times()?))).collect();
    worst.sort_by(|a, b| a.1.total_cmp(&b.1));
    let name = |(comparison, ratio): &(&Comparison, f64)| {
        format!("{} {} {}", comparison.suite, comparison.what, times(*ratio))
    };
    let worst: Vec<String> = worst.iter().take(WORST).map(name).collect();
    format!("{}worst beside {other}: {}\n", align(&cells), worst.join("; "))
}

/// How many times better, or worse where it is.
fn times(times: f64) -> String {
    if times >= 1.0 {
        format!("{}x better", factor(times))
    } else {
        format!("{}x worse", factor(times.recip()))
    }
}

fn times_short(times: f64) -> String {
    if times >= 1.0 { factor(times) } else { format!("1/{}", factor(times.recip())) }
}

/// Columns as wide as they have to be; numbers to the right.
fn align(cells: &[Vec<String>]) -> String {
    let columns = cells.first().map_or(0, Vec::len);
    let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in cells {
        let number = |cell: &str| cell.starts_with(|first: char| first.is_ascii_digit());
        let cells = row.iter().zip(&widths).map(|(cell, &width)| match number(cell) {
            true => format!("{cell:>width$}"),
            false => format!("{cell:width$}"),
        });
        let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    text
}
