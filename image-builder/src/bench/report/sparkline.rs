//! Requests over time in a line of a terminal, with what happened marked beneath.

use crate::bench::row::number;
use crate::bench::timeline::Timeline;

/// The most letters of a line.
const WIDTH: usize = 96;
/// From nothing to the most.
const LEVELS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Nothing where there are no samples.
pub(super) fn draw(timeline: &Timeline) -> String {
    let Timeline { what, samples, switches, .. } = timeline;
    let Some(last) = samples.last() else { return String::new() };
    let width = samples.len().div_ceil(samples.len().div_ceil(WIDTH));
    let column = |at: f64| ((at / last.at * width as f64) as usize).min(width - 1);
    let mut rates = vec![(0.0, 0_u32); width];
    for sample in samples {
        // Its end belongs to the next.
        let (sum, count) = &mut rates[column(sample.at - timeline.period / 2.0)];
        (*sum, *count) = (*sum + sample.rate, *count + 1);
    }
    let rates: Vec<f64> = rates.iter().map(|(sum, count)| sum / f64::from((*count).max(1))).collect();
    let most = rates.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let level = |rate: &f64| LEVELS[(rate / most * (LEVELS.len() - 1) as f64).round() as usize];
    let curve: String = rates.iter().map(level).collect();
    let mut marks = String::new();
    for mark in switches {
        let at = column(mark.at);
        // A name that does not fit beside the one before begins after it.
        let gap = at.saturating_sub(marks.chars().count()).max(usize::from(!marks.is_empty()));
        marks.push_str(&format!("{}^{}", " ".repeat(gap), mark.mode));
    }
    let seconds = last.at / 1e3;
    format!("{what}: requests a second, at most {} ({seconds:.1} s)\n|{curve}|\n {marks}\n", number(most))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::timeline::{Mark, Sample};

    fn timeline(rates: &[f64]) -> Timeline {
        let sample = |(number, rate): (usize, &f64)| Sample {
            at: 100.0 * (number + 1) as f64,
            rate: *rate,
            worst: 1.0,
        };
        let mark = |at, mode: &str| Mark { at, mode: mode.to_owned() };
        Timeline {
            what: "GET".to_owned(),
            period: 100.0,
            samples: rates.iter().enumerate().map(sample).collect(),
            switches: vec![mark(250.0, "frozen"), mark(380.0, "drained")],
        }
    }

    #[test]
    fn a_sample_is_a_letter_and_marks_stand_beneath() {
        let text = draw(&timeline(&[800.0, 400.0, 0.0, 100.0]));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "GET: requests a second, at most 800 (0.4 s)");
        assert_eq!(lines[1], "|█▄ ▁|");
        assert_eq!(lines[2], "   ^frozen ^drained");
        assert_eq!(draw(&timeline(&[])), "");
    }

    #[test]
    fn many_samples_share_letters() {
        let text = draw(&timeline(&[10.0; 1000]));
        let curve = text.lines().nth(1).unwrap().trim_matches('|');
        assert!(curve.chars().count() <= WIDTH && curve.chars().all(|letter| letter == '█'), "{curve}");
    }
}
