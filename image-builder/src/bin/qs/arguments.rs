//! The command line of `qs`.

mod bench;
mod origin;
mod plug;

pub use bench::BenchOptions;
pub use origin::Origin;
pub use plug::{PlugOptions, UnplugOptions};

use std::path::PathBuf;

use clap::builder::PossibleValue;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::checkpoint::CheckpointCommand;
use crate::disk::DiskCommand;
use crate::mode::UsageError;
use image_builder::config::{Bochs, Config, ConfigError, CpuModel, Emulator, Forward};
use image_builder::control;
use image_builder::kernel::{CheckpointKey, Content};
use image_builder::{Accelerator, Boot, DiskModel, HotPlug, MachineType, Memory, Network, Nic, Vendor};

#[derive(Debug, Parser)]
#[command(name = "qs", version, about = "Builds Quicksilver images and runs them on emulated machines")]
#[command(
    after_help = "Exit codes: 0 done, 1 failed and nothing changed, 2 usage, 3 refused by the machine, \
                  6 timed out and rolled back, 7 outcome unknown, 69 a host tool is missing."
)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build an image and run it on an emulated machine
    Run(Box<RunOptions>),
    /// Build an image
    Build(BuildOptions),
    /// Make disks for machines
    Disk {
        #[command(subcommand)]
        command: DiskCommand,
    },
    /// Look into checkpoints, check and merge them
    Checkpoint {
        #[command(subcommand)]
        command: CheckpointCommand,
    },
    /// List the running machines
    Ps {
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// End a machine
    Stop { name: String },
    /// Show what a machine has said on its serial line; also after its end
    Logs {
        name: String,
        /// Go on until the machine ends
        #[arg(short, long)]
        follow: bool,
    },
    /// Give a running machine a command by the system's ssh, such as: ssh NAME status
    Ssh(SshOptions),
    /// Switch a running machine between native and guest mode, or tell which it is in
    Mode(ModeOptions),
    /// Plug a network card or a disk into a running machine; without a model, list what its ports have
    Plug(PlugOptions),
    /// Take a network card or a disk out of a running machine, which has to let it go
    Unplug(UnplugOptions),
    /// Measure: what the machine does, in both modes and beside Linux
    Bench(BenchOptions),
    /// List the host tools: found or not, and why they are needed
    Doctor {
        /// Install what is missing
        #[arg(long)]
        install: bool,
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    #[default]
    Table,
    Json,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// What QEMU, GRUB and Hermit's loader boot
    #[default]
    Elf,
    /// CD, disk and USB stick in one, for BIOS and UEFI
    Iso,
    /// A disk image for BIOS and UEFI
    Raw,
    /// The disk image in QEMU's format
    Qcow2,
}

/// What an image is made of besides its applications.
#[derive(Debug, Args)]
pub struct ContentOptions {
    /// Pack the files of a directory into the image
    #[arg(long, value_name = "DIR")]
    files: Option<PathBuf>,
    /// With debug assertions and the manuals' rules checked before each entry into guest mode; slower
    #[arg(long)]
    checked: bool,
    /// Leave the VMM out
    #[arg(long)]
    without_vmm: bool,
    /// Leave the benchmarks out, which operators can run in any image
    #[arg(long)]
    without_bench: bool,
    /// Who may operate the machines, as in OpenSSH's authorized_keys, perhaps with role="observe" or role="operate" before a key
    /// [default: you]
    #[arg(long, value_name = "FILE")]
    authorized_keys: Option<PathBuf>,
    /// Leave the host key out: a machine makes its own, keeps it on its disk if that has a place for it (see qs disk create), and
    /// says on its serial line which
    #[arg(long)]
    no_host_key: bool,
    /// The key of the machines' checkpoints, 64 hexadecimal digits: they are made with it, and none without it is restored
    /// [default: yours, made on first use]
    #[arg(long, value_name = "FILE")]
    checkpoint_key: Option<PathBuf>,
    /// Leave that key out: whoever can write a checkpoint can forge it, and none made with a key is restored
    #[arg(long, conflicts_with = "checkpoint_key")]
    no_checkpoint_key: bool,
}

impl ContentOptions {
    pub fn of<'a>(&'a self, apps: &'a str) -> Content<'a> {
        Content {
            apps,
            files: self.files.as_deref(),
            checked: self.checked,
            vmm: !self.without_vmm,
            bench: !self.without_bench,
            operators: self.authorized_keys.as_deref(),
            host_key: !self.no_host_key,
            checkpoint_key: match &self.checkpoint_key {
                Some(path) => CheckpointKey::Of(path),
                None if self.no_checkpoint_key => CheckpointKey::None,
                None => CheckpointKey::OfUser,
            },
        }
    }
}

#[derive(Debug, Args)]
pub struct BuildOptions {
    /// The application; several with commas between
    #[arg(default_value = "kv")]
    pub app: String,
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Where to put the image [default: APP.FORMAT, after APP what is unusual: -checked, -without-vmm, -without-bench]
    #[arg(short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    #[command(flatten)]
    pub content: ContentOptions,
    /// Settings for the kernel's command line (not for elf, which is given them when it boots)
    #[arg(long, value_name = "KEY=VALUE...")]
    pub append: Vec<String>,
}

#[derive(Debug, Args)]
pub struct SshOptions {
    /// The machine: its name, or HOST:PORT
    #[arg(value_name = "NAME|HOST:PORT")]
    pub target: String,
    /// What is to be said to it; see its verb `help`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "VERB")]
    pub words: Vec<String>,
}

/// What `qs mode` asks of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Action {
    Native,
    Guest,
    Toggle,
    Status,
}

