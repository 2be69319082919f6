//! A planned change of a network's card. The new one learns what it needs and listens while the old one still serves; then the network goes on
//! with it, and the old one rests once nothing comes to it any more. Where that fails before the network has gone on, the old one has served all
//! the time. Pure: it knows cards and where they sit, and no hardware, network or clock.

use alloc::boxed::Box;
use core::fmt;

use crate::{DeviceState, LifecycleError, NetDevice};

/// A step, in their order. Until `Replace` is made nothing has happened that anybody could see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The old one says what its successor needs.
    Export,
    /// The new one takes that.
    Import,
    /// The new one listens.
    Resume,
    /// The new one has a carrier, if the old one has.
    Connect,
    /// The network goes on with the new one.
    Replace,
    /// The old one finishes what is in flight.
    Quiesce,
}

impl Step {
    /// All, in their order.
    pub const ALL: [Self; 6] =
        [Self::Export, Self::Import, Self::Resume, Self::Connect, Self::Replace, Self::Quiesce];

    /// In a word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Export => "export",
            Self::Import => "import",
            Self::Resume => "resume",
            Self::Connect => "connect",
            Self::Replace => "replace",
            Self::Quiesce => "quiesce",
        }
    }
}

/// Where a network's card is. The network goes on between two calls.
pub trait Seat {
    /// Why a card can't be adopted.
    type Refusal: fmt::Display;

    /// Looks at the card that is in it.
    fn look<R>(&mut self, look: impl FnOnce(&dyn NetDevice) -> R) -> R;

    /// Waits until a card that was just resumed takes in what comes, and has a carrier if one is wanted, as long as is reasonable; whether it does.
    fn wait_for(&mut self, card: &dyn NetDevice, carrier: bool) -> bool;

    /// Goes on with another card, and gives back the one before, which still runs; or the other, if it can't.
    fn replace(&mut self, card: Box<dyn NetDevice>) -> Result<Box<dyn NetDevice>, Rejected<Self::Refusal>>;

    /// Takes in what still comes to the card before, until nothing does.
    fn drain(&mut self, old: &mut dyn NetDevice);
}

/// A card that was not adopted, and why.
pub type Rejected<R> = (R, Box<dyn NetDevice>);

/// Why a step did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason<R> {
    /// It is not wished any more.
    Cancelled,
    /// A card has not done its part.
    Card(LifecycleError),
    /// There is no carrier.
    NoCarrier,
    /// The network does not adopt the card.
    Refused(R),
}

impl<R: fmt::Display> fmt::Display for Reason<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancelled => f.write_str("cancelled"),
            Self::Card(error) => error.fmt(f),
            Self::NoCarrier => f.write_str("it has no carrier"),
            Self::Refused(refusal) => refusal.fmt(f),
        }
    }
}

impl<R> From<LifecycleError> for Reason<R> {
    fn from(error: LifecycleError) -> Self {
        Self::Card(error)
    }
}

/// A card whose place another one has taken.
pub struct Released {
    /// Quiesced, or halted where it can't be.
    pub card: Box<dyn NetDevice>,
    /// Why it can't be.
    pub failed: Option<LifecycleError>,
}

/// A swap that did not happen: the old card serves as before.
pub struct Failure<R> {
    /// The step that failed.
    pub step: Step,
    /// Why.
    pub why: Reason<R>,
    /// The new card: quiesced, or halted where it can't be.
    pub card: Box<dyn NetDevice>,
}

/// Puts a card that is quiesced in the place of the one that is there. `go_on` hears of each step before it is made, and says until the network
/// goes on with the new card whether it is still wished.
pub fn swap<S: Seat>(
    seat: &mut S,
    card: Box<dyn NetDevice>,
    mut go_on: impl FnMut(Step) -> bool,
) -> Result<Released, Failure<S::Refusal>> {
    let mut step = Step::Export;
    let mut begin = |next| {
        step = next;
        if go_on(next) { Ok(()) } else { Err(Reason::Cancelled) }
    };
    match attempt(seat, card, &mut begin) {
        Ok(mut old) => {
            // It is done: there is no way back.
            let _ = begin(Step::Quiesce);
            seat.drain(&mut *old);
            Ok(rest(old))
        }
        Err((why, card)) => Err(Failure { step, why, card: rest(card).card }),
    }
}

/// Brings a card to rest.
fn rest(mut card: Box<dyn NetDevice>) -> Released {
    let failed = if card.state() == DeviceState::Running { card.quiesce().err() } else { None };
    if failed.is_some() {
        card.halt();
    }
    Released { card, failed }
}

fn attempt<S: Seat>(
    seat: &mut S,
    mut card: Box<dyn NetDevice>,
    begin: &mut dyn FnMut(Step) -> Result<(), Reason<S::Refusal>>,
) -> Result<Box<dyn NetDevice>, Rejected<Reason<S::Refusal>>> {
    if let Err(why) = prepare(seat, &mut *card, begin) {
        return Err((why, card));
    }
    seat.replace(card).map_err(|(refusal, card)| (Reason::Refused(refusal), card))
}

fn prepare<S: Seat>(
    seat: &mut S,
    card: &mut dyn NetDevice,
    begin: &mut dyn FnMut(Step) -> Result<(), Reason<S::Refusal>>,
) -> Result<(), Reason<S::Refusal>> {
    begin(Step::Export)?;
    let (state, has_carrier) = seat.look(|old| (old.export(), old.link_up()));
    let state = state?;
    begin(Step::Import)?;
    card.import(&state)?;
    begin(Step::Resume)?;
    card.resume()?;
    begin(Step::Connect)?;
    if !seat.wait_for(card, has_carrier) {
        return Err(Reason::NoCarrier);
    }
    begin(Step::Replace)
}

#[cfg(test)]
mod tests;
