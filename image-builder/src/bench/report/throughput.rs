//! Requests and the longest wait over time, with the time in guest mode, or under a snapshot, shaded and each switch marked.

use svg::node::element::{Path, path::Data};

use crate::bench::row::number;
use crate::bench::timeline::{Sample, Timeline};

use super::plot::{Anchor, Plot, WIDTH, round, steps};

const LEFT: f64 = 70.0;
const TOP: f64 = 30.0;
/// Heights of the two panels, and the room between them.
const RATE: f64 = 190.0;
const WORST: f64 = 90.0;
const GAP: f64 = 34.0;

/// A panel: where it is, and what it shows.
struct Panel<'a> {
    top: f64,
    height: f64,
    title: &'a str,
    value: fn(&Sample) -> f64,
}

/// `None` where there are no samples.
pub(super) fn draw(timeline: &Timeline) -> Option<String> {
    let end = timeline.samples.last()?.at;
    let x = |at: f64| LEFT + (WIDTH - LEFT - 10.0) * at / end;
    let bottom = TOP + RATE + GAP + WORST;
    let mut plot = Plot::new("requests a second and the longest wait over time, switches marked");
    let ends = timeline.switches.iter().skip(1).map(|mark| mark.at).chain([end]);
    for (mark, until) in timeline.switches.iter().zip(ends).filter(|(mark, _)| shade(&mark.mode).is_some()) {
        let hint = shade(&mark.mode).unwrap_or_default();
        plot.bar((x(mark.at), TOP), (x(until) - x(mark.at), bottom - TOP), "guest", hint);
    }
    let panels = [
        Panel { top: TOP, height: RATE, title: "requests a second", value: |sample| sample.rate },
        Panel {
            top: TOP + RATE + GAP,
            height: WORST,
            title: "longest wait, ms",
            value: |sample| sample.worst,
        },
    ];
    for panel in &panels {
        draw_panel(&mut plot, panel, &timeline.samples, x)?;
    }
    for mark in &timeline.switches {
        plot.line((x(mark.at), TOP - 4.0), (x(mark.at), bottom), "mark");
        let word = match &*mark.mode {
            "guest" => "enter",
            "native" => "leave",
            "frozen" => "stop",
            other => other,
        };
        plot.text((x(mark.at), TOP - 10.0), Anchor::Middle, "label", word);
    }
    for second in steps(end / 1e3, 12.0).into_iter().filter(|second| second * 1e3 <= end) {
        plot.text((x(second * 1e3), bottom + 18.0), Anchor::Middle, "tick", &format!("{second} s"));
    }
    Some(plot.finish(bottom + 26.0))
}

/// What the time after a mark is, where it is shaded.
fn shade(mode: &str) -> Option<&'static str> {
    match mode {
        "guest" => Some("in guest mode"),
        "frozen" => Some("the checkpoint drains"),
        _ => None,
    }
}

fn draw_panel(plot: &mut Plot, panel: &Panel<'_>, samples: &[Sample], x: impl Fn(f64) -> f64) -> Option<()> {
    let most = samples.iter().map(panel.value).reduce(f64::max)?.max(f64::MIN_POSITIVE);
    let marks = steps(most, panel.height / 50.0);
    let top = marks.last().copied()?;
    let y = |value: f64| panel.top + panel.height * (1.0 - value / top);
    for mark in &marks {
        plot.line((LEFT, y(*mark)), (WIDTH - 10.0, y(*mark)), if *mark == 0.0 { "axis" } else { "grid" });
        let text = if mark.fract() == 0.0 && *mark < 100.0 { format!("{mark}") } else { number(*mark) };
        plot.text((LEFT - 8.0, y(*mark) + 4.0), Anchor::End, "tick", &text);
    }
    let mut line = Data::new();
    let points = samples.iter().map(|sample| (round(x(sample.at)), round(y((panel.value)(sample)))));
    for (index, point) in points.enumerate() {
        line = if index == 0 { line.move_to(point) } else { line.line_to(point) };
    }
    let (first, last) = (samples.first()?, samples.last()?);
    let floor = round(y(0.0));
    let area = line.clone().line_to((round(x(last.at)), floor)).line_to((round(x(first.at)), floor)).close();
    plot.add(Path::new().set("d", area).set("class", "area"));
    plot.add(Path::new().set("d", line).set("class", "curve"));
    // What a sample was, for who points at it.
    let width = x(samples.get(1).map_or(last.at, |next| next.at)) - x(first.at);
    for sample in samples {
        let hint = format!(
            "{:.1} s: {} a second, longest wait {:.2} ms",
            sample.at / 1e3,
            number(sample.rate),
            sample.worst
        );
        plot.bar((x(sample.at) - width / 2.0, panel.top), (width, panel.height), "sense", &hint);
    }
    plot.text((LEFT, panel.top - 10.0), Anchor::Start, "muted", panel.title);
    Some(())
}
