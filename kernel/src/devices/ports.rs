//! Ports: what devices are plugged into and pulled out of while the machine runs.
//!
//! One thread sees to all of them. An interrupt of a port, or the event that ACPI tells of slots by, wakes it, and once a second it looks
//! whether all that were there still are: not every device that goes says so.

mod acpi;
mod native;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use drivers::hotplug::{Native, Taken};
use drivers::pci::{self, Address, ConfigSpace, Function, Window};
use drivers::probe::{Bus, Class, Place};
use machine::journal::EVENTS;
use machine::sync::{Mutex, SpinLock};
use machine::thread::{self, Thread};
use machine::time::{Duration, Instant};
use serde::Serialize;

use super::registry::{self, InUse, Owner};
use super::{cards, disks};

/// How often it is looked whether all are still there.
const WATCH: Duration = Duration::from_secs(1);
/// What a bridge gets of the machine's window, if firmware left it none.
const WINDOW: u64 = 4 << 20;

static PORTS: Mutex<Option<Ports>> = Mutex::new(None);
static THREAD: SpinLock<Option<Thread>> = SpinLock::new(None);
/// The machine is another one.
static FORGOTTEN: AtomicBool = AtomicBool::new(true);

/// A port, as it is told of.
#[derive(Clone, Debug, Serialize)]
pub struct Port {
    /// Where what is plugged in will be: `pci:0000:01:00`.
    pub place: String,
    /// `native` or `acpi`.
    pub way: &'static str,
    /// Nothing is in it.
    pub is_free: bool,
    /// The names of those in it that have a driver.
    pub devices: Vec<String>,
}

