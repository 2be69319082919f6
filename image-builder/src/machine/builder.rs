//! Describes a machine yet to be started.

use std::path::{Path, PathBuf};

use crate::command::Console;
use crate::config::{
    Accelerator, Bochs, Boot, Config, DiskModel, Emulator, Forward, HotPlug, MachineType, Medium, Memory,
    Network, Nic, Vendor,
};
use crate::process::Lifetime;

/// What is booted.
#[derive(Clone, Debug)]
pub(super) enum Source {
    App(String),
    Elf(PathBuf),
    /// A bootable ISO, raw or qcow2 image.
    Medium(PathBuf),
}

/// A machine yet to be started. By default: the `kv` application on [`Config::default`], its ports forwarded from free
/// ports of the host, its files in a temporary directory, gone with the process that started it.
#[derive(Clone, Debug)]
pub struct Builder {
    pub(super) config: Config,
    pub(super) source: Source,
    pub(super) files: Option<PathBuf>,
    pub(super) name: Option<String>,
    pub(super) directory: Option<PathBuf>,
    pub(super) wished_ports: bool,
    pub(super) console: Console,
    pub(super) lifetime: Lifetime,
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

    /// Boots a finished ISO, raw or qcow2 image, as the [`Builder::medium`] of the firmware that [`Builder::boot`] names. It
    /// has its own command line in it.
    pub fn boot_image(mut self, path: &Path) -> Self {
        self.source = Source::Medium(path.to_owned());
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

    /// A machine in Bochs, with the CPU of a vendor, instead of the machine configured so far; files, settings and forwarded
    /// ports stay.
    pub fn bochs(self, vendor: Vendor) -> Self {
        self.bochs_with(Bochs { model: vendor.model(), ..Bochs::default() })
    }

    /// The same with everything that is to be chosen.
    pub fn bochs_with(mut self, bochs: Bochs) -> Self {
        let Config { cpus, forwards, command_line, .. } = self.config;
        self.config = Config { cpus, forwards, command_line, ..Config::of(Emulator::Bochs(bochs)) };
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

    /// Adds a network card for the operators alone, and forwards their ports through that. A [`Builder::boot_image`] has to
    /// be told of it when it is built.
    pub fn control_nic(mut self) -> Self {
        self.config.control_nic = true;
        self
    }

    /// Lets devices be plugged in while it runs: see [`Machine::plug`](super::Machine::plug).
    pub fn hot_plug(mut self, way: HotPlug) -> Self {
        self.config.hot_plug = way;
        self
    }

    pub fn disk(mut self, image: &Path) -> Self {
        self.config.disk = Some(image.to_owned());
        self
    }

    /// What the disk is attached as.
    pub fn disk_model(mut self, model: DiskModel) -> Self {
        self.config.disk_model = model;
        self
    }

    /// Forwards another guest port, from a free port of the host: see [`Machine::port`](super::Machine::port).
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

    /// The same for a machine that nobody outside speaks to: where it idles, its time goes on at once and not by the host's clock.
    pub fn icount_alone(self) -> Self {
        self.icount().qemu_arg("-icount").qemu_arg("sleep=off")
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

    /// The machine may outlive this process: see [`Machine::detach`](super::Machine::detach).
    pub fn detached(mut self) -> Self {
        self.lifetime = Lifetime::Detached;
        self
    }
}
