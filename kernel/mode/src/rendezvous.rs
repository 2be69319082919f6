//! All CPUs gather, prepare, vote, and commit or undo together.
//!
//! One CPU leads; the others take part when its interrupt reaches them. Nobody is waited for longer than the deadline until
//! the commit: a CPU that comes late finds the round over and goes its way, one that is late with its vote undoes what it
//! has prepared. After the commit every CPU is known to be there, spinning, so each answers for certain; should one fail to
//! go over, those that did go back. The **point of no return** is [`Step::Done`].
//!
//! ```text
//! leader    open ── prepare ── votes in? ── Commit ── commit ── answers in? ── Done
//! others    ....arrive ── prepare ── vote ── .......commit ── answer ........ go on
//!                                          └─ Undo ── undo         └─ Revert ── revert
//! ```

use crate::steps::{
    ENTER, Enter, FREEZE, Freeze, INTERPOSE, Interpose, Leave, RESTORE, Restore, Round, Steps,
};
use crate::trace::{Mark, Marks};
use crate::{Direction, World};
use core::sync::atomic::{AtomicU64, Ordering};
use spin::Mutex;

/// The most CPUs: bits of a mask, and places of the table.
pub const MAX_CPUS: usize = 64;

/// Where a round stands. Lowest bits of the round's word; the rest counts rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
enum Step {
    Closed = 0,
    Open = 1,
    Commit = 2,
    Undo = 3,
    Done = 4,
    Revert = 5,
}

/// What a CPU has answered in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u64)]
enum Answer {
    Arrived = 1,
    Yes = 2,
    No = 3,
    Over = 4,
    Failed = 5,
    Out = 6,
}

const STEP_BITS: u32 = 3;

const fn word(round: u64, step: u64) -> u64 {
    round << STEP_BITS | step
}

/// What one CPU says and when. A cache line of its own.
#[derive(Debug)]
#[repr(align(64))]
struct Slot<E> {
    answer: AtomicU64,
    marks: Marks,
    error: Mutex<Option<E>>,
}

/// Why a round came to nothing. All CPUs are as they were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure<E> {
    /// A CPU did not come before the deadline.
    Absent(usize),
    /// A CPU came, but had not prepared itself before the deadline.
    Late(usize),
    /// A CPU could not prepare itself, or could not go over.
    Step(usize, E),
    /// With all CPUs standing still, somebody holds a pin.
    Pinned(&'static str),
}

/// The meeting place. One for the machine. What a round writes is in one page, as long as the CPUs are few: after a freeze each page
/// that is written is copied while the machine still stands.
#[derive(Debug)]
#[repr(C, align(4096))]
pub struct Rendezvous<E> {
    round: AtomicU64,
    /// [`Round::code`] of the round.
    kind: AtomicU64,
    slots: [Slot<E>; MAX_CPUS],
}

impl<E> Slot<E> {
    const fn new() -> Self {
        Self { answer: AtomicU64::new(0), marks: Marks::new(), error: Mutex::new(None) }
    }

    fn answer(&self, round: u64, answer: Answer) {
        self.answer.store(word(round, answer as u64), Ordering::Release);
    }

    /// What was answered in a round, as a number that grows; 0 if nothing.
    fn answered(&self, round: u64) -> u64 {
        let answer = self.answer.load(Ordering::Acquire);
        if answer >> STEP_BITS == round { answer & ((1 << STEP_BITS) - 1) } else { 0 }
    }
}

impl<E> Default for Rendezvous<E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<E> Rendezvous<E> {
    /// Nobody is there.
    pub const fn new() -> Self {
        Self { round: AtomicU64::new(0), kind: AtomicU64::new(0), slots: [const { Slot::new() }; MAX_CPUS] }
    }

    /// What a CPU did when, in the last round.
    pub fn marks(&self, cpu: usize) -> [u64; Mark::ALL.len()] {
        self.slots[cpu].marks.read()
    }
}

