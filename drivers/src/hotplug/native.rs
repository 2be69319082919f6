//! The slot of a PCI Express root port (PCI Express Base Specification 5.0, 6.7, 7.5.3.9 to 7.5.3.11).

use super::{Notice, wait};
use crate::pci::{ConfigSpace, Function};
use machine::time::{Duration, Instant};

const CAPABILITY: u8 = 0x10;

/// Offsets from the capability's.
mod register {
    pub const CAPABILITIES: u16 = 0x02;
    pub const LINK_CAPABILITIES: u16 = 0x0c;
    pub const LINK_STATUS: u16 = 0x12;
    pub const SLOT_CAPABILITIES: u16 = 0x14;
    pub const SLOT_CONTROL: u16 = 0x18;
    pub const SLOT_STATUS: u16 = 0x1a;
}

/// Bits of the slot's control register.
mod control {
    pub const BUTTON: u16 = 1;
    pub const POWER_FAULT: u16 = 1 << 1;
    pub const PRESENCE: u16 = 1 << 3;
    pub const INTERRUPT: u16 = 1 << 5;
    pub const POWER_INDICATOR: u16 = 3 << 8;
    pub const ON: u16 = 1 << 8;
    pub const BLINKS: u16 = 2 << 8;
    pub const OFF: u16 = 3 << 8;
    pub const POWER_OFF: u16 = 1 << 10;
    pub const LINK: u16 = 1 << 12;
}

/// Bits of its status register.
mod status {
    pub const BUTTON: u16 = 1;
    pub const POWER_FAULT: u16 = 1 << 1;
    pub const LATCH: u16 = 1 << 2;
    pub const PRESENCE: u16 = 1 << 3;
    pub const COMPLETED: u16 = 1 << 4;
    pub const PRESENT: u16 = 1 << 6;
    pub const LINK: u16 = 1 << 8;
    /// Those that are cleared by writing ones.
    pub const EVENTS: u16 = BUTTON | POWER_FAULT | LATCH | PRESENCE | COMPLETED | LINK;
}

const LINK_REPORTS: u32 = 1 << 20;
const LINK_ACTIVE: u16 = 1 << 13;
const HOT_PLUG: u32 = 1 << 6;
const NO_COMMAND_COMPLETED: u32 = 1 << 18;

/// How long a press of the button can be taken back (6.7.1.5).
const SECOND_THOUGHT: Duration = Duration::from_secs(5);
/// A command's completion, a link's training, a function's first answer (6.6.1, 6.7.3.2): each at most.
const PATIENCE: Duration = Duration::from_secs(1);
/// Events that follow each other without end are a broken port's.
const ROUNDS: usize = 16;

/// Why what was plugged in can't be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkError {
    /// The link does not come up.
    Down,
    /// Nothing answers behind it.
    Silent,
    /// The port itself is gone.
    NoPort,
}

impl core::fmt::Display for LinkError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Down => "its link does not come up",
            Self::Silent => "nothing answers behind its link",
            Self::NoPort => "the port is gone",
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Without power, or empty.
    Off,
    /// What is there was told of, and is not yet served.
    Told,
    /// The button was pressed without power; at that time it is meant.
    Coming(Instant),
    /// Served.
    On,
    /// The button was pressed; at that time it is meant.
    Leaving(Instant),
    /// It was told that it shall leave.
    Asked,
}

/// The slot behind a root port.
#[derive(Debug)]
pub struct Native {
    function: Function,
    /// The capability's offset.
    at: u16,
    number: u16,
    reports_link: bool,
    completes_commands: bool,
    state: State,
}

