//! Disks: what is on them, and the one with what this machine keeps.

use alloc::format;
use alloc::string::String;
use drivers::probe::{Attached, Bus};
use drivers_api::BlockDevice;
use gpt::{GptError, Partition};
use state::{Store, StoreError};

#[cfg(feature = "bench")]
use super::WIRED;
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

/// Looks at all disks. That which `bench.disk=` names goes to the benchmarks, which overwrite it. Of the others, the first with a
/// partition of ours is taken; nothing is written to any of them.
pub fn find(bus: &Bus<'_>, command_line: &str) -> Option<StateDisk> {
    let scratch = machine::bootinfo::setting(command_line, "bench.disk");
    let mut is_missing = scratch.is_some();
    let mut found: Option<StateDisk> = None;
    for (number, mut disk) in bus.block().into_iter().enumerate() {
        let name = format!("disk{number}");
        let size = format!("{} MiB", disk.device.geometry().sectors >> 11);
        let driver = disk.device.name();
        log::info!("disk {number}: {size}, {driver}");
        if scratch == Some(name.as_str()) {
            is_missing = false;
            let is_used = measure_with(Ok(disk));
            note(name, driver, if is_used { "active" } else { "idle" }, size);
            continue;
        }
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
    if let Some(name) = scratch.filter(|_| is_missing) {
        measure_with(Err(name));
    }
    found
}

/// Writes down which disks there are. None is read, and none is used.
#[cfg(feature = "vmm")]
pub fn note_all(bus: &Bus<'_>) {
    for (number, disk) in bus.block().iter().enumerate() {
        let size = format!("{} MiB", disk.device.geometry().sectors >> 11);
        note(format!("disk{number}"), disk.device.name(), "idle", size);
    }
}

/// Gives a disk to the benchmarks, or the name of one that is not there; false if they don't take it.
#[cfg(feature = "bench")]
fn measure_with(disk: Result<Attached<dyn BlockDevice>, &str>) -> bool {
    let disk = disk.map_err(|name| bench::DiskError::Missing(name.into()));
    let taken = bench::scratch_disk(disk.map(|Attached { device, interrupt }| {
        WIRED.lock().push(interrupt);
        device
    }));
    match &taken {
        Ok(()) => log::warn!("the benchmarks overwrite the disk named by bench.disk"),
        Err(error) => log::error!("{error}"),
    }
    taken.is_ok()
}

#[cfg(not(feature = "bench"))]
fn measure_with(_: Result<Attached<dyn BlockDevice>, &str>) -> bool {
    log::error!("bench.disk: the benchmarks were left out of this image");
    false
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
