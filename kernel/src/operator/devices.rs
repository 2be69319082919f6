//! The devices, as an operator sees them.

use crate::devices::Port;
use crate::devices::registry::{self, Found};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use serde::Serialize;

/// All devices that have a driver, and what others can be plugged into.
#[derive(Serialize)]
pub struct Devices {
    devices: Vec<Found>,
    ports: Vec<Port>,
}

/// As they are.
pub fn list() -> Devices {
    let ports = crate::devices::ports();
    Devices { devices: registry::list(), ports }
}

/// A line each; free ports together.
pub fn text(devices: &Devices) -> String {
    let line = |Found { name, place, driver, state, what, .. }: &Found| {
        format!("{name:<6} {driver:<12} {state:<8} {place:<18} {what}\n")
    };
    let mut text: String = devices.devices.iter().map(line).collect();
    let (free, others): (Vec<_>, Vec<_>) = devices.ports.iter().partition(|port| port.is_free);
    for Port { place, way, devices, .. } in others {
        let what = if devices.is_empty() { "no driver".into() } else { devices.join(", ") };
        text += &format!("{:<6} {way:<12} {:<8} {place:<18} {what}\n", "port", "taken");
    }
    for way in ["native", "acpi"] {
        let places: Vec<&str> =
            free.iter().filter(|port| port.way == way).map(|port| port.place.as_str()).collect();
        if !places.is_empty() {
            text += &format!("{:<6} {way:<12} {:<8} {}\n", "port", "free", places.join(" "));
        }
    }
    text
}
