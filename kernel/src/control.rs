//! The machine's operators: what `mode` commands do and answer. The transport is `net::control`.

use alloc::string::String;
use core::fmt::Write;
use core::time::Duration;
use machine::start::Machine;
use mode::bare::{RequestError, look, request};
use mode::trace::{Mark, Record};
use mode::{Outcome, Phase, Refused};
use net::control::protocol::{Answer, Key};
use net::control::{Operator, Setting, serve};
use vmm::call::Count;

/// The secret shared with the operators. The image builder writes it here; zeros are no key.
#[unsafe(no_mangle)]
static CONTROL_KEY: Key = [0; 32];

/// Where the server listens unless `control.port=` says otherwise.
const PORT: u16 = 4022;

/// How long a switch may wait for CPUs and pins, unless the command says otherwise.
const DEADLINE: Duration = Duration::from_secs(1);
/// The longest a command may ask for.
const LONGEST: Duration = Duration::from_secs(60);

const USAGE: &str = "mode native|guest|toggle [deadline=MS], mode status, mode trace";

/// Exit statuses.
const DONE: u8 = 0;
const USAGE_ERROR: u8 = 2;
const REFUSED: u8 = 3;
const TIMED_OUT: u8 = 6;

/// Starts the server, if the image has a key.
pub fn start(machine: &Machine) {
    // SAFETY: a plain static of this image; volatile, because the builder changes it behind the compiler's back.
    let key = unsafe { (&raw const CONTROL_KEY).read_volatile() };
    if key == [0; 32] {
        log::info!("control: the image has no key, nobody can operate this machine");
        return;
    }
    let text = machine::bootinfo::setting(machine.command_line.as_str(), "control.port");
    let port = match text.map(str::parse) {
        None => PORT,
        Some(Ok(port)) => port,
        Some(Err(_)) => {
            log::error!("control.port is not a port; the control server stays off");
            return;
        }
    };
    let setting = Setting { port, key: &CONTROL_KEY, random: drivers::entropy::fill, operator: &Modes };
    match serve(setting) {
        Ok(()) => log::info!("control: listening on tcp port {port}"),
        Err(error) => log::error!("the control server stays off: {error}"),
    }
}

struct Modes;

impl Operator for Modes {
    fn execute(&self, command: &str) -> Answer {
        let mut words = command.split_ascii_whitespace();
        match (words.next(), words.next()) {
            (Some("mode"), Some("status") | None) => answer(DONE, status(None)),
            (Some("mode"), Some("trace")) => answer(DONE, trace()),
            (Some("mode"), Some(target)) => match parse(target, words) {
                Some((target, deadline)) => switch(command, target, deadline),
                None => usage(),
            },
            _ => usage(),
        }
    }
}

fn answer(status: u8, body: String) -> Answer {
    Answer { status, body }
}

fn usage() -> Answer {
    let mut body = String::from(r#"{"error":"usage: "#);
    body.push_str(USAGE);
    body.push_str("\"}");
    answer(USAGE_ERROR, body)
}

fn parse<'a>(target: &str, mut words: impl Iterator<Item = &'a str>) -> Option<(Option<Phase>, Duration)> {
    let target = match target {
        "native" => Some(Phase::Native),
        "guest" => Some(Phase::Guest),
        "toggle" => None,
        _ => return None,
    };
    let deadline = match words.next() {
        None => DEADLINE,
        Some(word) => Duration::from_millis(word.strip_prefix("deadline=")?.parse().ok()?),
    };
    (words.next().is_none() && deadline <= LONGEST).then_some((target, deadline))
}

fn switch(command: &str, target: Option<Phase>, deadline: Duration) -> Answer {
    match request(target, deadline) {
        Ok(Outcome::Switched) => {
            log::info!("control: {command}: done");
            answer(DONE, status(None))
        }
        Ok(Outcome::Already) => answer(DONE, status(None)),
        Err(error) => {
            log::warn!("control: {command}: refused: {error}");
            let code = match &error {
                RequestError::Refused(refused @ (Refused::Pinned(_) | Refused::NoAnswer(_)))
                    if refused.is_timeout() =>
                {
                    TIMED_OUT
                }
                _ => REFUSED,
            };
            answer(code, status(Some(&error)))
        }
    }
}

/// The state of the machine, with the error of a request if there is one.
fn status(error: Option<&RequestError>) -> String {
    let mut body = String::from("{");
    // Writing to a string can't fail.
    let _ = match look(|figures, monitor| {
        let mode = if figures.phase == Phase::Guest { "guest" } else { "native" };
        let _ = write!(
            body,
            r#""mode":"{mode}","vendor":"{}","nested":{},"switches":{},"last":"#,
            vendor(monitor.vendor()),
            monitor.is_nested(),
            figures.switches
        );
        match figures.last() {
            Some(record) => last(&mut body, record),
            None => body.push_str("null"),
        }
        body.push_str(r#","refusal":"#);
        optional(&mut body, figures.refusal.as_deref());
        body.push_str(r#","exits":{"#);
        for (index, (kind, name)) in Count::ALL.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let _ = write!(body, r#"{comma}"{name}":{}"#, monitor.exits(*kind));
        }
        let _ = write!(body, r#"}},"nmis":{}"#, machine::nmis());
    }) {
        Ok(()) => Ok(()),
        Err(reason) => write!(
            body,
            r#""mode":"native","vendor":null,"nested":{},"switches":0,"last":null,"refusal":null,"unavailable":"{reason}""#,
            mode::bare::is_nested()
        ),
    };
    if let Some(error) = error {
        let _ = write!(body, r#","error":"{error}""#);
    }
    body.push('}');
    body
}

const fn vendor(vendor: vmm::Vendor) -> &'static str {
    match vendor {
        vmm::Vendor::Svm => "svm",
        vmm::Vendor::Vmx => "vmx",
    }
}

/// Texts of ours: nothing in them needs escaping.
fn optional(body: &mut String, text: Option<&str>) {
    let _ = match text {
        Some(text) => write!(body, r#""{text}""#),
        None => write!(body, "null"),
    };
}

fn last(body: &mut String, record: &Record) {
    let _ = write!(body, r#"{{"direction":"{}","unit":"tsc","cpus":["#, record.direction.name());
    for (cpu, trace) in record.cpus.iter().enumerate() {
        let comma = if cpu == 0 { "" } else { "," };
        let (window, rendezvous) = (trace.window(), trace.rendezvous());
        let _ = write!(body, r#"{comma}{{"cpu":{cpu},"window":{window},"rendezvous":{rendezvous}}}"#);
    }
    body.push_str("]}");
}

/// The last switches, moment by moment.
fn trace() -> String {
    let mut body = String::new();
    let _ = write!(body, r#"{{"hertz":{},"switches":["#, machine::time::tsc_hertz());
    let _ = look(|figures, _| {
        for (index, record) in figures.ring.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let (direction, done) = (record.direction.name(), record.done);
            let _ = write!(body, r#"{comma}{{"direction":"{direction}","done":{done},"cpus":["#);
            for (cpu, trace) in record.cpus.iter().enumerate() {
                let comma = if cpu == 0 { "" } else { "," };
                let _ = write!(body, r#"{comma}{{"cpu":{cpu},"marks":{{"#);
                for (place, ((_, name), ticks)) in Mark::ALL.iter().zip(trace.marks).enumerate() {
                    let comma = if place == 0 { "" } else { "," };
                    let _ = write!(body, r#"{comma}"{name}":{ticks}"#);
                }
                body.push_str("}}");
            }
            body.push_str("]}");
        }
    });
    body.push_str("]}");
    body
}
