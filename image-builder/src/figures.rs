//! What the image `bench` measures: one JSON object a line on the serial line, the format of all benchmarks.

use serde::{Deserialize, Serialize};

/// A figure: one operation, measured `n` times.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// What was measured, such as `switch.enter`.
    pub name: String,
    /// The mode the machine was in: `native` or `guest`; `linux` where it is not ours.
    pub mode: String,
    /// CPUs of the machine.
    pub cpus: u32,
    /// What a sample is: `instructions` (under `-icount`) or `tsc`, ticks of the time-stamp counter; or a rate, such as
    /// `bytes_per_second`.
    pub unit: String,
    /// Samples.
    pub n: u64,
    /// The least of them.
    pub min: u64,
    /// The median.
    pub p50: u64,
    /// What 99 in 100 samples do not exceed.
    pub p99: u64,
    /// The greatest.
    pub max: u64,
    /// Times that all samples were taken anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs: Option<u64>,
    /// How far the runs' medians lie apart, as a part of the median.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<f64>,
    /// Samples far from the others; they are in all of the figures above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outliers: Option<u64>,
    /// In guest mode, the median as a multiple of the native one of the same run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
}

/// Whether more of a unit is better: requests, bytes or operations in a time, and not a time.
pub fn is_rate(unit: &str) -> bool {
    unit.contains("_per_") || unit.ends_with("/s") || unit == "%"
}

/// All figures in the text of a serial line, in the order they were measured.
pub fn parse(serial: &str) -> Vec<Figure> {
    // A log line begins with its time and level.
    let objects = serial.lines().filter_map(|line| line.find('{').map(|start| line[start..].trim_end()));
    objects.filter_map(|object| serde_json::from_str(object).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str =
        r#"{"name":"exit.cpuid","mode":"guest","cpus":2,"unit":"tsc","n":9,"min":1,"p50":2,"p99":3,"max":4}"#;

    #[test]
    fn figures_are_found_among_other_lines() {
        let text = format!("[    0.1] INFO  net: up {{}}\r\n[    0.2] INFO  bench: {LINE}\r\n{LINE}\n");
        let figures = parse(&text);
        assert_eq!(figures.len(), 2);
        assert_eq!(figures[0], figures[1]);
        assert_eq!((figures[0].name.as_str(), figures[0].cpus, figures[0].max), ("exit.cpuid", 2, 4));
        assert_eq!(serde_json::to_string(&figures[0]).unwrap(), LINE);
    }

    #[test]
    fn later_fields_are_taken_and_left_out() {
        let longer = LINE.replace('}', r#","runs":5,"spread":0.25,"outliers":3,"ratio":1.5}"#);
        let figures = parse(&format!("{LINE}\n{longer}"));
        assert_eq!(figures[0].runs, None);
        assert_eq!((figures[1].runs, figures[1].spread, figures[1].ratio), (Some(5), Some(0.25), Some(1.5)));
        assert_eq!(serde_json::to_string(&figures[1]).unwrap(), longer);
        assert!(is_rate("bytes_per_second") && is_rate("requests/s") && !is_rate("tsc") && !is_rate("ms"));
    }

    #[test]
    fn what_is_not_whole_is_no_figure() {
        assert!(parse(&LINE[..LINE.len() - 1]).is_empty());
        assert!(parse(&LINE.replace("\"n\"", "\"number\"")).is_empty());
    }
}
