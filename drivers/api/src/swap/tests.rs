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

impl Place {
    fn card(&self) -> &dyn NetDevice {
        &*self.0
    }
}

impl Seat for Place {
    type Refusal = &'static str;

    fn look<R>(&mut self, look: impl FnOnce(&dyn NetDevice) -> R) -> R {
        look(&*self.0)
    }

    fn wait_for(&mut self, card: &dyn NetDevice, carrier: bool) -> bool {
        assert_eq!(card.state(), DeviceState::Running);
        card.link_up() || !carrier
    }

    /// What is under way to the old one is taken in while both run.
    fn drain(&mut self, old: &mut dyn NetDevice) {
        assert_eq!([self.0.state(), old.state()], [DeviceState::Running; 2]);
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
fn assert_undone(place: &Place, failure: &Failure<&'static str>) {
    let old = place.card();
    assert_eq!((old.name(), old.state(), old.link().mac), ("old", DeviceState::Running, OLD));
    assert_eq!((failure.card.name(), failure.card.state()), ("new", DeviceState::Quiesced));
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
    let Released { card: old, failed } =
        swap(&mut place, Box::new(new), begin).map_err(|failure| failure.why).unwrap();
    assert_eq!((old.name(), old.state(), failed), ("old", DeviceState::Quiesced, None));
    let new = place.card();
    assert_eq!((new.name(), new.state(), new.link().mac), ("new", DeviceState::Running, OLD));
    assert_eq!(steps, Step::ALL);
    // And back: what was released can be used again.
    let new = swap(&mut place, old, |_| true).map_err(|failure| failure.why).unwrap();
    assert_eq!((new.card.name(), place.card().name()), ("new", "old"));
}

/// Steps that can be undone.
const UNDONE: [Step; 5] = [Step::Export, Step::Import, Step::Resume, Step::Connect, Step::Replace];

#[test]
fn whatever_step_fails_the_old_card_has_served_all_the_time() {
    for step in UNDONE {
        let (old, new) = setting();
        let calls = old.calls.clone();
        let (mut place, new, plan) = if step == Step::Export {
            let (old, plan) = failing(old);
            (Place(old), Box::new(new) as Box<dyn NetDevice>, plan)
        } else {
            let (new, plan) = failing(new);
            (Place(Box::new(old)), new, plan)
        };
        plan.fail_at(Some(step));
        let failure = swap(&mut place, new, |_| true).err().unwrap();
        assert_eq!(failure.step, step);
        assert_undone(&place, &failure);
        assert_eq!(*calls.lock().unwrap(), [""; 0], "{step:?}");
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
fn an_old_card_that_does_not_rest_is_told_of_and_halted() {
    let (old, new) = setting();
    let (old, plan) = failing(old);
    let mut place = Place(old);
    plan.fail_at(Some(Step::Quiesce));
    let Released { card, failed } =
        swap(&mut place, Box::new(new), |_| true).map_err(|failure| failure.why).unwrap();
    assert_eq!((card.state(), failed), (DeviceState::Halted, Some(LifecycleError::Timeout)));
    assert_eq!((place.card().name(), place.card().state()), ("new", DeviceState::Running));
}

#[test]
fn it_is_cancelled_at_any_step_until_the_network_has_gone_on() {
    for last in UNDONE {
        let (old, new) = setting();
        let calls = old.calls.clone();
        let mut place = Place(Box::new(old));
        let failure = swap(&mut place, Box::new(new), |step| step < last).err().unwrap();
        assert_eq!((failure.step, failure.why), (last, Reason::Cancelled));
        assert_undone(&place, &failure);
        assert_eq!(*calls.lock().unwrap(), [""; 0]);
    }
    let (old, new) = setting();
    let mut place = Place(Box::new(old));
    assert!(swap(&mut place, Box::new(new), |step| step < Step::Quiesce).is_ok());
}

#[test]
fn without_a_carrier_before_none_is_wanted() {
    let (mut old, mut new) = setting();
    (old.has_carrier, new.has_carrier) = (false, false);
    let mut place = Place(Box::new(old));
    assert!(swap(&mut place, Box::new(new), |_| true).is_ok());
}

#[test]
fn a_new_card_that_does_not_start_is_at_rest() {
    let (old, mut new) = setting();
    new.resumes = false;
    let mut place = Place(Box::new(old));
    let failure = swap(&mut place, Box::new(new), |_| true).err().unwrap();
    assert_eq!((failure.step, failure.why), (Step::Resume, Reason::Card(LifecycleError::Timeout)));
    assert_undone(&place, &failure);
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
