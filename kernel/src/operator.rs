//! The machine's operators: what their commands do and answer. The transport is `net::ssh`.
//!
//! Every answer is a value: with `--json` one object a line, else text for people.

#[cfg(feature = "bench")]
mod bench;
pub(crate) mod changes;
#[cfg(feature = "vmm")]
mod checkpoint;
mod devices;
#[cfg(feature = "vmm")]
mod disk_swap;
mod doctor;
#[cfg(feature = "vmm")]
mod heir;
mod host_key;
#[cfg(feature = "vmm")]
mod identity;
mod interpose;
mod jobs;
#[cfg(feature = "vmm")]
mod key;
mod mode;
#[cfg(feature = "vmm")]
pub(crate) mod modes;
#[cfg(not(feature = "vmm"))]
#[path = "operator/native.rs"]
pub(crate) mod modes;
mod repeat;
#[cfg(feature = "vmm")]
mod restore;
mod status;
mod swap;
#[cfg(feature = "vmm")]
mod told;
mod top;
mod views;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use app::Env;
use control::access::{Access, MAX_TEXT, PublicKey};
use control::request::{Request, VERBS, Verb};
use net::ssh::{Caller, Gone, Identities, Key, Operator, Output, Setting, exit, serve};
use serde::Serialize;

use crate::devices::ForOperators;

/// Who may operate this machine, and its own key: a text as [`control::access`] has it, then zeros. The image builder writes it
/// here; nothing but zeros is nobody.
#[unsafe(no_mangle)]
static ACCESS: [u8; MAX_TEXT] = [0; MAX_TEXT];

/// Who is who, for a restored system that becomes somebody else.
#[cfg(feature = "vmm")]
static IDENTITIES: spin::Once<&Identities> = spin::Once::new();

/// Where the server listens unless `control.port=` says otherwise.
const PORT: u16 = 22;

/// Starts the server, if the image has operators, there is a network to serve them on, and the machine has a host key, which
/// may be on a disk.
pub fn start(machine: &machine::start::Machine, found: ForOperators, env: &'static Env) {
    let Some(network) = found.network else {
        return log::error!(
            "control: without its network it listens nowhere; nobody can operate this machine"
        );
    };
    let port = match machine::bootinfo::setting(machine.command_line.as_str(), "control.port").map(str::parse)
    {
        None => PORT,
        Some(Ok(port)) => port,
        Some(Err(_)) => return log::error!("control.port is not a port; the control server stays off"),
    };
    let access = match access() {
        Ok(access) if access.operators.is_empty() => {
            return log::info!("control: the image has no operators, nobody can operate this machine");
        }
        Ok(access) => access,
        Err(error) => return log::error!("control: {error}; nobody can operate this machine"),
    };
    let Some((host_key, origin)) = host_key::find(access.host_key, found.state) else {
        return log::error!("the control server stays off: nobody can operate this machine");
    };
    let identities: &Identities = Box::leak(Box::new(identities(&host_key, access.operators)));
    #[cfg(feature = "vmm")]
    {
        heir::keep_host_key(&host_key);
        IDENTITIES.call_once(|| identities);
    }
    let operator: &Machine = Box::leak(Box::new(Machine {
        env,
        #[cfg(feature = "vmm")]
        map: Box::leak(machine.map.clone()),
    }));
    let setting = Setting { network, port, identities, random: drivers::entropy::fill, operator };
    match serve(setting) {
        Ok(()) => {
            let key = PublicKey(identities.host_key());
            log::info!(
                "control: SSH on tcp port {port} of the {network} network, host key {}, {origin}",
                key.fingerprint()
            );
            log::info!("{}", control::host::announce(port, key));
        }
        Err(error) => log::error!("the control server stays off: {error}"),
    }
}

/// Goes on from a checkpoint on the machine's own disk, if the command line has `restore=`. Switches wait again until what is
/// returned is dropped.
#[cfg(feature = "vmm")]
pub fn restore_at_boot(
    machine: &machine::start::Machine,
    env: &'static Env,
    start_up: ::mode::Held<'static>,
) -> ::mode::Held<'static> {
    let Some(from) = env.setting("restore") else { return start_up };
    drop(start_up);
    let is_another = env.setting("restore.identity") == Some("new");
    restore::at_boot(&machine.map, crate::devices::Part::new(env), is_another, from);
    crate::monitor::hold()
}

fn access() -> Result<Access, control::access::AccessError> {
    // Copied: what is read from the static itself the compiler may take for the zeros that it knows.
    // SAFETY: a plain static of this image; volatile, because the builder changes it behind the compiler's back.
    let bytes: Vec<u8> =
        (0..MAX_TEXT).map(|place| unsafe { (&raw const ACCESS[place]).read_volatile() }).collect();
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).parse()
}

