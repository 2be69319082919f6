//! A card's registers, away in guest mode while nobody is to touch them: what its driver would still do reaches no device.

use super::modes::{self, Absorbed};
use crate::devices::registry;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use drivers::pci::Bar;
use machine::journal::EVENTS;
use serde::Serialize;

/// What is away of a card, until it is given back.
pub struct Away {
    card: String,
    absorbed: Absorbed,
}

/// What was away, as it is told.
#[derive(Clone, Debug, Serialize)]
pub struct Told {
    /// Pages of registers that were absorbed, each of which read as ones.
    absorbed_pages: u64,
    /// What can't be: ports, and pages that may be others', too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    not_absorbed: Vec<String>,
}

impl Told {
    /// In words.
    pub fn text(&self) -> String {
        let pages = match self.absorbed_pages {
            0 => "none".to_string(),
            1 => "1 page".to_string(),
            pages => format!("{pages} pages"),
        };
        let others = self.not_absorbed.join(", ");
        let others = if others.is_empty() { others } else { format!(" ({others} can't be)") };
        format!("{pages} of its registers absorbed{others}")
    }
}

/// Takes the registers of a card away that serves nobody. In guest mode. Nothing is away where it has none that can be.
pub fn absorb(card: &str) -> Result<(Option<Away>, Told), String> {
    let result = take_away(card);
    match &result {
        Ok((_, told)) => EVENTS.push("device", format_args!("{card}: {}", told.text())),
        Err(why) => EVENTS.push("device", format_args!("{card}: its registers are not absorbed: {why}")),
    }
    result
}

fn take_away(card: &str) -> Result<(Option<Away>, Told), String> {
    let reach = registry::reach(card).unwrap_or_default();
    let not_absorbed = reach.others.iter().map(Bar::to_string).collect();
    if reach.pages.is_empty() {
        return Ok((None, Told { absorbed_pages: 0, not_absorbed }));
    }
    let absorbed = modes::absorb(&reach.pages)?;
    #[cfg(feature = "app-faults")]
    if super::swap::faults::takes_interpose() {
        return Err("it was to fail".to_string());
    }
    // It happened, and was not only asked for.
    if !reach.is_ones() {
        return Err("they do not read as ones".to_string());
    }
    let told = Told { absorbed_pages: absorbed.pages(), not_absorbed };
    Ok((Some(Away { card: card.to_string(), absorbed }), told))
}

impl Away {
    /// Gives them back.
    pub fn release(self) -> Result<(), String> {
        let Self { card, absorbed } = self;
        absorbed.release().map_err(|error| error.to_string())?;
        EVENTS.push("device", format_args!("{card}: its registers were released"));
        Ok(())
    }
}
