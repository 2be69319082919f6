//! Devices that leave the list: let go, or pulled out.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use drivers::probe::Place;

use super::{Entry, REGISTRY, State};

/// Why a device does not leave.
pub struct InUse {
    /// Its name.
    pub name: String,
    /// Who has it.
    pub user: String,
}

impl core::fmt::Display for InUse {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} has {}", self.user, self.name)
    }
}

/// Lets all devices at these places go, or none if one of them is in use: they are halted, their drivers dropped, their interrupts freed. Their
/// names.
pub fn dismiss(places: &[Place]) -> Result<Vec<String>, InUse> {
    let mut registry = REGISTRY.lock();
    // One that is gone and waited for was in that place before.
    let is_there = |entry: &Entry| places.contains(&entry.place) && entry.state != State::Gone;
    for entry in registry.entries.iter().filter(|entry| is_there(entry)) {
        // A card that is taken out is about to be a network's, a disk that is promised somebody's.
        let is_taken = entry.state == State::Idle
            && (entry.interrupt.is_some() && entry.card.is_none() || entry.user.is_some());
        if entry.state == State::Active || is_taken {
            let user = entry.user.clone().unwrap_or_else(|| "a swap".to_string());
            return Err(InUse { name: entry.name.clone(), user });
        }
    }
    let leaving: Vec<_> = registry.entries.extract_if(.., |entry| is_there(entry)).collect();
    drop(registry);
    let mut names = Vec::new();
    for mut entry in leaving {
        if let Some(card) = &mut entry.card {
            card.halt();
        }
        names.push(entry.name);
    }
    Ok(names)
}

/// The device at a place was pulled out: nothing of it is touched any more. Its name, and who had it. A network goes on without a card; the requests
/// of a disk end.
pub fn gone(place: Place) -> Option<(String, Option<String>)> {
    let mut registry = REGISTRY.lock();
    let at = registry.entries.iter().position(|entry| entry.place == place && entry.state != State::Gone)?;
    let entry = &mut registry.entries[at];
    let (name, user) = (entry.name.clone(), entry.user.clone());
    if let Some(completion) = &entry.completion {
        completion.lose();
    }
    if entry.state != State::Active {
        let mut entry = registry.entries.remove(at);
        drop(registry);
        if let Some(card) = &mut entry.card {
            card.abandon();
        }
        return Some((name, user));
    }
    entry.state = State::Gone;
    let network = entry.owner.network();
    let interrupt = entry.interrupt.take();
    drop(registry);
    if let Some(network) = network
        && let Some(mut held) = network.hold()
    {
        held.bereave().abandon();
    }
    drop(interrupt);
    Some((name, user))
}
