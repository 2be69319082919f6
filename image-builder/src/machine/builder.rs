//! Describes a machine and starts it.

use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{env, io, process, thread};

use super::{Machine, MachineError, SerialLog};
use crate::command::{self, Console, Files};
use crate::config::{Accelerator, Boot, Config, Forward, MachineType, Medium, Memory, Network, Nic};
use crate::ports::{self, Granted};
use crate::process::{Identity, Lifetime, POLL};
use crate::qmp::Qmp;
use crate::tools::{self, Tool};
use crate::{Error, image, kernel, workspace::Workspace};

/// How long QEMU may take until its devices stand.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// Tries against others who snatch a port between its choice and QEMU's bind.
const PORT_TRIES: u32 = 5;

/// Longest path of a Unix socket, without the closing NUL.
const SOCKET_PATH_MAX: usize = 107;

#[derive(Clone, Debug)]
enum Source {
    App(String),
    Elf(PathBuf),
}

/// A machine yet to be started. By default: the `kv` application on [`Config::default`], its ports forwarded from free
/// ports of the host, its files in a temporary directory, gone with the process that started it.
#[derive(Clone, Debug)]
pub struct Builder {
    config: Config,
    source: Source,
    files: Option<PathBuf>,
    name: Option<String>,
    directory: Option<PathBuf>,
    wished_ports: bool,
    console: Console,
    lifetime: Lifetime,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            config: Config::default(),
            source: Source::App("kv".to_owned()),
            files: None,
            name: None,
            directory: None,
            wished_ports: false,
            console: Console::Log,
            lifetime: Lifetime::WithParent,
        }
    }
}

impl Builder {
    /// The application to build into the image; several with commas between.
    pub fn app(mut self, app: &str) -> Self {
        self.source = Source::App(app.to_owned());
        self
    }

    /// Takes a finished ELF image instead of building one.
    pub fn elf(mut self, path: &Path) -> Self {
        self.source = Source::Elf(path.to_owned());
        self
    }

    /// A directory of files to pack into the image.
    pub fn files(mut self, directory: &Path) -> Self {
        self.files = Some(directory.to_owned());
        self
    }

    /// Takes all of a configuration.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    pub fn machine(mut self, machine: MachineType) -> Self {
        self.config.machine = machine;
        self
    }

    pub fn boot(mut self, boot: Boot) -> Self {
        self.config.boot = boot;
        self
    }

    pub fn medium(mut self, medium: Medium) -> Self {
        self.config.medium = medium;
        self
    }

    pub fn cpus(mut self, cpus: u32) -> Self {
        self.config.cpus = cpus;
        self
    }

    pub fn memory(mut self, memory: Memory) -> Self {
        self.config.memory = memory;
        self
    }

    pub fn nic(mut self, nic: Nic) -> Self {
        self.config.nic = nic;
        self
    }

    /// Connects the network card to a tap device instead of the user network.
    pub fn tap(mut self, interface: &str) -> Self {
        self.config.network = Network::Tap { interface: interface.to_owned() };
        self
    }

    pub fn disk(mut self, image: &Path) -> Self {
        self.config.disk = Some(image.to_owned());
        self
    }

    /// Forwards another guest port, from a free port of the host: see [`Machine::port`].
    pub fn forward(mut self, guest: u16) -> Self {
        self.config.forwards.push(Forward { guest, host: 0 });
        self
    }

    /// Adds `key=value` settings to the kernel's command line.
    pub fn append(mut self, settings: &str) -> Self {
        if !self.config.command_line.is_empty() {
            self.config.command_line.push(' ');
        }
        self.config.command_line.push_str(settings);
        self
    }

    pub fn icount(mut self) -> Self {
        self.config.icount = true;
        self
    }

    pub fn accelerator(mut self, accelerator: Accelerator) -> Self {
        self.config.accelerator = accelerator;
        self
    }

    pub fn qemu_arg(mut self, argument: &str) -> Self {
        self.config.qemu_args.push(argument.to_owned());
        self
    }

    /// The machine's name and an existing directory for its files, which stays when the machine is gone.
    pub fn named(mut self, name: &str, directory: &Path) -> Self {
        self.name = Some(name.to_owned());
        self.directory = Some(directory.to_owned());
        self
    }

    /// Forwards from the services' usual ports where these are free.
    pub fn wished_ports(mut self) -> Self {
        self.wished_ports = true;
        self
    }

    /// The serial line goes to the standard output, too.
    pub fn console_on_stdout(mut self) -> Self {
        self.console = Console::Stdout;
        self
    }

    /// The machine may outlive this process: see [`Machine::detach`].
    pub fn detached(mut self) -> Self {
        self.lifetime = Lifetime::Detached;
        self
    }

    /// Builds what has to be built and starts QEMU. Returns when its devices stand; the guest has just begun to run.
    pub fn spawn(self) -> Result<Machine, Error> {
        self.config.validate()?;
        let qemu = tools::qemu(self.config.qemu.as_deref())?;
        if let Some(disk) = &self.config.disk {
            File::open(disk).map_err(io_error(&format!("disk {}", disk.display())))?;
        }
        let elf = match &self.source {
            Source::App(app) => kernel::image(&Workspace::find()?, app, self.files.as_deref())?.elf,
            Source::Elf(path) => {
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
        if self.config.boot != Boot::Direct {
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
        if self.config.boot != Boot::Direct {
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
                Ok(control) => return Ok((child, control)),
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
        if self.config.boot != Boot::Direct {
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
