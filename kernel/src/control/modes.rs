//! The modes of a machine with a VMM: what `mode` commands do and answer.

use super::{Answer, DONE, REFUSED, TIMED_OUT, Target, answer};
use alloc::string::String;
use core::fmt::Write;
use core::time::Duration;
use mode::bare::{RequestError, look, request};
use mode::trace::{Mark, Record};
use mode::{Outcome, Phase, Refused};
use vmm::call::Count;

pub fn switch(command: &str, target: Target, deadline: Duration) -> Answer {
    let phase = match target {
        Target::Native => Some(Phase::Native),
        Target::Guest => Some(Phase::Guest),
        Target::Toggle => None,
    };
    match request(phase, deadline) {
        Ok(Outcome::Switched) => {
            log::debug!("control: {command}: done");
            answer(DONE, status())
        }
        Ok(Outcome::Already) => answer(DONE, status()),
        // Without a VMM the machine is native already.
        Err(RequestError::Unavailable(_)) if target == Target::Native => answer(DONE, status()),
        Err(error) => {
            log::warn!("control: {command}: refused: {error}");
            let late = matches!(error, RequestError::Refused(Refused::NoAnswer(_)));
            answer(if late { TIMED_OUT } else { REFUSED }, state(Some(&error)))
        }
    }
}

/// The state of the machine.
pub fn status() -> String {
    state(None)
}

/// The state of the machine, with the error of a request if there is one.
fn state(error: Option<&RequestError>) -> String {
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
            r#""mode":"native","vendor":null,"nested":{},"switches":0,"last":null,"refusal":null,"exits":{{}},"unavailable":"{reason}""#,
            mode::bare::is_nested()
        ),
    };
    let _ = write!(body, ",{}", super::resources());
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
pub fn trace() -> String {
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
