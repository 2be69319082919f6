//! Starts a machine: lays out its files, grants its ports, runs its emulator.

mod bochs;
mod qemu;

use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;
use std::{env, io, process};

use self::bochs::Bochs;
use self::qemu::Qemu;
use super::builder::{Builder, Source};
use super::control::Control;
use super::echo::Echo;
use super::{Machine, MachineError, SerialLog};
use crate::command::Console;
use crate::config::{Boot, Config, ConfigError, Emulator, Forward, Network};
use crate::ports::{self, Granted};
use crate::process::Identity;
use crate::tools::{self, Tool};
use crate::workspace::Workspace;
use crate::{Error, config, image, kernel};

/// Tries against others who snatch a port between its choice and the emulator's bind.
const PORT_TRIES: u32 = 5;

/// A process that has begun, and the line to it.
struct Started {
    child: Child,
    /// Asked for as soon as it had begun: of one that has ended, nobody can tell.
    identity: Option<Identity>,
    control: Control,
}

/// An emulator found on this host.
enum Found {
    Qemu(PathBuf),
    Bochs(config::Bochs, tools::Bochs),
}

impl Found {
    fn find(config: &Config) -> Result<Self, Error> {
        Ok(match &config.emulator {
            Emulator::Qemu => Self::Qemu(tools::qemu(config.qemu.as_deref())?),
            Emulator::Bochs(chosen) => Self::Bochs(*chosen, tools::bochs()?),
        })
    }
}

/// An emulator whose files are in place.
enum Ready {
    Qemu(Qemu),
    Bochs(Bochs),
}

impl Builder {
    /// Builds what has to be built and starts the emulator. Returns when its devices stand; the guest has just begun to run.
    pub fn spawn(self) -> Result<Machine, Error> {
        self.config.validate()?;
        if self.config.boot == Boot::Direct && matches!(self.source, Source::Medium(_)) {
            return Err(ConfigError::ImageWithoutFirmware.into());
        }
        let found = Found::find(&self.config)?;
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
        let result = self.start(found, &elf, name, &directory);
        if result.is_err() && self.directory.is_none() {
            // The error that brought us here is the one to tell.
            drop(fs::remove_dir_all(&directory));
        }
        result
    }

    fn start(&self, found: Found, elf: &Path, name: String, directory: &Path) -> Result<Machine, Error> {
        let image = self.make_medium(elf, directory)?;
        let serial_path = directory.join("serial.log");
        let ready = match found {
            Found::Qemu(program) => {
                Ready::Qemu(Qemu::lay_out(self, program, &image, &serial_path, directory)?)
            }
            Found::Bochs(chosen, found) => {
                Ready::Bochs(Bochs::lay_out(self, &chosen, &found, &image, directory)?)
            }
        };
        let mut tries = 0;
        let (emulator, ports, started) = loop {
            let ports = self.grant_ports().map_err(io_error("ports"))?;
            let started = Instant::now();
            let launched = match &ready {
                Ready::Qemu(qemu) => qemu.launch(self, &name, &ports),
                Ready::Bochs(bochs) => bochs.launch(self, &ports),
            };
            match launched {
                Ok(emulator) => break (emulator, ports, started),
                Err(Error::Machine(MachineError::Start { message, .. }))
                    if tries < PORT_TRIES && message.contains("ould not set up host forwarding rule") =>
                {
                    tries += 1;
                }
                Err(error) => return Err(error),
            }
        };
        let qmp_socket = match &ready {
            Ready::Qemu(qemu) => {
                if self.makes_medium() {
                    // QEMU holds it open; a memory file system should not hold it as well.
                    fs::remove_file(&image).map_err(io_error("boot image"))?;
                }
                Some(qemu.qmp_socket().to_owned())
            }
            Ready::Bochs(_) => None,
        };
        let Started { child, identity, control } = emulator;
        let identity = identity.ok_or_else(|| failed(self, "it ended as soon as it had begun".to_owned()))?;
        let echo = match (&ready, self.console) {
            (Ready::Bochs(_), Console::Stdout) => Echo::start(&serial_path, identity),
            _ => Echo::none(),
        };
        Ok(Machine {
            name,
            config: self.config.clone(),
            directory: directory.to_owned(),
            owns_directory: self.directory.is_none(),
            qmp_socket,
            serial: Mutex::new(SerialLog::new(&serial_path)),
            serial_path,
            echo,
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

    /// The ELF image, on a medium where it has to be.
    fn make_medium(&self, elf: &Path, directory: &Path) -> Result<PathBuf, Error> {
        if !self.makes_medium() {
            return Ok(elf.to_owned());
        }
        let image = directory.join("boot.iso");
        image::iso(elf, &self.config.kernel_settings(), &image)?;
        Ok(image)
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
        let room = self.config.emulator.max_forwards();
        for forward in ports::ALWAYS {
            if wishes.len() < room && !wishes.iter().any(|wish| wish.guest == forward.guest) {
                wishes.push(Forward { host: if self.wished_ports { forward.host } else { 0 }, ..*forward });
            }
        }
        ports::grant(&wishes)
    }

    /// The host tools that [`Builder::spawn`] will need.
    pub fn tools(&self) -> Vec<Tool> {
        let mut needed = Vec::new();
        match self.config.emulator {
            Emulator::Qemu if self.config.qemu.is_none() => needed.push(Tool::Qemu),
            Emulator::Qemu => {}
            Emulator::Bochs(_) => needed.extend(tools::BOCHS_TOOLS),
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

fn failed(builder: &Builder, message: String) -> Error {
    MachineError::Start { emulator: builder.config.emulator.name(), message }.into()
}

fn io_error(what: &str) -> impl FnOnce(io::Error) -> MachineError + use<> {
    let what = what.to_owned();
    move |error| MachineError::Io { what, error }
}
