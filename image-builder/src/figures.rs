//! What the image `bench` measures: one JSON object a line on the serial line, the format of all benchmarks.

use serde::{Deserialize, Serialize};

/// A figure: one operation, measured `n` times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// What was measured, such as `switch.enter`.
    pub name: String,
    /// The mode the machine was in: `native` or `guest`.
    pub mode: String,
    /// CPUs of the machine.
    pub cpus: u32,
    /// What is counted: `instructions` (under `-icount`) or `tsc`, ticks of the time-stamp counter.
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
    fn what_is_not_whole_is_no_figure() {
        assert!(parse(&LINE[..LINE.len() - 1]).is_empty());
        assert!(parse(&LINE.replace("\"n\"", "\"number\"")).is_empty());
    }
}
