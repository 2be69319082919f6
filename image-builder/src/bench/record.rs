//! What came out of a session, as it is kept: one JSON object, described by [`SCHEMA`].

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::figures::Figure;
use crate::trace::Trace;

use super::facts::Facts;
use super::row::Row;
use super::timeline::Timeline;

/// Name and version of the format. Fields may be added to a version, and are ignored by older readers; none is taken away.
pub const SCHEMA: &str = "quicksilver-bench/1";

/// We.
pub const QUICKSILVER: &str = "Quicksilver";
/// The peer.
pub const LINUX: &str = "Linux";

/// A session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`SCHEMA`].
    pub schema: String,
    /// When, on what, with what.
    pub facts: Facts,
    /// What the systems measured inside the machine, in the order in which it was measured.
    pub figures: Vec<Taken>,
    /// What clients measured.
    pub rows: Vec<Row>,
    /// Requests over time while the mode changed.
    #[serde(default)]
    pub timeline: Option<Timeline>,
    /// Requests over time while a checkpoint drained.
    #[serde(default)]
    pub checkpoint: Option<Timeline>,
    /// The last switches on each CPU.
    #[serde(default)]
    pub trace: Option<Trace>,
    /// Suites that failed, and why.
    #[serde(default)]
    pub errors: Vec<String>,
}

/// A figure, and who took it when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Taken {
    /// [`QUICKSILVER`] or [`LINUX`].
    pub system: String,
    /// The suite.
    pub suite: String,
    /// Rounds count from 0; in each both systems have a turn.
    pub round: u32,
    /// The figure.
    pub figure: Figure,
}

/// Why a record can't be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It is no such JSON.
    #[error("no record of a benchmark: {0}")]
    Malformed(#[from] serde_json::Error),
    /// It is of another format.
    #[error("a record of format '{0}'; this program reads '{SCHEMA}'")]
    Schema(String),
}

impl Record {
    /// A record without figures.
    pub fn new(facts: Facts) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            facts,
            figures: Vec::new(),
            rows: Vec::new(),
            timeline: None,
            checkpoint: None,
            trace: None,
            errors: Vec::new(),
        }
    }

    /// Reads what [`Record::keep`] wrote.
    pub fn parse(text: &str) -> Result<Self, RecordError> {
        let record: Self = serde_json::from_str(text)?;
        if record.schema != SCHEMA {
            return Err(RecordError::Schema(record.schema));
        }
        Ok(record)
    }

    /// Writes a file of its own in a directory, named after the date, and returns its path.
    pub fn keep(&self, directory: &Path) -> io::Result<PathBuf> {
        fs::create_dir_all(directory)?;
        let name = self.facts.date.replace(':', "-");
        let path = directory.join(name).with_added_extension("json");
        let mut text = serde_json::to_string_pretty(self).map_err(io::Error::from)?;
        text.push('\n');
        fs::write(&path, text)?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = include_str!("sample.json");

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let record = Record::parse(SAMPLE).unwrap();
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(Record::parse(&text).unwrap(), record);
        assert!(record.figures.len() > 10 && record.rows.len() > 5);
        assert!(record.timeline.is_some() && record.trace.is_some());
    }

    #[test]
    fn only_its_own_format_is_read() {
        let other = SAMPLE.replacen(SCHEMA, "quicksilver-bench/0", 1);
        assert!(matches!(Record::parse(&other), Err(RecordError::Schema(_))));
        assert!(matches!(Record::parse("{}"), Err(RecordError::Malformed(_))));
        let unit = SAMPLE.replacen("\"unit\"", "\"units\"", 1);
        assert!(matches!(Record::parse(&unit), Err(RecordError::Malformed(_))));
    }

    #[test]
    fn a_kept_record_is_named_after_its_date() {
        let record = Record::parse(SAMPLE).unwrap();
        let directory = std::env::temp_dir().join(format!("qs-record-{}", std::process::id()));
        let path = record.keep(&directory).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert_eq!(name, format!("{}.json", record.facts.date.replace(':', "-")));
        assert_eq!(Record::parse(&fs::read_to_string(&path).unwrap()).unwrap(), record);
        fs::remove_dir_all(directory).unwrap();
    }
}
