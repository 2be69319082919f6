//! The devices, as an operator sees them.

use crate::devices::Found;
use alloc::format;
use alloc::string::String;
use serde::Serialize;

/// All devices that have a driver.
#[derive(Serialize)]
pub struct Devices {
    devices: alloc::vec::Vec<Found>,
}

/// As they were found at boot.
pub fn list() -> Devices {
    Devices { devices: crate::devices::found() }
}

/// A line each.
pub fn text(devices: &Devices) -> String {
    let line =
        |found: &Found| format!("{:<6} {:<12} {:<8} {}\n", found.name, found.driver, found.state, found.what);
    devices.devices.iter().map(line).collect()
}
