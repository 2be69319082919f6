//! Bars of how many times one is better than the other, on a logarithmic scale, grouped by suite.

use super::compare::Comparison;
use super::plot::{Anchor, Plot, WIDTH};

/// Where the bars are, and where labels end and values begin.
const LEFT: f64 = 230.0;
const RIGHT: f64 = 710.0;
const ROW: f64 = 22.0;
const BAR: f64 = 12.0;
const HEAD: f64 = 40.0;
/// Room at both ends for the number beside the longest bar.
const MARGIN: f64 = 44.0;

/// What the two sides mean.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sides {
    pub worse: &'static str,
    pub better: &'static str,
    /// The heading of the medians at the right.
    pub medians: &'static str,
}

/// Factors that are marked when the longest bar is at most so long.
const SCALES: &[(f64, &[f64])] = &[
    (1.25, &[1.1, 1.2]),
    (2.0, &[1.25, 1.5, 2.0]),
    (5.0, &[2.0, 3.0, 5.0]),
    (20.0, &[2.0, 5.0, 10.0, 20.0]),
    (200.0, &[10.0, 100.0]),
    (f64::INFINITY, &[10.0, 100.0, 1000.0, 10_000.0]),
];

pub(super) fn draw(comparisons: &[Comparison], sides: Sides) -> String {
    let all = comparisons.iter().filter_map(Comparison::range);
    // Symmetric, so that equal lengths are equal factors.
    let most = all.flat_map(|(low, high)| [low.recip(), high]).fold(1.05, f64::max);
    let (_, marks) = SCALES.iter().find(|(limit, _)| most <= *limit).expect("the last one has no limit");
    let middle = f64::midpoint(LEFT, RIGHT);
    let reach = (RIGHT - LEFT) / 2.0 - MARGIN;
    let x = |times: f64| middle + reach * times.ln() / most.ln();

    let mut suites: Vec<&str> = Vec::new();
    for comparison in comparisons {
        if !suites.contains(&&*comparison.suite) {
            suites.push(&comparison.suite);
        }
    }
    let height = HEAD + suites.len() as f64 * (ROW + 10.0) + comparisons.len() as f64 * ROW + 8.0;
    let mut plot = Plot::new(&format!("{} or {}, by suite", sides.worse, sides.better));
    plot.text((middle - 14.0, 14.0), Anchor::End, "muted", &format!("← {}", sides.worse));
    plot.text((middle + 14.0, 14.0), Anchor::Start, "muted", &format!("{} →", sides.better));
    plot.text((WIDTH, 14.0), Anchor::End, "muted", sides.medians);
    for &factor in marks.iter().filter(|factor| **factor <= most * 1.001) {
        for (at, word) in [(factor.recip(), format!("{factor}×")), (factor, format!("{factor}×"))] {
            plot.line((x(at), HEAD - 4.0), (x(at), height - 8.0), "grid");
            plot.text((x(at), HEAD - 10.0), Anchor::Middle, "tick", &word);
        }
    }
    let mut y = HEAD;
    for suite in suites {
        y += 10.0;
        plot.text((0.0, y + 15.0), Anchor::Start, "group", suite);
        plot.line((0.0, y + ROW - 1.0), (WIDTH, y + ROW - 1.0), "grid");
        y += ROW;
        for comparison in comparisons.iter().filter(|comparison| comparison.suite == suite) {
            row(&mut plot, comparison, y, x);
            y += ROW;
        }
    }
    plot.line((middle, HEAD - 4.0), (middle, height - 8.0), "axis");
    plot.finish(height)
}

fn row(plot: &mut Plot, comparison: &Comparison, y: f64, x: impl Fn(f64) -> f64) {
    let (Some(times), Some((low, high))) = (comparison.times(), comparison.range()) else { return };
    let base = y + ROW / 2.0 + 4.0;
    plot.text((LEFT - 12.0, base), Anchor::End, "label", &comparison.what);
    let class = if times >= 1.0 { "better" } else { "worse" };
    let (from, to) = (x(times.min(1.0)), x(times.max(1.0)));
    let hint = format!(
        "{}: {} times, between {} and {} by rounds; {}",
        comparison.what,
        factor(times),
        factor(low),
        factor(high),
        comparison.medians()
    );
    plot.bar((from, y + (ROW - BAR) / 2.0), (to - from, BAR), class, &hint);
    plot.line((x(low), y + ROW / 2.0), (x(high), y + ROW / 2.0), "whisker");
    match times >= 1.0 {
        true => {
            plot.text((x(high.max(1.0)) + 6.0, base), Anchor::Start, "value", &format!("{}×", factor(times)))
        }
        false => plot.text(
            (x(low.min(1.0)) - 6.0, base),
            Anchor::End,
            "value",
            &format!("{}×", factor(times.recip())),
        ),
    }
    plot.text((WIDTH, base), Anchor::End, "muted", &comparison.medians());
}

/// A factor with as many digits as tell something.
pub(super) fn factor(times: f64) -> String {
    let digits = match times {
        times if times < 2.0 => 2,
        times if times < 20.0 => 1,
        _ => 0,
    };
    format!("{times:.digits$}")
}
