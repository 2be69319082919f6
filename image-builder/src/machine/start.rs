//! Starts a machine: lays out its files, grants its ports, runs QEMU.

use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{env, io, process, thread};

use super::builder::{Builder, Source};
use super::{Machine, MachineError, SerialLog};
use crate::command::{self, Console, Files};
use crate::config::{Boot, ConfigError, Forward, Network};
use crate::ports::{self, Granted};
use crate::process::{Identity, POLL};
use crate::qmp::Qmp;
use crate::tools::{self, Tool};
use crate::workspace::Workspace;
use crate::{Error, image, kernel};

/// How long QEMU may take until its devices stand.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// Tries against others who snatch a port between its choice and QEMU's bind.
const PORT_TRIES: u32 = 5;

/// Longest path of a Unix socket, without the closing NUL.
const SOCKET_PATH_MAX: usize = 107;

impl Builder {
    /// Builds what has to be built and starts QEMU. Returns when its devices stand; the guest has just begun to run.
    pub fn spawn(self) -> Result<Machine, Error> {
        self.config.validate()?;
        if self.config.boot == Boot::Direct && matches!(self.source, Source::Medium(_)) {
            return Err(ConfigError::ImageWithoutFirmware.into());
        }
        let qemu = tools::qemu(self.config.qemu.as_deref())?;
        if let Some(disk) = &self.config.disk {
            File::open(disk).map_err(io_error(&format!("disk {}", disk.display())))?;
        }
        let elf = match &self.source {
            Source::App(app) => {
                let content = kernel::Content { files: self.files.as_deref(), ..kernel::Content::of(app) };
                kernel::image(&Workspace::find()?, &content)?.elf
            }
            Source::Elf(path) | Source::Medium(path) => {
                File::open(path).map_err(io_error(&format!("image {}", path.display())))?;
                path.clone()
            }
        };
        let (name, directory) = match (&self.name, &self.directory) {
            (Some(name), Some(directory)) => (name.clone(), directory.clone()),
            _ => temporary().map_err(io_error("temporary directory"))?,
        };
        let result = self.start(&qemu, &elf, name, &directory);
        if result.is_err() && self.directory.is_none() {
            // The error that brought us here is the one to tell.
            drop(fs::remove_dir_all(&directory));
        }
        result
    }

    fn start(&self, qemu: &Path, elf: &Path, name: String, directory: &Path) -> Result<Machine, Error> {
        let files = self.lay_out(elf, directory)?;
        let mut tries = 0;
        let (child, control, ports, started) = loop {
            let ports = self.grant_ports().map_err(io_error("ports"))?;
            let started = Instant::now();
            match self.launch(qemu, &name, directory, &files, &ports) {
                Ok((child, control)) => break (child, control, ports, started),
                Err(Error::Machine(MachineError::Start { message }))
                    if tries < PORT_TRIES && message.contains("Could not set up host forwarding rule") =>
                {
                    tries += 1;
                }
                Err(error) => return Err(error),
            }
        };
        if self.makes_medium() {
            // QEMU holds it open; a memory file system should not hold it as well.
            fs::remove_file(&files.image).map_err(io_error("boot image"))?;
        }
        let identity = Identity::of(child.id())
            .ok_or_else(|| MachineError::Start { message: "it ended as soon as it had begun".to_owned() })?;
        Ok(Machine {
            name,
            config: self.config.clone(),
            directory: directory.to_owned(),
            owns_directory: self.directory.is_none(),
            qmp_socket: files.qmp,
            serial: Mutex::new(SerialLog::new(&files.serial)),
            serial_path: files.serial,
            ports,
            started,
            identity,
            child: Mutex::new(child),
            control: Mutex::new(control),
            detached: false,
        })
    }

    /// Whether the ELF image has to be put on a medium for this machine alone.
    fn makes_medium(&self) -> bool {
        self.config.boot != Boot::Direct && !matches!(self.source, Source::Medium(_))
    }

