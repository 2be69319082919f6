//! A run of benchmarks: each in both modes, in turns, so that whatever drifts meanwhile drifts for both.

use crate::context::{Context, Failure};
use crate::figure::{Figure, Mode};
use crate::modes::Modes;
use crate::sampler::Sampler;
use crate::statistics::{Summary, Thousandths};
use crate::suites::{Benchmark, Plan};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

/// Who is told.
pub trait Report {
    /// So many of all benchmarks are done; the next is this.
    fn progress(&mut self, done: usize, of: usize, name: &'static str);
    /// A figure is there.
    fn figure(&mut self, figure: &Figure);
    /// There will be none of this, or not in guest mode.
    fn left_out(&mut self, name: &str, failure: &Failure);
    /// Whether nobody wants to know any more.
    fn is_cancelled(&self) -> bool;
}

/// Why not all was measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// Nobody wanted to know any more.
    Cancelled,
    /// The machine did not switch any more.
    Switch(String),
    /// Somebody else switched the machine during a benchmark.
    Interfered(&'static str),
    /// Some benchmarks failed, and were reported.
    Failed(usize),
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancelled => f.write_str("cancelled"),
            Self::Switch(error) => write!(f, "the machine does not switch: {error}"),
            Self::Interfered(name) => write!(f, "somebody else switched the machine during {name}"),
            Self::Failed(count) => write!(f, "{count} of the benchmarks failed"),
        }
    }
}

/// Measures, on the first CPU. The machine ends in the mode in which it began.
pub fn run(plan: &Plan, context: &Context, report: &mut dyn Report) -> Result<(), Stopped> {
    let modes = Modes::new();
    if let Some(refusal) = modes.refusal() {
        report.left_out("guest mode", &Failure::Monitor(refusal.to_string()));
    }
    let mut failed = 0;
    for (done, benchmark) in plan.0.iter().enumerate() {
        report.progress(done, plan.0.len(), benchmark.name);
        match measure(benchmark, context, &modes, report)? {
            Ok(figures) => figures.iter().for_each(|figure| report.figure(figure)),
            Err(failure) => {
                failed += usize::from(failure.is_fault());
                report.left_out(benchmark.name, &failure);
            }
        }
    }
    if failed > 0 { Err(Stopped::Failed(failed)) } else { Ok(()) }
}

/// All runs of one benchmark.
fn measure(
    benchmark: &Benchmark,
    context: &Context,
    modes: &Modes,
    report: &dyn Report,
) -> Result<Result<Vec<Figure>, Failure>, Stopped> {
    let mut samples: [Vec<Vec<u64>>; 2] = Default::default();
    if let (Some(refusal), true) =
        (modes.refusal(), benchmark.only == Some(Mode::Guest) || benchmark.switches)
    {
        return Ok(Err(Failure::Monitor(refusal.to_string())));
    }
    let possible = |mode: &Mode| {
        benchmark.only.is_none_or(|only| only == *mode)
            && (*mode == Mode::Native || modes.refusal().is_none())
    };
    for _ in 0..context.runs() {
        for (mode, samples) in Mode::ALL.into_iter().zip(&mut samples).filter(|(mode, _)| possible(mode)) {
            if report.is_cancelled() {
                return Err(Stopped::Cancelled);
            }
            modes.switch_to(mode).map_err(Stopped::Switch)?;
            let switches = modes.switches();
            let mut sampler = Sampler::new(context, benchmark.samples);
            if let Err(failure) = (benchmark.run)(context, &mut sampler) {
                return Ok(Err(failure));
            }
            if !benchmark.switches && modes.switches() != switches {
                return Err(Stopped::Interfered(benchmark.name));
            }
            samples.push(sampler.finish());
        }
    }
    let [native, guest] = samples.map(|runs| Summary::of(&runs));
    let ratio = native
        .as_ref()
        .zip(guest.as_ref())
        .and_then(|(native, guest)| Thousandths::of(guest.p50, native.p50));
    let figures = Mode::ALL.into_iter().zip([native, guest]).filter_map(|(mode, summary)| {
        Some(Figure {
            name: benchmark.name,
            mode,
            cpus: context.cpus,
            unit: benchmark.unit.name(context.instructions),
            summary: summary?,
            ratio: ratio.filter(|_| mode == Mode::Guest),
        })
    });
    Ok(Ok(figures.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Heard {
        figures: Vec<Figure>,
        left_out: Vec<String>,
        patience: Option<usize>,
    }

    impl Report for Heard {
        fn progress(&mut self, _: usize, _: usize, _: &'static str) {}

        fn figure(&mut self, figure: &Figure) {
            self.figures.push(figure.clone());
        }

        fn left_out(&mut self, name: &str, failure: &Failure) {
            self.left_out.push(alloc::format!("{name}: {failure}"));
        }

        fn is_cancelled(&self) -> bool {
            self.patience.is_some_and(|figures| self.figures.len() >= figures)
        }
    }

    fn heard(names: &str, patience: Option<usize>) -> (Heard, Result<(), Stopped>) {
        let plan = Plan::of(names.split(' ').filter(|name| !name.is_empty())).unwrap();
        let context = Context { quick: true, memory: 256 << 20, ..Context::for_tests() };
        let mut heard = Heard { patience, ..Heard::default() };
        let result = run(&plan, &context, &mut heard);
        (heard, result)
    }

    /// What needs no bare machine runs here, too, natively.
    #[test]
    fn what_can_be_measured_here_is() {
        let (heard, result) = heard("threads memory compute network storage", None);
        assert_eq!(result, Ok(()));
        let count = |names: &str| Plan::of(names.split(' ')).unwrap().0.len();
        assert_eq!(heard.figures.len(), count("threads memory compute"));
        assert!(heard.figures.iter().all(|figure| figure.mode == Mode::Native && figure.summary.runs == 2));
        assert_eq!(heard.left_out.len(), 1 + count("network storage"), "{:?}", heard.left_out);
        assert!(heard.left_out[0].starts_with("guest mode: the VMM"));
    }

    #[test]
    fn who_cancels_gets_no_more() {
        let (heard, result) = heard("clock mutex.uncontended compute", Some(2));
        assert_eq!((heard.figures.len(), result), (2, Err(Stopped::Cancelled)));
    }
}
