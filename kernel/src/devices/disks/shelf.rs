//! Disks that nobody uses, quiesced: they were there at boot, or were plugged in since.

use super::drive::Drive;
use alloc::string::String;
use alloc::vec::Vec;
use machine::sync::{Mutex, MutexGuard};

static SHELF: Mutex<Vec<Drive>> = Mutex::new(Vec::new());

/// Waits until nobody takes from the shelf.
pub(super) fn shelf() -> MutexGuard<'static, Vec<Drive>> {
    SHELF.lock()
}

/// Brings a disk to rest, and keeps it for whoever wants it. One that was pulled out meanwhile is given up.
pub(super) fn shelve(mut drive: Drive) {
    let mut shelf = shelf();
    if drive.is_gone() {
        drive.part();
        return;
    }
    drive.rest();
    shelf.push(drive);
}

/// These leave: they are reset, and their drivers dropped.
pub fn dismiss(names: &[String]) {
    for mut drive in shelf().extract_if(.., |drive| names.contains(&drive.name)) {
        drive.device().halt();
    }
}

/// Gives up those that were pulled out.
pub(super) fn give_up_gone() {
    for mut drive in shelf().extract_if(.., |drive| drive.is_gone()) {
        drive.part();
    }
}