    /// Puts the files in place that the machine starts from.
    fn lay_out(&self, elf: &Path, directory: &Path) -> Result<Files, Error> {
        let mut files = Files {
            image: elf.to_owned(),
            firmware: None,
            serial: directory.join("serial.log"),
            qmp: directory.join("qmp.sock"),
            control: directory.join("control.sock"),
        };
        if files.control.as_os_str().len() > SOCKET_PATH_MAX {
            let message = format!(
                "{} is too long for a socket: take a shorter directory or name",
                files.control.display()
            );
            return Err(MachineError::Start { message }.into());
        }
        if self.makes_medium() {
            files.image = directory.join("boot.iso");
            image::iso(elf, &self.config.command_line, &files.image)?;
        }
        if self.config.boot == Boot::Uefi {
            let firmware = tools::ovmf()?;
            let variables = directory.join("efi-variables.fd");
            fs::copy(&firmware.variables, &variables).map_err(io_error("UEFI variables"))?;
            files.firmware = Some((firmware.code, variables));
        }
        Ok(files)
    }

    fn grant_ports(&self) -> io::Result<Vec<Granted>> {
        if let Network::Tap { .. } = self.config.network {
            let own = |forward: &Forward| Granted {
                name: ports::service(forward.guest),
                guest: forward.guest,
                host: forward.guest,
                instead_of: None,
            };
            return Ok(ports::ALWAYS.iter().map(own).collect());
        }
        // What was asked for comes first, so that it gets its port.
        let mut wishes = self.config.forwards.clone();
        for forward in ports::ALWAYS {
            if !wishes.iter().any(|wish| wish.guest == forward.guest) {
                wishes.push(Forward { host: if self.wished_ports { forward.host } else { 0 }, ..*forward });
            }
        }
        ports::grant(&wishes)
    }

    fn launch(
        &self,
        qemu: &Path,
        name: &str,
        directory: &Path,
        files: &Files,
        ports: &[Granted],
    ) -> Result<(Child, Qmp), Error> {
        let log_path = directory.join("qemu.log");
        let log = File::create(&log_path).map_err(io_error("QEMU's log"))?;
        let mut command = Command::new(qemu);
        command.args(command::arguments(&self.config, name, files, ports, self.console));
        command.stdin(Stdio::null()).stderr(log);
        command.stdout(if self.console == Console::Stdout { Stdio::inherit() } else { Stdio::null() });
        let mut child =
            crate::process::spawn(command, self.lifetime).map_err(io_error(&qemu.display().to_string()))?;

        let deadline = Instant::now() + START_PATIENCE;
        let failure = loop {
            match Qmp::connect(&files.control, START_PATIENCE) {
                Ok(mut control) => {
                    // QEMU waits (`-S`) until somebody listens, so that no event is missed however short the run.
                    match control.resume() {
                        Ok(()) => return Ok((child, control)),
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
        let message = match fs::read_to_string(&log_path) {
            Ok(log) if !log.trim().is_empty() => log.trim().to_owned(),
            _ => failure,
        };
        Err(MachineError::Start { message }.into())
    }

    /// The host tools that [`Builder::spawn`] will need.
    pub fn tools(&self) -> Vec<Tool> {
        let mut needed = Vec::new();
        if self.config.qemu.is_none() {
            needed.push(Tool::Qemu);
        }
        if self.makes_medium() {
            needed.extend(image::ISO_TOOLS);
        }
        if self.config.boot == Boot::Uefi {
            needed.push(Tool::Ovmf);
        }
        needed
    }
}

/// A name and a directory that nobody else has.
fn temporary() -> io::Result<(String, PathBuf)> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let name = format!("qs-{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let directory = env::temp_dir().join(&name);
        match fs::DirBuilder::new().mode(0o700).create(&directory) {
            Ok(()) => return Ok((name, directory)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

fn io_error(what: &str) -> impl FnOnce(io::Error) -> MachineError + use<> {
    let what = what.to_owned();
    move |error| MachineError::Io { what, error }
}
