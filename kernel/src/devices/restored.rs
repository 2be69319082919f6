//! The devices across a freeze and a restore: at rest while the machine stands still, found anew by a system that is on another machine.

use app::Env;
use machine::time::{Duration, Instant};
use machine::{irq, start};
use net::{Config, Network};

use super::{Card, Cards, cards, disks, on_bus, registry, start_entropy};

/// The devices' part in a freeze, and in what comes of it.
#[derive(Clone, Copy)]
pub struct Part {
    env: &'static Env,
}

/// No device is in use as long as this lives.
pub struct Held {
    _ports: super::ports::Held,
    networks: [Option<net::Held>; Network::ALL.len()],
    disks: disks::checkpoints::Held,
}

impl Part {
    /// Of the machine of which applications are told this.
    pub fn new(env: &'static Env) -> Self {
        Self { env }
    }

    /// Waits until no device is in use.
    pub fn hold(&self) -> Held {
        Held {
            // First: who has the ports may wait for a network.
            _ports: super::ports::hold(),
            networks: Network::ALL.map(Network::hold),
            disks: disks::checkpoints::hold(),
        }
    }

    /// Resets all devices, and keeps them from memory: nothing but this machine's CPUs reads or writes any, until they are found anew. They are
    /// held.
    pub fn silence(&self, held: &mut Held) {
        for network in held.networks.iter_mut().flatten() {
            network.device().halt();
        }
        held.disks.halt();
        on_bus(|bus| {
            for function in bus.functions.iter().filter(|function| !function.is_bridge()) {
                function.silence(bus.space);
            }
        });
    }

    /// Finds the devices anew, but the disks: those that were known are not touched any more. Interrupts may be off.
    pub fn find(&self, held: &mut Held) {
        if let Some(madt) = start::acpi().and_then(|acpi| acpi.madt.as_ref()) {
            irq::restart(madt);
        }
        registry::forget();
        super::ports::forget();
        for network in held.networks.iter_mut().flatten() {
            network.bereave().abandon();
        }
        held.disks.abandon();
        on_bus(|bus| {
            start_entropy(bus);
            for card in Cards::find(bus, self.env.command_line()).cards {
                give(card, held);
            }
        });
    }

    /// Finds the disks anew, which are read for that: when all go on, on a thread. None is the benchmarks'.
    pub fn settle(&self) {
        on_bus(|bus| drop(disks::find(bus, "")));
    }

    /// Says once more what is ready, in a system that was restored.
    pub fn announce(&self) {
        self.env.announce();
    }

    /// What a system that was restored does, before anybody else runs: finds the devices anew, and makes sure that it is the only one of its
    /// kind. If `is_another`, it is a host of its own, with the addresses that this machine was started with.
    pub fn restored(&self, held: &mut Held, is_another: bool) {
        self.find(held);
        for network in held.networks.iter_mut().flatten() {
            if is_another {
                match Config::parse(network.network(), start::command_line()) {
                    Ok(config) => network.start_over(&config),
                    Err(error) => {
                        log::error!("{error}; the {} network keeps its addresses", network.network())
                    }
                }
            }
            wait_alone(network);
        }
    }
}

/// How long a machine that holds looks away between two probes.
const AGAIN: Duration = Duration::from_secs(1);

/// Holds until nobody else on the network has this system's address: a twin, restored from the same checkpoint, or the machine that was frozen
/// and goes on.
fn wait_alone(network: &mut net::Held) {
    let Some(address) = network.address() else { return };
    let mut holds = false;
    while let Some(rival) = network.rival() {
        if !core::mem::replace(&mut holds, true) {
            log::error!(
                "restored: holds: {address} is answered for by {rival}, perhaps a twin; goes on when that is gone"
            );
        }
        let until = Instant::now().saturating_add(AGAIN);
        while Instant::now() < until {
            core::hint::spin_loop();
        }
    }
}

/// Gives a card to its network, if that runs.
fn give(Card { network: of, name }: Card, held: &mut Held) {
    let network = held.networks.iter_mut().flatten().find(|held| held.network() == of);
    let Some(network) = network else { return registry::rest(&name) };
    let Some(card) = registry::take(&name) else { return };
    if let Err(error) = cards::seat(network, &name, card) {
        log::error!("{error}; the {of} network has no card");
    }
}
