use super::compare::{with_linux, with_native};
use super::plot::steps;
use super::ratios::factor;
use super::*;
use crate::bench::record::{LINUX, QUICKSILVER, Record, Taken};
use crate::bench::row::{Goal, Row};
use crate::figures::Figure;

const SAMPLE: &str = include_str!("../sample.json");

fn sample() -> Record {
    Record::parse(SAMPLE).unwrap()
}

/// Without anything measured.
fn empty() -> Record {
    Record::new(sample().facts)
}

fn taken(system: &str, mode: &str, unit: &str, p50: u64) -> Taken {
    let figure = Figure {
        name: "a.b".to_owned(),
        mode: mode.to_owned(),
        cpus: 1,
        unit: unit.to_owned(),
        n: 1,
        min: p50,
        p50,
        p99: p50,
        max: p50,
        runs: None,
        spread: None,
        outliers: None,
        ratio: None,
    };
    Taken { system: system.to_owned(), suite: "threads".to_owned(), round: 0, figure }
}

/// Every element that is opened is closed, in order. Void ones apart.
fn check_elements(page: &str) {
    let mut open = Vec::new();
    for part in page.split('<').skip(1) {
        let (tag, _) = part.split_once('>').expect("a tag ends");
        let name = tag.trim_start_matches('/').split([' ', '\n', '/']).next().unwrap();
        match tag {
            _ if tag.starts_with('/') => assert_eq!(open.pop(), Some(name)),
            _ if tag.starts_with('!') || tag.ends_with('/') || name == "meta" => {}
            _ => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn a_page_has_everything_in_it() {
    let mut record = sample();
    record.checkpoint = record.timeline.clone();
    let page = page(&record);
    check_elements(&page);
    for title in [
        "Beside Linux",
        "Guest mode beside native",
        "Requests while the mode changes",
        "Requests while a checkpoint drains",
        "The switch on each CPU",
        "What the switch and exits cost",
        "Figures",
    ] {
        assert!(page.contains(&format!("<h2>{title}</h2>")), "{title}");
    }
    // Nothing is fetched: the one address names SVG.
    let alone = page.replace("http://www.w3.org/2000/svg", "");
    for outside in ["http:", "https:", "url(", "@import", "src=", "href=", "<script"] {
        assert!(!alone.contains(outside), "{outside}");
    }
    assert!(!page.contains("NaN") && !page.contains("inf\""));
}

#[test]
fn what_was_not_measured_has_no_section() {
    let page = page(&empty());
    check_elements(&page);
    assert_eq!(page.matches("<section>").count(), 1);
    assert!(!page.contains("<svg"));
    assert_eq!(tables(&empty()), "");
}

#[test]
fn words_are_no_elements() {
    let mut record = empty();
    record.errors.push("web: <script>alert(1)</script> & \"more\"".to_owned());
    let row = Row::new("kv", "<b>GET</b>", "requests/s", Goal::None);
    record.rows.push(Row { ours: vec![2.0], peer: vec![1.0], ..row });
    let page = page(&record);
    check_elements(&page);
    assert!(page.contains("Not measured: web: &lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;more&quot;"));
    assert!(page.contains("&lt;b&gt;GET&lt;/b&gt;") && !page.contains("<b>GET"));
}

#[test]
fn costs_and_rates_are_better_in_opposite_ways() {
    let mut record = empty();
    let both = |unit| [taken(QUICKSILVER, "native", unit, 200), taken(LINUX, "linux", unit, 100)];
    record.figures = both("tsc").into();
    assert_eq!(with_linux(&record)[0].times(), Some(0.5));
    record.figures = both("bytes_per_second").into();
    assert_eq!(with_linux(&record)[0].times(), Some(2.0));
    assert!(with_native(&record).is_empty());
    record.figures = vec![taken(QUICKSILVER, "native", "tsc", 100), taken(QUICKSILVER, "guest", "tsc", 125)];
    assert_eq!(with_native(&record)[0].times(), Some(0.8));
    assert!(with_linux(&record).is_empty());
}

#[test]
fn rounds_span_a_range() {
    let mut record = empty();
    let row = Row::new("kv", "GET", "requests/s", Goal::None);
    record.rows.push(Row { ours: vec![4.0, 8.0], peer: vec![2.0, 4.0], ..row });
    let comparison = &with_linux(&record)[0];
    assert_eq!((comparison.times(), comparison.range()), (Some(2.0), Some((1.0, 4.0))));
}

#[test]
fn the_worst_are_told() {
    let text = tables(&sample());
    assert!(text.contains("worst beside Linux: ") && text.contains("worst beside native mode: "));
    let mut record = empty();
    record.figures = vec![taken(QUICKSILVER, "native", "tsc", 300), taken(LINUX, "linux", "tsc", 100)];
    assert!(tables(&record).ends_with("worst beside Linux: threads a.b 3.0x worse\n"));
}

#[test]
fn scales_have_round_steps() {
    assert_eq!(steps(9.0, 5.0), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
    assert_eq!(steps(0.07, 2.0), [0.0, 0.05, 0.1]);
    assert_eq!([1.234, 12.34, 123.4].map(factor), ["1.23", "12.3", "123"]);
}