impl<E: Copy + Send> Rendezvous<E> {
    /// What every CPU but the leader does when called. Interrupts are off.
    pub fn take_part<W: World<Error = E>>(&self, world: &W) {
        let opened = self.round.load(Ordering::Acquire);
        if opened & ((1 << STEP_BITS) - 1) != Step::Open as u64 {
            return;
        }
        match self.kind.load(Ordering::Relaxed) {
            ENTER => self.follow(world, opened, &Enter(world)),
            FREEZE => self.follow(world, opened, &Freeze(world, None)),
            RESTORE => self.follow(world, opened, &Restore(world)),
            INTERPOSE => self.follow(world, opened, &Interpose(world)),
            _ => self.follow(world, opened, &Leave(world)),
        }
    }

    fn follow<W: World<Error = E>>(&self, world: &W, opened: u64, steps: &impl Steps<E>) {
        let round = opened >> STEP_BITS;
        let cpu = world.cpu();
        let slot = &self.slots[cpu];
        slot.marks.set(Mark::Arrive, world.ticks());
        slot.answer(round, Answer::Arrived);
        let prepared = self.prepare(world, cpu, round, steps);
        let verdict = self.wait_while(world, opened);
        slot.marks.set(Mark::Verdict, world.ticks());
        if verdict == word(round, Step::Commit as u64) {
            let over = self.commit(world, cpu, round, steps);
            let end = self.wait_while(world, verdict);
            slot.marks.set(Mark::Release, world.ticks());
            if over && end == word(round, Step::Revert as u64) {
                steps.revert(cpu);
            }
        } else if prepared {
            // Undone, or so late that the next round has begun.
            steps.undo(cpu);
        }
        slot.marks.set(Mark::End, world.ticks());
        slot.answer(round, Answer::Out);
    }

    fn prepare<W: World>(&self, world: &W, cpu: usize, round: u64, steps: &impl Steps<E>) -> bool {
        let slot = &self.slots[cpu];
        let result = steps.prepare(cpu);
        let good = result.is_ok();
        if let Err(error) = result {
            *slot.error.lock() = Some(error);
        }
        slot.marks.set(Mark::Prepared, world.ticks());
        slot.answer(round, if good { Answer::Yes } else { Answer::No });
        good
    }

    #[inline(always)]
    fn commit<W: World>(&self, world: &W, cpu: usize, round: u64, steps: &impl Steps<E>) -> bool {
        let slot = &self.slots[cpu];
        let result = steps.commit(cpu);
        let good = result.is_ok();
        if let Err(error) = result {
            *slot.error.lock() = Some(error);
        }
        slot.marks.set(Mark::Over, world.ticks());
        slot.answer(round, if good { Answer::Over } else { Answer::Failed });
        good
    }

    fn wait_while<W: World>(&self, world: &W, value: u64) -> u64 {
        loop {
            let now = self.round.load(Ordering::Acquire);
            if now != value {
                return now;
            }
            world.relax();
        }
    }

    /// Leads a round: returns when all CPUs have gone over, or none. `pinned` is asked with all CPUs standing still.
    /// One leader at a time; interrupts are off. `deadline` is a reading of [`World::ticks`].
    ///
    /// # Panics
    /// When a CPU that was there for the commit does not answer for [`LOST`]: past the commit nothing can be undone.
    pub fn lead<W: World<Error = E>>(
        &self,
        world: &W,
        round: Round<'_>,
        deadline: u64,
        pinned: impl Fn() -> Option<&'static str>,
    ) -> Result<(), Failure<E>> {
        self.kind.store(round.code(), Ordering::Relaxed);
        match round {
            Round::Switch(Direction::Enter) => self.lead_through(world, &Enter(world), deadline, pinned),
            Round::Switch(Direction::Leave) => self.lead_through(world, &Leave(world), deadline, pinned),
            Round::Freeze(restored) => {
                self.lead_through(world, &Freeze(world, Some(restored)), deadline, pinned)
            }
            Round::Restore => self.lead_through(world, &Restore(world), deadline, pinned),
            Round::Interpose => self.lead_through(world, &Interpose(world), deadline, pinned),
        }
    }

