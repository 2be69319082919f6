//! The devices there are: where each is, what drives it, and who has it.
//!
//! Whoever gives a card to a network, or takes one away, does it through this list: at boot, in a system that was restored, in a swap, and when
//! something is plugged in. A card that no network has is here itself, quiesced; one that a network has is there, and its interrupt is here.

mod leaving;

pub use leaving::{InUse, dismiss, gone};

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicU8, Ordering};
use drivers::block::Completion;
use drivers::pci::Reach;
use drivers::probe::{Attached, Class, Place, ProbeError, Wake};
use drivers_api::{DeviceState, LinkInfo, NetDevice};
use machine::irq::Irq;
use machine::sync::SpinLock;
use net::Network;
use serde::Serialize;

/// The network that a card's interrupt wakes.
#[derive(Clone, Debug, Default)]
pub struct Owner(Arc<AtomicU8>);

impl Owner {
    /// Nobody yet, and what its interrupt does.
    pub fn new() -> (Self, Wake) {
        let owner = Self::default();
        let woken = owner.clone();
        (owner, Arc::new(move || woken.wake()))
    }

    fn wake(&self) {
        if let Some(network) = self.network() {
            network.interrupt();
        }
    }

    fn network(&self) -> Option<Network> {
        Network::ALL.get(usize::from(self.0.load(Ordering::Acquire)).wrapping_sub(1)).copied()
    }

    fn set(&self, network: Option<Network>) {
        let place = Network::ALL.iter().position(|each| Some(*each) == network);
        self.0.store(place.map_or(0, |place| place as u8 + 1), Ordering::Release);
    }
}

/// Who has a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its network, or whoever uses the disk.
    Active,
    /// Nobody. It has a driver, which is quiesced.
    Idle,
    /// Nobody: it can't be brought to rest, or its driver has given up on it; or it is a disk that can't be used.
    Failed,
    /// It was pulled out while somebody had it, who waits for another.
    Gone,
}

impl State {
    /// In a word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Idle => "idle",
            Self::Failed => "failed",
            Self::Gone => "gone",
        }
    }
}

/// A device, as it is told of.
#[derive(Clone, Debug, Serialize)]
pub struct Found {
    /// What operators call it: `net0`, `disk0`.
    pub name: String,
    /// Where it is: `pci:0000:00:05.0`.
    pub place: String,
    /// What drives it.
    pub driver: &'static str,
    /// [`State`], in a word.
    pub state: &'static str,
    /// Who has it.
    pub user: Option<String>,
    /// Its address and network, or its size.
    pub what: String,
}

struct Entry {
    name: String,
    place: Place,
    driver: &'static str,
    state: State,
    user: Option<String>,
    /// What it is by itself: a card's address, a disk's size.
    what: String,
    /// What it is for, behind that.
    uses: String,
    /// Its interrupt, if it is not its user's to keep: it lives as long as the device is here.
    interrupt: Option<Irq>,
    /// The network that a network card's interrupt wakes.
    owner: Owner,
    /// The link of a network card.
    link: Option<LinkInfo>,
    /// Where its registers are; nothing is known of a disk's.
    reach: Reach,
    /// A network card that no network has.
    card: Option<Box<dyn NetDevice>>,
    /// Who is told that a disk was pulled out.
    completion: Option<Completion>,
}

impl Entry {
    /// A disk that nobody uses.
    fn disk(name: String, place: Place, driver: &'static str, what: String) -> Self {
        Self {
            name,
            place,
            driver,
            state: State::Idle,
            user: None,
            what,
            uses: String::new(),
            interrupt: None,
            owner: Owner::default(),
            link: None,
            reach: Reach::default(),
            card: None,
            completion: None,
        }
    }

    /// Whether this is its name or place. One that is gone has no place any more.
    fn is(&self, which: &str) -> bool {
        self.name == which || self.state != State::Gone && self.place.to_string() == which
    }