/// Nothing is plugged in or leaves as long as this lives.
#[cfg(feature = "vmm")]
pub struct Held(#[expect(dead_code, reason = "held")] machine::sync::MutexGuard<'static, Option<Ports>>);

/// Begins to see to the ports.
pub fn start() {
    match thread::Builder::new("ports").spawn(serve) {
        Ok(handle) => *THREAD.lock() = Some(handle.thread().clone()),
        Err(error) => log::error!("ports: no thread for them: {error:?}"),
    }
}

/// Waits until nothing is being plugged in.
#[cfg(feature = "vmm")]
pub fn hold() -> Held {
    Held(PORTS.lock())
}

/// The machine is another one: its ports are looked for when nobody holds them any more. Interrupts may be off.
#[cfg(feature = "vmm")]
pub fn forget() {
    FORGOTTEN.store(true, Ordering::Release);
    wake();
}

/// All ports.
pub fn list() -> Vec<Port> {
    PORTS.lock().as_ref().map_or(Vec::new(), Ports::list)
}

/// For interrupt handlers.
fn wake() {
    if let Some(thread) = &*THREAD.lock() {
        thread.unpark();
    }
}

fn serve() {
    let mut watched = Instant::now();
    loop {
        let mut ports = PORTS.lock();
        if FORGOTTEN.swap(false, Ordering::Acquire) {
            // The old ones' interrupts go first.
            *ports = None;
            *ports = Some(Ports::find());
        }
        let next = ports.as_mut().and_then(|ports| {
            let now = Instant::now();
            if now.saturating_since(watched) >= WATCH {
                ports.watch();
                watched = now;
            }
            ports.look(now)
        });
        drop(ports);
        match next {
            Some(next) => thread::park_until(next),
            None => thread::park(),
        }
    }
}

/// The ports of a machine.
struct Ports {
    bus: Known,
    acpi: Option<acpi::Slots>,
    native: Option<native::Ports>,
}

/// What is plugged in, and where.
struct Known {
    space: Box<dyn ConfigSpace>,
    /// All functions but bridges.
    functions: Vec<Function>,
}

impl Ports {
    fn find() -> Self {
        let space = super::config_space();
        let functions = pci::enumerate(&*space);
        let mut taken = Taken::new();
        functions.iter().for_each(|function| taken.add_function(&*space, function));
        // Without configuration space in memory it is an old PC, whose memory may end as high.
        let (from, last) = match super::described_space() {
            Some(ecam) => {
                let buses = u64::from(ecam.buses.0)..u64::from(ecam.buses.1) + 1;
                taken.add(ecam.base + (buses.start << 20)..ecam.base + (buses.end << 20));
                (super::WINDOW.next, ecam.buses.1)
            }
            None => (0xe000_0000, u8::MAX),
        };
        let mut window = taken.largest_gap(from..super::WINDOW.end);
        let acpi = acpi::Slots::find(&*space, &functions, &mut window, last);
        let native = match &acpi {
            Some(_) => None,
            None => native::Ports::find(&*space, &functions, &mut window, last),
        };
        let functions = functions.into_iter().filter(|function| !function.leads_on(&*space)).collect();
        let ports = Self { bus: Known { space, functions }, acpi, native };
        let count = ports.list().len();
        if count > 0 {
            let way = if ports.acpi.is_some() { "by ACPI" } else { "native" };
            log::info!("hot-plug: {count} ports, {way}");
        }
        ports
    }

    /// Does what the ports tell; when to come again.
    fn look(&mut self, now: Instant) -> Option<Instant> {
        let Self { bus, acpi, native } = self;
        if let Some(acpi) = acpi {
            acpi.look(bus);
        }
        let deadline = native.as_mut().and_then(|native| native.look(bus, now));
        let watch = (acpi.is_some() || native.is_some()).then(|| now.saturating_add(WATCH));
        [deadline, watch].into_iter().flatten().min()
    }

    /// Whether all are still there, and whether those that were asked to leave can by now.
    fn watch(&mut self) {
        let Known { space, functions } = &self.bus;
        let gone: Vec<Address> =
            functions.iter().filter(|function| !function.is_there(&**space)).map(|it| it.address).collect();
        for address in gone {
            self.bus.lose(|function| function.address == address);
        }
        if let Some(acpi) = &mut self.acpi {
            acpi.eject(&mut self.bus);
        }
    }

    fn list(&self) -> Vec<Port> {
        let acpi = self.acpi.iter().flat_map(acpi::Slots::places).map(|place| (place, "acpi"));
        let native = self.native.iter().flat_map(native::Ports::places).map(|place| (place, "native"));
        let found = registry::list();
        let port = |((bus, device), way)| {
            let place = format!("pci:0000:{bus:02x}:{device:02x}");
            let devices = found.iter().filter(|found| found.place.starts_with(&format!("{place}.")));
            let devices: Vec<String> = devices.map(|found| found.name.clone()).collect();
            Port { place, way, is_free: !self.bus.has(bus, device), devices }
        };
        acpi.chain(native).map(port).collect()
    }
}

impl Known {
    fn has(&self, bus: u8, device: u8) -> bool {
        self.functions.iter().any(|it| it.address.is_of(bus, device))
    }

    /// A device that was plugged in gets addresses of the window, and drivers.
    fn admit(&mut self, bus: u8, device: u8, mut window: Window) {
        let functions = pci::functions_at(&*self.space, bus, device);
        if functions.is_empty() {
            EVENTS.push(
                "device",
                format_args!("pci:0000:{bus:02x}:{device:02x} was plugged in, and does not answer"),
            );
        }
        for function in functions {
            pci::assign(&*self.space, &function, &mut window);
            let place = Place::Pci(function.address);
            match self.drive(&function) {
                Ok(Some(name)) => EVENTS.push("device", format_args!("{name} was plugged in at {place}")),
                Ok(None) => EVENTS.push(
                    "device",
                    format_args!(
                        "{:04x}:{:04x} was plugged in at {place}: nothing here drives it",
                        function.vendor, function.device
                    ),
                ),
                Err(error) => {
                    function.silence(&*self.space);
                    EVENTS.push("device", format_args!("{place} was plugged in, and is not used: {error}"));
                }
            }
            self.functions.push(function);
        }
        cards::replace_gone();
        disks::look_after();
    }

    /// A driver for a function, and a name; nobody uses it.
    fn drive(&self, function: &Function) -> Result<Option<String>, drivers::probe::ProbeError> {
        let functions = core::slice::from_ref(function);
        let bus = Bus { space: &*self.space, functions, lines: &super::lines, virtio: &[] };
        match bus.class(function) {
            Some(Class::Network) => {
                let (owner, wake) = Owner::new();
                let card = bus.network_at(function, wake)?;
                let name = registry::admit(card, owner);
                registry::rest(&name);
                Ok(Some(name))
            }
            Some(Class::Disk) => {
                let disk = bus.block_at(function);
                let disk = disk.inspect_err(|error| {
                    registry::admit_refused(Place::Pci(function.address), error);
                })?;
                Ok(Some(disks::arrive(disk)))
            }
            None => Ok(None),
        }
    }

    /// Lets a device go, if nobody uses it.
    fn dismiss(&mut self, bus: u8, device: u8) -> Result<(), InUse> {
        let is_in = |function: &Function| function.address.is_of(bus, device);
        let places: Vec<Place> =
            self.functions.iter().filter(|it| is_in(it)).map(|it| Place::Pci(it.address)).collect();
        let names = registry::dismiss(&places)?;
        disks::dismiss(&names);
        for function in self.functions.extract_if(.., |it| is_in(it)) {
            function.silence(&*self.space);
        }
        let name = if names.is_empty() { "what has no driver".to_string() } else { names.join(", ") };
        EVENTS.push("device", format_args!("{name} leaves pci:0000:{bus:02x}:{device:02x}"));
        Ok(())
    }

    /// These were pulled out.
    fn lose(&mut self, is_gone: impl Fn(&Function) -> bool) {
        let gone: Vec<Function> = self.functions.extract_if(.., |function| is_gone(function)).collect();
        for Function { address, .. } in gone {
            let place = Place::Pci(address);
            match registry::gone(place) {
                Some((name, Some(user))) => {
                    log::error!("{name} at {place} is gone, {user} had it");
                    EVENTS.push("device", format_args!("{name} at {place} is gone, {user} had it"));
                }
                Some((name, None)) => EVENTS.push("device", format_args!("{name} at {place} is gone")),
                None => EVENTS.push("device", format_args!("{place} is gone")),
            }
        }
        cards::replace_gone();
        disks::look_after();
    }
}

/// The bus and the window behind a bridge on the first bus; none behind others whose bus firmware has not numbered.
fn open(
    space: &dyn ConfigSpace,
    bridge: &Function,
    functions: &[Function],
    window: &mut Window,
    last: u8,
) -> Option<(u8, Window)> {
    use drivers::hotplug::{behind, number_bus, window as open_window};
    let bus = match bridge.address.bus {
        0 => number_bus(space, bridge, functions, last),
        _ => behind(space, bridge),
    };
    let opened = bus.and_then(|bus| Some((bus, open_window(space, bridge, window, WINDOW)?)));
    if opened.is_none() {
        log::warn!("hot-plug: no bus number or no addresses are left for the port at {}", bridge.address);
    }
    opened
}

/// Whether there is room for one device only.
fn is_single(space: &dyn ConfigSpace, bridge: &Function) -> bool {
    Native::root_port(space, bridge).is_some()
}
