//! How `qs` speaks: data on the standard output, progress on the standard error.

use std::io::{self, IsTerminal, Write};
use std::{env, fmt};

/// A step of the work, told to the one who waits.
pub fn progress(message: impl fmt::Display) {
    eprintln!("{} {message}", paint("qs:", "36"));
}

pub fn error(error: &dyn fmt::Display) {
    eprintln!("{} {error}", paint("qs: error:", "31"));
}

/// Data. When the reader has had enough (`qs ps | head -1`), that is no failure.
pub fn data(text: impl fmt::Display) {
    drop(writeln!(io::stdout(), "{text}"));
}

/// A table with a heading, columns as wide as they need to be.
pub fn table(heading: &[&str], rows: &[Vec<String>]) {
    let heading: Vec<String> = heading.iter().map(|&word| word.to_owned()).collect();
    let width = |column: usize| {
        let cells = std::iter::once(&heading).chain(rows).map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    for row in std::iter::once(&heading).chain(rows) {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        data(cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}

/// Columns of the terminal: `COLUMNS`, or what the terminal says, or 80.
pub fn width() -> usize {
    let columns = env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    let terminal = || rustix::termios::tcgetwinsize(io::stdout()).ok().map(|size| usize::from(size.ws_col));
    columns.or_else(terminal).filter(|&columns| columns > 0).unwrap_or(80)
}

/// Colours a word on a terminal, unless NO_COLOR is set (<https://no-color.org>).
fn paint(word: &str, colour: &str) -> String {
    let plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if plain || !io::stderr().is_terminal() {
        word.to_owned()
    } else {
        format!("\x1b[{colour}m{word}\x1b[0m")
    }
}
