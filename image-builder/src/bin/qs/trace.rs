//! `qs mode --trace`: the last switch, one row per CPU over time.

use std::fmt::Write;

use image_builder::trace::{Marks, PHASES, Trace, time};

/// The least and the most columns that a drawing takes.
const WIDTHS: (usize, usize) = (40, 400);

pub fn parse(body: &str) -> serde_json::Result<Trace> {
    serde_json::from_str(body)
}

/// Draws the last switch, `width` columns wide.
pub fn draw(trace: &Trace, width: usize) -> String {
    let Some(switch) = trace.switches.last() else {
        return "no switch yet".to_owned();
    };
    let Some((first, last)) = switch.span() else {
        return format!("{}: nothing was recorded", switch.direction);
    };
    let label = switch.cpus.iter().map(|cpu| cpu.cpu.to_string().len()).max().unwrap_or(1) + "CPU ".len();
    let cells = width.clamp(WIDTHS.0, WIDTHS.1) - label - " ||".len();
    let span = last - first;
    let outcome = if switch.done { "" } else { ", undone" };
    let mut text = format!("{}{outcome}: {} from first to last\n", switch.direction, time(span, trace.hertz));

    for cpu in &switch.cpus {
        let row = row(&cpu.marks, first, span, cells);
        let _ = writeln!(text, "{:label$} |{row}|", format!("CPU {}", cpu.cpu));
    }
    let _ = writeln!(text, "{:label$} {}", "", axis(span, trace.hertz, cells));
    let used = |index: usize| switch.cpus.iter().any(|cpu| cpu.marks.phases().any(|phase| phase.0 == index));
    let legend = PHASES.iter().enumerate().filter(|(index, _)| used(*index));
    let words: Vec<String> = legend.map(|(_, (character, name))| format!("{character} {name}")).collect();
    let _ = write!(text, "{}", words.join("  "));
    text
}

/// One CPU's cells. A phase has as many as it took of the time, but at least one if it took any at all.
fn row(marks: &Marks, first: u64, span: u64, cells: usize) -> String {
    let cell = |time: u64| {
        let position = u128::from(time - first) * cells as u128;
        position.checked_div(u128::from(span)).map_or(0, |cell| cell as usize)
    };
    let mut row = vec![' '; cells];
    // Where a short phase had to be moved on, what follows begins later.
    let mut free = 0;
    let phases: Vec<_> = marks.phases().filter(|(_, begin, end)| end > begin).collect();
    for (done, &(index, begin, end)) in phases.iter().enumerate() {
        // Those that are still to come need a cell each, too.
        let limit = cells - (phases.len() - 1 - done).min(cells - 1);
        let start = cell(begin).max(free).min(limit.saturating_sub(1));
        let stop = cell(end).max(start + 1).min(limit);
        row[start..stop].fill(PHASES[index].0);
        free = stop;
    }
    row.into_iter().collect()
}

/// The scale below the rows: nought at the left, the whole time at the right.
fn axis(span: u64, hertz: u64, cells: usize) -> String {
    let end = time(span, hertz);
    format!("0{end:>cells$}", cells = cells + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"{"hertz":1000000000,"switches":[
        {"direction":"leave","done":true,"cpus":[]},
        {"direction":"enter","done":true,"cpus":[
            {"cpu":0,"marks":{"call":1000,"arrive":1100,"prepared":1300,"verdict":1400,"over":1700,"release":1700,"end":1800}},
            {"cpu":1,"marks":{"arrive":1200,"prepared":1399,"verdict":1400,"over":1600,"release":1700,"end":2000}}]}]}"#;

    #[test]
    fn the_last_switch_is_drawn() {
        let text = draw(&parse(BODY).unwrap(), 48);
        let expected = "\
enter: 1.00 µs from first to last
CPU 0 |ccccPPPPPPPP....############====        |
CPU 1 |        PPPPPPP.########----============|
      0                                  1.00 µs
c calling the others  P prepare  . wait for the vote  # go over  - wait for the release  = go on";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_switch_that_was_undone_shows_how_far_it_came() {
        let body = r#"{"hertz":0,"switches":[{"direction":"enter","done":false,"cpus":[
            {"cpu":10,"marks":{"call":100,"arrive":110,"prepared":0,"verdict":0,"over":0,"release":0,"end":0}},
            {"cpu":11}]}]}"#;
        let text = draw(&parse(body).unwrap(), 0);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "enter, undone: 10 ticks from first to last");
        assert_eq!(lines[1], format!("CPU 10 |{}|", "c".repeat(31)));
        assert_eq!(lines[2], format!("CPU 11 |{}|", " ".repeat(31)));
        assert_eq!(lines[4], "c calling the others");
    }

    #[test]
    fn every_phase_is_seen_however_short() {
        let marks = |base: u64| Marks {
            call: base,
            arrive: base + 1,
            prepared: base + 2,
            verdict: base + 3,
            over: base + 4,
            release: base + 5,
            end: base + 6,
        };
        for base in [1, 500_000, 999_994] {
            let row = row(&marks(base), 1, 1_000_000, 60);
            assert_eq!(row.len(), 60);
            assert_eq!(row.trim(), "cP.#-=", "{base}");
        }
    }

    #[test]
    fn nothing_recorded_is_no_failure() {
        assert_eq!(draw(&parse(r#"{"hertz":1,"switches":[]}"#).unwrap(), 80), "no switch yet");
        let body =
            r#"{"hertz":1,"switches":[{"direction":"leave","done":true,"cpus":[{"cpu":0,"marks":{}}]}]}"#;
        assert_eq!(draw(&parse(body).unwrap(), 80), "leave: nothing was recorded");
    }
}
