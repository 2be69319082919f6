//! What the machine's own operations cost, native and in guest mode: see `kernel/doc/benchmarks.md` for what each benchmark
//! measures.
//!
//! As an application it measures at boot what `bench=NAME,…` names (suites, benchmarks or what their names begin with; everything
//! without it), prints one JSON object a line, and ends the machine. With `bench=ticks` it is a clock instead, see [`ticks`], and
//! leaves the machine running. In other images operators ask for it: see [`run()`].
//!
//! A time is in ticks of the time-stamp counter, `tsc`. Under QEMU's `-icount shift=0` at a nominal gigahertz one tick is one
//! instruction and runs repeat exactly; whoever starts the machine so says it with `bench.unit=instructions`.
//! `bench.quick=on` takes a tenth of the samples. `bench.peer=` and `bench.disk=` are what network and storage are measured with.
#![no_std]
extern crate alloc;
#[cfg(test)]
extern crate std;

mod chase;
mod compute;
mod context;
mod figure;
mod heap;
#[cfg(bare_metal)]
mod interrupts;
mod memory;
mod modes;
mod network;
#[cfg(bare_metal)]
mod pages;
mod run;
mod sampler;
#[cfg(all(bare_metal, feature = "vmm"))]
mod snapshot;
mod statistics;
mod storage;
mod suites;
#[cfg(all(bare_metal, feature = "vmm"))]
mod switch;
mod threads;
mod ticks;

pub use context::{Context, Failure};
pub use figure::{Figure, Mode, Unit};
pub use run::{Report, Stopped, run};
pub use statistics::{Summary, Thousandths};
pub use storage::{DiskError, Scratch, scratch_disk};
pub use suites::{Benchmark, Plan, SUITES, Suite, Unknown};

use alloc::format;
use app::thread::{Builder, CpuSet};
use app::{App, AppError, Env};

/// Where benchmarks run.
pub const FIRST_CPU: CpuSet = CpuSet(1);

/// The application.
#[derive(Debug)]
pub struct Bench;

impl App for Bench {
    fn name(&self) -> &'static str {
        "bench"
    }

    fn listeners(&self) -> usize {
        0
    }

    fn run(&self, env: &'static Env) -> Result<(), AppError> {
        let names = env.setting("bench").unwrap_or_default();
        let measure = move || match Plan::of(names.split(',').filter(|name| !name.is_empty())) {
            _ if names == "ticks" => ticks::run(env.cpus()),
            Ok(plan) => {
                if let Err(stopped) = run(&plan, &Context::new(env, false), &mut Log) {
                    log::error!("{stopped}");
                }
            }
            Err(unknown) => log::error!("bench={names}: {unknown}"),
        };
        Builder::new("bench-0").affinity(FIRST_CPU).spawn(measure)?.join();
        end()
    }
}

#[cfg(bare_metal)]
fn end() -> Result<(), AppError> {
    machine::exit::exit(machine::exit::Reason::Shutdown)
}

#[cfg(not(bare_metal))]
fn end() -> Result<(), AppError> {
    Ok(())
}

/// Tells the log.
struct Log;

impl Report for Log {
    fn progress(&mut self, _: usize, _: usize, _: &'static str) {}

    fn figure(&mut self, figure: &Figure) {
        log::info!("{figure}");
    }

    fn left_out(&mut self, name: &str, failure: &Failure) {
        let line = format!("{name} is left out: {failure}");
        if failure.is_fault() { log::error!("{line}") } else { log::info!("{line}") }
    }

    fn is_cancelled(&self) -> bool {
        false
    }
}
