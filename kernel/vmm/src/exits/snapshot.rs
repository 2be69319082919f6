//! Hypercalls of a snapshot.

use super::hypercall::{answer, pages_of_memory};
use super::{Next, Platform, patience};
use crate::call::{MOST_FETCHED, MOST_NAMED, Status};
use crate::frozen::{Pages, Span};
use crate::memory::{MemoryError, PAGE};
use crate::nested::{Format, Tables};
use crate::shared::Shared;
use crate::vcpu::Vcpu;

/// Donates memory, or exempts it.
pub(super) fn name<F: Format, T: Tables + Pages>(
    shared: &Shared<F, T>,
    donate: bool,
    start: u64,
    length: u64,
) -> Result<(), MemoryError> {
    if length > MOST_NAMED {
        return Err(MemoryError::Range);
    }
    let range = pages_of_memory(shared, start, length)?;
    let span = Span { start: range.start, end: range.end };
    let mut memory = shared.memory.lock();
    if donate { memory.donate(span) } else { memory.exempt(span) }
}

/// Takes this CPU's state, waits for the others, and the last one takes write permission from everything.
///
/// A CPU that went on before, or one whose state was taken while it could still write, would leave a memory that fits no state.
#[cold]
pub(super) fn freeze<V: Vcpu, F: Format, T: Tables + Pages>(
    vcpu: &mut V,
    shared: &Shared<F, T>,
    platform: &impl Platform,
) -> Next {
    let Some(state) = shared.states.get(platform.cpu()) else {
        return answer(vcpu, Status::BadArgument, 0);
    };
    // It does not change while any CPU waits here.
    if !shared.memory.lock().can_freeze() {
        return answer(vcpu, Status::Busy, 0);
    }
    {
        let mut state = state.lock();
        vcpu.store(&mut state);
        platform.complete(&mut state);
        // What the call returns in a system that was restored.
        state.registers.rax = Status::Done as u64;
        state.registers.rdx = 1;
    }
    let patient = patience(platform);
    let freeze = || {
        // The stage was looked at by all of them.
        let _ = shared.memory.lock().freeze();
    };
    let met = shared.meeting.meet(shared.states.len(), freeze, patient);
    vcpu.flush();
    answer(vcpu, if met { Status::Done } else { Status::Alone }, 0)
}

/// Copies frozen frames. `to` has their number in its lowest bits.
pub(super) fn fetch<F: Format, T: Tables + Pages>(
    shared: &Shared<F, T>,
    start: u64,
    to: u64,
) -> Result<(), MemoryError> {
    let (to, count) = (to & !(PAGE - 1), to & (PAGE - 1));
    if count > MOST_FETCHED {
        return Err(MemoryError::Range);
    }
    let range = pages_of_memory(shared, start, count * PAGE)?;
    shared.memory.lock().fetch(Span { start: range.start, end: range.end }, to)
}

/// Copies a frozen CPU's state.
pub(super) fn fetch_state<F: Format, T: Tables + Pages>(
    shared: &Shared<F, T>,
    cpu: u64,
    to: u64,
) -> Result<(), MemoryError> {
    let state = usize::try_from(cpu).ok().and_then(|cpu| shared.states.get(cpu)).ok_or(MemoryError::Range)?;
    let range = pages_of_memory(shared, to, PAGE)?;
    let state = state.lock();
    shared.memory.lock().fetch_state(&state, Span { start: range.start, end: range.end })
}

/// Tells what was written before the freeze.
pub(super) fn written<F: Format, T: Tables + Pages>(
    shared: &Shared<F, T>,
    start: u64,
    to: u64,
) -> Result<u64, MemoryError> {
    let range = pages_of_memory(shared, to, PAGE)?;
    shared.memory.lock().written(start, Span { start: range.start, end: range.end })
}

/// Moves the mark of what was sent.
pub(super) fn pass<F: Format, T: Tables + Pages>(shared: &Shared<F, T>, to: u64) -> Result<u64, MemoryError> {
    if !to.is_multiple_of(PAGE) || to > shared.bounds.memory_end.next_multiple_of(PAGE) {
        return Err(MemoryError::Range);
    }
    shared.memory.lock().pass(to)
}
