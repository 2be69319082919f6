//! What emulates a machine, and what Bochs does not emulate.

use std::fmt;

use super::{Accelerator, Boot, Config, ConfigError, HotPlug, MachineType, Medium, Memory, Nic};

/// What emulates the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Emulator {
    /// QEMU, with AMD's virtualization built in.
    #[default]
    Qemu,
    /// Bochs, slower and stricter, with Intel's and AMD's.
    Bochs(Bochs),
}

impl Emulator {
    /// Its name, as people write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Qemu => "QEMU",
            Self::Bochs(_) => "Bochs",
        }
    }

    /// The most ports that its user network forwards.
    pub(crate) fn max_forwards(self) -> usize {
        match self {
            Self::Qemu => usize::MAX,
            Self::Bochs(_) => Bochs::MAX_FORWARDS,
        }
    }
}

/// What is to be chosen about a machine in Bochs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bochs {
    pub model: CpuModel,
    pub clock: Clock,
    /// Existing tap devices, each with a further network card; at most [`Bochs::MAX_CARDS`] - 1.
    pub taps: &'static [&'static str],
}

choice! {
    /// Makers of CPUs.
    Vendor {
        #[default] Intel = "intel",
        Amd = "amd",
    }
}

choice! {
    /// CPUs of Bochs 2.7 that the system boots on. Those from Cannon Lake on name a TSC frequency in CPUID (15h) that Bochs
    /// does not keep: on them the system's clock is slow, forty times and more.
    CpuModel {
        /// Intel; VMX with EPT, VPID and unrestricted guest.
        #[default] SkylakeX = "corei7_skylake_x",
        /// Intel; as Skylake.
        CannonLake = "corei3_cnl",
        /// Intel; as Skylake.
        IceLake = "corei7_icelake_u",
        /// Intel; as Skylake.
        TigerLake = "tigerlake",
        /// Intel; VMX with EPT, without PML and TSC scaling.
        Broadwell = "broadwell_ult",
        /// Intel; as Broadwell.
        Haswell = "corei7_haswell_4770",
        /// Intel; as Broadwell.
        IvyBridge = "corei7_ivy_bridge_3770k",
        /// Intel; as Broadwell.
        SandyBridge = "corei7_sandy_bridge_2600k",
        /// Intel; VMX with EPT, without XSAVE and pages of 1 GiB.
        Arrandale = "corei5_arrandale_m520",
        /// Intel; VMX with EPT, without unrestricted guests: no VMM.
        Lynnfield = "corei5_lynnfield_750",
        /// Intel; VMX without EPT: no VMM.
        Penryn = "core2_penryn_t9600",
        /// AMD; SVM with nested paging.
        Ryzen = "ryzen",
        /// AMD; SVM with nested paging.
        Trinity = "trinity_apu",
        /// AMD; SVM with nested paging.
        Zambezi = "zambezi",
        /// AMD; SVM with nested paging, without XSAVE.
        Toliman = "phenom_8650_toliman",
        /// AMD; SVM without nested paging: no VMM.
        Tyler = "turion64_tyler",
    }
}

impl CpuModel {
    pub fn vendor(self) -> Vendor {
        match self {
            Self::Ryzen | Self::Trinity | Self::Zambezi | Self::Toliman | Self::Tyler => Vendor::Amd,
            _ => Vendor::Intel,
        }
    }
}

impl Vendor {
    /// The model taken where nobody chooses.
    pub fn model(self) -> CpuModel {
        match self {
            Self::Intel => CpuModel::SkylakeX,
            Self::Amd => CpuModel::Ryzen,
        }
    }
}

choice! {
    /// What makes time pass in Bochs.
    Clock {
        /// Instructions, held back to the host's time: an idle machine waits. For machines with clients.
        #[default] Paced = "paced",
        /// Instructions alone, from a fixed date: two equal runs are equal to the last bit. An idle machine jumps to its
        /// next event, seventy times faster than the host's time, so its peers seem slow to it.
        Instructions = "instructions",
    }
}

