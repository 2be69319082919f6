//! Disks: what is on them, the one with what this machine keeps, and the one with its checkpoints.

#[cfg(feature = "vmm")]
pub mod checkpoints;
mod drive;
#[cfg(feature = "vmm")]
pub mod swap;

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use drivers::probe::{Attached, Bus};
use drivers_api::BlockDevice;
use gpt::{GptError, Guid, Partition};
use machine::sync::{Mutex, MutexGuard};
use state::{Store, StoreError};

use super::registry;
use drive::Drive;

/// A disk with partitions of ours. Dropped, it is reset: nothing else uses it.
struct Disk {
    /// `None` once it is gone.
    drive: Mutex<Option<Drive>>,
}

/// A partition for what the machine keeps.
pub struct StateDisk {
    name: String,
    disk: Arc<Disk>,
    partition: Partition,
}

impl StateDisk {
    /// What operators call its disk.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Waits until nobody else uses its disk.
    pub fn lock(&self) -> MutexGuard<'_, Option<Drive>> {
        self.disk.drive.lock()
    }

    /// Reads what is kept. The disk is its own, locked.
    pub fn open<'d>(&self, disk: &'d mut Option<Drive>) -> Result<Store<'d>, StoreError> {
        let disk = disk.as_mut().expect("disks go when a system is restored, and this is read at boot");
        Store::open(self.partition.view(disk.device()))
    }
}

/// Looks at all disks. That which `bench.disk=` names goes to the benchmarks, which overwrite it. Of the others, the first with a
/// partition of ours is taken, of each kind; nothing is written to any of them.
pub fn find(bus: &Bus<'_>, command_line: &str) -> Option<StateDisk> {
    let scratch = machine::bootinfo::setting(command_line, "bench.disk");
    let mut is_missing = scratch.is_some();
    let mut found: Option<StateDisk> = None;
    for (number, mut disk) in bus.block().into_iter().enumerate() {
        let what = format!("{} MiB", disk.device.geometry().sectors >> 11);
        let mut uses = String::new();
        let driver = disk.device.name();
        let name = registry::admit_disk(disk.place, driver, what.clone());
        match disk.device.identity() {
            Ok(identity) => log::info!("disk {number}: {what}, {driver}, {identity}"),
            Err(error) => log::warn!("disk {number}: {what}, {driver}, does not say what it is: {error}"),
        }
        if scratch == Some(name.as_str()) {
            is_missing = false;
            let is_used = measure_with(Ok((&name, disk)));
            registry::describe_disk(&name, uses, is_used.then_some("benchmarks"));
            continue;
        }
        let partitions = partitions(&name, &mut *disk.device);
        let of = |kind: Guid| partitions.iter().find(|partition| partition.kind == kind).copied();
        let disk = Arc::new(Disk { drive: Mutex::new(Some(Drive::new(name.clone(), disk))) });
        match (of(state::PARTITION), &found) {
            (Some(partition), None) => {
                uses += ", keeps the machine's state";
                found = Some(StateDisk { name: name.clone(), disk: Arc::clone(&disk), partition });
            }
            (Some(_), Some(first)) => {
                log::warn!("{name} is left alone: the machine's state is on {}", first.name());
            }
            (None, _) => {}
        }
        let is_used = checkpoints::offer(&name, &disk, &of);
        if is_used {
            uses += ", keeps its checkpoints";
        }
        registry::describe_disk(&name, uses, is_used.then_some("checkpoints"));
        #[cfg(feature = "vmm")]
        if let Some(disk) = Arc::into_inner(disk) {
            swap::shelve(disk.drive.lock().take());
        }
    }
    if let Some(name) = scratch.filter(|_| is_missing) {
        measure_with(Err(name));
    }
    found
}

/// Without a VMM there are none.
#[cfg(not(feature = "vmm"))]
mod checkpoints {
    use super::{Disk, Guid, Partition};
    use alloc::sync::Arc;

    pub(super) fn offer(_: &str, _: &Arc<Disk>, _: &dyn Fn(Guid) -> Option<Partition>) -> bool {
        false
    }
}

/// Gives a disk to the benchmarks, or the name of one that is not there; false if they don't take it.
#[cfg(feature = "bench")]
fn measure_with(disk: Result<(&str, Attached<dyn BlockDevice>), &str>) -> bool {
    let disk = disk.map_err(|name| bench::DiskError::Missing(name.into()));
    let taken = bench::scratch_disk(disk.map(|(name, Attached { device, interrupt, .. })| {
        registry::keep_interrupt(name, interrupt);
        device
    }));
    match &taken {
        Ok(()) => log::warn!("the benchmarks overwrite the disk named by bench.disk"),
        Err(error) => log::error!("{error}"),
    }
    taken.is_ok()
}

#[cfg(not(feature = "bench"))]
fn measure_with(_: Result<(&str, Attached<dyn BlockDevice>), &str>) -> bool {
    log::error!("bench.disk: the benchmarks were left out of this image");
    false
}

fn partitions(name: &str, disk: &mut dyn BlockDevice) -> Vec<Partition> {
    let table = match gpt::read(disk) {
        Ok(table) => table,
        Err(GptError::NoTable) => return Vec::new(),
        Err(error) => {
            log::error!("{name} is left alone: {error}");
            return Vec::new();
        }
    };
    if table.is_replaced {
        log::warn!("{name} is left alone: another disk has taken its place");
        return Vec::new();
    }
    if let Some(fault) = table.fault {
        log::warn!("{name} is not written until its GPT is repaired: {fault}");
    }
    table.partitions
}
