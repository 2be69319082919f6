//! A planned change of a network's card: the old one finishes and tells the new one what it needs; where that fails at any step, the old one
//! serves on. Pure: it knows cards and where they sit, and no hardware, network or clock.

use alloc::boxed::Box;
use core::fmt;

use crate::{DeviceState, LifecycleError, NetDevice};

/// A step, in their order. Until the end of the last one it can be undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The old one finishes what is in flight.
    Quiesce,
    /// The old one says what its successor needs.
    Export,
    /// The new one takes that.
    Import,
    /// The new one serves.
    Resume,
    /// The new one has a carrier, if the old one had.
    Connect,
    /// The network adopts the new one.
    Replace,
}

impl Step {
    /// All, in their order.
    pub const ALL: [Self; 6] =
        [Self::Quiesce, Self::Export, Self::Import, Self::Resume, Self::Connect, Self::Replace];

    /// In a word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Quiesce => "quiesce",
            Self::Export => "export",
            Self::Import => "import",
            Self::Resume => "resume",
            Self::Connect => "connect",
            Self::Replace => "replace",
        }
    }
}

/// Where a network's card is: a network that is held, so that nobody else uses it.
pub trait Seat {
    /// Why a card can't be adopted.
    type Refusal: fmt::Display;

    /// The card that is in it.
    fn card(&mut self) -> &mut dyn NetDevice;

    /// Waits until a card has a carrier, as long as is reasonable; whether it has.
    fn wait_for_carrier(&mut self, card: &dyn NetDevice) -> bool;

    /// Goes on with another card, and gives back the one before; or the other, if it can't.
    fn replace(&mut self, card: Box<dyn NetDevice>) -> Result<Box<dyn NetDevice>, Rejected<Self::Refusal>>;
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

/// A swap that did not happen.
pub struct Failure<R> {
    /// The step that failed.
    pub step: Step,
    /// Why.
    pub why: Reason<R>,
    /// The new card: quiesced, or halted where it can't be.
    pub card: Box<dyn NetDevice>,
    /// Why the old one does not serve again. It should: nothing that was done to it is final.
    pub lost: Option<LifecycleError>,
}

/// Puts a card that is quiesced in the place of the one that is there, and returns that one, quiesced. `go_on` hears of each step before it
/// is made, and says whether it is still wished.
pub fn swap<S: Seat>(
    seat: &mut S,
    card: Box<dyn NetDevice>,
    mut go_on: impl FnMut(Step) -> bool,
) -> Result<Box<dyn NetDevice>, Failure<S::Refusal>> {
    let mut step = Step::Quiesce;
    let mut begin = |next| {
        step = next;
        if go_on(next) { Ok(()) } else { Err(Reason::Cancelled) }
    };
    let (why, mut card) = match attempt(seat, card, &mut begin) {
        Ok(old) => return Ok(old),
        Err(rejected) => rejected,
    };
    if card.state() == DeviceState::Running && card.quiesce().is_err() {
        card.halt();
    }
    let old = seat.card();
    let lost = if old.state() == DeviceState::Running { None } else { old.resume().err() };
    Err(Failure { step, why, card, lost })
}

fn attempt<S: Seat>(
    seat: &mut S,
    mut card: Box<dyn NetDevice>,
    begin: &mut dyn FnMut(Step) -> Result<(), Reason<S::Refusal>>,
) -> Result<Box<dyn NetDevice>, Rejected<Reason<S::Refusal>>> {
    if let Err(why) = hand_over(seat, &mut *card, begin) {
        return Err((why, card));
    }
    seat.replace(card).map_err(|(refusal, card)| (Reason::Refused(refusal), card))
}

fn hand_over<S: Seat>(
    seat: &mut S,
    card: &mut dyn NetDevice,
    begin: &mut dyn FnMut(Step) -> Result<(), Reason<S::Refusal>>,
) -> Result<(), Reason<S::Refusal>> {
    let old = seat.card();
    let had_carrier = old.link_up();
    begin(Step::Quiesce)?;
    old.quiesce()?;
    begin(Step::Export)?;
    let state = old.export()?;
    begin(Step::Import)?;
    card.import(&state)?;
    begin(Step::Resume)?;
    card.resume()?;
    begin(Step::Connect)?;
    if had_carrier && !seat.wait_for_carrier(card) {
        return Err(Reason::NoCarrier);
    }
    begin(Step::Replace)
}

#[cfg(test)]
mod tests;