impl Native {
    /// The slot of a function, if it is a root port with one that is hot-plug capable.
    pub fn of(space: &dyn ConfigSpace, function: &Function) -> Option<Self> {
        let at = Self::root_port(space, function)?;
        let slot = space.read(function.address, at + register::SLOT_CAPABILITIES);
        if slot & HOT_PLUG == 0 || slot == u32::MAX {
            return None;
        }
        let link = space.read(function.address, at + register::LINK_CAPABILITIES);
        Some(Self {
            function: *function,
            at,
            number: (slot >> 19) as u16,
            reports_link: link & LINK_REPORTS != 0,
            completes_commands: slot & NO_COMMAND_COMPLETED == 0,
            state: State::Off,
        })
    }

    /// Whether a function is a root port with a slot; there is room for one device behind it. The capability's offset.
    pub fn root_port(space: &dyn ConfigSpace, function: &Function) -> Option<u16> {
        const SLOT: u16 = 1 << 8;
        let at = *function.capabilities(space, CAPABILITY).first()?;
        let flags = space.read_half(function.address, at + register::CAPABILITIES);
        (function.leads_on(space) && flags >> 4 & 15 == 4 && flags & SLOT != 0).then_some(at)
    }

    /// The root port.
    pub fn function(&self) -> &Function {
        &self.function
    }

    /// The number on the chassis.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// The message that the port signals by: of its MSI-X table, or its MSI.
    pub fn message(&self, space: &dyn ConfigSpace) -> u16 {
        space.read_half(self.function.address, self.at + register::CAPABILITIES) >> 9 & 31
    }

    /// Whether what is there is served.
    pub fn is_on(&self) -> bool {
        matches!(self.state, State::On | State::Leaving(_) | State::Asked)
    }