fn identities(host_key: &[u8; 32], operators: Vec<control::access::Operator>) -> Identities {
    let keys = operators.into_iter().map(|operator| {
        let fingerprint = operator.key.fingerprint();
        let name = match operator.comment.as_str() {
            "" => fingerprint,
            comment => format!("{fingerprint} ({comment})"),
        };
        Key { public: operator.key.0, role: operator.role, name }
    });
    Identities::new(host_key, keys.collect())
}

/// The operator's side of this machine.
struct Machine {
    /// What applications are told, and benchmarks.
    #[cfg_attr(not(any(feature = "bench", feature = "vmm")), expect(dead_code, reason = "for them"))]
    env: &'static Env,
    /// What lies where in its memory.
    #[cfg(feature = "vmm")]
    map: &'static machine::memory::map::MemoryMap,
}

#[cfg(feature = "vmm")]
impl Machine {
    fn part(&self) -> crate::devices::Part {
        crate::devices::Part::new(self.env)
    }
}

impl Operator for Machine {
    fn execute(&self, caller: &Caller, request: &Request, output: &mut dyn Output) -> u8 {
        let json = request.json;
        match &request.verb {
            Verb::Help => show(output, json, &Help::new(caller), Help::text),
            Verb::Status => show(output, json, &status::Status::now(), status::Status::text),
            Verb::Mode => show(output, json, &modes::mode(), mode::Mode::text),
            Verb::Switch(switch) => changes::switch(caller, switch, json, output),
            Verb::Repeat(asked) => repeat::toggle(caller, *asked, json, output),
            Verb::Trace => show(output, json, &modes::trace(), modes::Trace::text),
            Verb::Stats => show(output, json, &status::Counters::now(), status::Counters::text),
            Verb::Events { follow } => views::ring(&machine::journal::EVENTS, *follow, json, output),
            Verb::Log { follow } => views::ring(&machine::journal::LOG, *follow, json, output),
            Verb::Top { once } => top::top(*once, json, output),
            #[cfg(feature = "bench")]
            Verb::Bench(asked) => bench::bench(caller, self.env, asked, json, output),
            #[cfg(not(feature = "bench"))]
            Verb::Bench(_) => refuse(output, json, "the benchmarks were left out of this image"),
            #[cfg(feature = "vmm")]
            Verb::Checkpoint { room, base, track } => {
                let wish = checkpoint::Wish { room: *room, base: *base, track: *track };
                checkpoint::checkpoint(caller, self.map, self.part(), wish, output)
            }
            #[cfg(feature = "vmm")]
            Verb::CheckpointToDisk(asked) => {
                checkpoint::to_disk(caller, self.map, self.part(), *asked, json, output)
            }
            #[cfg(feature = "vmm")]
            Verb::CheckpointList => checkpoint::list(json, output),
            #[cfg(feature = "vmm")]
            Verb::Restore { new_identity, from } => {
                restore::restore(caller, self.map, self.part(), *new_identity, from.as_deref(), output)
            }
            #[cfg(not(feature = "vmm"))]
            Verb::Checkpoint { .. }
            | Verb::CheckpointToDisk(_)
            | Verb::CheckpointList
            | Verb::Restore { .. } => refuse(output, json, "the VMM was left out of this image"),
            Verb::JobList => jobs::list(json, output),
            Verb::JobWatch(number) => jobs::follow(*number, jobs::Follower::Watcher, json, output),
            Verb::JobCancel(number) => jobs::cancel(caller, *number, json, output),
            Verb::DeviceList => show(output, json, &devices::list(), devices::text),
            Verb::DeviceSwap(asked) => swap::swap(caller, asked.clone(), json, output),
            Verb::DeviceDetach { device, timeout } => {
                swap::detach(caller, device.clone(), *timeout, json, output)
            }
            Verb::DeviceAttach { device } => swap::attach(caller, device.clone(), json, output),
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
fn object<T: Serialize>(value: &T) -> String {
    // Our values have no keys but strings, and nothing that fails to be written.
    serde_json::to_string(value).unwrap_or_default() + "\n"
}

/// Tells a value as [`object`].
fn line<T: Serialize>(output: &mut dyn Output, value: &T) -> Result<(), Gone> {
    output.out(&object(value))
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
    benchmarks: bool,
}

impl Version {
    fn new() -> Self {
        Self {
            name: "Quicksilver",
            version: env!("CARGO_PKG_VERSION"),
            applications: crate::apps::APPS.iter().map(|app| app.name()).collect(),
            vmm: cfg!(feature = "vmm"),
            benchmarks: cfg!(feature = "bench"),
        }
    }

    fn text(&self) -> String {
        let vmm = if self.vmm { "with its VMM" } else { "without a VMM" };
        let benchmarks = if self.benchmarks { ", with benchmarks" } else { "" };
        let applications = self.applications.join(", ");
        format!("{} {}, {vmm}{benchmarks}; applications: {applications}\n", self.name, self.version)
    }
}
