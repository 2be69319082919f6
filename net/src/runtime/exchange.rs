//! Another card for a network that goes on. Both listen for a while: what is on its way to the old one when the neighbors hear of the new one is
//! not lost.

use super::{Held, Network, Running};
use crate::error::StartError;
use crate::port::bytes;
use alloc::boxed::Box;
use drivers_api::NetDevice;
use drivers_api::swap::{Rejected, Seat};
use machine::thread;
use machine::time::{Duration, Instant};

/// How long a card may take to find its carrier: two ends at 1 Gbit/s need some 3 s.
const CARRIER: Duration = Duration::from_secs(4);
/// Between one look at what has come, or become, and the next.
const PAUSE: Duration = Duration::from_millis(1);
/// After so many looks at the old card without a frame no more come.
const QUIET: u32 = 5;
/// So many looks are enough in any case: where cards share a wire, what is for the new one comes to the old one as well.
const LOOKS: u32 = 50;
/// Frames taken in with one look.
const BUDGET: usize = 1024;

/// The place of a network's card, for a swap.
#[derive(Debug)]
pub struct Exchange {
    network: Network,
    negotiated: Duration,
    stopped: Duration,
}

impl Exchange {
    /// Of this network, if it runs.
    pub fn of(network: Network) -> Option<Self> {
        let new = Self { network, negotiated: Duration::ZERO, stopped: Duration::ZERO };
        network.is_running().then_some(new)
    }

    /// Whose place it is.
    pub fn network(&self) -> Network {
        self.network
    }

    /// How long it was waited for the new card to take in what comes.
    pub fn negotiated(&self) -> Duration {
        self.negotiated
    }

    /// How long nothing was sent or received.
    pub fn stopped(&self) -> Duration {
        self.stopped
    }

    fn hold(&self) -> Held {
        self.network.hold().expect("a network that was started runs for good")
    }
}

impl Seat for Exchange {
    type Refusal = StartError;

    fn look<R>(&mut self, look: impl FnOnce(&dyn NetDevice) -> R) -> R {
        look(self.hold().device())
    }

    fn wait_for(&mut self, card: &dyn NetDevice, carrier: bool) -> bool {
        let begun = Instant::now();
        let (warm, deadline) = (begun.saturating_add(card.warm_up()), begun.saturating_add(CARRIER));
        let is_ready = || Instant::now() >= warm && (card.link_up() || !carrier);
        while !is_ready() && Instant::now() < deadline {
            thread::sleep(PAUSE);
        }
        self.negotiated += since(begun);
        is_ready()
    }

    fn replace(&mut self, mut card: Box<dyn NetDevice>) -> Result<Box<dyn NetDevice>, Rejected<StartError>> {
        let mut held = self.hold();
        let begun = Instant::now();
        // What it has heard so far the old one has heard, too.
        for _ in 0..BUDGET {
            let Some(frame) = card.receive() else { break };
            card.recycle(frame);
        }
        let mut old = held.replace(card)?;
        held.tell();
        held.take_in(&mut *old);
        drop(held);
        self.stopped += since(begun);
        Ok(old)
    }

    fn drain(&mut self, old: &mut dyn NetDevice) {
        let mut quiet = 0;
        for _ in 0..LOOKS {
            thread::sleep(PAUSE);
            quiet = if self.hold().take_in(old) > 0 { 0 } else { quiet + 1 };
            if quiet == QUIET {
                break;
            }
        }
    }
}

fn since(begun: Instant) -> Duration {
    Duration::from_nanos(Instant::now().as_nanos() - begun.as_nanos())
}

impl Held {
    /// Sends what waits; where our addresses are is told first.
    fn tell(&mut self) {
        let Running { stack, device } = self.running();
        stack.egress(Instant::now().as_nanos(), &mut **device);
        device.flush();
    }

    /// Takes in what has come to another card than the network's; how many frames. Answers go out by the network's.
    fn take_in(&mut self, other: &mut dyn NetDevice) -> usize {
        let Running { stack, device } = self.running();
        let now = Instant::now().as_nanos();
        let mut count = 0;
        while count < BUDGET
            && let Some(mut frame) = other.receive()
        {
            let checksum = frame.checksum;
            stack.receive(now, &mut **device, bytes(&mut frame), checksum);
            other.recycle(frame);
            count += 1;
        }
        other.flush();
        count
    }
}
