//! A switch from request to answer.

use crate::board::{Board, Reason, Writer};
use crate::phase::Event;
use crate::rendezvous::{Failure, Rendezvous};
use crate::trace::{CpuTrace, Record};
use crate::{Direction, Phase, Pins, Round, World};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;
use machine::sync::{Mutex, MutexGuard};
use machine::time::Instant;

/// Switches that are kept for `trace`.
const KEPT: usize = 32;

/// How a request ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The machine has switched.
    Switched,
    /// It was there already.
    Already,
}

/// Why a request changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused<E> {
    /// Another request was being carried out; what it led to is the state now.
    Busy,
    /// Somebody held a pin until the deadline.
    Pinned(&'static str),
    /// A CPU did not answer before the deadline.
    NoAnswer(usize),
    /// A CPU could not.
    Failed(usize, E),
}

impl<E> Refused<E> {
    const fn reason(&self) -> Reason {
        match self {
            Self::Busy => Reason::Busy,
            Self::Pinned(_) => Reason::Pinned,
            Self::NoAnswer(_) => Reason::NoAnswer,
            Self::Failed(..) => Reason::Failed,
        }
    }
}

impl<E: fmt::Display> fmt::Display for Refused<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("busy: another switch was under way"),
            Self::Pinned(name) => write!(f, "pinned by {name}"),
            Self::NoAnswer(cpu) => write!(f, "CPU {cpu} did not answer in time"),
            Self::Failed(cpu, error) => write!(f, "CPU {cpu}: {error}"),
        }
    }
}

/// What is known about the switches so far.
#[derive(Debug)]
pub struct Figures {
    /// Where the machine stands.
    pub phase: Phase,
    /// Switches that were carried out.
    pub switches: u64,
    /// What readers see of it.
    writer: Writer,
}

impl Figures {
    fn step(&mut self, event: Event) {
        match self.phase.next(event) {
            Ok(phase) => self.phase = phase,
            Err(refused) => unreachable!("{refused}"),
        }
    }

    /// The last switch that was carried out.
    pub fn last(&self) -> Option<Record> {
        self.writer.board().last_done()
    }
}

/// Carries out requests, one at a time.
pub struct Switch<W: World> {
    world: W,
    pins: Pins<'static>,
    rendezvous: Rendezvous<W::Error>,
    /// Held by the request that is being carried out.
    turn: Mutex<()>,
    figures: Mutex<Figures>,
    board: Arc<Board>,
}

impl<W: World> Switch<W> {
    /// A machine in native mode.
    pub fn new(world: W, pins: Pins<'static>) -> Self {
        let writer = Writer::new(KEPT, world.cpus(), world.ticks_of(Duration::from_secs(1)));
        let board = writer.board().clone();
        let figures = Figures { phase: Phase::Native, switches: 0, writer };
        Self {
            world,
            pins,
            rendezvous: Rendezvous::new(),
            turn: Mutex::new(()),
            figures: Mutex::new(figures),
            board,
        }
    }

    /// The machine.
    pub fn world(&self) -> &W {
        &self.world
    }

    /// What a CPU does when it is called. Interrupts are off.
    pub fn take_part(&self) {
        self.rendezvous.take_part(&self.world);
    }

    /// What is known about the switches so far, without waiting.
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// Looks at the figures; waits for a switch that is under way.
    pub fn figures<R>(&self, look: impl FnOnce(&Figures) -> R) -> R {
        look(&self.figures.lock())
    }

    /// Switches to a mode ([`Phase::Native`] or [`Phase::Guest`]) or, without one, to the other. Gives up at the deadline
    /// with nothing changed. On a thread, interrupts on.
    pub fn request(&self, target: Option<Phase>, deadline: Duration) -> Result<Outcome, Refused<W::Error>> {
        let Some(_turn) = self.turn.try_lock() else {
            // The answer is given when the other request is done, so that it comes with the state that holds then.
            drop(self.turn.lock());
            let refused = Refused::Busy;
            self.board.refused(refused.reason());
            return Err(refused);
        };
        let mut figures = self.figures.lock();
        let direction = match (figures.phase, target) {
            (now, Some(target)) if now == target => return Ok(Outcome::Already),
            (Phase::Native, _) => Direction::Enter,
            _ => Direction::Leave,
        };
        let result = self.carry_out(&mut figures, direction, deadline);
        match &result {
            Ok(()) => figures.switches += 1,
            Err(refused) => self.board.refused(refused.reason()),
        }
        let (now, done) = (Instant::now().as_nanos(), result.is_ok());
        figures.writer.push(now, direction, done, |cpu| self.rendezvous.marks(cpu));
        if done && direction == Direction::Leave {
            self.world.settle();
        }
        result.map(|()| Outcome::Switched)
    }

