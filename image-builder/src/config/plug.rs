//! Ports that devices are plugged into while the machine runs, and what fits into them.

use std::fmt;

use super::{Config, ConfigError, MachineType};

choice! {
    /// How a machine is told that a device was plugged in or shall leave.
    HotPlug {
        /// Not at all: one network card has the network to itself, and q35 has no ports.
        #[default] Off = "off",
        /// By ACPI: the slots of a pc, the ports of q35.
        Acpi = "acpi",
        /// By the registers of each port, on q35.
        Native = "native",
    }
}

choice! {
    /// What is plugged in.
    Model {
        #[default] VirtioNet = "virtio-net",
        E1000 = "e1000",
        E1000e = "e1000e",
        VirtioBlk = "virtio-blk",
        Nvme = "nvme",
    }
}

impl HotPlug {
    /// What a machine has if nobody says otherwise.
    pub fn of(config: &Config) -> Self {
        match config.machine {
            _ if config.emulator != super::Emulator::Qemu => Self::Off,
            MachineType::Microvm => Self::Off,
            MachineType::Pc | MachineType::Q35 => Self::Acpi,
        }
    }

    pub(super) fn validate(self, machine: MachineType) -> Result<(), ConfigError> {
        match (self, machine) {
            (Self::Off, _) | (_, MachineType::Q35) | (Self::Acpi, MachineType::Pc) => Ok(()),
            (Self::Native, MachineType::Pc) => Err(ConfigError::NativeOnPc),
            (_, MachineType::Microvm) => Err(ConfigError::MicrovmHotPlug),
        }
    }
}

impl Model {
    /// Whether it is a disk; a network card otherwise.
    pub fn is_disk(self) -> bool {
        matches!(self, Self::VirtioBlk | Self::Nvme)
    }

    /// As QEMU names it.
    pub fn driver(self) -> &'static str {
        match self {
            Self::VirtioNet => "virtio-net-pci",
            Self::E1000 => "e1000",
            Self::E1000e => "e1000e",
            Self::VirtioBlk => "virtio-blk-pci",
            Self::Nvme => "nvme",
        }
    }

    /// The one that QEMU names so.
    pub fn of_driver(driver: &str) -> Option<Self> {
        Self::ALL.iter().map(|(_, model)| *model).find(|model| model.driver() == driver)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Bochs, BochsError, Emulator};

    #[test]
    fn machines_have_the_ports_that_they_can_have() {
        let config = |machine, hot_plug| Config { machine, hot_plug, ..Config::default() };
        for (machine, usual) in [
            (MachineType::Q35, HotPlug::Acpi),
            (MachineType::Pc, HotPlug::Acpi),
            (MachineType::Microvm, HotPlug::Off),
        ] {
            let usual_one = HotPlug::of(&config(machine, HotPlug::Off));
            assert_eq!(usual_one, usual);
            assert_eq!(config(machine, usual_one).validate(), Ok(()));
        }
        assert_eq!(config(MachineType::Q35, HotPlug::Native).validate(), Ok(()));
        assert_eq!(config(MachineType::Pc, HotPlug::Native).validate(), Err(ConfigError::NativeOnPc));
        for way in [HotPlug::Acpi, HotPlug::Native] {
            assert_eq!(config(MachineType::Microvm, way).validate(), Err(ConfigError::MicrovmHotPlug));
        }
        let bochs = Config::of(Emulator::Bochs(Bochs::default()));
        assert_eq!(HotPlug::of(&bochs), HotPlug::Off);
        let bochs = Config { hot_plug: HotPlug::Acpi, ..bochs };
        assert_eq!(bochs.validate(), Err(BochsError::HotPlug.into()));
    }

    #[test]
    fn models_are_known_by_qemu_s_names() {
        for (_, model) in Model::ALL {
            assert_eq!(Model::of_driver(model.driver()), Some(*model));
        }
        assert_eq!(Model::of_driver("pcie-root-port"), None);
    }
}
