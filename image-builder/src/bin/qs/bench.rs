//! `qs bench`: boots the image `bench`, lets it measure, and prints its figures.

use std::time::Duration;

use crate::arguments::{BenchOptions, Suite};
use crate::output;
use crate::run::ending_on_signals;
use image_builder::figures::{self, Figure};
use image_builder::workspace::Workspace;
use image_builder::{Error, ExitCode, Machine, kernel, tools};

/// How long a suite may take.
const PATIENCE: Duration = Duration::from_secs(900);

pub fn bench(options: &BenchOptions) -> Result<ExitCode, Error> {
    let suites: &[Suite] = match &options.suite {
        Some(suite) => std::slice::from_ref(suite),
        None => &[Suite::Threads, Suite::Switch],
    };
    output::progress("building bench");
    let image = kernel::image(&Workspace::find()?, &kernel::Content::of("bench"))?;
    let mut code = ExitCode::Done;
    let mut all = Vec::new();
    for &suite in suites {
        let mut builder =
            Machine::builder().elf(&image.elf).cpus(options.cpus).append(&format!("bench={suite}"));
        if options.icount {
            builder = builder.icount().append("bench.unit=instructions ip=off ip6=off");
        }
        tools::require(&builder.tools())?;
        let machine = builder.spawn()?;
        let plural = if options.cpus == 1 { "" } else { "s" };
        output::progress(format_args!("measuring {suite} on {} CPU{plural}", options.cpus));
        let end = ending_on_signals(&machine, || machine.wait_exit(PATIENCE))??;
        let text = machine.serial_text();
        let measured = figures::parse(&text);
        for line in text.lines().filter(|line| line.contains("ERROR")) {
            output::error(&line);
            code = ExitCode::Failed;
        }
        if !end.is_good() || measured.is_empty() {
            output::error(&format_args!("{suite}: {end}, {} figures", measured.len()));
            code = ExitCode::Failed;
        }
        all.extend(measured);
    }
    print(&all, options.json);
    Ok(code)
}

fn print(figures: &[Figure], json: bool) {
    if json {
        for figure in figures {
            output::data(serde_json::to_string(figure).expect("a figure is words and numbers"));
        }
        return;
    }
    let rows: Vec<Vec<String>> = figures.iter().map(row).collect();
    output::table(&["NAME", "MODE", "CPUS", "UNIT", "N", "MIN", "P50", "P99", "MAX"], &rows);
}

fn row(figure: &Figure) -> Vec<String> {
    let words = [figure.name.clone(), figure.mode.clone(), figure.cpus.to_string(), figure.unit.clone()];
    let numbers = [figure.n, figure.min, figure.p50, figure.p99, figure.max];
    words.into_iter().chain(numbers.map(|number| number.to_string())).collect()
}
