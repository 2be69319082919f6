//! What the switch and exits cost: a bar to the median, a thin line to what 99 in 100 do not exceed.

use crate::bench::record::{QUICKSILVER, Record, Taken};
use crate::bench::row::{median, number};
use crate::figures::Figure;

use super::compare::amount;
use super::plot::{Anchor, Plot, WIDTH, steps};

const LEFT: f64 = 200.0;
const RIGHT: f64 = 780.0;
const ROW: f64 = 26.0;
const BAR: f64 = 14.0;

/// An operation in a mode.
struct Cost {
    label: String,
    p50: f64,
    p99: f64,
    /// The least and the greatest sample of all rounds.
    span: (u64, u64),
}

/// Medians of all rounds.
fn costs(record: &Record) -> Vec<Cost> {
    let is_cost = |taken: &&Taken| taken.system == QUICKSILVER && taken.suite == "switch";
    let all: Vec<&Figure> = record.figures.iter().filter(is_cost).map(|taken| &taken.figure).collect();
    let mut keys: Vec<(&str, &str)> = Vec::new();
    for figure in &all {
        let key = (&*figure.name, &*figure.mode);
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let cost = |(name, mode): (&str, &str)| {
        let rounds = || all.iter().filter(|figure| figure.name == name && figure.mode == mode);
        let middle = |value: fn(&Figure) -> u64| {
            median(&rounds().map(|figure| value(figure) as f64).collect::<Vec<_>>())
        };
        let span = (rounds().map(|figure| figure.min).min()?, rounds().map(|figure| figure.max).max()?);
        let label = format!("{name} ({mode})");
        Some(Cost { label, p50: middle(|figure| figure.p50)?, p99: middle(|figure| figure.p99)?, span })
    };
    keys.into_iter().filter_map(cost).collect()
}

/// `None` where the switch was not measured.
pub(super) fn draw(record: &Record) -> Option<String> {
    let unit = &record.figures.iter().find(|taken| taken.suite == "switch")?.figure.unit;
    let costs = costs(record);
    let of_all = |value: fn(&Cost) -> f64| costs.iter().map(value).reduce(f64::max);
    // A few outliers must not make all bars short: their lines end at the edge, and their numbers are told.
    let most = of_all(|cost| cost.p99)?.min(2.0 * of_all(|cost| cost.p50)?).max(1.0);
    let marks = steps(most, 5.0);
    let last = marks.last().copied().unwrap_or(most);
    let x = |value: f64| LEFT + (RIGHT - LEFT) * value.min(last) / last;
    let height = costs.len() as f64 * ROW + 34.0;
    let mut plot = Plot::new("costs of the switch and of exits");
    for mark in marks {
        plot.line((x(mark), 0.0), (x(mark), height - 26.0), "grid");
        plot.text((x(mark), height - 10.0), Anchor::Middle, "tick", &number_of(mark));
    }
    plot.text((WIDTH, height - 10.0), Anchor::End, "muted", &amount(0.0, unit).1);
    for (index, Cost { label, p50, p99, span }) in costs.iter().enumerate() {
        let y = index as f64 * ROW;
        let base = y + ROW / 2.0 + 4.0;
        plot.text((LEFT - 12.0, base), Anchor::End, "label", label);
        let hint = format!(
            "{label}: least {}, median {}, p99 {}, greatest {}",
            span.0,
            number_of(*p50),
            number_of(*p99),
            span.1
        );
        plot.bar((LEFT, y + (ROW - BAR) / 2.0), (x(*p50) - LEFT, BAR), "better", &hint);
        plot.line((x(*p50), y + ROW / 2.0), (x(*p99), y + ROW / 2.0), "whisker");
        plot.text((x(*p99) + 8.0, base), Anchor::Start, "value", &number_of(*p50));
        plot.text((WIDTH, base), Anchor::End, "muted", &format!("p99 {}", number_of(*p99)));
    }
    plot.line((LEFT, 0.0), (LEFT, height - 26.0), "axis");
    Some(plot.finish(height))
}

/// Whole numbers without a fraction.
fn number_of(value: f64) -> String {
    if value.fract() == 0.0 && value < 100.0 { format!("{value}") } else { number(value) }
}
