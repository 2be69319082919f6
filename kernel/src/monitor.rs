//! The sleeping monitor: built when all CPUs run, bound to the switch.

use machine::start::Machine;
use mode::{Held, Pin, Pins};
use vmm::monitor::Monitor;

/// Held while the system starts: what a switch would find half done.
static START_UP: Pin = Pin::new("start-up");

static PINS: &[&Pin] = &[
    &START_UP,
    &mode::bare::SNAPSHOT,
    &mode::bare::ABSORBED,
    #[cfg(feature = "app-faults")]
    &faults::PIN,
];

/// The same for a start-up that goes on.
pub fn hold() -> Held<'static> {
    START_UP.hold()
}

/// Builds it, or says why this machine stays native. Switches wait until what is returned is dropped.
pub fn start(machine: &Machine) -> Held<'static> {
    let start_up = START_UP.hold();
    let monitor = Monitor::build(machine.reserve, &machine.map);
    match &monitor {
        Ok(monitor) => {
            let nested = if monitor.is_nested() { ", itself under a hypervisor" } else { "" };
            let (vendor, room) = (monitor.vendor(), monitor.arena() >> 20);
            log::info!("monitor: {vendor:?}{nested}, asleep; {room} MiB for copies");
        }
        Err(error) => log::info!("monitor: none, this machine stays native: {error}"),
    }
    mode::bare::start(monitor, Pins(PINS));
    start_up
}
