//! What there is to say about the mode, with a VMM or without.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use serde::Serialize;

/// What there is to say about the mode.
#[derive(Clone, Serialize)]
pub struct Mode {
    pub mode: &'static str,
    pub vendor: Option<&'static str>,
    pub nested: bool,
    pub generation: u64,
    pub switches: u64,
    pub last: Option<Last>,
    pub refusal: Option<String>,
    pub exits: BTreeMap<&'static str, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unavailable: Option<String>,
}

/// The last switch.
#[derive(Clone, Serialize)]
pub struct Last {
    pub direction: &'static str,
    /// Ticks of the time-stamp counter.
    pub unit: &'static str,
    pub cpus: Vec<Window>,
}

/// How long a CPU was busy with it, and how long it waited for the others.
#[derive(Clone, Serialize)]
pub struct Window {
    pub cpu: usize,
    pub window: u64,
    pub rendezvous: u64,
}

impl Last {
    fn text(&self) -> String {
        let longest = self.cpus.iter().max_by_key(|window| window.window);
        let waited = self.cpus.iter().map(|window| window.rendezvous).max().unwrap_or(0);
        longest.map_or_else(String::new, |Window { cpu, window, .. }| {
            format!("{}: {window} ticks on CPU {cpu}; waited at most {waited}", self.direction)
        })
    }
}

impl Mode {
    /// In one line or two.
    pub fn text(&self) -> String {
        let on = match (&self.unavailable, self.vendor) {
            (Some(reason), _) => format!("there is no VMM: {reason}"),
            (None, vendor) => format!(
                "{}{}, {} switches, generation {}",
                vendor.unwrap_or("no vendor"),
                if self.nested { ", itself a guest" } else { "" },
                self.switches,
                self.generation
            ),
        };
        let last = self.last.as_ref().map(|last| format!("last       {}\n", last.text()));
        let refusal = self.refusal.as_ref().map(|why| format!("refused    {why}\n"));
        format!(
            "mode       {} ({on})\n{}{}",
            self.mode,
            last.unwrap_or_default(),
            refusal.unwrap_or_default()
        )
    }
}