    fn lead_through<W: World<Error = E>>(
        &self,
        world: &W,
        steps: &impl Steps<E>,
        deadline: u64,
        pinned: impl Fn() -> Option<&'static str>,
    ) -> Result<(), Failure<E>> {
        let (me, cpus) = (world.cpu(), world.cpus());
        let round = (self.round.load(Ordering::Relaxed) >> STEP_BITS) + 1;
        self.slots[..cpus].iter().for_each(|slot| slot.marks.clear());
        let slot = &self.slots[me];
        slot.marks.set(Mark::Call, world.ticks());
        let open = word(round, Step::Open as u64);
        self.round.store(open, Ordering::Release);
        world.call_others();
        slot.marks.set(Mark::Arrive, world.ticks());
        let prepared = self.prepare(world, me, round, steps);
        let vote = self.votes(world, round, deadline).and_then(|()| match pinned() {
            Some(name) => Err(Failure::Pinned(name)),
            None => Ok(()),
        });
        if let Err(failure) = vote {
            self.round.store(word(round, Step::Undo as u64), Ordering::Release);
            if prepared {
                steps.undo(me);
            }
            slot.answer(round, Answer::Out);
            // Those that have not voted undo it alone, when they see that the round is over.
            self.gather(world, round, Answer::Out, |answered| answered >= Answer::Yes as u64);
            self.round.store(word(round, Step::Closed as u64), Ordering::Release);
            return Err(failure);
        }
        slot.marks.set(Mark::Verdict, world.ticks());
        self.round.store(word(round, Step::Commit as u64), Ordering::Release);
        let over = self.commit(world, me, round, steps);
        self.gather(world, round, Answer::Over, |_| true);
        let failed = (0..cpus).find(|&cpu| self.slots[cpu].answered(round) == Answer::Failed as u64);
        slot.marks.set(Mark::Release, world.ticks());
        let end = if failed.is_some() { Step::Revert } else { Step::Done };
        self.round.store(word(round, end as u64), Ordering::Release);
        if over && failed.is_some() {
            steps.revert(me);
        }
        slot.marks.set(Mark::End, world.ticks());
        slot.answer(round, Answer::Out);
        self.gather(world, round, Answer::Out, |_| true);
        self.round.store(word(round, Step::Closed as u64), Ordering::Release);
        match failed {
            Some(cpu) => Err(self.step_failed(cpu)),
            None => Ok(()),
        }
    }

    /// Waits for the votes, not longer than the deadline and not longer than the first No.
    fn votes<W: World<Error = E>>(&self, world: &W, round: u64, deadline: u64) -> Result<(), Failure<E>> {
        for cpu in 0..world.cpus() {
            loop {
                let answered = self.slots[cpu].answered(round);
                if answered == Answer::Yes as u64 {
                    break;
                }
                if answered == Answer::No as u64 {
                    return Err(self.step_failed(cpu));
                }
                if world.ticks() > deadline {
                    return Err(if answered == 0 { Failure::Absent(cpu) } else { Failure::Late(cpu) });
                }
                world.relax();
            }
        }
        Ok(())
    }

    fn step_failed(&self, cpu: usize) -> Failure<E> {
        match *self.slots[cpu].error.lock() {
            Some(error) => Failure::Step(cpu, error),
            None => Failure::Late(cpu),
        }
    }

    /// Waits until each CPU that `counts` has come to `least`.
    fn gather<W: World>(&self, world: &W, round: u64, least: Answer, counts: impl Fn(u64) -> bool) {
        // Only who waits has to know for how long.
        let mut deadline = None;
        for cpu in 0..world.cpus() {
            loop {
                let answered = self.slots[cpu].answered(round);
                if answered >= least as u64 || !counts(answered) {
                    break;
                }
                let from_now = || world.ticks().saturating_add(world.ticks_of(LOST));
                assert!(
                    world.ticks() <= *deadline.get_or_insert_with(from_now),
                    "CPU {cpu} is lost in a switch"
                );
                world.relax();
            }
        }
    }
}

/// How long a CPU that has come may take for a step that can't fail. Generous: an emulator may give it no time at all.
pub const LOST: core::time::Duration = core::time::Duration::from_secs(60);
