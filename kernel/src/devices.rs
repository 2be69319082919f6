//! Finding the devices and giving them to those who use them.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use drivers::entropy;
use drivers::pci::{self, ConfigSpace, Ecam, Function, Ports, Window};
use drivers::probe::Bus;
use machine::start::Machine;
use machine::sync::SpinLock;
use serde::Serialize;
use spin::Once;

/// The running network, for its device's interrupts.
static NETWORK: Once<net::Handle> = Once::new();

/// A device that has a driver.
#[derive(Clone, Serialize)]
pub struct Found {
    /// What operators call it: `net0`, `disk0`.
    pub name: String,
    /// What drives it.
    pub driver: &'static str,
    /// `active`, or `idle` where nobody uses it.
    pub state: &'static str,
    /// Its address on the network, its size.
    pub what: String,
}

static FOUND: SpinLock<Vec<Found>> = SpinLock::new(Vec::new());

/// The devices that have a driver, as they were found at boot.
pub fn found() -> Vec<Found> {
    FOUND.lock().clone()
}

fn note(name: String, driver: &'static str, state: &'static str, what: String) {
    FOUND.lock().push(Found { name, driver, state, what });
}

/// Where base addresses are put that firmware left empty (QEMU's microvm with PCI): below the I/O APIC, where PCs keep
/// device memory.
const WINDOW: Window = Window { next: 0xc000_0000, end: 0xfe00_0000 };

/// Enumerates, starts entropy and network. Devices that can't be used are named in the log; the system runs without them.
pub fn start(machine: &Machine, command_line: &'static str) {
    let space = config_space(machine);
    let functions = pci::enumerate(&*space);
    let mut window = WINDOW;
    for function in &functions {
        log::debug!("pci {} {:04x}:{:04x}", function.address, function.vendor, function.device);
        pci::assign(&*space, function, &mut window);
    }
    let virtio: Vec<_> = match &machine.acpi {
        Some(acpi) => {
            acpi.virtio_mmio.as_slice().iter().map(|each| (each.base, each.length, each.gsi)).collect()
        }
        None => Vec::new(),
    };
    let bus = Bus { space: &*space, functions: &functions, lines: &lines, virtio: &virtio };
    start_entropy(&bus);
    start_network(&bus, command_line);
    start_disks(&bus);
}

fn config_space(machine: &Machine) -> Box<dyn ConfigSpace> {
    let ecam =
        machine.acpi.as_ref().and_then(|acpi| acpi.ecam.as_slice().iter().find(|each| each.segment == 0));
    match ecam.and_then(|each| Ecam::new(each.base, each.buses.0, each.buses.1)) {
        Some(ecam) => Box::new(ecam),
        None => Box::new(Ports::new()),
    }
}

/// I/O APIC inputs where a function's line may arrive: the one firmware noted, and those that chipsets since PIIX4 use for
/// PCI. Listening on one that stays silent costs nothing; AML would name the exact one.
fn lines(function: &Function) -> Vec<u32> {
    let noted = (function.pin != 0 && function.line < 16).then_some(u32::from(function.line));
    noted.into_iter().chain(16..24).collect()
}

fn start_entropy(bus: &Bus<'_>) {
    // Seeded from once; then the device is reset, and after that its interrupt goes.
    let mut found = bus.entropy();
    match &mut found {
        Some(found) => entropy::init(Some(&mut |bytes: &mut [u8]| found.device.fill(bytes))),
        None => entropy::init(None),
    }
    log::info!("entropy: {}", entropy::health());
}

fn start_network(bus: &Bus<'_>, command_line: &'static str) {
    let config = match net::Config::parse(command_line) {
        Ok(config) => config,
        Err(error) => {
            log::error!("{error}; the network stays off");
            return;
        }
    };
    let wake = Arc::new(|| {
        if let Some(network) = NETWORK.get() {
            network.interrupt();
        }
    });
    let mut found = bus.network(wake).into_iter();
    let Some(first) = found.next() else {
        log::warn!("no network card");
        return;
    };
    for (number, other) in found.enumerate() {
        note(format!("net{}", number + 1), other.device.name(), "idle", other.device.link().mac.to_string());
        log::info!("{} {} is not used: one network card is", other.device.name(), other.device.link().mac);
    }
    let link = first.device.link();
    log::info!("{} {}, MTU {}, {:?}", first.device.name(), link.mac, link.mtu, link.offloads);
    note("net0".to_owned(), first.device.name(), "active", format!("{}, MTU {}", link.mac, link.mtu));
    // The interrupt stays wired as long as the machine runs.
    core::mem::forget(first.interrupt);
    match net::start(first.device, config, entropy::fill) {
        Ok(handle) => {
            NETWORK.call_once(|| handle);
            handle.interrupt();
        }
        Err(error) => log::error!("the network stays off: {error}"),
    }
}

fn start_disks(bus: &Bus<'_>) {
    for (number, mut disk) in bus.block().into_iter().enumerate() {
        let geometry = disk.device.geometry();
        let mut first = [0; 512];
        match disk.device.read(0, &mut first) {
            Ok(()) => {
                let size = format!("{} MiB", geometry.sectors >> 11);
                log::info!("disk {number}: {size}, {}", disk.device.name());
                note(format!("disk{number}"), disk.device.name(), "idle", size);
            }
            Err(error) => log::error!("disk {number} can't be read: {error:?}"),
        }
    }
}