#[derive(Debug, Args)]
pub struct ModeOptions {
    /// native: onto the bare machine; guest: on top of the VMM; toggle: the other one; status: look only [default: status]
    #[arg(value_name = "native|guest|toggle|status")]
    action: Option<String>,
    /// The machine [default: the only one that runs]
    #[arg(value_name = "NAME|HOST:PORT")]
    target: Option<String>,
    /// How long the switch may wait for CPUs and pins, in milliseconds, at most 60000
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(..=60_000))]
    pub deadline: Option<u64>,
    /// Print the machine's answer: one JSON object
    #[arg(long)]
    pub json: bool,
    /// Show when each CPU did what in the last switch
    #[arg(long)]
    pub trace: bool,
}

impl ModeOptions {
    /// What is asked for, and of which machine. A single word that is no action is the machine's name.
    pub fn request(&self) -> Result<(Action, Option<&str>), UsageError> {
        let (first, target) = (self.action.as_deref(), self.target.as_deref());
        let action = first.and_then(|word| Action::from_str(word, false).ok());
        let (action, target) = match (first, action, target) {
            (None, ..) => (Action::Status, None),
            (_, Some(action), target) => (action, target),
            (Some(name), None, None) => (Action::Status, Some(name)),
            (Some(word), None, Some(_)) => return Err(UsageError::NoAction(word.to_owned())),
        };
        if action == Action::Status && self.deadline.is_some() {
            return Err(UsageError::DeadlineOfNothing);
        }
        Ok((action, target))
    }
}

/// Programs that emulate machines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum EmulatorName {
    #[default]
    Qemu,
    Bochs,
}

