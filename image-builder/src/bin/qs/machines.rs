//! `qs ps`, `qs stop` and `qs logs`: the machines that are there.

use std::io::{self, Write};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::arguments::Output;
use crate::output;
use image_builder::machine::{MachineError, SerialLog};
use image_builder::qmp::Qmp;
use image_builder::state::{Registry, State, StateError};
use image_builder::{Error, ExitCode};

/// How long a machine may take to end before stronger means are used.
const PATIENCE: Duration = Duration::from_secs(3);

/// How often a followed log is looked at.
const FOLLOW: Duration = Duration::from_millis(20);

pub fn ps(format: Output) -> Result<ExitCode, Error> {
    let machines = Registry::of_user()?.list()?;
    let age = |state: &State| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
        now.saturating_sub(state.started)
    };
    match format {
        Output::Json => {
            let rows = machines.iter().map(|state| {
                json!({
                    "name": state.name,
                    "app": state.app,
                    "status": status(state),
                    "pid": state.process.pid,
                    "machine": state.machine,
                    "cpus": state.cpus,
                    "memory": state.memory,
                    "age_seconds": if state.running { age(state) } else { 0 },
                    "ports": state.ports,
                    "qmp": state.qmp,
                    "serial": state.serial,
                })
            });
            output::data(Value::Array(rows.collect()));
        }
        Output::Table => {
            let row = |state: &State| {
                let ports: Vec<String> =
                    state.ports.iter().map(|(name, port)| format!("{name}={port}")).collect();
                let (cpus, age) = match state.running {
                    true => (state.cpus.to_string(), format!("{} s", age(state))),
                    false => (String::new(), String::new()),
                };
                vec![
                    state.name.clone(),
                    state.app.clone(),
                    status(state).to_owned(),
                    state.process.pid.to_string(),
                    state.machine.clone(),
                    cpus,
                    state.memory.clone(),
                    age,
                    ports.join(" "),
                ]
            };
            let rows: Vec<Vec<String>> = machines.iter().map(row).collect();
            let heading = ["NAME", "APP", "STATUS", "PID", "MACHINE", "CPUS", "MEMORY", "AGE", "PORTS"];
            output::table(&heading, &rows);
        }
    }
    Ok(ExitCode::Done)
}

fn status(state: &State) -> &'static str {
    if state.running { "running" } else { "building" }
}

pub fn stop(name: &str) -> Result<ExitCode, Error> {
    let registry = Registry::of_user()?;
    let state = registry.find(name)?;
    if state.running {
        // Politely first. QEMU closes the connection instead of answering; and where somebody else holds the monitor, or
        // QEMU hangs, the signals that follow do it.
        if let Ok(mut qmp) = Qmp::connect(&state.qmp, Duration::from_millis(500)) {
            drop(qmp.execute("quit", Value::Null));
            state.process.wait_gone(PATIENCE);
        }
    }
    state.process.end(PATIENCE).map_err(|error| StateError::Unstoppable {
        name: name.to_owned(),
        pid: state.process.pid,
        error,
    })?;
    registry.list()?; // cleans up after the machine
    output::progress(format_args!("machine '{name}' stopped"));
    Ok(ExitCode::Done)
}

pub fn logs(name: &str, follow: bool) -> Result<ExitCode, Error> {
    let registry = Registry::of_user()?;
    let path = registry.serial_log(name)?;
    let mut log = SerialLog::new(&path);
    let process = registry.find(name).ok().map(|state| state.process);
    loop {
        // Looked at before the log: what an ended machine has said is then all there.
        let alive = follow && process.is_some_and(|process| process.is_alive());
        let news =
            log.read().map_err(|error| MachineError::Io { what: path.display().to_string(), error })?;
        let mut stdout = io::stdout().lock();
        if stdout.write_all(news).and_then(|()| stdout.flush()).is_err() || !alive {
            return Ok(ExitCode::Done);
        }
        drop(stdout);
        thread::sleep(FOLLOW);
    }
}
