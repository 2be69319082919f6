//! Finding the devices and giving them to those who use them.

pub mod cards;
mod disks;
mod ports;
pub mod registry;
#[cfg(feature = "vmm")]
mod restored;

pub use disks::StateDisk;
#[cfg(feature = "vmm")]
pub use disks::checkpoints::{Place, place};
#[cfg(feature = "vmm")]
pub use disks::swap;
pub use ports::{Port, list as ports};
#[cfg(feature = "vmm")]
pub use restored::{Held, Part};

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use drivers::entropy;
use drivers::pci::{self, ConfigSpace, Ecam, Function, Ports, Window};
use drivers::probe::Bus;
use net::{Config, Network, Nic};
use registry::Owner;

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
pub fn start(command_line: &'static str) -> ForOperators {
    let found = on_bus(|bus| {
        start_entropy(bus);
        let Cards { cards, operators } = Cards::find(bus, command_line);
        let started: Vec<_> = cards.iter().filter_map(|card| start_network(card, command_line)).collect();
        let network = match operators {
            Some(Network::Control) => started.contains(&Network::Control).then_some(Network::Control),
            other => other,
        };
        ForOperators { network, state: disks::find(bus, command_line) }
    });
    ports::start();
    found
}

/// Shows what there is.
fn on_bus<R>(f: impl FnOnce(&Bus<'_>) -> R) -> R {
    let space = config_space();
    let functions = pci::enumerate(&*space);
    let mut window = WINDOW;
    for function in &functions {
        log::debug!("pci {} {:04x}:{:04x}", function.address, function.vendor, function.device);
        pci::assign(&*space, function, &mut window);
    }
    let virtio: Vec<_> = match machine::start::acpi() {
        Some(acpi) => {
            acpi.virtio_mmio.as_slice().iter().map(|each| (each.base, each.length, each.gsi)).collect()
        }
        None => Vec::new(),
    };
    f(&Bus { space: &*space, functions: &functions, lines: &lines, virtio: &virtio })
}

/// Configuration space in memory, if there is such.
fn described_space() -> Option<&'static machine::acpi::Ecam> {
    machine::start::acpi()?.ecam.as_slice().iter().find(|each| each.segment == 0)
}

fn config_space() -> Box<dyn ConfigSpace> {
    match described_space().and_then(|each| Ecam::new(each.base, each.buses.0, each.buses.1)) {
        Some(ecam) => Box::new(ecam),
        None => Box::new(Ports::new()),
    }
}

/// I/O APIC inputs where a function's line may arrive: the one firmware noted, and those that chipsets since PIIX4 use for
/// PCI. Listening on one that stays silent costs nothing; AML would name the exact one. Nobody noted one for what was plugged in: then it
/// may be either of those that firmware chooses from.
fn lines(function: &Function) -> Vec<u32> {
    let noted: &[u32] = match function.line {
        _ if function.pin == 0 => &[],
        0 => &[10, 11],
        line @ 1..16 => &[u32::from(line)],
        _ => &[],
    };
    noted.iter().copied().chain(16..24).collect()
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

/// A network's card, by name.
struct Card {
    network: Network,
    name: String,
}

/// Which card is for which network.
struct Cards {
    cards: Vec<Card>,
    /// The network that operators are served on, if it starts.
    operators: Option<Network>,
}

impl Cards {
    /// Looks for all cards; those that no network wants are brought to rest.
    fn find(bus: &Bus<'_>, command_line: &str) -> Self {
        let found = bus.network(Owner::new);
        let (operators, control) = match Nic::of_control(command_line) {
            Ok(None) => (Some(Network::Main), None),
            Ok(Some(nic)) => {
                let number = nic.find(found.iter().map(|(card, _)| card.device.link().mac));
                if number.is_none() {
                    log::error!("there is no network card {nic} for the control network");
                }
                (Some(Network::Control), number)
            }
            Err(error) => {
                log::error!("{error}; there is no control network");
                (None, None)
            }
        };
        let main = (0..found.len()).find(|number| Some(*number) != control);
        if main.is_none() {
            log::warn!("no network card");
        }
        let mut cards = Vec::new();
        for (number, (card, owner)) in found.into_iter().enumerate() {
            let (driver, link) = (card.device.name(), card.device.link());
            let name = registry::admit(card, owner);
            let network = match Some(number) {
                this if this == control => Network::Control,
                this if this == main => Network::Main,
                _ => {
                    log::info!("{name} is not used: {driver} {}", link.mac);
                    registry::rest(&name);
                    continue;
                }
            };
            log::info!(
                "{network} network: {name}, {driver} {}, MTU {}, {:?}",
                link.mac,
                link.mtu,
                link.offloads
            );
            cards.push(Card { network, name });
        }
        Self { cards, operators }
    }
}

/// Starts a network on its card, and tells which. Where that fails, says so in the log.
fn start_network(Card { network, name }: &Card, command_line: &'static str) -> Option<Network> {
    let off = |error: &str| log::error!("{error}; the {network} network stays off");
    let config = match Config::parse(*network, command_line) {
        Ok(config) => config,
        Err(error) => {
            registry::rest(name);
            off(&error.to_string());
            return None;
        }
    };
    let card = registry::take(name)?;
    let link = card.link();
    match network.start(card, &config, entropy::fill) {
        Ok(()) => {
            registry::activate(name, *network, &link);
            Some(*network)
        }
        Err(error) => {
            registry::lose(name);
            off(&error.to_string());
            None
        }
    }
}
