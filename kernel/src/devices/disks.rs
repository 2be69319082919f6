//! Disks: what is on them, and the one with what this machine keeps.

use alloc::format;
use alloc::string::String;
use drivers::probe::{Attached, Bus};
use drivers_api::BlockDevice;
use gpt::{GptError, Partition};
use state::{Store, StoreError};

use super::note;

/// A disk with a partition for what the machine keeps. Dropped, it is reset: nothing else uses it.
pub struct StateDisk {
    /// What operators call it.
    pub name: String,
    disk: Attached<dyn BlockDevice>,
    partition: Partition,
}

impl StateDisk {
    /// Reads what is kept.
    pub fn open(&mut self) -> Result<Store<'_>, StoreError> {
        Store::open(self.partition.view(&mut *self.disk.device))
    }
}

/// Looks at all disks. Of those with a partition of ours the first is taken; nothing is written to any of them.
pub fn find(bus: &Bus<'_>) -> Option<StateDisk> {
    let mut found: Option<StateDisk> = None;
    for (number, mut disk) in bus.block().into_iter().enumerate() {
        let name = format!("disk{number}");
        let size = format!("{} MiB", disk.device.geometry().sectors >> 11);
        let driver = disk.device.name();
        log::info!("disk {number}: {size}, {driver}");
        match (state_partition(&name, &mut *disk.device), &found) {
            (Some(partition), None) => {
                note(name.clone(), driver, "idle", format!("{size}, keeps the machine's state"));
                found = Some(StateDisk { name, disk, partition });
            }
            (Some(_), Some(first)) => {
                log::warn!("{name} is left alone: the machine's state is on {}", first.name);
                note(name, driver, "idle", size);
            }
            (None, _) => note(name, driver, "idle", size),
        }
    }
    found
}

fn state_partition(name: &str, disk: &mut dyn BlockDevice) -> Option<Partition> {
    let table = match gpt::read(disk) {
        Ok(table) => table,
        Err(GptError::NoTable) => return None,
        Err(error) => {
            log::error!("{name} is left alone: {error}");
            return None;
        }
    };
    if let Some(fault) = table.fault {
        log::warn!("{name} is not written until its GPT is repaired: {fault}");
    }
    table.partitions.into_iter().find(|partition| partition.kind == state::PARTITION)
}
