//! The page.

use std::fmt::Write;

use crate::bench::record::Record;
use crate::bench::row::{median, number};

use super::compare::{self, Comparison, amount};
use super::ratios::{self, Sides, factor};
use super::{costs, switches, tables, throughput};

const STYLE: &str = include_str!("style.css");

/// One HTML page with everything in it.
pub fn page(record: &Record) -> String {
    let facts = &record.facts;
    let linux = compare::with_linux(record);
    // What exits cost has a plot of its own: they are none natively.
    let is_work = |comparison: &Comparison| comparison.suite != "switch";
    let native: Vec<Comparison> = compare::with_native(record).into_iter().filter(is_work).collect();
    let mut body = String::new();
    header(&mut body, record, &linux, &native);
    if !linux.is_empty() {
        let sides = Sides {
            worse: "Linux is better",
            better: "Quicksilver is better",
            medians: "Quicksilver | Linux",
        };
        let lead =
            "Medians of rounds that took turns on the same emulated machine. The thin line spans the rounds.";
        section(&mut body, "Beside Linux", lead, &ratios::draw(&linux, sides));
    }
    if !native.is_empty() {
        let sides =
            Sides { worse: "guest mode is worse", better: "guest mode is better", medians: "guest | native" };
        let lead = "The same machine with the VMM beneath it and without. The closer to the middle, the less the VMM costs.";
        section(&mut body, "Guest mode beside native", lead, &ratios::draw(&native, sides));
    }
    if let Some(timeline) = &record.timeline
        && let Some(plot) = throughput::draw(timeline)
    {
        let lead = format!("{}; counted every {} ms. Guest mode is shaded.", timeline.what, timeline.period);
        section(&mut body, "Requests while the mode changes", &lead, &plot);
    }
    if let Some(timeline) = &record.checkpoint
        && let Some(plot) = throughput::draw(timeline)
    {
        let lead =
            format!("{}; counted every {} ms. While it drains is shaded.", timeline.what, timeline.period);
        section(&mut body, "Requests while a checkpoint drains", &lead, &plot);
    }
    if let Some(trace) = &record.trace {
        let drawn = switches::draw(trace);
        let figures: String =
            drawn.iter().map(|(title, plot)| format!("<h3>{}</h3>{plot}", escaped(title))).collect();
        if !drawn.is_empty() {
            let lead = "What each CPU did when in the last switch of each direction.";
            section(&mut body, "The switch on each CPU", lead, &(legend() + &figures));
        }
    }
    if let Some(plot) = costs::draw(record) {
        let unit = if facts.icount {
            "instructions; they repeat exactly"
        } else {
            "ticks of the time-stamp counter"
        };
        let lead =
            format!("In {unit}. The bar ends at the median, the line at what 99 in 100 do not exceed.");
        section(&mut body, "What the switch and exits cost", &lead, &plot);
    }
    let all =
        format!("<details><summary>All figures</summary><pre>{}</pre></details>", escaped(&tables(record)));
    section(&mut body, "Figures", "As on the terminal.", &all);
    footer(&mut body, record);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Quicksilver, measured {}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n",
        escaped(&facts.date)
    )
}

fn header(body: &mut String, record: &Record, linux: &[Comparison], native: &[Comparison]) {
    let facts = &record.facts;
    let load = match facts.load > 1.0 {
        true => format!(" The host was busy with other work, load {}.", facts.load),
        false => String::new(),
    };
    let date = facts.date.replace('T', " ").replace('Z', " UTC");
    let pace = if facts.quick { " A quick run: few rounds." } else { "" };
    let _ = write!(
        body,
        "<header><h1>Quicksilver, measured</h1><p>{} · {} · {}.{load}{pace}</p></header>\n<div class=\"tiles\">",
        escaped(&date),
        escaped(&facts.emulator),
        escaped(&facts.machine)
    );
    let mut tile = |value: &str, words: &str| {
        let _ = write!(
            body,
            "<div class=\"tile\"><b>{}</b><span>{}</span></div>",
            escaped(value),
            escaped(words)
        );
    };
    let times = |all: &[Comparison]| all.iter().filter_map(Comparison::times).collect::<Vec<_>>();
    let beside = times(linux);
    if let Some(middle) = median(&beside) {
        let better = beside.iter().filter(|times| **times >= 1.0).count();
        tile(&format!("{better} of {}", beside.len()), "better than Linux");
        tile(&format!("{}×", factor(middle)), "the median beside Linux");
    }
    if let Some(middle) = median(&times(native)) {
        tile(&format!("{:.2}×", middle.recip()), "cost of guest mode, the median");
    }
    for (name, words) in [("switch.enter", "to enter guest mode"), ("switch.leave", "to leave it")] {
        let taken = record.figures.iter().find(|taken| taken.figure.name == name);
        if let Some(taken) = taken {
            let (value, unit) = amount(taken.figure.p50 as f64, &taken.figure.unit);
            tile(&value, &format!("{unit} {words}"));
        }
    }
    if let Some(timeline) = &record.timeline {
        let rates: Vec<f64> = timeline.samples.iter().map(|sample| sample.rate).collect();
        if let Some(rate) = median(&rates) {
            tile(&number(rate), "requests a second while it switches");
        }
    }
    body.push_str("</div>\n");
    for error in &record.errors {
        let _ = writeln!(body, "<p class=\"error\">Not measured: {}</p>", escaped(error));
    }
}

fn section(body: &mut String, title: &str, lead: &str, content: &str) {
    let _ = writeln!(
        body,
        "<section><h2>{}</h2><p>{}</p><div class=\"plot\">{content}</div></section>",
        escaped(title),
        escaped(lead)
    );
}

fn legend() -> String {
    let entries = crate::trace::PHASES.iter().enumerate();
    let entry =
        |(index, (_, name)): (usize, &(char, &str))| format!("<li><i class=\"phase{index}\"></i>{name}</li>");
    format!("<ul class=\"legend\">{}</ul>", entries.map(entry).collect::<String>())
}

fn footer(body: &mut String, record: &Record) {
    let facts = &record.facts;
    let peer: Vec<String> = facts.peer.iter().map(|(name, version)| format!("{name} {version}")).collect();
    let _ = write!(body, "<footer><dl>");
    for (name, value) in [
        ("command", format!("qs {}", facts.command.join(" "))),
        ("version", facts.version.clone()),
        ("host", format!("{}, load {} at the beginning", facts.host, facts.load)),
        ("Linux", peer.join(", ")),
    ] {
        if !value.is_empty() {
            let _ = write!(body, "<dt>{name}</dt><dd>{}</dd>", escaped(&value));
        }
    }
    body.push_str(
        "</dl><p>An emulator tells nothing about caches, real TLBs or microcode. Rates are noisy: only what was taken side by side \
         in one run means something.</p></footer>\n",
    );
}

/// Text for HTML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
