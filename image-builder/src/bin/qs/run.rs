//! `qs run`: builds, boots, and either stays with the machine or leaves it running.

use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ::control::host;
use serde_json::json;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::arguments::{Origin, RunOptions};
use crate::output;
use image_builder::control::{self, Keys};
use image_builder::machine::{Builder, MachineError};
use image_builder::state::{Claim, Registry, State};
use image_builder::workspace::Workspace;
use image_builder::{Boot, Emulator, Error, ExitCode, Machine, kernel, ports, tools};

/// How long a machine of the foreground may take to end when asked to.
const PATIENCE: Duration = Duration::from_secs(5);

pub fn run(options: Box<RunOptions>) -> Result<ExitCode, Error> {
    let config = options.config()?;
    config.validate()?;
    if options.elf.is_none() {
        Workspace::find()?.check_apps(&options.app)?;
    }
    let builder = Machine::builder().config(config).wished_ports();
    tools::require(&builder.tools())?;
    if options.qemu.is_some() {
        tools::qemu(options.qemu.as_deref())?;
    }

    let registry = Registry::of_user()?;
    let claim = registry.claim(options.name.as_deref(), &options.app)?;
    let result = build_and_boot(&options, builder, &claim);
    match result {
        // A machine in the background keeps its name.
        Ok(ExitCode::Done) if options.detach => {}
        _ => claim.release(),
    }
    result
}

fn build_and_boot(options: &RunOptions, builder: Builder, claim: &Claim) -> Result<ExitCode, Error> {
    let elf = match &options.elf {
        Some(path) => path.clone(),
        None => {
            output::progress(format_args!("building {}", options.app));
            let image = kernel::image(&Workspace::find()?, &options.content.of(&options.app))?;
            output::progress(format_args!("image {}: {}", image.elf.display(), image.report));
            image.elf
        }
    };
    let builder = builder.elf(&elf).named(&claim.name, &claim.directory);
    let builder = if options.detach { builder.detached() } else { builder.console_on_stdout() };
    let machine = builder.spawn()?;
    claim.record(&state(&machine, &options.app))?;
    announce(&machine);
    if options.detach { detach(machine, options) } else { stay(&machine, options) }
}

fn announce(machine: &Machine) {
    let config = machine.config();
    let door = match config.boot {
        Boot::Direct => "directly",
        Boot::Bios => "with BIOS",
        Boot::Uefi => "with UEFI",
    };
    let plural = if config.cpus == 1 { "" } else { "s" };
    let place = match config.emulator {
        Emulator::Qemu => String::new(),
        Emulator::Bochs(bochs) => format!(" in Bochs ({})", bochs.model),
    };
    let control = if config.control_nic { ", and another for control" } else { "" };
    output::progress(format_args!(
        "machine '{}' boots {door}{place}: {}, {} CPU{plural}, {} memory, {}{control}",
        machine.name(),
        config.machine,
        config.cpus,
        config.memory,
        config.nic
    ));
    for grant in machine.forwards() {
        if let Some(taken) = grant.instead_of {
            output::progress(format_args!(
                "port {taken} is taken: {} is at {} instead",
                grant.name, grant.host
            ));
        }
    }
    for left_out in ports::ALWAYS {
        if !machine.forwards().iter().any(|grant| grant.guest == left_out.guest) {
            let (name, emulator) = (ports::service(left_out.guest), config.emulator.name());
            output::progress(format_args!("{name} is not forwarded: {emulator} takes no more ports"));
        }
    }
}

/// Runs `work` while a signal to us ends the machine.
pub fn ending_on_signals<T>(machine: &Machine, work: impl FnOnce() -> T) -> Result<T, Error> {
    let what = "signals".to_owned();
    let mut signals =
        Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(|error| MachineError::Io { what, error })?;
    let handle = signals.handle();
    thread::scope(|scope| {
        scope.spawn(move || {
            if signals.forever().next().is_some() {
                // An end that needs force is still the end that was asked for.
                drop(machine.process().end(PATIENCE));
            }
        });
        let result = work();
        handle.close();
        Ok(result)
    })
}

