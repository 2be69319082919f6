//! Slots that ACPI tells of.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use drivers::hotplug::{Event, Slots as Registers, X86};
use drivers::pci::{self, ConfigSpace, Function, Window};
use machine::acpi::{Acpi, SlotBus};
use machine::irq::{Irq, Trigger};
use machine::journal::EVENTS;

use super::{Known, is_single, open, wake};

/// Addresses for what is in a slot of a bus that is behind no bridge.
const EACH: u64 = 1 << 20;
const SLOTS: u64 = 32;

/// The event came, or might have.
static SIGNALLED: AtomicBool = AtomicBool::new(false);

/// All slots.
pub struct Slots {
    registers: Registers,
    buses: Vec<SlottedBus>,
    _interrupt: Irq,
}

struct SlottedBus {
    selector: u32,
    bus: u8,
    /// One slot, which has all of the window; or 32 slots, each with its part.
    is_single: bool,
    window: Window,
    /// Slots that were asked for and could not be ejected, which was told.
    refused: u32,
}

impl SlottedBus {
    /// Its slots, as bits.
    fn slots(&self, registers: &Registers) -> u32 {
        if self.is_single { 1 } else { registers.removable(&X86, self.selector) }
    }

    fn window(&self, slot: u8) -> Window {
        if self.is_single {
            return self.window;
        }
        let next = self.window.next + u64::from(slot) * EACH;
        Window { next, end: (next + EACH).min(self.window.end) }
    }
}

impl Slots {
    /// Finds them, and begins to listen. None where tables and chipset don't agree that there are some.
    pub fn find(
        space: &dyn ConfigSpace,
        functions: &[Function],
        window: &mut Window,
        last: u8,
    ) -> Option<Self> {
        let acpi = machine::start::acpi().filter(|acpi| !acpi.slot_buses.as_slice().is_empty())?;
        let registers = Registers::find(&X86, functions)?;
        let mut buses = Vec::new();
        for SlotBus { bridge, selector } in acpi.slot_buses.as_slice().iter().copied() {
            let is_it = |function: &&Function| {
                let at = &function.address;
                at.bus == 0 && bridge == Some(u32::from(at.device) << 16 | u32::from(at.function))
            };
            let bridge = functions.iter().find(is_it).filter(|function| function.leads_on(space));
            let (bus, is_single, window) = match bridge {
                Some(bridge) => {
                    let Some((bus, window)) = open(space, bridge, functions, window, last) else { continue };
                    (bus, is_single(space, bridge), window)
                }
                None => {
                    let (next, end) = (window.next, (window.next + SLOTS * EACH).min(window.end));
                    window.next = end;
                    (0, false, Window { next, end })
                }
            };
            buses.push(SlottedBus { selector, bus, is_single, window, refused: 0 });
        }
        let interrupt = listen(acpi)
            .inspect_err(|error| log::warn!("hot-plug: ACPI can't tell of its slots: {error}"))
            .ok()?;
        SIGNALLED.store(true, Ordering::Release);
        Some(Self { registers, buses, _interrupt: interrupt })
    }

    /// Bus and device of each slot.
    pub fn places(&self) -> impl Iterator<Item = (u8, u8)> {
        self.buses.iter().flat_map(|bus| bits(bus.slots(&self.registers)).map(|slot| (bus.bus, slot)))
    }

    /// Does what they tell, if the event came.
    pub fn look(&mut self, known: &mut Known) {
        if !SIGNALLED.swap(false, Ordering::AcqRel) {
            return;
        }
        let Self { registers, buses, .. } = &mut *self;
        for bus in buses {
            for slot in bits(registers.arrived(&X86, bus.selector) & bus.slots(registers)) {
                arrive(known, bus, slot);
            }
        }
        self.eject(known);
    }

    /// Ejects what shall leave and can. The wish stays in its register: who has what can't leave may have let go by the next time.
    pub fn eject(&mut self, known: &mut Known) {
        let Self { registers, buses, .. } = self;
        for bus in buses {
            let asked = registers.asked(&X86, bus.selector) & bus.slots(registers);
            bus.refused &= asked;
            for slot in bits(asked) {
                eject(known, registers, bus, slot);
            }
        }
    }
}

fn bits(mask: u32) -> impl Iterator<Item = u8> {
    (0..32).filter(move |bit| mask >> bit & 1 != 0)
}

/// What is served already was there before anybody listened.
fn arrive(known: &mut Known, bus: &SlottedBus, slot: u8) {
    let space = &*known.space;
    let found = pci::functions_at(space, bus.bus, slot);
    let is_served =
        |function: &Function| function.is_master(space) && known.functions.iter().any(|it| it == function);
    if found.iter().any(is_served) {
        return;
    }
    // One that was pulled out just before.
    known.lose(|function| function.address.is_of(bus.bus, slot));
    known.admit(bus.bus, slot, bus.window(slot));
}

fn eject(known: &mut Known, registers: &Registers, bus: &mut SlottedBus, slot: u8) {
    let place = (bus.bus, slot);
    if !known.has(bus.bus, slot) {
        // Nothing is known there: whatever it is, it has no driver.
        registers.eject(&X86, bus.selector, slot);
        return;
    }
    let tell = |what: core::fmt::Arguments<'_>| {
        EVENTS.push("port", format_args!("pci:0000:{:02x}:{:02x}: {what}", place.0, place.1));
    };
    if let Err(in_use) = known.dismiss(bus.bus, slot) {
        if bus.refused & 1 << slot == 0 {
            bus.refused |= 1 << slot;
            tell(format_args!("refused to let go: {in_use}"));
        }
        return;
    }
    registers.eject(&X86, bus.selector, slot);
    if !pci::functions_at(&*known.space, bus.bus, slot).is_empty() {
        tell(format_args!("what was ejected still answers"));
    }
}

/// Why nothing is told.
enum Deaf {
    NoTables,
    Event(drivers::hotplug::EventError),
    Irq(machine::irq::IrqError),
}

impl core::fmt::Display for Deaf {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NoTables => f.write_str("its tables don't say how"),
            Self::Event(error) => write!(f, "{error:?}"),
            Self::Irq(error) => write!(f, "{error:?}"),
        }
    }
}

/// The event interrupts from here on.
fn listen(acpi: &Acpi) -> Result<Irq, Deaf> {
    let (fadt, madt) = acpi.fadt.as_ref().zip(acpi.madt.as_ref()).ok_or(Deaf::NoTables)?;
    // An interrupt of ACPI's is a low level, unless the tables override that (ACPI 6.5, 5.2.12.5).
    let overridden = madt.overrides().find(|each| u16::from(each.source) == fadt.sci);
    let (line, trigger) = overridden.map_or((u32::from(fadt.sci), Trigger::LevelLow), |each| {
        let trigger = match (each.flags & 3, each.flags >> 2 & 3) {
            (_, 1) => Trigger::EdgeHigh,
            (1, _) => Trigger::LevelHigh,
            _ => Trigger::LevelLow,
        };
        (each.gsi, trigger)
    });
    let event = Event::take_over(&X86, fadt).map_err(Deaf::Event)?;
    let handle = move || {
        if event.acknowledge(&X86) {
            SIGNALLED.store(true, Ordering::Release);
            wake();
        }
    };
    let interrupt = Irq::new("acpi", Box::new(handle)).map_err(Deaf::Irq)?;
    interrupt.route_gsi(line, trigger).map_err(Deaf::Irq)?;
    Ok(interrupt)
}
