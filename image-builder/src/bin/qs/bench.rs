//! `qs bench`: measures, keeps what came out, and prints it.

use std::fmt::Display;
use std::path::PathBuf;
use std::{env, fs, io, process, thread};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::arguments::BenchOptions;
use crate::output;
use image_builder::bench::record::Record;
use image_builder::bench::{Bench, BenchError, namespace, report};
use image_builder::workspace::Workspace;
use image_builder::{Error, ExitCode};

pub fn bench(options: &BenchOptions) -> Result<ExitCode, Error> {
    let plan = options.plan();
    plan.validate()?;
    let workspace = Workspace::find()?;
    let needs_namespace = plan.needs_namespace();
    let say = |message: &dyn Display| output::progress(message);
    let bench = Bench::prepare(&workspace, plan, &say)?;
    if needs_namespace && !namespace::inside() {
        drop(bench);
        let arguments: Vec<String> = env::args().skip(1).collect();
        let status = namespace::again(&arguments).map_err(BenchError::from)?;
        return Ok(match status.code() {
            Some(0) => ExitCode::Done,
            Some(2) => ExitCode::Usage,
            Some(69) => ExitCode::Missing,
            _ => ExitCode::Failed,
        });
    }
    remove_on_signals(bench.directory().to_owned()).map_err(BenchError::from)?;
    let record = bench.measure()?;
    let path = record.keep(&workspace.target.join("bench")).map_err(BenchError::from)?;
    print(&record, options.json);
    output::progress(format_args!("raw data: {}", path.display()));
    if let Some(html) = &options.html {
        fs::write(html, report::page(&record)).map_err(BenchError::from)?;
        output::progress(format_args!("report: {}", html.display()));
    }
    for error in &record.errors {
        output::error(error);
    }
    Ok(if record.errors.is_empty() { ExitCode::Done } else { ExitCode::Failed })
}

fn print(record: &Record, json: bool) {
    if !json {
        output::data(report::tables(record).trim_end());
        return;
    }
    let object = "a record is words and numbers";
    for taken in &record.figures {
        // The format of the image's own lines, where there is nobody to tell it from.
        match record.facts.peer.is_empty() {
            true => output::data(serde_json::to_string(&taken.figure).expect(object)),
            false => output::data(serde_json::to_string(taken).expect(object)),
        }
    }
    for row in &record.rows {
        output::data(serde_json::to_string(row).expect(object));
    }
}

/// Removes the machines' files when a signal ends us. The machines go with us in any case.
fn remove_on_signals(directory: PathBuf) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    thread::spawn(move || {
        if signals.forever().next().is_some() {
            // Fails only where it is gone already.
            drop(fs::remove_dir_all(directory));
            process::exit(ExitCode::Failed as i32);
        }
    });
    Ok(())
}