    /// Whether this network had it when it was pulled out.
    fn was_of(&self, network: Network) -> bool {
        self.state == State::Gone && self.owner.network() == Some(network)
    }

    fn found(&self) -> Found {
        Found {
            name: self.name.clone(),
            place: self.place.to_string(),
            driver: self.driver,
            state: self.state.name(),
            user: self.user.clone(),
            what: format!("{}{}", self.what, self.uses),
        }
    }

    fn become_idle(&mut self, card: Box<dyn NetDevice>) {
        self.state = State::Idle;
        self.user = None;
        self.what = told(&card.link());
        self.uses.clear();
        self.link = Some(card.link());
        self.owner.set(None);
        self.card = Some(card);
    }
}

/// Why a device is not what is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// There is none of this name, or at this place.
    Unknown(String),
    /// It is a disk.
    NoCard(String),
    /// No network has it.
    NotActive(String, State),
    /// It is not there to be used.
    NotIdle(String, State),
    /// There is no card that no network has.
    NoneIdle,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(which) => write!(f, "there is no device {which}"),
            Self::NoCard(name) => write!(f, "{name} is no network card"),
            Self::NotActive(name, state) => write!(f, "{name} is {}: no network has it", state.name()),
            Self::NotIdle(name, state) => {
                write!(f, "{name} is {}: only an idle card can be used", state.name())
            }
            Self::NoneIdle => f.write_str("there is no idle network card"),
        }
    }
}

/// All that are here, and how many have been.
struct Registry {
    entries: Vec<Entry>,
    cards: usize,
    disks: usize,
}

impl Registry {
    const EMPTY: Self = Self { entries: Vec::new(), cards: 0, disks: 0 };

    /// A name that no other device has, or has had.
    fn name(&mut self, class: Class) -> String {
        let (kind, count) = match class {
            Class::Network => ("net", &mut self.cards),
            Class::Disk => ("disk", &mut self.disks),
        };
        *count += 1;
        format!("{kind}{}", *count - 1)
    }

    /// A network card, by name or place.
    fn card(&self, which: &str) -> Result<(&Entry, LinkInfo), Unfit> {
        let entry = self
            .entries
            .iter()
            .find(|entry| entry.is(which))
            .ok_or_else(|| Unfit::Unknown(which.to_string()))?;
        entry.link.map(|link| (entry, link)).ok_or_else(|| Unfit::NoCard(entry.name.clone()))
    }

    fn find(&mut self, name: &str) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.name == name)
    }
}

/// Where the next card fails, for tests.
#[cfg(feature = "app-faults")]
pub static FAILS: drivers_api::failing::Plan = drivers_api::failing::Plan::new();

static REGISTRY: SpinLock<Registry> = SpinLock::new(Registry::EMPTY);

fn told(link: &LinkInfo) -> String {
    format!("{}, MTU {}", link.mac, link.mtu)
}

/// All devices that have a driver.
pub fn list() -> Vec<Found> {
    REGISTRY.lock().entries.iter().map(Entry::found).collect()
}

/// The name of a disk, by name or place.
pub fn disk(which: &str) -> Option<String> {
    let registry = REGISTRY.lock();
    let entry = registry.entries.iter().find(|entry| entry.is(which))?;
    entry.link.is_none().then(|| entry.name.clone())
}

/// A card that a network has, by name or place: its name, its link, and which network.
pub fn active(which: &str) -> Result<(String, LinkInfo, Network), Unfit> {
    let registry = REGISTRY.lock();
    let (entry, link) = registry.card(which)?;
    let network = entry.owner.network().filter(|_| entry.state == State::Active);
    let network = network.ok_or_else(|| Unfit::NotActive(entry.name.clone(), entry.state))?;
    Ok((entry.name.clone(), link, network))
}

