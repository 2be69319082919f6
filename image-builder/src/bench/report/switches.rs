//! The last switches: a row a CPU, a colour a phase; waiting is grey.

use crate::trace::{PHASES, Switch, Trace, time};

use super::plot::{Anchor, Plot, WIDTH, steps};

const LEFT: f64 = 70.0;
const ROW: f64 = 30.0;
const BAR: f64 = 18.0;

/// The last switch in each direction; nothing where none was recorded.
pub(super) fn draw(trace: &Trace) -> Vec<(String, String)> {
    let last = |direction: &str| {
        let mut switches = trace.switches.iter().rev();
        switches.find(|switch| switch.direction == direction && switch.done)
    };
    let all = ["enter", "leave"].into_iter().filter_map(last);
    all.filter_map(|switch| Some((title(switch, trace.hertz)?, one(switch, trace.hertz)?))).collect()
}

fn title(switch: &Switch, hertz: u64) -> Option<String> {
    let (first, last) = switch.span()?;
    let way = if switch.direction == "enter" { "native to guest" } else { "guest to native" };
    Some(format!("{}, {way}: {} from first to last", switch.direction, time(last - first, hertz)))
}

fn one(switch: &Switch, hertz: u64) -> Option<String> {
    let (first, last) = switch.span()?;
    let span = (last - first).max(1) as f64;
    let x = |at: u64| LEFT + (WIDTH - LEFT - 10.0) * (at - first) as f64 / span;
    let mut plot = Plot::new(&title(switch, hertz)?);
    let bottom = switch.cpus.len() as f64 * ROW + 4.0;
    // Ticks are not round, parts of a second are.
    let (a_tick, unit) = match hertz {
        0 => (1.0, ""),
        _ if span * 1e6 < 10_000.0 * hertz as f64 => (1e6 / hertz as f64, " µs"),
        _ => (1e3 / hertz as f64, " ms"),
    };
    for mark in steps(span * a_tick, 8.0).into_iter().filter(|mark| *mark <= span * a_tick) {
        let at = LEFT + (WIDTH - LEFT - 10.0) * mark / (span * a_tick);
        plot.line((at, 0.0), (at, bottom), "grid");
        plot.text((at, bottom + 16.0), Anchor::Middle, "tick", &format!("{mark}{unit}"));
    }
    for (index, cpu) in switch.cpus.iter().enumerate() {
        let y = index as f64 * ROW;
        plot.text((LEFT - 12.0, y + ROW / 2.0 + 4.0), Anchor::End, "label", &format!("CPU {}", cpu.cpu));
        for (phase, begin, end) in cpu.marks.phases().filter(|(_, begin, end)| end > begin) {
            let hint = format!("CPU {}: {}, {}", cpu.cpu, PHASES[phase].1, time(end - begin, hertz));
            // However short, it is seen.
            let width = (x(end) - x(begin) - 1.0).max(1.0);
            plot.bar((x(begin), y + (ROW - BAR) / 2.0), (width, BAR), &format!("phase{phase}"), &hint);
        }
    }
    Some(plot.finish(bottom + 24.0))
}
