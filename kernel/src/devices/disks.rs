//! Disks: what is on them, the one with what this machine keeps, and the one with its checkpoints.

#[cfg(feature = "vmm")]
mod absence;
#[cfg(feature = "vmm")]
pub mod checkpoints;
mod drive;
mod seat;
mod shelf;
#[cfg(feature = "vmm")]
pub mod swap;

#[cfg(feature = "bench")]
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use drivers::probe::{AttachedDisk, Bus};
use drivers_api::BlockDevice;
use gpt::{GptError, Guid, Partition};
use machine::sync::MutexGuard;
use state::{Store, StoreError};

use super::registry;
use drive::Drive;
use seat::Seat;
use shelf::shelve;

pub use shelf::dismiss;

/// A partition for what the machine keeps.
pub struct StateDisk {
    name: String,
    /// Dropped with the last who has it, the disk is reset.
    seat: Arc<Seat>,
    partition: Partition,
}

impl StateDisk {
    /// What operators call its disk.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Waits until nobody else uses its disk.
    pub fn lock(&self) -> MutexGuard<'_, Option<Drive>> {
        self.seat.lock()
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
    #[cfg(feature = "vmm")]
    absence::check(command_line);
    let scratch = machine::bootinfo::setting(command_line, "bench.disk");
    let mut is_missing = scratch.is_some();
    let mut found: Option<StateDisk> = None;
    let (disks, refused) = bus.block();
    for (number, mut found_disk) in disks.into_iter().enumerate() {
        let (what, name) = admit(&found_disk);
        let disk = &mut found_disk.0;
        let mut uses = String::new();
        let driver = disk.device.name();
        match disk.device.identity() {
            Ok(identity) => log::info!("disk {number}: {what}, {driver}, {identity}"),
            Err(error) => log::warn!("disk {number}: {what}, {driver}, does not say what it is: {error}"),
        }
        if scratch == Some(name.as_str()) {
            is_missing = false;
            let is_used = measure_with(Ok(Drive::new(name.clone(), found_disk)));
            registry::describe_disk(&name, uses, is_used.then_some("benchmarks"));
            continue;
        }
        let partitions = partitions(&name, &mut *disk.device);
        let of = |kind: Guid| partitions.iter().find(|partition| partition.kind == kind).copied();
        let seat = Seat::new(Drive::new(name.clone(), found_disk));
        match (of(state::PARTITION), &found) {
            (Some(partition), None) => {
                uses += ", keeps the machine's state";
                found = Some(StateDisk { name: name.clone(), seat: Arc::clone(&seat), partition });
            }
            (Some(_), Some(first)) => {
                log::warn!("{name} is left alone: the machine's state is on {}", first.name());
            }
            (None, _) => {}
        }
        let is_used = checkpoints::offer(&name, &seat, &of);
        if is_used {
            uses += ", keeps its checkpoints";
        }
        registry::describe_disk(&name, uses, is_used.then_some("checkpoints"));
        if let Some(drive) = Arc::into_inner(seat).and_then(|seat| seat.lock().take()) {
            shelve(drive);
        }
    }
    for (place, error) in refused {
        registry::admit_refused(place, &error);
    }
    if let Some(name) = scratch.filter(|_| is_missing) {
        measure_with(Err(name));
    }
    found
}

/// Takes a disk in; its size, and its name.
fn admit((disk, completion): &AttachedDisk) -> (String, String) {
    let what = format!("{} MiB", disk.device.geometry().sectors >> 11);
    let name = registry::admit_disk(disk.place, disk.device.name(), what.clone(), completion.clone());
    (what, name)
}

/// A disk that was plugged in is nobody's, unless somebody waits for it. Its name.
pub fn arrive(disk: AttachedDisk) -> String {
    let (_, name) = admit(&disk);
    shelve(Drive::new(name.clone(), disk));
    name
}

/// Gives up the disks that were pulled out, whose requests have ended, and puts back those that are there again.
pub fn look_after() {
    for seat in seat::all() {
        let mut drive = seat.lock();
        let Some(drive) = drive.as_mut().filter(|drive| drive.is_gone()) else { continue };
        drive.lose();
        #[cfg(feature = "vmm")]
        absence::bring_back(seat, drive);
    }
    shelf::give_up_gone();
}

/// Without a VMM there are none.
#[cfg(not(feature = "vmm"))]
mod checkpoints {
    use super::{Guid, Partition, Seat};
    use alloc::sync::Arc;

    pub(super) fn offer(_: &str, _: &Arc<Seat>, _: &dyn Fn(Guid) -> Option<Partition>) -> bool {
        false
    }
}

/// Gives a disk to the benchmarks, or the name of one that is not there; false if they don't take it.
#[cfg(feature = "bench")]
fn measure_with(disk: Result<Drive, &str>) -> bool {
    let seat = disk.map(Seat::new).map_err(|name| bench::DiskError::Missing(name.into()));
    let scratch =
        { seat.as_ref() }.map(|seat| Box::new(seat::Scratch(Arc::clone(seat))) as Box<dyn bench::Scratch>);
    if let Err(error) = bench::scratch_disk(scratch.map_err(Clone::clone)) {
        log::error!("{error}");
        return false;
    }
    log::warn!("the benchmarks overwrite the disk named by bench.disk");
    // Dropped, the disk would be reset.
    seat.is_ok_and(|seat| {
        seat.keep();
        true
    })
}

#[cfg(not(feature = "bench"))]
fn measure_with(_: Result<Drive, &str>) -> bool {
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