/// What Bochs does not emulate, or not for us.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BochsError {
    #[error("Bochs has no {0}: leave --machine out, or take pc")]
    Machine(MachineType),
    #[error("Bochs boots with its BIOS from a CD, not {0}: leave --boot out, or take bios")]
    Boot(Boot),
    #[error("on Bochs the boot image is a CD, not a {0}")]
    Medium(Medium),
    #[error("Bochs has no {0} network card: leave --nic out, or take e1000")]
    Nic(Nic),
    #[error("{0} network cards: in Bochs a machine has at most {max}", max = Bochs::MAX_CARDS)]
    Cards(usize),
    #[error("in Bochs a machine has one card on the user network: leave --control-nic out")]
    ControlNic,
    #[error("in Bochs nothing is plugged in while the machine runs: leave --hot-plug out")]
    HotPlug,
    #[error("Bochs has neither virtio disks nor NVMe")]
    Disk,
    #[error("Bochs counts instructions in any case: leave --icount out")]
    Icount,
    #[error("Bochs emulates every instruction: there is no --accel {0}")]
    Accelerator(Accelerator),
    #[error("--qemu and --qemu-arg are of no use to Bochs")]
    QemuOption,
    #[error("{0} CPUs: in Bochs a machine has 1 to {max}", max = Bochs::MAX_CPUS)]
    Cpus(u32),
    #[error("memory of {0}: in Bochs a machine has whole mebibytes, at most {max}", max = Bochs::MAX_MEMORY)]
    Memory(Memory),
    #[error("{0} ports to forward: in Bochs there are at most {max}", max = Bochs::MAX_FORWARDS)]
    Forwards(usize),
    #[error("the CPU {model} is {}'s, not {vendor}'s", .model.vendor())]
    Vendor { model: CpuModel, vendor: Vendor },
}

impl Bochs {
    /// The most CPUs that its BIOS describes and that we have tried.
    pub const MAX_CPUS: u32 = 8;
    /// The most memory that we have tried.
    pub const MAX_MEMORY: Memory = Memory::gibibytes(2);
    /// The rules for forwarded ports that its user network takes; it passes over further ones without a word.
    pub const MAX_FORWARDS: usize = 5;
    /// The most network cards that it emulates.
    pub const MAX_CARDS: usize = 4;

    /// A CPU by vendor, by model, or by both where they agree.
    pub fn of(vendor: Option<Vendor>, model: Option<CpuModel>) -> Result<Self, BochsError> {
        let model = match (vendor, model) {
            (Some(vendor), Some(model)) if model.vendor() != vendor => {
                return Err(BochsError::Vendor { model, vendor });
            }
            (_, Some(model)) => model,
            (vendor, None) => vendor.unwrap_or_default().model(),
        };
        Ok(Self { model, ..Self::default() })
    }
}

impl Config {
    /// The default machine of an emulator.
    pub fn of(emulator: Emulator) -> Self {
        match emulator {
            Emulator::Qemu => Self::default(),
            Emulator::Bochs(_) => Self {
                emulator,
                machine: MachineType::Pc,
                boot: Boot::Bios,
                nic: Nic::E1000,
                memory: Memory::mebibytes(256),
                ..Self::default()
            },
        }
    }