    /// Waits for requests that are being carried out; none is meanwhile. On a thread.
    pub fn turn(&self) -> Turn<'_, W> {
        Turn { switch: self, _turn: self.turn.lock() }
    }

    /// Whether a [`request`](Self::request) would be carried out now, as far as that can be known. Nothing is changed.
    pub fn dry_run(&self, target: Option<Phase>) -> Result<Outcome, Refused<W::Error>> {
        let Some(_turn) = self.turn.try_lock() else {
            return Err(Refused::Busy);
        };
        let direction = match (self.figures.lock().phase, target) {
            (now, Some(target)) if now == target => return Ok(Outcome::Already),
            (Phase::Native, _) => Direction::Enter,
            _ => Direction::Leave,
        };
        self.world.check(direction).map_err(|error| Refused::Failed(self.world.cpu(), error))?;
        match self.pins.holder() {
            Some(pin) => Err(Refused::Pinned(pin.name())),
            None => Ok(Outcome::Switched),
        }
    }

    fn carry_out(
        &self,
        figures: &mut Figures,
        direction: Direction,
        deadline: Duration,
    ) -> Result<(), Refused<W::Error>> {
        let world = &self.world;
        let until = Instant::now().saturating_add(deadline);
        world.check(direction).map_err(|error| Refused::Failed(world.cpu(), error))?;
        loop {
            self.pins.wait(until).map_err(Refused::Pinned)?;
            world.ready(direction).map_err(|error| Refused::Failed(world.cpu(), error))?;
            begin(figures, direction);
            match self.lead(Round::Switch(direction), until) {
                Ok(()) => {
                    finish(figures, direction);
                    return Ok(());
                }
                Err(refused) => {
                    figures.step(Event::Undo);
                    // Somebody took a pin at the last moment: wait for it, too.
                    if !matches!(refused, Refused::Pinned(_)) {
                        return Err(refused);
                    }
                }
            }
        }
    }

    /// One round. [`Refused::Pinned`]: somebody took a pin at the last moment.
    fn lead(&self, round: Round<'_>, until: Instant) -> Result<(), Refused<W::Error>> {
        self.lead_with(round, until, || self.pins.holder().map(crate::Pin::name))
    }

    fn lead_with(
        &self,
        round: Round<'_>,
        until: Instant,
        pinned: impl Fn() -> Option<&'static str>,
    ) -> Result<(), Refused<W::Error>> {
        let world = &self.world;
        let ticks = world.ticks().saturating_add(world.ticks_of(until.saturating_since(Instant::now())));
        let result = world.without_interrupts(|| self.rendezvous.lead(world, round, ticks, pinned));
        result.map_err(|failure| match failure {
            Failure::Pinned(name) => Refused::Pinned(name),
            Failure::Absent(cpu) | Failure::Late(cpu) => Refused::NoAnswer(cpu),
            Failure::Step(cpu, error) => Refused::Failed(cpu, error),
        })
    }
}

/// Nobody else switches, or freezes, while this is there.
#[must_use = "others wait as long as this lives"]
pub struct Turn<'a, W: World> {
    switch: &'a Switch<W>,
    _turn: MutexGuard<'a, ()>,
}

impl<W: World> Turn<'_, W> {
    /// Where the machine stands, and will as long as this lives.
    pub fn phase(&self) -> Phase {
        self.switch.figures(|figures| figures.phase)
    }

    /// Waits until nobody holds a pin.
    ///
    /// # Errors
    /// [`Refused::Pinned`]: somebody did until the deadline.
    pub fn wait(&self, until: Instant) -> Result<(), Refused<W::Error>> {
        self.switch.pins.wait(until).map_err(Refused::Pinned)
    }

    /// Freezes memory, all CPUs together or not at all, in guest mode. Returns what each did when. Interrupts are on. Who comes back from
    /// it restored does `restored` first, on this CPU, interrupts off, while all others stand still.
    ///
    /// # Errors
    /// As for switches; nothing is frozen.
    pub fn freeze(&self, until: Instant, restored: &dyn Fn()) -> Result<Vec<CpuTrace>, Refused<W::Error>> {
        self.together(Round::Freeze(restored), until)?;
        Ok(self.cpus())
    }

    /// Becomes the system that is to be restored, all CPUs together or not at all, in guest mode: where that goes well, this system does
    /// not go on. Interrupts are on.
    ///
    /// # Errors
    /// As for switches; nothing has changed.
    pub fn restore(&self, until: Instant) -> Result<(), Refused<W::Error>> {
        self.together(Round::Restore, until)
    }

    /// Changes which devices can be reached, all CPUs together or not at all, in guest mode. Returns what each did when. Interrupts are on.
    /// Pins don't count: what they are about goes on beneath the system as it is.
    ///
    /// # Errors
    /// As for switches; nothing has changed.
    pub fn interpose(&self, until: Instant) -> Result<Vec<CpuTrace>, Refused<W::Error>> {
        self.switch.lead_with(Round::Interpose, until, || None)?;
        Ok(self.cpus())
    }

    /// What each CPU did when in the last round.
    fn cpus(&self) -> Vec<CpuTrace> {
        let marks = |cpu| CpuTrace { marks: self.switch.rendezvous.marks(cpu) };
        (0..self.switch.world.cpus()).map(marks).collect()
    }

    fn together(&self, round: Round<'_>, until: Instant) -> Result<(), Refused<W::Error>> {
        loop {
            self.wait(until)?;
            match self.switch.lead(round, until) {
                // Somebody took a pin at the last moment: wait for it, too.
                Err(Refused::Pinned(_)) => {}
                result => return result,
            }
        }
    }
}

fn begin(figures: &mut Figures, direction: Direction) {
    figures.step(match direction {
        Direction::Enter => Event::Enter,
        Direction::Leave => Event::Leave,
    });
}

fn finish(figures: &mut Figures, direction: Direction) {
    if direction == Direction::Enter {
        figures.step(Event::Commit);
    }
    figures.step(Event::Done);
}
