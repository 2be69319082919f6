//! Changes of a network's card, as jobs: another one in its place, none, or one again. How: `kernel/doc/devices.md`.

#[cfg(feature = "vmm")]
use super::disk_swap;
use super::interpose::{self, Away};
use super::jobs::{self, Follower, Handle};
use super::{modes, object, refuse};
use crate::devices::cards::{self, CardError, Seating};
use crate::devices::registry::{self, Unfit};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use control::jobs::{Said, State};
use control::request::Swap;
use core::fmt;
use core::time::Duration;
use drivers_api::swap::{Failure, Reason, Released, Step};
use machine::journal::EVENTS;
use machine::thread::Builder;
use machine::time::Instant;
use net::ssh::{Caller, Output};
use net::{Exchange, Network};
use serde::Serialize;

/// What a swap goes through, as far as it is told.
const STEPS: usize = 4;

/// Why a card was not changed.
enum Fault {
    Cancelled,
    Card(CardError),
    Mode(String),
    /// A step, why, and how the old card goes on.
    Step(Step, String, String),
    /// All networks that run have a card.
    NoneWithout,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancelled => f.write_str("cancelled"),
            Self::Card(error) => error.fmt(f),
            Self::Mode(why) => f.write_str(why),
            Self::Step(step, why, after) => write!(f, "{}: {why}; {after}", step.name()),
            Self::NoneWithout => f.write_str("no network is without a card"),
        }
    }
}

impl From<Unfit> for Fault {
    fn from(unfit: Unfit) -> Self {
        Self::Card(CardError::Unfit(unfit))
    }
}

impl From<CardError> for Fault {
    fn from(error: CardError) -> Self {
        Self::Card(error)
    }
}

/// What has become of a network's card.
#[derive(Serialize)]
struct Changed {
    network: &'static str,
    /// The card that it had.
    #[serde(skip_serializing_if = "Option::is_none")]
    old: Option<String>,
    /// The card that it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    new: Option<String>,
    /// What it has to adapt to.
    adapted: Vec<String>,
    /// How long nothing was sent or received.
    stopped_ns: u64,
    /// How long the new card took before that, until it took in what comes; the old one served.
    negotiated_ns: u64,
    /// What nobody could touch meanwhile.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    interposed: Option<interpose::Told>,
    #[serde(skip_serializing_if = "core::ops::Not::not")]
    dry_run: bool,
}

impl Changed {
    /// A network has this card, or none, where it had that one.
    fn new(network: Network, old: Option<String>, new: Option<String>, adapted: Vec<String>) -> Self {
        let network = network.name();
        Self { network, old, new, adapted, stopped_ns: 0, negotiated_ns: 0, interposed: None, dry_run: false }
    }

    fn text(&self) -> String {
        let name = |card: &Option<String>| card.clone().unwrap_or_else(|| "no card".to_string());
        let (old, new) = (name(&self.old), name(&self.new));
        let would = if self.dry_run { "would have" } else { "has" };
        let adapted = self.adapted.iter().map(|what| format!("; {what}")).collect::<String>();
        let stopped = match self.dry_run {
            true => String::new(),
            false => format!("; stopped for {} ns", self.stopped_ns),
        };
        let interposed =
            self.interposed.as_ref().map(|told| format!("; {old}: {}", told.text())).unwrap_or_default();
        format!(
            "the {} network {would} {new} in place of {old}{adapted}{stopped}{interposed}\n",
            self.network
        )
    }
}

/// How a job runs.
#[derive(Clone, Copy)]
struct Way {
    /// No other that changes the state runs meanwhile.
    exclusive: bool,
    /// It goes on without its client.
    detach: bool,
}

/// Changes the state, for its client.
const CHANGES: Way = Way { exclusive: true, detach: false };

/// Begins a job and tells of it.
fn run(
    caller: &Caller,
    what: &str,
    way: Way,
    json: bool,
    output: &mut dyn Output,
    work: impl FnOnce(&Handle) -> Result<Changed, Fault> + Send + 'static,
) -> u8 {
    let title = what.to_string();
    let work = move |handle: &Handle| match work(handle) {
        Ok(changed) => {
            let text = changed.text();
            EVENTS.push("device", format_args!("{title}: {}", text.trim_end()));
            handle.say(Said::Result { json: object(&changed), text });
            State::Done
        }
        Err(Fault::Cancelled) => State::Cancelled,
        Err(fault) => {
            EVENTS.push("device", format_args!("{title}: {fault}"));
            State::Failed(fault.to_string())
        }
    };
    match jobs::start(caller, what, way.exclusive, Builder::new("swap"), work) {
        Ok(job) if way.detach => jobs::detach(job, json, output),
        Ok(job) => jobs::follow(job, Follower::Owner, json, output),
        Err(why) => refuse(output, json, &why),
    }
}

/// Puts another device in the place of one that is used.
pub fn swap(caller: &Caller, asked: Swap, json: bool, output: &mut dyn Output) -> u8 {
    let to = asked.new.as_deref().unwrap_or("next");
    let dry = if asked.dry_run { " --dry-run" } else { "" };
    let what = format!("device swap {} --to {to}{dry}", asked.old);
    if let Some(old) = registry::disk(&asked.old) {
        #[cfg(feature = "vmm")]
        return disk_swap::swap(caller, &what, Swap { old, ..asked }, json, output);
        #[cfg(not(feature = "vmm"))]
        return refuse(
            output,
            json,
            &format!("{old} has no checkpoints: the VMM was left out of this image"),
        );
    }
    let way = Way { exclusive: !asked.dry_run, detach: asked.detach };
    run(caller, &what, way, json, output, move |handle| carry_out(handle, &asked))
}

