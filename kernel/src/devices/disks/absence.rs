//! A disk that was pulled out: requests wait for it as long as `device.wait=` says, and it is known when it is back.

use super::drive::Drive;
use super::seat::Seat;
use super::shelf::shelf;
use crate::devices::registry;
use alloc::string::String;
use alloc::vec::Vec;
use control::request::device_wait;
use machine::journal::EVENTS;
use machine::sync::MutexGuard;
use machine::time::{Duration, Instant};
use mirror::{Identity, Stranger};

/// How long requests wait, unless the setting says otherwise.
const WAIT: Duration = Duration::from_secs(30);

/// Since a disk was pulled out.
pub(super) struct Absence {
    /// Until when requests wait for its return.
    until: Instant,
    /// Names of disks that were looked at, and are others.
    strangers: Vec<String>,
}

/// Says whether the setting is understood, which counts when a disk is pulled out.
pub(super) fn check(command_line: &str) {
    let setting = machine::bootinfo::setting(command_line, "device.wait");
    if let Some(Err(error)) = setting.map(device_wait) {
        log::warn!("{error}; it stays {}s", WAIT.as_secs());
    }
}

fn patience() -> Duration {
    let setting = machine::bootinfo::setting(machine::start::command_line(), "device.wait");
    setting.and_then(|setting| device_wait(setting).ok()).unwrap_or(WAIT)
}

impl Drive {
    /// It was pulled out: its driver is given up. Until when its return is waited for, if it would be known.
    pub(super) fn lose(&mut self) -> Option<Instant> {
        if self.watch.absence.is_none() {
            self.part();
            let until = Instant::now().saturating_add(patience());
            self.watch.unflushed.lose();
            self.watch.absence = Some(Absence { until, strangers: Vec::new() });
        }
        let watch = &self.watch;
        watch.absence.as_ref().filter(|_| watch.identity.is_some()).map(|absence| absence.until)
    }
}

impl Seat {
    /// The disk is gone. Waits for its return, if it is waited for, with the seat free.
    pub(super) fn wait<'s>(
        &'s self,
        mut guard: MutexGuard<'s, Option<Drive>>,
    ) -> Option<MutexGuard<'s, Option<Drive>>> {
        let until = guard.as_mut()?.lose().filter(|until| Instant::now() < *until)?;
        Some(self.is_back.wait_until(guard, until).0)
    }
}

/// Puts a disk back on its seat if it is among those that nobody uses. Says of each other one why it is not.
pub(super) fn bring_back(seat: &Seat, gone: &mut Drive) {
    let (Some(absence), Some(identity)) = (&mut gone.watch.absence, &gone.watch.identity) else { return };
    let mut shelf = shelf();
    let mut found = None;
    for (number, drive) in shelf.iter_mut().enumerate() {
        if absence.strangers.contains(&drive.name) {
            continue;
        }
        match is_it(drive, identity) {
            Ok(()) => {
                found = Some(number);
                break;
            }
            Err(stranger) => {
                drive.rest();
                let name = &drive.name;
                log::warn!("{name} is not {}, which is waited for: {stranger}", gone.name);
                EVENTS.push("device", format_args!("{name} is not {}: {stranger}", gone.name));
                absence.strangers.push(name.clone());
            }
        }
    }
    let Some(number) = found else { return };
    let mut back = shelf.remove(number);
    drop(shelf);
    let user = registry::is_back(&gone.name, &back.name);
    let user = user.as_deref().unwrap_or("its users");
    log::warn!("{} is back as {}, {user} have it", gone.name, back.name);
    EVENTS.push("device", format_args!("{} is back as {}, {user} have it", gone.name, back.name));
    core::mem::swap(gone, &mut back);
    // What is under way with it goes on, and what may be lost is still to be told.
    gone.watch = core::mem::take(&mut back.watch);
    gone.watch.absence = None;
    seat.is_back.notify_all();
}

fn is_it(drive: &mut Drive, identity: &Identity) -> Result<(), Stranger> {
    drive.wake().map_err(Stranger::Unreadable)?;
    identity.check(drive.device())
}