/// A card that no network has, by name or place, else the first: its name and link.
pub fn idle(which: Option<&str>) -> Result<(String, LinkInfo), Unfit> {
    let registry = REGISTRY.lock();
    let is_idle = |entry: &Entry| entry.state == State::Idle && entry.card.is_some();
    let Some(which) = which else {
        let next = registry.entries.iter().find(|entry| is_idle(entry));
        return next.and_then(|entry| Some((entry.name.clone(), entry.link?))).ok_or(Unfit::NoneIdle);
    };
    let (entry, link) = registry.card(which)?;
    if !is_idle(entry) {
        return Err(Unfit::NotIdle(entry.name.clone(), entry.state));
    }
    Ok((entry.name.clone(), link))
}

/// Whether there is a device of this name.
pub fn is_there(name: &str) -> bool {
    REGISTRY.lock().find(name).is_some()
}

/// Where a device's registers are.
pub fn reach(name: &str) -> Option<Reach> {
    REGISTRY.lock().find(name).map(|entry| entry.reach.clone())
}

/// Whether a network's card was pulled out, and it has no other yet.
pub fn is_bereft(network: Network) -> bool {
    REGISTRY.lock().entries.iter().any(|entry| entry.was_of(network))
}

/// Whether a network has a card.
pub fn has_card(network: Network) -> bool {
    let registry = REGISTRY.lock();
    registry
        .entries
        .iter()
        .any(|entry| entry.state == State::Active && entry.owner.network() == Some(network))
}

/// Takes in a disk that nobody uses; its name.
pub fn admit_disk(place: Place, driver: &'static str, what: String, completion: Completion) -> String {
    admit_as(Class::Disk, |name| Entry {
        completion: Some(completion),
        ..Entry::disk(name, place, driver, what)
    })
}

/// Takes in a disk that can't be used, so that there is somewhere that says why.
pub fn admit_refused(place: Place, error: &ProbeError) {
    let what = format!("not used: {error}");
    admit_as(Class::Disk, |name| Entry { state: State::Failed, ..Entry::disk(name, place, "none", what) });
}

/// Why a disk, by name or place, can't be used.
#[cfg(feature = "vmm")]
pub fn refusal(which: &str) -> Option<String> {
    let registry = REGISTRY.lock();
    let entry = registry.entries.iter().find(|entry| entry.is(which) && entry.state == State::Failed)?;
    entry.link.is_none().then(|| format!("{} is {}", entry.name, entry.what))
}

/// Says what a disk is for, and who uses it.
pub fn describe_disk(name: &str, uses: String, user: Option<&str>) {
    if let Some(entry) = REGISTRY.lock().find(name) {
        entry.state = if user.is_some() { State::Active } else { State::Idle };
        (entry.user, entry.uses) = (user.map(str::to_string), uses);
    }
}

/// Promises a disk that nobody uses: it does not leave until it is [`release`]d. False if it is not there, or promised already.
#[cfg(feature = "vmm")]
pub fn reserve(name: &str, user: &str) -> bool {
    let mut registry = REGISTRY.lock();
    let entry = registry.find(name).filter(|entry| entry.state == State::Idle && entry.user.is_none());
    entry.map(|entry| entry.user = Some(user.to_string())).is_some()
}

/// Nobody is promised a disk any more.
#[cfg(feature = "vmm")]
pub fn release(name: &str) {
    if let Some(entry) = REGISTRY.lock().find(name) {
        entry.user = None;
    }
}

/// A disk has taken the place of another: it is for what that was for.
#[cfg(feature = "vmm")]
pub fn succeed(old: &str, new: &str) {
    let mut registry = REGISTRY.lock();
    let Some(entry) = registry.find(old) else { return };
    let was_gone = entry.state == State::Gone;
    entry.state = State::Idle;
    let user = entry.user.take();
    let uses = core::mem::replace(&mut entry.uses, format!(", replaced by {new}"));
    if was_gone {
        registry.entries.retain(|entry| entry.name != old);
    }
    if let Some(new) = registry.find(new) {
        (new.state, new.user, new.uses) = (State::Active, user, uses);
    }
}