#[derive(Debug, Args)]
pub struct RunOptions {
    /// The application; several with commas between
    #[arg(default_value = "kv")]
    pub app: String,
    /// Number of CPUs
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub cpus: u32,
    /// What emulates the machine; bochs has Intel's virtualization, too
    #[arg(long, value_enum, default_value_t)]
    pub emulator: EmulatorName,
    /// Whose CPU Bochs emulates [default: intel]
    #[arg(long, value_parser = choice(Vendor::ALL))]
    pub vendor: Option<Vendor>,
    /// Which CPU Bochs emulates [default: corei7_skylake_x, ryzen]
    #[arg(long, value_name = "NAME", value_parser = choice(CpuModel::ALL))]
    pub cpu_model: Option<CpuModel>,
    /// Memory, such as 64M or 4G; at least 48M [default: 512M; in Bochs 256M]
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<Memory>,
    /// [default: q35; in Bochs pc]
    #[arg(long, value_parser = choice(MachineType::ALL))]
    pub machine: Option<MachineType>,
    /// direct: QEMU loads the kernel; bios, uefi: firmware, GRUB and a CD [default: direct; in Bochs bios]
    #[arg(long, value_parser = choice(Boot::ALL))]
    pub boot: Option<Boot>,
    /// [default: virtio; in Bochs e1000]
    #[arg(long, value_parser = choice(Nic::ALL))]
    pub nic: Option<Nic>,
    /// Add a network card for the operators alone: SSH and metrics are reached through it, and nothing else is
    #[arg(long)]
    pub control_nic: bool,
    /// How devices are plugged in while the machine runs: see qs plug. off: not at all [default: acpi, where the machine has it]
    #[arg(long, value_name = "WAY", value_parser = choice(HotPlug::ALL))]
    pub hot_plug: Option<HotPlug>,
    /// Attach a disk image, raw or qcow2
    #[arg(long, value_name = "FILE")]
    pub disk: Option<PathBuf>,
    /// What the disk is attached as
    #[arg(long, default_value_t, requires = "disk", value_parser = choice(DiskModel::ALL))]
    pub disk_model: DiskModel,
    /// Forward a TCP port of this host's loopback address; host port 0 picks a free one
    #[arg(long, value_name = "GUESTPORT:HOSTPORT")]
    pub forward: Vec<Forward>,
    /// Connect the network card to an existing tap device instead of QEMU's user network
    #[arg(long, value_name = "IFNAME")]
    pub tap: Option<String>,
    #[command(flatten)]
    pub content: ContentOptions,
    /// Boot this ELF image instead of building one
    #[arg(long, value_name = "FILE", conflicts_with_all = ["files", "checked", "without_vmm", "without_bench",
        "checkpoint_key", "no_checkpoint_key"])]
    pub elf: Option<PathBuf>,
    /// Settings for the kernel's command line, such as "log=debug kv.maxmemory=64mb"
    #[arg(long, value_name = "KEY=VALUE...")]
    pub append: Vec<String>,
    /// The machine's name [default: the application's, numbered if need be]
    #[arg(long)]
    pub name: Option<String>,
    /// Go on from this checkpoint, of a machine with the same image: of a file, as soon as the machine is up; or of the disk (disk:latest,
    /// disk:NUMBER, disk:ID; see qs checkpoint list), at boot
    #[arg(long, value_name = "FILE|disk[:WHICH]")]
    pub restore: Option<Origin>,
    /// As another host: with the addresses and the host key of this machine, beside the one that was frozen
    #[arg(long, requires = "restore")]
    pub new_identity: bool,
    /// Return when the application answers, and leave the machine running
    #[arg(long)]
    pub detach: bool,
    /// Print one JSON object: name, pid, ports, qmp and serial
    #[arg(long, requires = "detach")]
    pub json: bool,
    /// Count instructions: each takes one nanosecond of the machine's time
    #[arg(long)]
    pub icount: bool,
    #[arg(long, default_value_t, value_parser = choice(Accelerator::ALL))]
    pub accel: Accelerator,
    /// QEMU's program
    #[arg(long, value_name = "PATH")]
    pub qemu: Option<PathBuf>,
    /// One more argument for QEMU; may be given several times
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    pub qemu_arg: Vec<String>,
}

impl RunOptions {
    fn command_line(&self) -> String {
        let mut words = self.append.clone();
        if let Some(Origin::Disk(which)) = self.restore {
            words.push(control::at_boot(which, self.new_identity));
        }
        words.join(" ")
    }

    /// The machine that is asked for.
    pub fn config(&self) -> Result<Config, ConfigError> {
        let emulator = match self.emulator {
            EmulatorName::Bochs => Emulator::Bochs(Bochs::of(self.vendor, self.cpu_model)?),
            EmulatorName::Qemu if self.vendor.is_some() || self.cpu_model.is_some() => {
                return Err(ConfigError::CpuOfQemu);
            }
            EmulatorName::Qemu => Emulator::Qemu,
        };
        let default = Config::of(emulator);
        let config = Config {
            machine: self.machine.unwrap_or(default.machine),
            boot: self.boot.unwrap_or(default.boot),
            cpus: self.cpus,
            memory: self.memory.unwrap_or(default.memory),
            nic: self.nic.unwrap_or(default.nic),
            network: self.tap.clone().map_or(Network::User, |interface| Network::Tap { interface }),
            control_nic: self.control_nic,
            disk: self.disk.clone(),
            disk_model: self.disk_model,
            forwards: self.forward.clone(),
            command_line: self.command_line(),
            icount: self.icount,
            accelerator: self.accel,
            qemu: self.qemu.clone(),
            qemu_args: self.qemu_arg.clone(),
            ..default
        };
        let hot_plug = self.hot_plug.unwrap_or_else(|| HotPlug::of(&config));
        Ok(Config { hot_plug, ..config })
    }
}

/// Parses one of a library type's choices.
fn choice<T: Copy + Send + Sync + 'static>(
    all: &'static [(&'static str, T)],
) -> impl clap::builder::TypedValueParser<Value = T> {
    use clap::builder::{PossibleValuesParser, TypedValueParser};
    PossibleValuesParser::new(all.iter().map(|(text, _)| PossibleValue::new(*text))).map(move |text| {
        let found = all.iter().find(|(name, _)| *name == text);
        found.map(|(_, value)| *value).expect("only possible values pass")
    })
}

#[cfg(test)]
mod tests;
