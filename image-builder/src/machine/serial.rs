//! The log of a machine's serial line, read as it grows.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A reader that keeps what it has read. The file may not exist yet.
#[derive(Debug)]
pub struct SerialLog {
    path: PathBuf,
    file: Option<File>,
    text: Vec<u8>,
}

impl SerialLog {
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), file: None, text: Vec::new() }
    }

    /// Reads what has been added; returns only that.
    pub fn read(&mut self) -> io::Result<&[u8]> {
        let before = self.text.len();
        if self.file.is_none() {
            match File::open(&self.path) {
                Ok(file) => self.file = Some(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(&[]),
                Err(error) => return Err(error),
            }
        }
        if let Some(file) = &mut self.file {
            file.read_to_end(&mut self.text)?;
        }
        Ok(&self.text[before..])
    }

    /// Everything read so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.text).into_owned()
    }

    /// The first complete line that contains `pattern`. With `ended`, an unfinished last line counts too.
    pub fn line(&self, pattern: &str, ended: bool) -> Option<String> {
        self.lines(&[pattern], ended).next()
    }

    /// All that contain one of these.
    pub fn lines<'l>(&'l self, patterns: &'l [&'l str], ended: bool) -> impl Iterator<Item = String> + 'l {
        self.text
            .split_inclusive(|byte| *byte == b'\n')
            .filter(move |line| ended || line.ends_with(b"\n"))
            .map(|line| String::from_utf8_lossy(line).trim_end().to_owned())
            .filter(move |line| patterns.iter().any(|pattern| line.contains(pattern)))
    }

    /// The last `count` lines.
    pub fn tail(&self, count: usize) -> String {
        let text = self.text();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(count)..].join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_counts_when_it_is_complete() {
        let path = std::env::temp_dir().join(format!("qs-serial-{}", std::process::id()));
        let mut log = SerialLog::new(&path);
        assert_eq!(log.read().unwrap(), b"");
        std::fs::write(&path, "[ 0.1] INFO  kv: ready: kv on tcp po").unwrap();
        log.read().unwrap();
        assert_eq!(log.line("ready: kv", false), None);
        assert!(log.line("ready: kv", true).is_some());
        let mut file = File::options().append(true).open(&path).unwrap();
        io::Write::write_all(&mut file, b"rt 6379\r\nmore\xff").unwrap();
        assert_eq!(log.read().unwrap(), b"rt 6379\r\nmore\xff");
        assert_eq!(log.line("ready: kv", false).unwrap(), "[ 0.1] INFO  kv: ready: kv on tcp port 6379");
        assert_eq!(log.tail(1), "more\u{fffd}");
        std::fs::remove_file(path).unwrap();
    }
}
