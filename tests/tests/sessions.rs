//! `cargo qs bench` as a user runs it: what it prints, what it keeps, and the report. The suites' own figures are the image's.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;

use image_builder::bench::record::Record;
use image_builder::bench::row::Row;
use image_builder::figures;
use tests::{guest, program, slots};

/// Builds all images, once and here: a command that waits for another's build runs out of time on a busy host.
fn build() {
    static BUILT: Once = Once::new();
    BUILT.call_once(|| ["bench", "kv"].into_iter().for_each(|apps| drop(guest::image(apps))));
}

/// All of a session.
struct Session {
    code: Option<i32>,
    said: String,
    /// What went on, with the place of the raw data.
    log: String,
}

impl Session {
    fn of(words: &[&str]) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut command = program::command(env!("CARGO"), Duration::from_secs(300));
        let output = command.args(["qs", "bench"]).args(words).current_dir(root).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { code: output.status.code(), said: text(output.stdout), log: text(output.stderr) }
    }

    /// What it kept. Gone afterwards: figures of tests are nobody's.
    fn record(&self) -> Record {
        let path = self.log.lines().find_map(|line| line.split_once("raw data: ")).unwrap().1;
        let text = std::fs::read_to_string(path).unwrap();
        std::fs::remove_file(path).unwrap();
        Record::parse(&text).unwrap()
    }
}

#[test]
fn a_session_prints_keeps_and_draws_the_same_figures() {
    build();
    let _slots = slots::take(1);
    let html: PathBuf = std::env::temp_dir().join(format!("qs-report-{}.html", std::process::id()));
    let session =
        Session::of(&["switch", "--quick", "--icount", "--json", "--html", &html.to_string_lossy()]);
    assert_eq!(session.code, Some(0), "{}", session.log);
    let record = session.record();
    let kept: Vec<_> = record.figures.into_iter().map(|taken| taken.figure).collect();
    assert_eq!(figures::parse(&session.said), kept);
    assert_eq!(session.said.lines().count(), kept.len());
    assert!(kept.iter().any(|figure| figure.name == "switch.enter" && figure.unit == "instructions"));
    let facts = &record.facts;
    assert!(facts.icount && facts.quick && facts.peer.is_empty() && facts.emulator.starts_with("QEMU"));
    let page = std::fs::read_to_string(&html).unwrap();
    std::fs::remove_file(html).unwrap();
    assert!(
        page.contains("<h2>What the switch and exits cost</h2>") && page.contains("switch.enter (native)")
    );
}

/// A checkpoint drains to a client of the host while others ask: it is whole, all is as before, and the picture has the stop in it.
#[test]
fn a_checkpoint_drains_while_it_is_measured() {
    build();
    let _slots = slots::take(2);
    let session = Session::of(&["checkpoint", "--quick"]);
    let record = session.record();
    assert_eq!((session.code, record.errors), (Some(0), Vec::new()), "{}", session.log);
    assert!(session.said.contains("^frozen") && session.said.contains("^drained"), "{}", session.said);
    let row = |what: &str| record.rows.iter().find(|row| row.what.starts_with(what)).unwrap();
    let is_time = |row: &&Row| row.unit != "in a million";
    let figures = record.rows.iter().filter(is_time).flat_map(|row| row.ours.iter().chain(&row.peer));
    assert!(figures.clone().count() > 20 && figures.clone().all(|figure| *figure > 0.0), "{:?}", record.rows);
    assert!(row("size").ours.iter().all(|megabytes| *megabytes > 20.0), "{:?}", row("size"));
    for row in [row("memory free"), row("stop, 16 GiB")] {
        assert_eq!(row.reached(), Some(true), "{row:?}");
    }
    let timeline = record.checkpoint.unwrap();
    let [frozen, drained] = &*timeline.switches else { panic!("{:?}", timeline.switches) };
    let within = |at: f64| frozen.at < at && at < drained.at;
    assert!(timeline.samples.iter().any(|sample| within(sample.at) && sample.rate > 0.0), "{timeline:?}");
}

/// With real clients, in a network namespace. (Suite `asleep` is not run here: it takes a quiet host.)
#[test]
fn switches_under_load_are_seen() {
    build();
    let _slots = slots::take(2);
    let session = Session::of(&["timeline", "--quick"]);
    let record = session.record();
    assert_eq!((session.code, record.errors), (Some(0), Vec::new()), "{}", session.log);
    let timeline = record.timeline.unwrap();
    assert_eq!(timeline.switches.len(), 3);
    assert!(timeline.samples.iter().any(|sample| sample.rate > 0.0));
    assert_eq!(record.trace.unwrap().switches.last().unwrap().cpus.len(), 2);
}
