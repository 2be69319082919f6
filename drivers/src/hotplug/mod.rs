//! Ports: what functions are plugged into, and pulled out of, while the machine runs.
//!
//! There are two ways. With the native one each PCI Express root port has registers of its own ([`Native`]); with that of ACPI a chipset's
//! registers tell of the slots of several buses ([`Slots`]) and an event says when to look ([`Event`]). Where both are there, ACPI's counts:
//! the chipset keeps the ports' own registers silent then.
//!
//! Nothing here knows drivers. What is read is doubted: a register that reads as all ones is that of a port which is gone itself.
//!
//! Sources: PCI Express Base Specification 5.0, 6.7 (hot-plug), 7.5.3 (capability); PCI-to-PCI Bridge Architecture 1.2, 3.2.5 (bus numbers,
//! windows); ACPI 6.5, 4.8.3 and 4.8.4.1 (event registers); QEMU, `docs/specs/acpi_pci_hotplug.rst`.

mod acpi;
mod native;
mod resources;

pub use acpi::{Event, EventError, IoSpace, Slots, X86};
pub use native::{LinkError, Native};
pub use resources::{Taken, behind, number_bus, window};

use machine::thread;
use machine::time::{Duration, Instant};

/// What a port tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Something was plugged in; it has no power yet.
    Arrived,
    /// Somebody wants it out, by an attention button. In a while that is meant: a second press withdraws it.
    Pressed,
    /// Somebody wants it out, and has not changed his mind.
    Asked,
    /// It stays: the button was pressed once more.
    Withdrawn,
    /// It was pulled out.
    Gone,
    /// Its power failed; it is without now.
    Fault,
}

/// Looks each millisecond until it is done, and sleeps meanwhile; false if that takes too long.
fn wait(patience: Duration, mut is_done: impl FnMut() -> bool) -> bool {
    const LOOK: Duration = Duration::from_millis(1);
    let deadline = Instant::now().saturating_add(patience);
    while !is_done() {
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(LOOK);
    }
    true
}

#[cfg(test)]
mod tests;
