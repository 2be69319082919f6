//! Starts QEMU.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::{Started, failed, io_error};
use crate::Error;
use crate::command::{self, Console, Files};
use crate::config::Boot;
use crate::machine::builder::Builder;
use crate::machine::control::Control;
use crate::ports::Granted;
use crate::process::{Identity, POLL};
use crate::qmp::Qmp;
use crate::tools;

/// How long QEMU may take until its devices stand.
const PATIENCE: Duration = Duration::from_secs(30);

/// Longest path of a Unix socket, without the closing NUL.
const SOCKET_PATH_MAX: usize = 107;

/// QEMU and the files of a machine in it.
pub(super) struct Qemu {
    program: PathBuf,
    files: Files,
    log: PathBuf,
}

impl Qemu {
    /// Puts the firmware in place and names the sockets.
    pub(super) fn lay_out(
        builder: &Builder,
        program: PathBuf,
        image: &Path,
        serial: &Path,
        directory: &Path,
    ) -> Result<Self, Error> {
        let mut files = Files {
            image: image.to_owned(),
            firmware: None,
            serial: serial.to_owned(),
            qmp: directory.join("qmp.sock"),
            control: directory.join("control.sock"),
        };
        if files.control.as_os_str().len() > SOCKET_PATH_MAX {
            let path = files.control.display();
            return Err(failed(
                builder,
                format!("{path} is too long for a socket: take a shorter directory or name"),
            ));
        }
        if builder.config.boot == Boot::Uefi {
            let firmware = tools::ovmf()?;
            let variables = directory.join("efi-variables.fd");
            fs::copy(&firmware.variables, &variables).map_err(io_error("UEFI variables"))?;
            files.firmware = Some((firmware.code, variables));
        }
        Ok(Self { program, files, log: directory.join("qemu.log") })
    }

    /// The QMP socket for everybody.
    pub(super) fn qmp_socket(&self) -> &Path {
        &self.files.qmp
    }

    /// Starts it and lets the guest run.
    pub(super) fn launch(&self, builder: &Builder, name: &str, ports: &[Granted]) -> Result<Started, Error> {
        let log = File::create(&self.log).map_err(io_error("QEMU's log"))?;
        let mut command = Command::new(&self.program);
        command.args(command::arguments(&builder.config, name, &self.files, ports, builder.console));
        command.stdin(Stdio::null()).stderr(log);
        command.stdout(if builder.console == Console::Stdout { Stdio::inherit() } else { Stdio::null() });
        let mut child = crate::process::spawn(command, builder.lifetime)
            .map_err(io_error(&self.program.display().to_string()))?;
        let identity = Identity::of(child.id());

        let deadline = Instant::now() + PATIENCE;
        let failure = loop {
            match Qmp::connect(&self.files.control, PATIENCE) {
                Ok(mut control) => {
                    // QEMU waits (`-S`) until somebody listens, so that no event is missed however short the run.
                    match control.resume() {
                        Ok(()) => return Ok(Started { child, identity, control: Control::Qmp(control) }),
                        Err(error) => break error.to_string(),
                    }
                }
                Err(error) if Instant::now() >= deadline => break error.to_string(),
                Err(_) => {}
            }
            match child.try_wait() {
                Ok(None) => thread::sleep(POLL),
                Ok(Some(status)) => break status.to_string(),
                Err(error) => break error.to_string(),
            }
        };
        drop(child.kill().and_then(|()| child.wait()));
        let message = match fs::read_to_string(&self.log) {
            Ok(log) if !log.trim().is_empty() => log.trim().to_owned(),
            _ => failure,
        };
        Err(failed(builder, message))
    }
}
