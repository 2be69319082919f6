//! PCI Express root ports.

use alloc::boxed::Box;
use alloc::vec::Vec;
use drivers::hotplug::{Native, Notice};
use drivers::pci::{self, ConfigSpace, Function, Msix, Window};
use machine::irq::Irq;
use machine::journal::EVENTS;
use machine::time::Instant;

use super::{Known, open, wake};

/// All root ports with a slot.
pub struct Ports {
    ports: Vec<Port>,
    /// Of all of them; `None` if there is no vector left: then they are looked at once a second.
    _interrupt: Option<Irq>,
}

struct Port {
    slot: Native,
    bus: u8,
    window: Window,
}

impl Ports {
    /// Finds them, and begins to listen.
    pub fn find(
        space: &dyn ConfigSpace,
        functions: &[Function],
        window: &mut Window,
        last: u8,
    ) -> Option<Self> {
        let slots: Vec<Native> =
            functions.iter().filter_map(|function| Native::of(space, function)).collect();
        if slots.is_empty() {
            return None;
        }
        let interrupt = Irq::new("ports", Box::new(wake))
            .inspect_err(|error| log::warn!("hot-plug: no interrupt for the ports: {error:?}"))
            .ok();
        let mut ports = Vec::new();
        // The functions as they are, the buses numbered one after another.
        for mut slot in slots {
            let bridge = *slot.function();
            let Some((bus, window)) = open(space, &bridge, functions, window, last) else { continue };
            if let Some(interrupt) = &interrupt {
                let message = interrupt.msi();
                match Msix::enable(space, &bridge) {
                    Ok(msix) => msix.set(slot.message(space), message),
                    Err(_) => {
                        if let Err(error) = pci::enable_msi(space, &bridge, message) {
                            log::warn!("hot-plug: the port at {} has no messages: {error:?}", bridge.address);
                        }
                    }
                }
            }
            slot.listen(space, !pci::functions_at(space, bus, 0).is_empty());
            ports.push(Port { slot, bus, window });
        }
        Some(Self { ports, _interrupt: interrupt })
    }

    /// Bus and device of what is behind each.
    pub fn places(&self) -> impl Iterator<Item = (u8, u8)> {
        self.ports.iter().map(|port| (port.bus, 0))
    }

    /// Does what they tell; when one has something to tell by itself.
    pub fn look(&mut self, known: &mut Known, now: Instant) -> Option<Instant> {
        for port in &mut self.ports {
            // Bounded: a broken port must not keep the others waiting.
            for _ in 0..8 {
                let Some(notice) = port.slot.poll(&*known.space, now) else { break };
                port.follow(known, notice);
            }
        }
        self.ports.iter().filter_map(|port| port.slot.deadline()).min()
    }
}

impl Port {
    fn follow(&mut self, known: &mut Known, notice: Notice) {
        let Self { slot, bus, window } = self;
        let (bus, number) = (*bus, slot.number());
        let tell =
            |what: core::fmt::Arguments<'_>| EVENTS.push("port", format_args!("slot {number}: {what}"));
        match notice {
            Notice::Arrived => match slot.power_on(&*known.space, bus) {
                Ok(()) => known.admit(bus, 0, *window),
                Err(error) => tell(format_args!("what was plugged in is not used: {error}")),
            },
            Notice::Pressed => tell(format_args!("the button was pressed, what is in it shall leave")),
            Notice::Withdrawn => tell(format_args!("the button was pressed again, what is in it stays")),
            Notice::Asked => match known.dismiss(bus, 0) {
                Ok(()) => slot.power_off(&*known.space),
                Err(in_use) => {
                    slot.keep(&*known.space);
                    tell(format_args!("refused to let go: {in_use}"));
                }
            },
            Notice::Gone => known.lose(|function| function.address.bus == bus),
            Notice::Fault => {
                tell(format_args!("its power failed"));
                known.lose(|function| function.address.bus == bus);
            }
        }
    }
}
