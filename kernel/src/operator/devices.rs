//! The devices, as an operator sees them.

use crate::devices::registry::{self, Found};
use alloc::format;
use alloc::string::String;
use serde::Serialize;

/// All devices that have a driver.
#[derive(Serialize)]
pub struct Devices {
    devices: alloc::vec::Vec<Found>,
}

/// As they are.
pub fn list() -> Devices {
    Devices { devices: registry::list() }
}

/// A line each.
pub fn text(devices: &Devices) -> String {
    let line = |Found { name, place, driver, state, what, .. }: &Found| {
        format!("{name:<6} {driver:<12} {state:<8} {place:<18} {what}\n")
    };
    devices.devices.iter().map(line).collect()
}
