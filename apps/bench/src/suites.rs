//! The table of benchmarks. What each measures exactly is in `kernel/doc/benchmarks.md`, row by row.

use crate::context::{Context, Failure};
use crate::figure::{Mode, Unit};
use crate::sampler::Sampler;
use crate::{compute, heap, memory, network, storage, threads};
#[cfg(bare_metal)]
use crate::{interrupts, pages};
use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

#[cfg(all(bare_metal, feature = "vmm"))]
use crate::{snapshot, switch};

/// One run of a benchmark, in the mode that the machine is in.
pub(crate) type Run = fn(&Context, &mut Sampler) -> Result<(), Failure>;

/// Something that is measured.
#[derive(Clone, Copy, Debug)]
pub struct Benchmark {
    /// Its name, with a dot in it.
    pub name: &'static str,
    /// What a sample is.
    pub unit: Unit,
    /// The one mode in which it makes sense; `None`: both.
    pub only: Option<Mode>,
    /// It switches itself.
    pub(crate) switches: bool,
    /// Samples of a run.
    pub(crate) samples: usize,
    pub(crate) run: Run,
}

impl Benchmark {
    const fn new(name: &'static str, samples: usize, run: Run) -> Self {
        Self { name, unit: Unit::Ticks, only: None, switches: false, samples, run }
    }

    const fn rate(name: &'static str, things: &'static str, samples: usize, run: Run) -> Self {
        Self { unit: Unit::Rate(things), ..Self::new(name, samples, run) }
    }
}

#[cfg(all(bare_metal, feature = "vmm"))]
impl Benchmark {
    const fn only(self, mode: Mode) -> Self {
        Self { only: Some(mode), ..self }
    }

    const fn switching(self, mode: Mode) -> Self {
        Self { switches: true, ..self.only(mode) }
    }
}

/// Benchmarks of one kind.
#[derive(Clone, Copy, Debug)]
pub struct Suite {
    /// Its name, without a dot.
    pub name: &'static str,
    /// In the order in which they run.
    pub benchmarks: &'static [Benchmark],
}

/// All of them.
pub const SUITES: &[Suite] = &[
    Suite {
        name: "threads",
        benchmarks: &[
            Benchmark::new("clock.read", 400, threads::clock),
            Benchmark::new("thread.create", 200, threads::create),
            Benchmark::new("thread.yield", 400, threads::yields),
            Benchmark::new("thread.wake", 400, threads::wakes),
            Benchmark::new("thread.park", 400, threads::parks),
            Benchmark::new("semaphore.ping_pong", 400, threads::semaphores),
            Benchmark::new("mutex.uncontended", 200, threads::mutex),
            Benchmark::new("mutex.contended", 400, threads::contended),
            Benchmark::new("heap.alloc_64", 200, heap::block::<64>),
            Benchmark::new("heap.alloc_1k", 200, heap::block::<1024>),
            Benchmark::new("heap.alloc_8k", 200, heap::block::<{ 8 << 10 }>),
            Benchmark::new("heap.alloc_64k", 200, heap::block::<{ 64 << 10 }>),
            Benchmark::new("heap.alloc_1m", 200, heap::block::<{ 1 << 20 }>),
            #[cfg(bare_metal)]
            Benchmark::new("page.map", 200, pages::map),
            #[cfg(bare_metal)]
            Benchmark::new("page.protect", 200, pages::protect),
            #[cfg(bare_metal)]
            Benchmark::new("page.unmap", 200, pages::unmap),
            #[cfg(bare_metal)]
            Benchmark::new("page.fault", 200, pages::fault),
            #[cfg(bare_metal)]
            Benchmark::new("timer.interrupt", 40, interrupts::timer),
            #[cfg(bare_metal)]
            Benchmark::new("timer.late", 40, interrupts::late),
            #[cfg(bare_metal)]
            Benchmark::new("interrupt.handler", 200, interrupts::handler),
            #[cfg(bare_metal)]
            Benchmark::new("interrupt.thread", 200, interrupts::thread),
            #[cfg(bare_metal)]
            Benchmark::new("ipi.round_trip", 200, interrupts::ipi),
            #[cfg(bare_metal)]
            Benchmark::new("ipi.wake", 200, interrupts::wake),
        ],
    },
    Suite {
        name: "memory",
        benchmarks: &[
            Benchmark::rate("memory.copy", "bytes", 10, memory::copy),
            Benchmark::rate("memory.scale", "bytes", 10, memory::scale),
            Benchmark::rate("memory.add", "bytes", 10, memory::add),
            Benchmark::rate("memory.triad", "bytes", 10, memory::triad),
            Benchmark::new("memory.latency_4k", 40, memory::latency::<{ 4 << 10 }>),
            Benchmark::new("memory.latency_32k", 40, memory::latency::<{ 32 << 10 }>),
            Benchmark::new("memory.latency_256k", 40, memory::latency::<{ 256 << 10 }>),
            Benchmark::new("memory.latency_2m", 40, memory::latency::<{ 2 << 20 }>),
            Benchmark::new("memory.latency_16m", 40, memory::latency::<{ 16 << 20 }>),
        ],
    },
    Suite {
        name: "compute",
        benchmarks: &[
            Benchmark::rate("compute.integer", "iterations", 10, compute::integer),
            Benchmark::rate("compute.float", "operations", 10, compute::float),
        ],
    },
    Suite {
        name: "network",
        benchmarks: &[
            Benchmark::new("net.udp_round_trip", 100, network::udp),
            Benchmark::new("net.tcp_round_trip", 100, network::tcp),
            Benchmark::new("net.tcp_connect", 40, network::connect),
            Benchmark::rate("net.tcp_send", "bytes", 10, network::send),
            Benchmark::rate("net.tcp_receive", "bytes", 10, network::receive),
        ],
    },
    Suite {
        name: "storage",
        benchmarks: &[
            Benchmark::rate("disk.write_sequential", "bytes", 40, storage::write_sequential),
            Benchmark::rate("disk.read_sequential", "bytes", 40, storage::read_sequential),
            Benchmark::new("disk.write_random", 100, storage::write_random),
            Benchmark::new("disk.read_random", 100, storage::read_random),
        ],
    },
    #[cfg(all(bare_metal, feature = "vmm"))]
    Suite {
        name: "switch",
        benchmarks: &[
            Benchmark::new("switch.enter", 100, switch::windows).switching(Mode::Native),
            Benchmark::new("switch.leave", 100, switch::windows).switching(Mode::Guest),
            Benchmark::new("switch.rendezvous", 100, switch::rendezvous).switching(Mode::Native),
            Benchmark::new("exit.cpuid", 200, switch::cpuid),
            Benchmark::new("exit.hypercall", 200, switch::hypercall).only(Mode::Guest),
            Benchmark::new("exit.nested_split", 5, switch::nested_split).switching(Mode::Guest),
        ],
    },
    #[cfg(all(bare_metal, feature = "vmm"))]
    Suite {
        name: "snapshot",
        benchmarks: &[
            Benchmark::new("snapshot.stop", 40, snapshot::stop).only(Mode::Guest),
            Benchmark::new("snapshot.first_write", 5, snapshot::first_write).switching(Mode::Guest),
            Benchmark::new("snapshot.next_write", 200, snapshot::next_write).switching(Mode::Guest),
        ],
    },
];

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Plan(pub(crate) Vec<&'static Benchmark>);

/// No benchmark and no suite has this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown(pub String);

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no benchmark '{}'; there are the suites", self.0)?;
        SUITES.iter().try_for_each(|suite| write!(f, " {}", suite.name))
    }
}

