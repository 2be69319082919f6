//! What an emulated machine consists of, and which combinations exist.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[$variant_doc])* #[serde(rename = $text)] $variant),+ }

        impl $name {
            /// All choices, as the command line spells them.
            pub const ALL: &'static [(&'static str, $name)] = &[$(($text, $name::$variant)),+];
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $($name::$variant => $text),+ })
            }
        }
    };
}

mod emulator;
mod memory;
mod plug;

pub use emulator::{Bochs, BochsError, Clock, CpuModel, Emulator, Vendor};
pub use memory::Memory;
pub(crate) use memory::binary_size;
pub use plug::{HotPlug, Model};

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    #[error("memory size '{0}': expected a number with an optional K, M or G, such as 64M or 4G")]
    MemorySyntax(String),
    #[error("memory size {0} is below the 48 MiB that the system needs")]
    MemoryTooSmall(Memory),
    #[error("{0} CPUs: a machine has 1 to 64")]
    Cpus(u32),
    #[error("forward '{0}': expected GUESTPORT:HOSTPORT, each 1 to 65535 (host port 0 picks a free one)")]
    Forward(String),
    #[error("microvm has no PCI bus, so there is no {0} on it: take --nic virtio, or --machine q35 or pc")]
    MicrovmNic(Nic),
    #[error(
        "microvm has no PCI bus, so there is no NVMe on it: take --disk-model virtio-blk, or --machine q35 or pc"
    )]
    MicrovmNvme,
    #[error(
        "microvm has neither a CD drive nor firmware that boots one: take --boot direct, or --machine q35 or pc"
    )]
    MicrovmBoot,
    #[error("microvm has no PCI bus to plug devices into: leave --hot-plug out, or take --machine q35 or pc")]
    MicrovmHotPlug,
    #[error("the slots of a pc are told of by ACPI: take --hot-plug acpi, or --machine q35")]
    NativeOnPc,
    #[error("a boot image needs firmware to boot it: take BIOS or UEFI")]
    ImageWithoutFirmware,
    #[error("--vendor and --cpu-model choose a CPU of Bochs: add --emulator bochs")]
    CpuOfQemu,
    #[error(transparent)]
    Bochs(#[from] BochsError),
    #[error("--forward needs the user network; a machine on a tap device is reached at its own address")]
    ForwardOnTap,
    #[error("--control-nic needs the user network: leave --tap out")]
    ControlNicOnTap,
}

choice! {
    /// QEMU's machine types that the system is tested on.
    MachineType {
        /// ICH9 chipset, PCI Express.
        #[default] Q35 = "q35",
        /// i440FX chipset, PCI.
        Pc = "pc",
        /// No PCI: virtio over MMIO, and little else.
        Microvm = "microvm",
    }
}

choice! {
    /// The way to the kernel's first instruction.
    Boot {
        /// QEMU loads the ELF file itself (PVH).
        #[default] Direct = "direct",
        /// SeaBIOS, GRUB, Multiboot2.
        Bios = "bios",
        /// OVMF, GRUB, Multiboot2.
        Uefi = "uefi",
    }
}

choice! {
    /// What the boot image is presented as; without meaning for [`Boot::Direct`].
    Medium {
        #[default] Cdrom = "cdrom",
        /// A virtio disk.
        Disk = "disk",
        /// A stick on an XHCI controller.
        Usb = "usb",
    }
}

choice! {
    /// Network cards.
    Nic {
        #[default] Virtio = "virtio",
        E1000 = "e1000",
        E1000e = "e1000e",
    }
}

choice! {
    /// What a disk is to the machine, as QEMU names it.
    DiskModel {
        /// virtio, over PCI or MMIO.
        #[default] VirtioBlk = "virtio-blk",
        /// An NVMe controller with one namespace.
        Nvme = "nvme",
    }
}

choice! {
    /// What executes the guest's instructions. TCG is the default: it is everywhere, it is what the tests run on,
    /// and it has AMD's virtualization built in.
    Accelerator {
        #[default] Tcg = "tcg",
        Kvm = "kvm",
    }
}

/// Where the network card's other end is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// The emulator's user network; ports are forwarded from the loopback address.
    #[default]
    User,
    /// An existing tap device, up and configured by the caller.
    Tap { interface: String },
}

/// The Ethernet address of the operators' network card: the order in which a machine finds its cards is its own affair.
pub const CONTROL_MAC: &str = "52:54:00:71:73:01";

/// A port of the guest to be reached at a port of the host's loopback address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    pub guest: u16,
    /// The host port wished for; 0 picks a free one.
    pub host: u16,
}

impl FromStr for Forward {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let parse = || {
            let (guest, host) = text.split_once(':')?;
            let forward = Forward { guest: guest.parse().ok()?, host: host.parse().ok()? };
            (forward.guest != 0).then_some(forward)
        };
        parse().ok_or_else(|| ConfigError::Forward(text.to_owned()))
    }
}

