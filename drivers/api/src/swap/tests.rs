extern crate std;

use std::boxed::Box;
use std::format;
use std::string::ToString;
use std::sync::{Arc, Mutex};
use std::vec::Vec;

use super::*;
use crate::failing::{FailingNet, Plan};
use crate::{
    DeviceState, Driver, ExportedState, LinkInfo, MacAddr, NetState, Offloads, RxFrame, TransmitError, TxMeta,
};

const OLD: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const NEW: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

/// A card that writes down what is asked of it.
struct Card {
    name: &'static str,
    link: LinkInfo,
    state: DeviceState,
    has_carrier: bool,
    resumes: bool,
    calls: Arc<Mutex<Vec<&'static str>>>,
}

impl Driver for Card {
    fn driver_name(&self) -> &'static str {
        self.name
    }
    fn standing(&self) -> DeviceState {
        self.state
    }
    fn stand(&mut self, state: DeviceState) {
        self.state = state;
    }
    fn stop(&mut self) -> Result<(), LifecycleError> {
        self.calls.lock().unwrap().push("stop");
        Ok(())
    }
    fn describe(&self) -> ExportedState {
        NetState::of(&self.link).encode()
    }
    fn accept(&mut self, state: &ExportedState) -> Result<(), LifecycleError> {
        self.link.mac = NetState::decode(state)?.mac;
        Ok(())
    }
    fn start(&mut self) -> Result<(), LifecycleError> {
        self.calls.lock().unwrap().push("start");
        if self.resumes { Ok(()) } else { Err(LifecycleError::Timeout) }
    }
}

impl NetDevice for Card {
    fn link(&self) -> LinkInfo {
        self.link
    }
    fn link_up(&self) -> bool {
        self.has_carrier
    }
    fn receive(&mut self) -> Option<RxFrame> {
        None
    }
    fn recycle(&mut self, _: RxFrame) {}
    fn can_transmit(&mut self) -> bool {
        true
    }
    fn transmit(&mut self, _: usize, _: &mut dyn FnMut(&mut [u8]) -> TxMeta) -> Result<(), TransmitError> {
        Ok(())
    }
    fn flush(&mut self) {}
    fn set_interrupts(&mut self, _: bool) -> bool {
        false
    }
}

/// A network that has a card.
struct Place(Box<dyn NetDevice>);

impl Seat for Place {
    type Refusal = &'static str;

    fn card(&mut self) -> &mut dyn NetDevice {
        &mut *self.0
    }

    fn wait_for_carrier(&mut self, card: &dyn NetDevice) -> bool {
        card.link_up()
    }

    fn replace(&mut self, card: Box<dyn NetDevice>) -> Result<Box<dyn NetDevice>, Rejected<&'static str>> {
        if card.link().mac.0[0] & 1 != 0 {
            return Err(("an address of a group", card));
        }
        Ok(core::mem::replace(&mut self.0, card))
    }
}

fn card(name: &'static str, mac: MacAddr, state: DeviceState) -> Card {
    let link = LinkInfo { mac, mtu: 1500, offloads: Offloads::default() };
    Card { name, link, state, has_carrier: true, resumes: true, calls: Arc::default() }
}

/// A network with the old card, and the new one beside it.
fn setting() -> (Card, Card) {
    (card("old", OLD, DeviceState::Running), card("new", NEW, DeviceState::Quiesced))
}

fn failing(card: Card) -> (Box<dyn NetDevice>, &'static Plan) {
    let plan = Box::leak(Box::new(Plan::new()));
    (Box::new(FailingNet::new(Box::new(card), plan)), plan)
}

/// The old one serves, under its address, and the new one rests.
fn assert_undone(place: &mut Place, failure: &Failure<&'static str>) {
    let old = place.card();
    assert_eq!((old.name(), old.state(), old.link().mac), ("old", DeviceState::Running, OLD));
    assert_eq!((failure.card.name(), failure.card.state()), ("new", DeviceState::Quiesced));
    assert_eq!(failure.lost, None);
}

#[test]
fn the_new_card_takes_the_place_and_the_address() {
    let (old, new) = setting();
    let mut place = Place(Box::new(old));
    let mut steps = Vec::new();
    let begin = |step| {
        steps.push(step);
        true
    };
    let old = swap(&mut place, Box::new(new), begin).map_err(|failure| failure.why).unwrap();
    assert_eq!((old.name(), old.state()), ("old", DeviceState::Quiesced));
    let new = place.card();
    assert_eq!((new.name(), new.state(), new.link().mac), ("new", DeviceState::Running, OLD));
    assert_eq!(steps, Step::ALL);
    // And back: what was released can be used again.
    let new = swap(&mut place, old, |_| true).map_err(|failure| failure.why).unwrap();
    assert_eq!((new.name(), place.card().name()), ("new", "old"));
}

#[test]
fn whatever_step_fails_the_old_card_serves_on() {
    for step in Step::ALL {
        let (old, new) = setting();
        let is_old = matches!(step, Step::Quiesce | Step::Export);
        let (mut place, new, plan) = if is_old {
            let (old, plan) = failing(old);
            (Place(old), Box::new(new) as Box<dyn NetDevice>, plan)
        } else {
            let (new, plan) = failing(new);
            (Place(Box::new(old)), new, plan)
        };
        plan.fail_at(Some(step));
        let failure = swap(&mut place, new, |_| true).err().unwrap();
        assert_eq!(failure.step, step);
        assert_undone(&mut place, &failure);
        let expected = match step {
            Step::Connect => "it has no carrier",
            Step::Replace => "an address of a group",
            _ => "it did not answer in time",
        };
        assert_eq!(failure.why.to_string(), expected, "{step:?}");
        // It has failed once; the next time it is done.
        plan.fail_at(None);
        assert!(swap(&mut place, failure.card, |_| true).is_ok(), "{step:?}");
    }
}

#[test]
fn it_is_cancelled_at_any_step_before_the_last_is_made() {
    for last in Step::ALL {
        let (old, new) = setting();
        let mut place = Place(Box::new(old));
        let failure = swap(&mut place, Box::new(new), |step| step < last).err().unwrap();
        assert_eq!((failure.step, failure.why), (last, Reason::Cancelled));
        assert_undone(&mut place, &failure);
    }
}

#[test]
fn nothing_is_done_to_the_old_card_before_it_is_asked_to_rest() {
    let (old, new) = setting();
    let calls = old.calls.clone();
    let mut place = Place(Box::new(old));
    assert!(swap(&mut place, Box::new(new), |_| false).is_err());
    assert_eq!(*calls.lock().unwrap(), [""; 0]);
}

#[test]
fn without_a_carrier_before_none_is_wanted() {
    let (mut old, mut new) = setting();
    (old.has_carrier, new.has_carrier) = (false, false);
    let mut place = Place(Box::new(old));
    assert!(swap(&mut place, Box::new(new), |_| true).is_ok());
}

#[test]
fn an_old_card_that_does_not_come_back_is_told_of() {
    let (mut old, mut new) = setting();
    (old.resumes, new.has_carrier) = (false, false);
    let mut place = Place(Box::new(old));
    let failure = swap(&mut place, Box::new(new), |_| true).err().unwrap();
    assert_eq!((failure.step, failure.lost), (Step::Connect, Some(LifecycleError::Timeout)));
    assert_eq!(failure.card.state(), DeviceState::Quiesced);
}

#[test]
fn steps_have_names_of_their_own() {
    for (index, step) in Step::ALL.iter().enumerate() {
        assert!(
            Step::ALL[..index].iter().all(|other| other.name() != step.name()),
            "{}",
            format!("{step:?}")
        );
    }
}
