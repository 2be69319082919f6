//! Cards for networks: another one in a swap, or one again for a network that runs without, after `device detach` or when its own was pulled out.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use drivers_api::swap::{Rejected, Seat};
use drivers_api::{LifecycleError, LinkInfo, NetDevice, NetState};
use machine::journal::EVENTS;
use net::{Exchange, Network, StartError};

use super::registry::{self, Unfit};

/// The shortest longest packet of a network with IPv6 (RFC 8200, 5).
const LEAST_MTU: usize = 1280;

/// Why a network does not get a card.
pub enum CardError {
    /// The card is not what is asked for.
    Unfit(Unfit),
    /// Its longest packet, in bytes, is too short.
    Mtu(String, usize),
    /// The network does not run, or does not let go of its card in time.
    NotHeld(Network),
    /// The card fails.
    Card(String, LifecycleError),
    /// The network can't go on with it.
    Adopt(StartError),
}

impl fmt::Display for CardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unfit(unfit) => unfit.fmt(f),
            Self::Mtu(name, mtu) => write!(f, "{name} has an MTU of {mtu}, which is below {LEAST_MTU}"),
            Self::NotHeld(network) => write!(f, "the {network} network does not let go of its card in time"),
            Self::Card(name, error) => write!(f, "{name}: {error}"),
            Self::Adopt(error) => error.fmt(f),
        }
    }
}

impl From<Unfit> for CardError {
    fn from(unfit: Unfit) -> Self {
        Self::Unfit(unfit)
    }
}

/// What a network has to adapt to with this card.
pub fn compare(name: &str, before: &LinkInfo, after: &LinkInfo) -> Result<Vec<String>, CardError> {
    let mut adapted = Vec::new();
    if after.mtu < LEAST_MTU {
        return Err(CardError::Mtu(name.to_string(), after.mtu));
    }
    if after.mtu != before.mtu {
        adapted.push(format!("MTU {} in place of {}", after.mtu, before.mtu));
    }
    for (what, before, after) in [
        ("checksums", before.offloads.tx_checksum, after.offloads.tx_checksum),
        ("TCP segmentation", before.offloads.tso4, after.offloads.tso4),
        ("TCP segmentation over IPv6", before.offloads.tso6, after.offloads.tso6),
    ] {
        match (before, after) {
            (true, false) => adapted.push(format!("{what} by software")),
            (false, true) => adapted.push(format!("{what} by the card")),
            _ => {}
        }
    }
    Ok(adapted)
}

/// The place of a network's card in a swap; the list of devices hears of it.
pub struct Seating<'a> {
    exchange: Exchange,
    old: &'a str,
    new: &'a str,
}

impl<'a> Seating<'a> {
    /// Of a network that has the old card and is to have the new one, which was taken out of the list.
    pub fn new(exchange: Exchange, old: &'a str, new: &'a str) -> Self {
        Self { exchange, old, new }
    }

    /// What it has come to.
    pub fn exchange(&self) -> &Exchange {
        &self.exchange
    }
}

impl Seat for Seating<'_> {
    type Refusal = StartError;

    fn look<R>(&mut self, look: impl FnOnce(&dyn NetDevice) -> R) -> R {
        self.exchange.look(look)
    }

    fn wait_for(&mut self, card: &dyn NetDevice, carrier: bool) -> bool {
        // One that was pulled out meanwhile seems to have a carrier.
        self.exchange.wait_for(card, carrier) && registry::is_there(self.new)
    }

    fn replace(&mut self, card: Box<dyn NetDevice>) -> Result<Box<dyn NetDevice>, Rejected<StartError>> {
        let old = self.exchange.replace(card)?;
        let link = self.exchange.look(|card| card.link());
        registry::replace(self.old, self.new, self.exchange.network(), &link);
        Ok(old)
    }

    fn drain(&mut self, old: &mut dyn NetDevice) {
        self.exchange.drain(old);
    }
}

/// Gives a network, which has none, an idle card: this one, or the first. Its name, and what the network has to adapt to.
pub fn give(network: Network, which: Option<&str>) -> Result<(String, Vec<String>), CardError> {
    let (name, after) = registry::idle(which)?;
    let mut card = registry::take(&name).ok_or(Unfit::NoneIdle)?;
    let Some(mut held) = network.hold() else {
        registry::put_back(&name, card);
        return Err(CardError::NotHeld(network));
    };
    let before = held.device().link();
    let ready = compare(&name, &before, &after).and_then(|adapted| {
        take_over(&mut *card, &before).map_err(|error| CardError::Card(name.clone(), error))?;
        Ok(adapted)
    });
    match ready {
        Ok(adapted) => {
            seat(&mut held, &name, card).map_err(CardError::Adopt)?;
            Ok((name, adapted))
        }
        Err(error) => {
            registry::put_back(&name, card);
            Err(error)
        }
    }
}

/// Puts a card, which was taken out of the list and serves, where none is.
pub fn seat(held: &mut net::Held, name: &str, card: Box<dyn NetDevice>) -> Result<(), StartError> {
    let link = card.link();
    match held.replace(card) {
        Ok(_absent) => {
            registry::activate(name, held.network(), &link);
            Ok(())
        }
        Err((error, card)) => {
            registry::put_back(name, card);
            Err(error)
        }
    }
}

/// Serves in the place of a card that is gone.
fn take_over(card: &mut dyn NetDevice, before: &LinkInfo) -> Result<(), LifecycleError> {
    card.import(&NetState::of(before).encode())?;
    card.resume()
}

/// Gives those networks a card whose own was pulled out, if there is an idle one.
pub fn replace_gone() {
    for network in Network::ALL.into_iter().filter(|network| registry::is_bereft(*network)) {
        match give(network, None) {
            Ok((name, adapted)) => {
                let adapted = adapted.iter().map(|what| format!("; {what}")).collect::<String>();
                log::warn!("the {network} network goes on with {name}{adapted}");
                EVENTS.push("device", format_args!("the {network} network goes on with {name}{adapted}"));
            }
            Err(CardError::Unfit(Unfit::NoneIdle)) => {}
            Err(error) => {
                log::error!("the {network} network stays without a card: {error}");
                EVENTS.push("device", format_args!("the {network} network stays without a card: {error}"));
            }
        }
    }
}