    /// When [`poll`](Self::poll) has something to tell without being called for.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Coming(at) | State::Leaving(at) => Some(at),
            _ => None,
        }
    }

    fn status(&self, space: &dyn ConfigSpace) -> u16 {
        space.read_half(self.function.address, self.at + register::SLOT_STATUS)
    }

    fn clear(&self, space: &dyn ConfigSpace, events: u16) {
        space.write_half(self.function.address, self.at + register::SLOT_STATUS, events);
    }

    /// Changes the control register, and waits until the slot has done it. One that never says so is not waited for for long.
    fn command(&self, space: &dyn ConfigSpace, set: u16, clear: u16) {
        let at = self.at + register::SLOT_CONTROL;
        let old = space.read_half(self.function.address, at);
        self.clear(space, status::COMPLETED);
        space.write_half(self.function.address, at, old & !clear | set);
        if self.completes_commands {
            wait(PATIENCE, || self.status(space) & status::COMPLETED != 0);
            self.clear(space, status::COMPLETED);
        }
    }

    fn indicate(&self, space: &dyn ConfigSpace, how: u16) {
        self.command(space, how, control::POWER_INDICATOR & !how);
    }

    /// Begins to listen. `is_served`: firmware has left it powered, and something behind it answers; otherwise what is there arrives with
    /// the next [`poll`](Self::poll).
    pub fn listen(&mut self, space: &dyn ConfigSpace, is_served: bool) {
        self.state = if is_served { State::On } else { State::Coming(Instant::now()) };
        self.clear(space, status::EVENTS & !status::PRESENCE);
        let events =
            control::BUTTON | control::POWER_FAULT | control::PRESENCE | control::LINK | control::INTERRUPT;
        if is_served {
            self.clear(space, status::PRESENCE);
            self.command(space, events | control::ON, control::POWER_OFF | control::POWER_INDICATOR);
        } else {
            self.command(space, events, 0);
        }
    }

    /// Ends that.
    pub fn ignore(&self, space: &dyn ConfigSpace) {
        self.command(space, 0, control::INTERRUPT);
    }

    /// What there is to tell. To be called until there is nothing more: only then the port signals again.
    pub fn poll(&mut self, space: &dyn ConfigSpace, now: Instant) -> Option<Notice> {
        let mut events = 0;
        let mut now_set = 0;
        for _ in 0..ROUNDS {
            now_set = self.status(space);
            if now_set == u16::MAX {
                let was_on = self.is_on();
                self.state = State::Off;
                return was_on.then_some(Notice::Gone);
            }
            if now_set & status::EVENTS == 0 {
                break;
            }
            events |= now_set & status::EVENTS;
            self.clear(space, now_set & status::EVENTS);
        }
        let is_present = now_set & status::PRESENT != 0;
        let has_changed = events & status::PRESENCE != 0;
        let is_pressed = events & status::BUTTON != 0;
        if self.is_on() {
            let is_cut = events & status::LINK != 0 && self.reports_link && !self.has_link(space);
            if !is_present || has_changed || is_cut {
                self.power_off(space);
                // What is there now is another one, or the same one anew.
                self.state = State::Coming(now);
                return Some(Notice::Gone);
            }
            if events & status::POWER_FAULT != 0 {
                self.power_off(space);
                return Some(Notice::Fault);
            }
        }
        match self.state {
            State::Told if is_present && !has_changed => None,
            State::Off | State::Told | State::Coming(_) if !is_present => {
                self.state = State::Off;
                None
            }
            // It was plugged in just now, whatever was pressed; or it was pressed with something in it.
            State::Off | State::Told | State::Coming(_) if has_changed => {
                self.state = State::Told;
                Some(Notice::Arrived)
            }
            State::Off if is_pressed => {
                self.state = State::Coming(now.saturating_add(SECOND_THOUGHT));
                self.indicate(space, control::BLINKS);
                None
            }
            State::Coming(_) if is_pressed => {
                self.state = State::Off;
                self.indicate(space, control::OFF);
                None
            }
            State::Coming(until) if now >= until => {
                self.state = State::Told;
                Some(Notice::Arrived)
            }
            State::On if is_pressed => {
                self.state = State::Leaving(now.saturating_add(SECOND_THOUGHT));
                self.indicate(space, control::BLINKS);
                Some(Notice::Pressed)
            }
            State::Leaving(_) if is_pressed => {
                self.keep(space);
                Some(Notice::Withdrawn)
            }
            State::Leaving(until) if now >= until => {
                self.state = State::Asked;
                Some(Notice::Asked)
            }
            _ => None,
        }
    }

    fn has_link(&self, space: &dyn ConfigSpace) -> bool {
        let link = space.read_half(self.function.address, self.at + register::LINK_STATUS);
        link != u16::MAX && link & LINK_ACTIVE != 0
    }

    /// Powers on what is there, and waits until it answers on `bus`.
    pub fn power_on(&mut self, space: &dyn ConfigSpace, bus: u8) -> Result<(), LinkError> {
        if self.status(space) == u16::MAX {
            return Err(LinkError::NoPort);
        }
        self.command(
            space,
            control::BLINKS,
            control::POWER_OFF | control::POWER_INDICATOR & !control::BLINKS,
        );
        let answer = || {
            let id = space.read(crate::pci::Address { bus, device: 0, function: 0 }, 0);
            // Vendor 0001h: it answers, but not yet with what it is (2.3.2).
            !matches!(id as u16, 0 | 1 | u16::MAX)
        };
        let up = if self.reports_link && !wait(PATIENCE, || self.has_link(space)) {
            Err(LinkError::Down)
        } else if !wait(PATIENCE, answer) {
            Err(LinkError::Silent)
        } else {
            Ok(())
        };
        // The link came up because it was told to.
        self.clear(space, status::LINK);
        match up {
            Ok(()) => self.keep(space),
            Err(_) => {
                self.power_off(space);
                self.state = State::Told;
            }
        }
        up
    }

    /// What is there is served, or goes on to be.
    pub fn keep(&mut self, space: &dyn ConfigSpace) {
        self.state = State::On;
        self.indicate(space, control::ON);
    }

    /// Powers the slot off: nobody drives what is there.
    pub fn power_off(&mut self, space: &dyn ConfigSpace) {
        self.state = State::Off;
        // Both at once: who sees it may pull it out.
        self.command(space, control::POWER_OFF | control::OFF, 0);
        self.clear(space, status::LINK);
    }
}