/// A disk that was pulled out is back under another name: who has it.
#[cfg(feature = "vmm")]
pub fn is_back(old: &str, new: &str) -> Option<String> {
    succeed(old, new);
    let mut registry = REGISTRY.lock();
    registry.entries.retain(|entry| entry.name != old);
    registry.find(new)?.user.clone()
}

/// Takes in a card that no network has; its name. It may be running: [`rest`] quiesces it.
pub fn admit(card: Attached<dyn NetDevice>, owner: Owner) -> String {
    let Attached { device, place, interrupt, reach } = card;
    #[cfg(feature = "app-faults")]
    let device: Box<dyn NetDevice> = Box::new(drivers_api::failing::FailingNet::new(device, &FAILS));
    admit_as(Class::Network, |name| {
        let mut entry = Entry {
            name,
            place,
            driver: device.name(),
            state: State::Idle,
            user: None,
            what: String::new(),
            uses: String::new(),
            interrupt: Some(interrupt),
            owner,
            link: None,
            reach,
            card: None,
            completion: None,
        };
        entry.become_idle(device);
        entry
    })
}

fn admit_as(class: Class, entry: impl FnOnce(String) -> Entry) -> String {
    let mut registry = REGISTRY.lock();
    let name = registry.name(class);
    registry.entries.push(entry(name.clone()));
    name
}

/// Takes a card out that no network has, to be given to one. [`activate`] says that it was, [`put_back`] that it was not.
pub fn take(name: &str) -> Option<Box<dyn NetDevice>> {
    REGISTRY.lock().find(name)?.card.take()
}

/// A network has the card, which has this link: its interrupt wakes that.
pub fn activate(name: &str, network: Network, link: &LinkInfo) {
    let mut registry = REGISTRY.lock();
    // What it had before is not waited for any more.
    registry.entries.retain(|entry| !entry.was_of(network));
    let Some(entry) = registry.find(name) else { return };
    entry.state = State::Active;
    entry.user = Some(format!("{network} network"));
    entry.what = told(link);
    entry.uses = format!(", {network} network");
    entry.link = Some(*link);
    entry.owner.set(Some(network));
    drop(registry);
    // It may have interrupted before.
    network.interrupt();
}

/// A card, which has this link, has taken the place of another, which is about to be [`put_back`].
pub fn replace(old: &str, new: &str, network: Network, link: &LinkInfo) {
    // One that was pulled out meanwhile is no more than that.
    if let Some(entry) = REGISTRY.lock().find(old).filter(|entry| entry.state == State::Active) {
        (entry.state, entry.user) = (State::Idle, None);
        entry.owner.set(None);
    }
    activate(new, network, link);
}

/// No network has the card any more, or had it: it is quiesced, if it is not. One that can't be has failed, and is dropped.
pub fn put_back(name: &str, mut card: Box<dyn NetDevice>) {
    let is_at_rest = match card.state() {
        DeviceState::Quiesced => true,
        DeviceState::Running => card
            .quiesce()
            .inspect_err(|error| log::warn!("{name} can't be brought to rest: {error:?}"))
            .is_ok(),
        DeviceState::Halted => false,
    };
    if is_at_rest {
        if let Some(entry) = REGISTRY.lock().find(name) {
            entry.become_idle(card);
        }
        return;
    }
    card.halt();
    lose(name);
}

/// A card that was taken out is no more: it has failed.
pub fn lose(name: &str) {
    if let Some(entry) = REGISTRY.lock().find(name) {
        (entry.state, entry.user) = (State::Failed, None);
        entry.owner.set(None);
    }
}

/// Brings a card to rest that no network has.
pub fn rest(name: &str) {
    if let Some(card) = take(name) {
        put_back(name, card);
    }
}

/// Forgets all: the machine is another one. Nothing is touched that was known; names begin anew.
#[cfg(feature = "vmm")]
pub fn forget() {
    let old = core::mem::replace(&mut *REGISTRY.lock(), Registry::EMPTY);
    for mut card in old.entries.into_iter().filter_map(|entry| entry.card) {
        card.abandon();
    }
}
