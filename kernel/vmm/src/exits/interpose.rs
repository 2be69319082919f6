//! The hypercalls by which device memory is taken away, and given back.

use super::hypercall::answer;
use super::{Next, Platform, patience};
use crate::call::Status;
use crate::frozen::{Pages, Span};
use crate::memory::AbsorbError;
use crate::nested::{Format, Tables};
use crate::shared::Shared;
use crate::vcpu::Vcpu;

/// Waits for the other CPUs. The last one changes the tables, and each flushes before it goes on: none reaches the device once the first
/// believes that it is away, nor finds ones once the first uses it again.
#[cold]
pub(super) fn interpose<V: Vcpu, F: Format, T: Tables + Pages>(
    vcpu: &mut V,
    shared: &Shared<F, T>,
    platform: &impl Platform,
    absorb: bool,
    start: u64,
    bytes: u64,
) -> Next {
    let change = || {
        let span = start.checked_add(bytes).map(|end| Span { start, end }).ok_or(AbsorbError::Beyond);
        let mut memory = shared.memory.lock();
        *shared.interposed.lock() = span.and_then(|span| match absorb {
            true => memory.absorb(&shared.bounds.reserve, span),
            false => memory.release(span),
        });
    };
    if !shared.meeting.meet(shared.states.len(), change, patience(platform)) {
        return answer(vcpu, Status::Alone, 0);
    }
    vcpu.flush();
    // They meet again only when all have been here.
    let done = *shared.interposed.lock();
    answer(vcpu, status(done), 0)
}

const fn status(result: Result<(), AbsorbError>) -> Status {
    match result {
        Ok(()) => Status::Done,
        Err(AbsorbError::Busy) => Status::Busy,
        Err(AbsorbError::Unaligned) => Status::Unaligned,
        Err(AbsorbError::Empty) => Status::Empty,
        Err(AbsorbError::Beyond) => Status::BadArgument,
        Err(AbsorbError::Memory) => Status::Memory,
        Err(AbsorbError::Reserve) => Status::Reserve,
        Err(AbsorbError::Apic) => Status::Apic,
        Err(AbsorbError::Overlap) => Status::Overlap,
        Err(AbsorbError::Full) => Status::Full,
        Err(AbsorbError::Mixed) => Status::Mixed,
        Err(AbsorbError::Dry) => Status::Dry,
        Err(AbsorbError::Present) => Status::Nothing,
    }
}