/// Waits for the application and leaves the machine alone. On failure, or when a signal comes first, the machine ends.
fn detach(machine: Machine, options: &RunOptions) -> Result<ExitCode, Error> {
    ending_on_signals(&machine, || come_up(&machine, options))??;
    output::progress(format_args!("answers after {:.2} s", machine.started().elapsed().as_secs_f64()));
    if let Some(key) = host::announced(&machine.serial_text()) {
        output::progress(format_args!("host key {}", key.fingerprint()));
    }
    if options.json {
        output::data(json!({
            "name": machine.name(),
            "pid": machine.process().pid,
            "ports": machine.ports(),
            "qmp": machine.qmp_socket(),
            "serial": machine.serial_path(),
        }));
    } else {
        output::data(format_args!("{}: {}", machine.name(), listening(&machine)));
    }
    machine.detach();
    Ok(ExitCode::Done)
}

/// Stays with the machine until it ends, by itself or by a signal to us.
fn stay(machine: &Machine, options: &RunOptions) -> Result<ExitCode, Error> {
    let mut not_restored = None;
    let end = ending_on_signals(machine, || {
        thread::scope(|scope| {
            // The log goes to the standard output meanwhile.
            scope.spawn(|| match come_up(machine, options) {
                Ok(()) => output::progress(format_args!("{} (Ctrl-C ends the machine)", listening(machine))),
                Err(Error::Machine(MachineError::Timeout { awaited, patience, .. })) => {
                    output::progress(format_args!("still no {awaited} after {} s", patience.as_secs()));
                }
                Err(error @ (Error::Restore(_) | Error::Key(_))) => {
                    // Nobody has asked for the machine that it is instead.
                    not_restored = Some(error);
                    drop(machine.kill());
                }
                // The machine has ended, which is told below.
                Err(_) => {}
            });
            machine.wait_exit(Duration::MAX)
        })
    })??;
    if let Some(error) = not_restored {
        return Err(error);
    }
    if end.is_good() {
        output::progress(format_args!("machine '{}': {end}", machine.name()));
        Ok(ExitCode::Done)
    } else {
        output::error(&format_args!("machine '{}': {end}", machine.name()));
        Ok(ExitCode::Failed)
    }
}

/// Waits until the machine does what it is there for: serves, as itself or as the one that was frozen.
fn come_up(machine: &Machine, options: &RunOptions) -> Result<(), Error> {
    match &options.restore {
        None => return wait_answering(machine, &options.app),
        Some(Origin::File(file)) => {
            wait_answering(machine, &options.app)?;
            control::restore(machine, &Keys::of_user()?, file, options.new_identity)?;
        }
        Some(Origin::Disk(_)) => control::wait_restored(machine)?,
    }
    if let Some(origin) = &options.restore {
        output::progress(format_args!("goes on from {origin}"));
    }
    Ok(machine.wait_announced()?)
}

/// Waits until each application that serves under a name of its own answers; for others, until all are up.
fn wait_answering(machine: &Machine, apps: &str) -> Result<(), Error> {
    for app in apps.split(',') {
        match app {
            "kv" => machine.wait_ready("kv")?,
            "web" => machine.wait_ready("http")?,
            _ => machine.wait_serving()?,
        }
    }
    Ok(())
}

/// What has said that it listens, and where.
fn listening(machine: &Machine) -> String {
    let text = machine.serial_text();
    let mut places = Vec::new();
    for (service, port) in machine.ports() {
        if text.contains(&format!("ready: {service} on tcp port ")) {
            match machine.address() {
                Some(address) if ["http", "metrics"].contains(&service.as_str()) => {
                    places.push(format!("{service} at http://{address}:{port}/"));
                }
                Some(address) => places.push(format!("{service} at {address}:{port}")),
                None => places.push(format!("{service} at port {port} of the machine's address")),
            }
        }
    }
    if places.is_empty() { "runs; nothing listens".to_owned() } else { places.join(", ") }
}

fn state(machine: &Machine, app: &str) -> State {
    State {
        name: machine.name().to_owned(),
        app: app.to_owned(),
        process: machine.process(),
        ports: machine.ports(),
        qmp: machine.qmp_socket().map(Path::to_owned).unwrap_or_default(),
        serial: machine.serial_path().to_owned(),
        machine: machine.config().machine.to_string(),
        cpus: machine.config().cpus,
        memory: machine.config().memory.to_string(),
        started: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs()),
        running: true,
        site: machine.site(),
    }
}