impl Plan {
    /// By names of suites, of benchmarks, or of what these begin with, up to a dot or an underscore. No names: everything. In the
    /// table's order, each once.
    pub fn of<'a>(names: impl Iterator<Item = &'a str>) -> Result<Self, Unknown> {
        let names: Vec<&str> = names.collect();
        let all = || {
            SUITES.iter().flat_map(|suite| suite.benchmarks.iter().map(move |benchmark| (suite, benchmark)))
        };
        let is = |name: &str, suite: &Suite, benchmark: &Benchmark| {
            let rest = benchmark.name.strip_prefix(name);
            suite.name == name || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '_']))
        };
        let known = |name: &&str| all().any(|(suite, benchmark)| is(name, suite, benchmark));
        if let Some(name) = names.iter().find(|name| !known(name)) {
            return Err(Unknown((*name).to_owned()));
        }
        let wanted = all().filter(|(suite, benchmark)| {
            names.is_empty() || names.iter().any(|name| is(name, suite, benchmark))
        });
        Ok(Self(wanted.map(|(_, benchmark)| benchmark).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;

    fn names(text: &str) -> Vec<&'static str> {
        let plan = Plan::of(text.split(' ').filter(|name| !name.is_empty())).unwrap();
        plan.0.iter().map(|benchmark| benchmark.name).collect()
    }

    #[test]
    fn a_plan_is_made_of_names() {
        assert_eq!(names("compute"), ["compute.integer", "compute.float"]);
        assert_eq!(names("compute.float compute.float"), ["compute.float"]);
        assert_eq!(names("net.tcp mutex.contended compute.float").len(), 6);
        assert_eq!(names("memory.latency").len(), 5);
        let unknown = Plan::of(["compute.floa"].into_iter()).unwrap_err();
        assert_eq!(unknown, Unknown("compute.floa".to_owned()));
    }

    #[test]
    fn each_name_is_one_benchmarks() {
        let all = names("");
        let once: BTreeSet<_> = all.iter().collect();
        assert_eq!(once.len(), all.len());
        for suite in SUITES {
            assert!(!suite.name.contains('.') && names(suite.name).len() >= suite.benchmarks.len());
            assert!(suite.benchmarks.iter().all(|benchmark| benchmark.name.contains('.')));
        }
    }

    /// The manual has a row for each, those of the bare machine among them.
    #[test]
    fn each_is_in_the_manual() {
        let manual = include_str!("../../../kernel/doc/benchmarks.md");
        let source = include_str!("suites.rs");
        let quoted = source.split('"').filter(|word| {
            word.contains('.')
                && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._".contains(&byte))
        });
        for name in quoted.filter(|word| !word.ends_with(".rs") && !word.starts_with('.')) {
            let known = manual.contains(&alloc::format!("`{name}`")) || name.contains("floa");
            assert!(known, "{name}");
        }
    }
}
