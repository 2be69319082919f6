//! The one mode of a machine whose image has no VMM.

use super::mode::Mode;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use control::request::{Switch, Target};
use core::ops::Range;
use net::ssh::exit;
use serde::Serialize;

const ABSENT: &str = "the VMM was left out of this image";

/// Always the same.
pub fn mode() -> Mode {
    Mode {
        mode: "native",
        vendor: None,
        nested: false,
        generation: super::changes::generation(),
        switches: 0,
        last: None,
        refusal: super::changes::refusal(),
        exits: BTreeMap::new(),
        unavailable: Some(ABSENT.to_string()),
    }
}

/// Nothing is counted here.
pub fn measured(_: bool) -> Result<metrics::snapshot::Modes, String> {
    Err(ABSENT.to_string())
}

/// There are none.
pub fn marks() -> [&'static str; 0] {
    []
}

/// There are none.
pub fn events() -> Vec<metrics::json::Event> {
    Vec::new()
}

/// What a switch came to: exit status, whether the mode has changed, and why not.
pub fn carry_out(switch: &Switch) -> (u8, bool, Option<String>) {
    match switch.target {
        Target::Native => (exit::DONE, false, None),
        Target::Guest | Target::Toggle => (exit::REFUSED, false, Some(ABSENT.to_string())),
    }
}

/// There is no VMM.
pub fn check() -> Result<(), String> {
    Err(ABSENT.to_string())
}

/// There is no other mode.
pub fn enter() -> Result<bool, &'static str> {
    Err(ABSENT)
}

/// There is no other mode.
pub fn leave() -> Result<(), &'static str> {
    Err(ABSENT)
}

/// Registers that are away: there are none here.
pub enum Absorbed {}

impl Absorbed {
    /// How many pages that are.
    pub fn pages(&self) -> u64 {
        match *self {}
    }

    /// Gives them back.
    pub fn release(self) -> Result<(), &'static str> {
        match self {}
    }
}

/// Nothing can be taken away here.
pub fn absorb(_: &[Range<u64>]) -> Result<Absorbed, String> {
    Err(ABSENT.to_string())
}

/// The last switches: none.
#[derive(Serialize)]
pub struct Trace {
    hertz: u64,
    switches: Vec<u64>,
}

/// None.
pub fn trace() -> Trace {
    Trace { hertz: machine::time::tsc_hertz(), switches: Vec::new() }
}

impl Trace {
    /// Always the same.
    pub fn text(&self) -> String {
        "no switches yet\n".to_string()
    }
}
