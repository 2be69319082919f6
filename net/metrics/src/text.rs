//! Prometheus's text format, version 0.0.4 ("Exposition formats" in its documentation).

use alloc::string::String;
use core::fmt::{self, Display, Write};
use core::ops::RangeInclusive;
use machine::histogram::Histogram;

/// The media type.
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts of durations by upper bound.
    Histogram,
}

/// Nanoseconds, written in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seconds(pub u64);

impl Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, mut part) = (self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        let mut width = 9;
        while width > 1 && part.is_multiple_of(10) {
            part /= 10;
            width -= 1;
        }
        if part == 0 { write!(f, "{whole}") } else { write!(f, "{whole}.{part:0width$}") }
    }
}

/// Labels of a sample: names and values.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

/// Metrics, written one after another.
#[derive(Debug, Default)]
pub struct Text {
    out: String,
    name: &'static str,
}

impl Text {
    /// Begins a metric; its samples follow.
    pub fn metric(&mut self, kind: Kind, name: &'static str, help: &str) {
        let word = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.name = name;
        self.write(format_args!("# HELP {name} "));
        for character in help.chars() {
            match character {
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                other => self.out.push(other),
            }
        }
        self.write(format_args!("\n# TYPE {name} {word}\n"));
    }

    /// A sample of the metric.
    pub fn sample(&mut self, labels: Labels<'_>, value: impl Display) {
        self.line("", labels, None, value);
    }

    /// A metric with one sample and no labels.
    pub fn single(&mut self, kind: Kind, name: &'static str, help: &str, value: impl Display) {
        self.metric(kind, name, help);
        self.sample(&[], value);
    }

    /// A histogram with a bucket for each power of two of nanoseconds (see [`Histogram::cumulative`]).
    pub fn histogram(&mut self, labels: Labels<'_>, histogram: &Histogram, exponents: RangeInclusive<u32>) {
        for (bound, count) in histogram.cumulative(exponents) {
            self.line("_bucket", labels, Some(&Seconds(bound)), count);
        }
        self.line("_bucket", labels, Some(&"+Inf"), histogram.count());
        self.line("_sum", labels, None, Seconds(histogram.sum()));
        self.line("_count", labels, None, histogram.count());
    }

    /// All of it.
    pub fn finish(self) -> String {
        self.out
    }

    fn line(&mut self, suffix: &str, labels: Labels<'_>, bound: Option<&dyn Display>, value: impl Display) {
        let name = self.name;
        self.write(format_args!("{name}{suffix}"));
        let mut before = '{';
        for (label, value) in labels {
            self.write(format_args!("{before}{label}=\""));
            self.escaped(value);
            self.out.push('"');
            before = ',';
        }
        if let Some(bound) = bound {
            self.write(format_args!("{before}le=\"{bound}\""));
            before = ',';
        }
        self.out.push_str(if before == '{' { " " } else { "} " });
        self.write(format_args!("{value}\n"));
    }

    fn escaped(&mut self, value: &str) {
        for character in value.chars() {
            match character {
                '\\' => self.out.push_str("\\\\"),
                '"' => self.out.push_str("\\\""),
                '\n' => self.out.push_str("\\n"),
                other => self.out.push(other),
            }
        }
    }

    fn write(&mut self, text: fmt::Arguments<'_>) {
        self.out.write_fmt(text).expect("writing to memory does not fail");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::string::ToString;

    #[test]
    fn seconds_have_no_more_digits_than_they_need() {
        let cases =
            [(0, "0"), (1, "0.000000001"), (1_500_000_000, "1.5"), (64, "0.000000064"), (7_000_000_000, "7")];
        for (nanos, text) in cases {
            assert_eq!(Seconds(nanos).to_string(), text);
        }
    }

    #[test]
    fn labels_and_help_are_escaped() {
        let mut text = Text::default();
        text.metric(Kind::Gauge, "a", "b\\c\n\"d\"");
        text.sample(&[("l", "x\"y\\z\n"), ("m", "é")], 3);
        text.sample(&[], 4);
        let expected = "# HELP a b\\\\c\\n\"d\"\n# TYPE a gauge\na{l=\"x\\\"y\\\\z\\n\",m=\"é\"} 3\na 4\n";
        assert_eq!(text.finish(), expected);
    }

    #[test]
    fn buckets_are_cumulative_and_end_in_the_count() {
        let mut histogram = Histogram::new();
        [1_000, 1_024, 1_025, 5_000, u64::MAX >> 20].into_iter().for_each(|nanos| histogram.add(nanos, 1));
        let mut text = Text::default();
        text.metric(Kind::Histogram, "h", "x");
        text.histogram(&[("app", "kv")], &histogram, 10..=13);
        let sum = Seconds(histogram.sum());
        let expected = format!(
            "# HELP h x\n# TYPE h histogram\nh_bucket{{app=\"kv\",le=\"0.000001024\"}} 2\n\
             h_bucket{{app=\"kv\",le=\"0.000002048\"}} 3\nh_bucket{{app=\"kv\",le=\"0.000004096\"}} 3\n\
             h_bucket{{app=\"kv\",le=\"0.000008192\"}} 4\nh_bucket{{app=\"kv\",le=\"+Inf\"}} 5\n\
             h_sum{{app=\"kv\"}} {sum}\nh_count{{app=\"kv\"}} 5\n"
        );
        assert_eq!(text.finish(), expected);
    }
}
