//! Finding the devices and giving them to those who use them.

mod disks;

pub use disks::StateDisk;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use drivers::entropy;
use drivers::pci::{self, ConfigSpace, Ecam, Function, Ports, Window};
use drivers::probe::{Attached, Bus, Wake};
use drivers_api::NetDevice;
use machine::start::Machine;
use machine::sync::SpinLock;
use net::{Config, Network, Nic};
use serde::Serialize;
use spin::Once;

/// The network that a card's interrupt wakes, once it runs.
type Owner = Arc<Once<net::Handle>>;

/// A device that has a driver.
#[derive(Clone, Serialize)]
pub struct Found {
    /// What operators call it: `net0`, `disk0`.
    pub name: String,
    /// What drives it.
    pub driver: &'static str,
    /// `active`, or `idle` where nobody uses it.
    pub state: &'static str,
    /// Its address and network, or its size.
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

/// What operators are served with.
pub struct ForOperators {
    /// The network on which they are served. `None` where they were promised a card of their own that can't be had: then they
    /// are served nowhere, because whoever wanted them off the main network does not want them there.
    pub network: Option<Network>,
    /// The disk with what the machine keeps, if there is one.
    pub state: Option<StateDisk>,
}

/// Enumerates, starts entropy and networks. Devices that can't be used are named in the log; the system runs without them.
pub fn start(machine: &Machine, command_line: &'static str) -> ForOperators {
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
    let network = start_networks(&bus, command_line);
    ForOperators { network, state: disks::find(&bus, command_line) }
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

fn start_networks(bus: &Bus<'_>, command_line: &'static str) -> Option<Network> {
    let cards = bus.network(|| -> (Owner, Wake) {
        let owner = Owner::default();
        let woken = owner.clone();
        let wake = move || {
            if let Some(network) = woken.get() {
                network.interrupt();
            }
        };
        (owner, Arc::new(wake))
    });
    let mut served = None;
    let control = match Nic::of_control(command_line) {
        Ok(None) => {
            served = Some(Network::Main);
            None
        }
        Ok(Some(nic)) => {
            let found = nic.find(cards.iter().map(|(card, _)| card.device.link().mac));
            if found.is_none() {
                log::error!("there is no network card {nic} for the control network");
            }
            found
        }
        Err(error) => {
            log::error!("{error}; there is no control network");
            None
        }
    };
    let main = (0..cards.len()).find(|number| Some(*number) != control);
    if main.is_none() {
        log::warn!("no network card");
    }
    for (number, (card, owner)) in cards.into_iter().enumerate() {
        let network = match Some(number) {
            this if this == control => Network::Control,
            this if this == main => Network::Main,
            _ => {
                let mac = card.device.link().mac.to_string();
                log::info!("net{number} is not used: {} {mac}", card.device.name());
                note(format!("net{number}"), card.device.name(), "idle", mac);
                continue;
            }
        };
        let started = start_network(network, number, card, &owner, command_line);
        if started && network == Network::Control {
            served = Some(Network::Control);
        }
    }
    served
}

/// Starts a network on its card. False, said in the log, where that fails.
fn start_network(
    network: Network,
    number: usize,
    card: Attached<dyn NetDevice>,
    owner: &Owner,
    command_line: &'static str,
) -> bool {
    let (link, driver) = (card.device.link(), card.device.name());
    log::info!(
        "{network} network: net{number}, {driver} {}, MTU {}, {:?}",
        link.mac,
        link.mtu,
        link.offloads
    );
    let started =
        Config::parse(network, command_line).map_err(|error| error.to_string()).and_then(|config| {
            network.start(card.device, &config, entropy::fill).map_err(|error| error.to_string())
        });
    let what = format!("{}, MTU {}, {network} network", link.mac, link.mtu);
    note(format!("net{number}"), driver, if started.is_ok() { "active" } else { "idle" }, what);
    match started {
        Ok(handle) => {
            // The interrupt stays wired as long as the machine runs.
            core::mem::forget(card.interrupt);
            owner.call_once(|| handle);
            handle.interrupt();
            true
        }
        Err(error) => {
            log::error!("{error}; the {network} network stays off");
            false
        }
    }
}