/// A machine to be emulated. `Default` is what `qs run` takes when nothing is said, but for the ports to plug devices into.
#[derive(Clone, Debug)]
pub struct Config {
    pub emulator: Emulator,
    pub machine: MachineType,
    pub boot: Boot,
    pub medium: Medium,
    /// 1 to 64.
    pub cpus: u32,
    pub memory: Memory,
    pub nic: Nic,
    pub network: Network,
    /// A second network card like the first, on a user network of its own, for the operators alone.
    pub control_nic: bool,
    /// Whether and how devices are plugged in while it runs.
    pub hot_plug: HotPlug,
    /// A disk image, raw or qcow2.
    pub disk: Option<PathBuf>,
    /// What the disk is attached as.
    pub disk_model: DiskModel,
    pub forwards: Vec<Forward>,
    /// The kernel's command line, without what the machine adds to it: see [`Config::kernel_settings`].
    pub command_line: String,
    /// One instruction is one nanosecond of guest time (`-icount shift=0`): repeatable counts of instructions.
    pub icount: bool,
    pub accelerator: Accelerator,
    /// QEMU's program, if not the one in `PATH`.
    pub qemu: Option<PathBuf>,
    /// Handed to QEMU as they are, after our own.
    pub qemu_args: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            emulator: Emulator::default(),
            machine: MachineType::default(),
            boot: Boot::default(),
            medium: Medium::default(),
            cpus: 1,
            memory: Memory::mebibytes(512),
            nic: Nic::default(),
            network: Network::default(),
            control_nic: false,
            hot_plug: HotPlug::default(),
            disk: None,
            disk_model: DiskModel::default(),
            forwards: Vec::new(),
            command_line: String::new(),
            icount: false,
            accelerator: Accelerator::default(),
            qemu: None,
            qemu_args: Vec::new(),
        }
    }
}

impl Config {
    /// Refuses what cannot be built, before anything is done.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if !(1..=64).contains(&self.cpus) {
            return Err(ConfigError::Cpus(self.cpus));
        }
        if self.memory < Memory::MINIMUM {
            return Err(ConfigError::MemoryTooSmall(self.memory));
        }
        if let Emulator::Bochs(bochs) = &self.emulator {
            self.validate_for_bochs(bochs)?;
        }
        self.hot_plug.validate(self.machine)?;
        if self.machine == MachineType::Microvm {
            if self.nic != Nic::Virtio {
                return Err(ConfigError::MicrovmNic(self.nic));
            }
            if self.disk.is_some() && self.disk_model == DiskModel::Nvme {
                return Err(ConfigError::MicrovmNvme);
            }
            if self.boot != Boot::Direct {
                return Err(ConfigError::MicrovmBoot);
            }
        }
        if self.network != Network::User && !self.forwards.is_empty() {
            return Err(ConfigError::ForwardOnTap);
        }
        if self.network != Network::User && self.control_nic {
            return Err(ConfigError::ControlNicOnTap);
        }
        Ok(())
    }

    /// The kernel's whole command line.
    pub fn kernel_settings(&self) -> String {
        let own = self.control_nic.then(|| format!("control.nic={CONTROL_MAC}"));
        let given = Some(self.command_line.clone()).filter(|line| !line.is_empty());
        // The last of equal settings counts: what is given.
        own.into_iter().chain(given).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwards_are_read() {
        assert_eq!("7:1007".parse(), Ok(Forward { guest: 7, host: 1007 }));
        assert_eq!("7:0".parse(), Ok(Forward { guest: 7, host: 0 }));
        for text in ["", "7", "0:7", "7:70000", "a:b", "7:8:9"] {
            assert!(text.parse::<Forward>().is_err(), "{text}");
        }
    }

    #[test]
    fn impossible_machines_are_refused() {
        let microvm = Config { machine: MachineType::Microvm, ..Config::default() };
        assert_eq!(microvm.validate(), Ok(()));
        let e1000 = Config { nic: Nic::E1000, ..microvm.clone() };
        assert_eq!(e1000.validate(), Err(ConfigError::MicrovmNic(Nic::E1000)));
        let nvme = Config { disk: Some("disk".into()), disk_model: DiskModel::Nvme, ..microvm.clone() };
        assert_eq!(nvme.validate(), Err(ConfigError::MicrovmNvme));
        assert_eq!(Config { boot: Boot::Uefi, ..microvm }.validate(), Err(ConfigError::MicrovmBoot));
        assert_eq!(Config { cpus: 65, ..Config::default() }.validate(), Err(ConfigError::Cpus(65)));
        assert_eq!(Config { cpus: 0, ..Config::default() }.validate(), Err(ConfigError::Cpus(0)));
        let tap = Network::Tap { interface: "tap0".into() };
        let control = Config { network: tap, control_nic: true, ..Config::default() };
        assert_eq!(control.validate(), Err(ConfigError::ControlNicOnTap));
    }

    #[test]
    fn a_control_nic_is_told_to_the_kernel() {
        let config =
            |control_nic, line: &str| Config { control_nic, command_line: line.into(), ..Config::default() };
        assert_eq!(config(false, "").kernel_settings(), "");
        assert_eq!(config(false, "a=1").kernel_settings(), "a=1");
        assert_eq!(config(true, "").kernel_settings(), "control.nic=52:54:00:71:73:01");
        assert_eq!(config(true, "a=1").kernel_settings(), "control.nic=52:54:00:71:73:01 a=1");
    }
}
