//! `qs mode`: one command to a running machine, and its answer for people.

use std::fmt;
use std::time::Duration;

use ::control::request::DEADLINE;
use serde::Deserialize;

use crate::arguments::{Action, ModeOptions};
use crate::{output, trace};
use image_builder::control::{self, ControlError, Keys};
use image_builder::state::Registry;
use image_builder::tools::{self, Tool};
use image_builder::{Error, ExitCode};

/// How long a machine may take to answer, beyond what it was told to wait for.
const PATIENCE: Duration = Duration::from_secs(30);

/// What goes wrong before anything is asked of a machine.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum UsageError {
    #[error("'{0}' is none of native, guest, toggle, status")]
    NoAction(String),
    #[error("--deadline is for a switch: native, guest or toggle")]
    DeadlineOfNothing,
}

/// The state of a machine; fields that are not for people are left out.
#[derive(Debug, Deserialize)]
struct Status {
    mode: String,
    vendor: Option<String>,
    #[serde(default)]
    nested: bool,
    switches: u64,
    last: Option<Last>,
    unavailable: Option<String>,
    error: Option<String>,
    refusal: Option<String>,
}

/// The last switch.
#[derive(Debug, Deserialize)]
struct Last {
    direction: String,
    unit: String,
    cpus: Vec<Window>,
}

/// How long a CPU was busy with it, and how long it waited for the others.
#[derive(Debug, Deserialize)]
struct Window {
    cpu: u32,
    window: u64,
    rendezvous: u64,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.mode)?;
        match (&self.vendor, &self.unavailable) {
            (Some(vendor), _) => write!(f, " ({vendor}{})", if self.nested { ", nested" } else { "" })?,
            (None, Some(reason)) => write!(f, " (for good: {reason})")?,
            (None, None) => {}
        }
        write!(f, ", {} switch{}", self.switches, if self.switches == 1 { "" } else { "es" })?;
        if let Some(Last { direction, unit, cpus }) = &self.last {
            let unit = if unit == "tsc" { "ticks" } else { unit };
            let windows = cpus.iter().map(|cpu| format!("{} {unit} on CPU {}", cpu.window, cpu.cpu));
            write!(f, ", last {direction}: {}", windows.collect::<Vec<_>>().join(", "))?;
            let waited = cpus.iter().map(|cpu| cpu.rendezvous).max().unwrap_or(0);
            write!(f, "; waited at most {waited}")?;
        }
        Ok(())
    }
}

pub fn mode(options: &ModeOptions) -> Result<ExitCode, Error> {
    let (action, target) = match options.request() {
        Ok(request) => request,
        Err(error) => {
            output::error(&error);
            return Ok(ExitCode::Usage);
        }
    };
    let target = control::resolve(target, &Registry::of_user()?.list()?).map_err(ControlError::from)?;
    tools::require(&[Tool::Ssh])?;
    let keys = Keys::of_user()?;
    let ask = |line: &str, patience| {
        let client = control::ssh(&target, &keys)?;
        control::command(client, &target.address, line, control::CONNECT + patience)
    };

    let looks = options.trace && action == Action::Status;
    if !looks {
        let deadline = options.deadline.map_or(DEADLINE, Duration::from_millis);
        let milliseconds = deadline.as_millis();
        let line = match action {
            Action::Native => format!("mode native --deadline {milliseconds} --json"),
            Action::Guest => format!("mode guest --deadline {milliseconds} --json"),
            Action::Toggle => format!("mode toggle --deadline {milliseconds} --json"),
            Action::Status => "mode --json".to_owned(),
        };
        let answer = ask(&line, PATIENCE + deadline)?;
        let code = ExitCode::of_answer(answer.status);
        if code != ExitCode::Done || !options.trace {
            tell(answer.out.trim(), code, options.json);
            return Ok(code);
        }
    }
    let answer = ask("trace --json", PATIENCE)?;
    let (body, code) = (answer.out.trim(), ExitCode::of_answer(answer.status));
    match trace::parse(body) {
        Ok(trace) if !options.json && code == ExitCode::Done => {
            output::data(trace::draw(&trace, output::width()));
        }
        _ => tell(body, code, options.json),
    }
    Ok(code)
}

/// Prints an answer: as it came, or in words.
fn tell(body: &str, code: ExitCode, json: bool) {
    if json {
        output::data(body);
    }
    let status: Option<Status> = serde_json::from_str(body).ok();
    let reason = match &status {
        Some(status) => status.error.clone().or_else(|| status.refusal.clone()),
        // What has no state, such as a usage error, has an error alone.
        None => serde_json::from_str::<serde_json::Value>(body)
            .ok()
            .and_then(|body| Some(body["error"].as_str()?.to_owned())),
    };
    if code != ExitCode::Done {
        let what = match code {
            ExitCode::Refused => "refused",
            ExitCode::TimedOut => "timed out, nothing changed",
            ExitCode::Unknown => "outcome unknown",
            _ => "failed",
        };
        output::error(&format_args!("{what}: {}", reason.as_deref().unwrap_or(body)));
    } else if !json {
        match status {
            Some(status) => output::data(status),
            None => output::data(body),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(body: &str) -> String {
        serde_json::from_str::<Status>(body).unwrap().to_string()
    }

    #[test]
    fn a_state_is_one_line() {
        let body = r#"{"mode":"guest","vendor":"svm","nested":true,"switches":3,"last":{"direction":"enter","unit":"tsc",
            "cpus":[{"cpu":0,"window":512,"rendezvous":900},{"cpu":1,"window":530,"rendezvous":80}]},"refusal":null,
            "exits":{"cpuid":3},"nmis":0}"#;
        assert_eq!(
            line(body),
            "guest (svm, nested), 3 switches, last enter: 512 ticks on CPU 0, 530 ticks on CPU 1; waited at most 900"
        );
    }

    #[test]
    fn a_machine_without_a_monitor_says_why() {
        let body = r#"{"mode":"native","vendor":null,"nested":false,"switches":0,"last":null,"refusal":null,
            "unavailable":"the CPU has no SVM"}"#;
        assert_eq!(line(body), "native (for good: the CPU has no SVM), 0 switches");
        let body =
            r#"{"mode":"native","vendor":"svm","nested":false,"switches":1,"last":null,"refusal":null}"#;
        assert_eq!(line(body), "native (svm), 1 switch");
    }
}