fn carry_out(handle: &Handle, asked: &Swap) -> Result<Changed, Fault> {
    handle.progress(0, STEPS, "check");
    let (old, before, network) = registry::active(&asked.old)?;
    let (new, after) = registry::idle(asked.new.as_deref())?;
    let adapted = cards::compare(&new, &before, &after)?;
    modes::check().map_err(Fault::Mode)?;
    let mut changed = Changed::new(network, Some(old), Some(new), adapted);
    changed.dry_run = asked.dry_run;
    if asked.dry_run {
        return Ok(changed);
    }
    handle.progress(1, STEPS, "enter guest mode");
    let entered = modes::enter().map_err(|error| Fault::Mode(error.to_string()))?;
    handle.progress(2, STEPS, "swap");
    let outcome = exchange(handle, &mut changed, network);
    handle.progress(3, STEPS, "leave guest mode");
    let outcome = outcome.map(|away| {
        if let Some(Err(why)) = away.map(Away::release) {
            handle.say(Said::Remark(format!("the old card's registers are away until native mode: {why}")));
        }
    });
    if entered && let Err(why) = modes::leave() {
        handle.say(Said::Remark(format!("the machine stays in guest mode: {why}")));
    }
    outcome?;
    handle.progress(STEPS, STEPS, "done");
    Ok(changed)
}

/// The swap itself. Returns what is away of the old card, which is idle.
fn exchange(handle: &Handle, changed: &mut Changed, network: Network) -> Result<Option<Away>, Fault> {
    let (Some(old), Some(new)) = (&changed.old, &changed.new) else { return Err(Fault::NoneWithout) };
    let exchange = Exchange::of(network).ok_or(CardError::NotHeld(network))?;
    let card = registry::take(new).ok_or(Unfit::NoneIdle)?;
    #[cfg(feature = "app-faults")]
    faults::arm();
    let mut place = Seating::new(exchange, old, new);
    match drivers_api::swap::swap(&mut place, card, |_| !handle.is_cancelled()) {
        Ok(Released { card, failed }) => {
            let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            changed.stopped_ns = nanos(place.exchange().stopped());
            changed.negotiated_ns = nanos(place.exchange().negotiated());
            if let Some(error) = failed {
                handle.say(Said::Remark(format!("{old} can't be used any more: {error}")));
                registry::put_back(old, card);
                return Ok(None);
            }
            // It is done: where this fails, its driver only could reach what it does not use.
            let away = match interpose::absorb(old) {
                Ok((away, told)) => {
                    changed.interposed = Some(told);
                    away
                }
                Err(why) => {
                    handle.say(Said::Remark(format!("{old}'s registers are not absorbed: {why}")));
                    None
                }
            };
            registry::put_back(old, card);
            Ok(away)
        }
        Err(Failure { step, why, card }) => {
            registry::put_back(new, card);
            let after = match registry::active(old) {
                Ok(_) => format!("{old} serves on"),
                Err(_) => {
                    // It is the one that the network waits for.
                    cards::replace_gone();
                    format!("{old} was pulled out")
                }
            };
            match why {
                Reason::Cancelled => Err(Fault::Cancelled),
                why => Err(Fault::Step(step, why.to_string(), after)),
            }
        }
    }
}

/// Takes a network's card away.
pub fn detach(caller: &Caller, device: String, timeout: Duration, json: bool, output: &mut dyn Output) -> u8 {
    let what = format!("device detach {device}");
    run(caller, &what, CHANGES, json, output, move |_| {
        let (old, _, network) = registry::active(&device)?;
        let deadline = Instant::now().saturating_add(timeout);
        let mut held = network.hold_until(deadline).ok_or(CardError::NotHeld(network))?;
        held.device().quiesce().map_err(|error| CardError::Card(old.clone(), error))?;
        let card = held.bereave();
        drop(held);
        registry::put_back(&old, card);
        Ok(Changed::new(network, Some(old), None, Vec::new()))
    })
}

/// Gives a card to a network that has none.
pub fn attach(caller: &Caller, device: Option<String>, json: bool, output: &mut dyn Output) -> u8 {
    let what = format!("device attach {}", device.as_deref().unwrap_or_default());
    run(caller, what.trim_end(), CHANGES, json, output, move |_| {
        let without = |network: &Network| network.is_running() && !registry::has_card(*network);
        let network = Network::ALL.into_iter().find(without).ok_or(Fault::NoneWithout)?;
        let (new, adapted) = cards::give(network, device.as_deref())?;
        Ok(Changed::new(network, None, Some(new), adapted))
    })
}

/// Swaps that fail on purpose: `swap.fail=quiesce,import` has the first one fail at the one step, and the second at the other; `interpose` is
/// no step that a swap fails at, but fails.
#[cfg(feature = "app-faults")]
pub mod faults {
    use crate::devices::registry::FAILS;
    use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use drivers_api::swap::Step;

    static SWAPS: AtomicUsize = AtomicUsize::new(0);
    static INTERPOSE: AtomicBool = AtomicBool::new(false);

    /// Has the next step fail whose turn it is.
    pub fn arm() {
        let number = SWAPS.fetch_add(1, Ordering::Relaxed);
        let setting = machine::bootinfo::setting(machine::start::command_line(), "swap.fail");
        let name = setting.and_then(|steps| steps.split(',').nth(number));
        INTERPOSE.store(name == Some("interpose"), Ordering::Relaxed);
        FAILS.fail_at(name.and_then(|name| Step::ALL.into_iter().find(|step| step.name() == name)));
    }

    /// Whether interposing is to fail now.
    pub fn takes_interpose() -> bool {
        INTERPOSE.swap(false, Ordering::Relaxed)
    }
}