    /// Refuses what Bochs does not emulate.
    pub(super) fn validate_for_bochs(&self, bochs: &Bochs) -> Result<(), ConfigError> {
        let memory_fits = self.memory <= Bochs::MAX_MEMORY && self.memory.bytes().is_multiple_of(1 << 20);
        let error = if self.machine != MachineType::Pc {
            BochsError::Machine(self.machine)
        } else if self.boot != Boot::Bios {
            BochsError::Boot(self.boot)
        } else if self.medium != Medium::Cdrom {
            BochsError::Medium(self.medium)
        } else if self.nic != Nic::E1000 {
            BochsError::Nic(self.nic)
        } else if bochs.taps.len() >= Bochs::MAX_CARDS {
            BochsError::Cards(bochs.taps.len() + 1)
        } else if self.control_nic {
            BochsError::ControlNic
        } else if self.hot_plug != HotPlug::Off {
            BochsError::HotPlug
        } else if self.disk.is_some() {
            BochsError::Disk
        } else if self.icount {
            BochsError::Icount
        } else if self.accelerator != Accelerator::Tcg {
            BochsError::Accelerator(self.accelerator)
        } else if self.qemu.is_some() || !self.qemu_args.is_empty() {
            BochsError::QemuOption
        } else if self.cpus > Bochs::MAX_CPUS {
            BochsError::Cpus(self.cpus)
        } else if !memory_fits {
            BochsError::Memory(self.memory)
        } else if self.forwards.len() > Bochs::MAX_FORWARDS {
            BochsError::Forwards(self.forwards.len())
        } else {
            return Ok(());
        };
        Err(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Forward, Network};

    fn machine() -> Config {
        Config::of(Emulator::Bochs(Bochs::default()))
    }

    #[test]
    fn the_default_machines_can_be_built() {
        assert_eq!(machine().validate(), Ok(()));
        let tap = Network::Tap { interface: "tap0".into() };
        assert_eq!(Config { network: tap, ..machine() }.validate(), Ok(()));
        assert_eq!(Config::of(Emulator::Qemu).validate(), Ok(()));
    }

    #[test]
    fn what_bochs_has_not_is_refused() {
        for (config, error) in [
            (Config { machine: MachineType::Q35, ..machine() }, BochsError::Machine(MachineType::Q35)),
            (Config { boot: Boot::Uefi, ..machine() }, BochsError::Boot(Boot::Uefi)),
            (Config { medium: Medium::Usb, ..machine() }, BochsError::Medium(Medium::Usb)),
            (Config { nic: Nic::Virtio, ..machine() }, BochsError::Nic(Nic::Virtio)),
            (
                Config::of(Emulator::Bochs(Bochs { taps: &["tap0"; 4], ..Bochs::default() })),
                BochsError::Cards(5),
            ),
            (Config { control_nic: true, ..machine() }, BochsError::ControlNic),
            (Config { hot_plug: HotPlug::Acpi, ..machine() }, BochsError::HotPlug),
            (Config { disk: Some("disk".into()), ..machine() }, BochsError::Disk),
            (Config { icount: true, ..machine() }, BochsError::Icount),
            (
                Config { accelerator: Accelerator::Kvm, ..machine() },
                BochsError::Accelerator(Accelerator::Kvm),
            ),
            (Config { qemu: Some("qemu".into()), ..machine() }, BochsError::QemuOption),
            (Config { qemu_args: vec!["-S".into()], ..machine() }, BochsError::QemuOption),
            (Config { cpus: 9, ..machine() }, BochsError::Cpus(9)),
            (
                Config { forwards: vec![Forward { guest: 1, host: 0 }; 6], ..machine() },
                BochsError::Forwards(6),
            ),
            (Config { memory: Memory::gibibytes(3), ..machine() }, BochsError::Memory(Memory::gibibytes(3))),
        ] {
            assert_eq!(config.validate(), Err(ConfigError::Bochs(error)));
        }
    }

    #[test]
    fn a_cpu_has_one_maker() {
        assert_eq!(Bochs::of(None, None).unwrap().model, CpuModel::SkylakeX);
        assert_eq!(Bochs::of(Some(Vendor::Amd), None).unwrap().model, CpuModel::Ryzen);
        assert_eq!(Bochs::of(None, Some(CpuModel::Ryzen)).unwrap().model, CpuModel::Ryzen);
        let error = Bochs::of(Some(Vendor::Intel), Some(CpuModel::Ryzen)).unwrap_err();
        assert_eq!(error.to_string(), "the CPU ryzen is amd's, not intel's");
        for (_, vendor) in Vendor::ALL {
            assert_eq!(vendor.model().vendor(), *vendor);
        }
    }
}
