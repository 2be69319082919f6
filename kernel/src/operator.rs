//! The machine's operators: what their commands do and answer. The transport is `net::ssh`.
//!
//! Every answer is a value: with `--json` one object a line, else text for people.

mod changes;
mod devices;
mod doctor;
#[cfg(feature = "vmm")]
mod modes;
#[cfg(not(feature = "vmm"))]
#[path = "operator/native.rs"]
mod modes;
mod status;
mod views;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use control::request::{Request, VERBS, Verb};
use net::ssh::{Caller, Gone, Operator, Output, exit};
use serde::Serialize;

/// The operator's side of this machine.
pub struct Machine;

impl Operator for Machine {
    fn execute(&self, caller: &Caller, request: &Request, output: &mut dyn Output) -> u8 {
        let json = request.json;
        match &request.verb {
            Verb::Help => show(output, json, &Help::new(caller), Help::text),
            Verb::Status => show(output, json, &status::Status::now(), status::Status::text),
            Verb::Mode => show(output, json, &modes::mode(), modes::Mode::text),
            Verb::Switch(switch) => changes::switch(caller, switch, json, output),
            Verb::Trace => show(output, json, &modes::trace(), modes::Trace::text),
            Verb::Stats => show(output, json, &status::Counters::now(), status::Counters::text),
            Verb::Events { follow } => views::ring(&machine::journal::EVENTS, *follow, json, output),
            Verb::Log { follow } => views::ring(&machine::journal::LOG, *follow, json, output),
            Verb::Top { once } => views::top(*once, json, output),
            Verb::JobList => views::jobs(json, output),
            Verb::JobWatch(number) | Verb::JobCancel(number) => {
                refuse(output, json, &format!("there is no job {number}"))
            }
            Verb::DeviceList => show(output, json, &devices::list(), devices::text),
            Verb::Doctor => doctor::examine(json, output),
            Verb::Version => show(output, json, &Version::new(), Version::text),
        }
    }
}

/// Tells a value. Whoever is gone does not learn the status either.
fn show<T: Serialize>(output: &mut dyn Output, json: bool, value: &T, text: impl Fn(&T) -> String) -> u8 {
    let told = if json { line(output, value) } else { output.out(&text(value)) };
    if told.is_ok() { exit::DONE } else { exit::UNKNOWN }
}

/// One JSON object, one line.
fn line<T: Serialize>(output: &mut dyn Output, value: &T) -> Result<(), Gone> {
    // Our values have no keys but strings, and nothing that fails to be written.
    let text = serde_json::to_string(value).unwrap_or_default();
    output.out(&(text + "\n"))
}

/// Says why not.
fn refuse(output: &mut dyn Output, json: bool, why: &str) -> u8 {
    let _ = if json {
        line(output, &serde_json::json!({ "error": why }))
    } else {
        output.err(&format!("{why}\n"))
    };
    exit::REFUSED
}

#[derive(Serialize)]
struct Help {
    verbs: Vec<HelpLine>,
    role: String,
}

#[derive(Serialize)]
struct HelpLine {
    verb: &'static str,
    arguments: &'static str,
    role: String,
    does: &'static str,
}

impl Help {
    /// What the caller may say.
    fn new(caller: &Caller) -> Self {
        let may = VERBS.iter().filter(|(_, _, role, _)| *role <= caller.role);
        let verbs = may.map(|(verb, arguments, role, does)| HelpLine {
            verb,
            arguments,
            role: format!("{role}"),
            does,
        });
        Self { verbs: verbs.collect(), role: format!("{}", caller.role) }
    }

    fn text(&self) -> String {
        let lines = self.verbs.iter().map(|HelpLine { verb, arguments, does, .. }| {
            let gap = if arguments.is_empty() { "" } else { " " };
            format!("{verb}{gap}{arguments}\n    {does}\n")
        });
        let rest = "Each with --json: one object a line. Exit statuses: 0 done, 1 failed and nothing changed, 2 usage,\n\
                    3 refused, 6 not in time and undone, 7 outcome unknown.\n";
        format!("As {} you may say:\n{}{rest}", self.role, lines.collect::<String>())
    }
}

#[derive(Serialize)]
struct Version {
    name: &'static str,
    version: &'static str,
    applications: Vec<&'static str>,
    vmm: bool,
}

impl Version {
    fn new() -> Self {
        Self {
            name: "Quicksilver",
            version: env!("CARGO_PKG_VERSION"),
            applications: crate::apps::APPS.iter().map(|app| app.name()).collect(),
            vmm: cfg!(feature = "vmm"),
        }
    }

    fn text(&self) -> String {
        let vmm = if self.vmm { "with its VMM" } else { "without a VMM" };
        format!("{} {}, {vmm}; applications: {}\n", self.name, self.version, self.applications.join(", "))
    }
}
