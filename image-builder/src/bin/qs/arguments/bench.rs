//! What `qs bench` is told.

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};

use image_builder::bench::suite::Place;
use image_builder::bench::{Plan, Suite};

/// Who is measured beside us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Against {
    /// Debian's kernel, with redis-server, nginx, and a C version of the suites that run inside
    Linux,
}

#[derive(Debug, Args)]
pub struct BenchOptions {
    /// What to measure [default: threads, memory, compute, storage and switch; with --against all]
    #[arg(value_name = "SUITE", value_parser = suite())]
    suites: Vec<Suite>,
    /// The same; may be given several times
    #[arg(long = "suite", value_name = "NAME", value_parser = suite(), hide_possible_values = true)]
    named: Vec<Suite>,
    /// Number of CPUs of machines that measure inside themselves
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    cpus: u32,
    /// Count instructions: the figures repeat exactly
    #[arg(long)]
    icount: bool,
    /// Measure another system in turns with ours, on the same emulated machine
    #[arg(long, value_enum)]
    against: Option<Against>,
    /// Few rounds and requests: minutes instead of an hour
    #[arg(long)]
    quick: bool,
    /// Write a report with plots: one HTML page that needs nothing else
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
}

impl BenchOptions {
    /// What is to be measured.
    pub fn plan(&self) -> Plan {
        let against_linux = self.against == Some(Against::Linux);
        let mut suites = Vec::new();
        for suite in self.suites.iter().chain(&self.named).copied() {
            if !suites.contains(&suite) {
                suites.push(suite);
            }
        }
        if suites.is_empty() {
            let all = Suite::ALL.iter().map(|(_, suite)| *suite);
            let is_usual = |suite: &Suite| against_linux && !self.icount || suite.place() == Place::Inside;
            suites.extend(all.filter(is_usual));
        }
        Plan { suites, cpus: self.cpus, icount: self.icount, against_linux, quick: self.quick }
    }
}

/// A suite by its name, each explained.
fn suite() -> impl TypedValueParser<Value = Suite> {
    let values = Suite::ALL.iter().map(|(text, suite)| PossibleValue::new(*text).help(suite.about()));
    PossibleValuesParser::new(values).map(|text| {
        let found = Suite::ALL.iter().find(|(name, _)| *name == text);
        found.map(|(_, suite)| *suite).expect("only possible values pass")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::{Arguments, Command};
    use clap::Parser;

    fn plan(words: &str) -> Plan {
        let words = ["qs", "bench"].into_iter().chain(words.split_whitespace());
        match Arguments::try_parse_from(words).unwrap().command {
            Command::Bench(options) => options.plan(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_measured_is_said_in_two_ways_or_not_at_all() {
        let named = plan("kv --suite switch kv --suite guest --quick --cpus 2");
        assert_eq!(named.suites, [Suite::Kv, Suite::Switch, Suite::Guest]);
        assert!(named.quick && named.cpus == 2 && !named.against_linux && named.needs_namespace());
        let inside = plan("--icount --against linux").suites;
        assert_eq!(inside, [Suite::Threads, Suite::Memory, Suite::Compute, Suite::Storage, Suite::Switch]);
        assert_eq!(plan("").suites, inside);
        assert_eq!(plan("--against linux").suites.len(), Suite::ALL.len());
        assert!(!plan("").needs_namespace());
    }

    #[test]
    fn clients_are_not_counted_in_instructions() {
        assert!(plan("kv --icount").validate().is_err());
        assert!(plan("kv").validate().is_ok() && plan("switch --icount").validate().is_ok());
        assert!(Arguments::try_parse_from(["qs", "bench", "--suite", "kvs"]).is_err());
    }
}
