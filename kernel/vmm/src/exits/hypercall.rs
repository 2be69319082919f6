//! Hypercalls, from the system's own text only.

use super::{INVALID_OPCODE, Next, Platform, interpose, restore, snapshot};
use crate::call::{Call, Count, Status, VERSION};
use crate::frozen::{Pages, Span};
use crate::memory::{MemoryError, PAGE};
use crate::nested::{Format, Tables};
use crate::shared::Shared;
use crate::vcpu::Vcpu;
use core::ops::Range;

/// Bytes of VMMCALL and VMCALL.
const LENGTH: u64 = 3;

#[inline]
pub(super) fn handle<V: Vcpu, F: Format, T: Tables + Pages>(
    vcpu: &mut V,
    shared: &Shared<F, T>,
    platform: &impl Platform,
) -> Next {
    shared.count(Count::Hypercall);
    if vcpu.privilege() != 0 || !shared.bounds.text.contains(&vcpu.rip()) {
        // What the instruction does on a bare machine.
        vcpu.inject(INVALID_OPCODE);
        return Next::Resume;
    }
    vcpu.skip(LENGTH);
    let number = vcpu.rax();
    if number == Call::Version as u64 {
        return answer(vcpu, Status::Done, VERSION);
    }
    if number == Call::Leave as u64 {
        vcpu.set_rax(Status::Done as u64);
        return Next::Leave;
    }
    let (first, second) = (vcpu.registers().rdi, vcpu.registers().rdx);
    match Call::ALL.get(number as usize) {
        Some(Call::Exits) => match Count::ALL.get(first as usize) {
            Some((kind, _)) => answer(vcpu, Status::Done, shared.exits(*kind)),
            None => answer(vcpu, Status::BadArgument, 0),
        },
        Some(Call::Report) => match shared.reports.lock().fetch() {
            Some(report) => answer(vcpu, Status::Done, report.address),
            None => answer(vcpu, Status::Nothing, 0),
        },
        Some(Call::ReportOrigin) => match shared.reports.lock().fetched() {
            Some(report) => answer(vcpu, Status::Done, report.rip),
            None => answer(vcpu, Status::Nothing, 0),
        },
        Some(call @ (Call::Watch | Call::Unwatch)) => {
            let watched = watch(shared, *call == Call::Watch, first, second);
            vcpu.flush();
            answer(vcpu, status(watched), 0)
        }
        Some(Call::Flush) => {
            vcpu.flush();
            answer(vcpu, Status::Done, 0)
        }
        Some(call @ (Call::Donate | Call::Exempt)) => {
            let named = snapshot::name(shared, *call == Call::Donate, first, second);
            vcpu.flush();
            answer(vcpu, status(named), 0)
        }
        Some(Call::Freeze) => snapshot::freeze(vcpu, shared, platform),
        Some(Call::Fetch) => answer(vcpu, status(snapshot::fetch(shared, first, second)), 0),
        Some(Call::FetchState) => answer(vcpu, status(snapshot::fetch_state(shared, first, second)), 0),
        Some(Call::Pass) => match snapshot::pass(shared, first) {
            Ok(mark) => answer(vcpu, Status::Done, mark),
            Err(error) => answer(vcpu, status(Err(error)), 0),
        },
        Some(Call::Thaw) => {
            let more = shared.memory.lock().thaw(first != 0);
            answer(vcpu, Status::Done, more.into())
        }
        Some(Call::Record) => answer(vcpu, status(shared.memory.lock().record()), 0),
        Some(Call::Written) => match snapshot::written(shared, first, second) {
            Ok(frames) => answer(vcpu, Status::Done, frames),
            Err(error) => answer(vcpu, status(Err(error)), 0),
        },
        Some(Call::Restore) => restore::restore(vcpu, shared, platform, first),
        Some(call @ (Call::Absorb | Call::Release)) => {
            interpose::interpose(vcpu, shared, platform, *call == Call::Absorb, first, second)
        }
        Some(Call::Version | Call::Leave) | None => answer(vcpu, Status::Unknown, 0),
    }
}

#[inline]
pub(super) fn answer<V: Vcpu>(vcpu: &mut V, status: Status, value: u64) -> Next {
    vcpu.set_rax(status as u64);
    vcpu.registers().rdx = value;
    Next::Resume
}

pub(super) const fn status(result: Result<(), MemoryError>) -> Status {
    match result {
        Ok(()) => Status::Done,
        Err(MemoryError::Range) => Status::BadArgument,
        Err(MemoryError::None) => Status::Nothing,
        Err(MemoryError::Dry) => Status::Dry,
        Err(MemoryError::Busy) => Status::Busy,
        Err(MemoryError::Spoilt) => Status::Spoilt,
    }
}

fn watch<F: Format, T: Tables + Pages>(
    shared: &Shared<F, T>,
    on: bool,
    start: u64,
    length: u64,
) -> Result<(), MemoryError> {
    let range = pages_of_memory(shared, start, length)?;
    shared.memory.lock().watch(on, range)
}

/// The range, if it is whole pages below the end of RAM that are neither the VMM's nor the image's text.
pub(super) fn pages_of_memory<F: Format, T: Tables + Pages>(
    shared: &Shared<F, T>,
    start: u64,
    length: u64,
) -> Result<Range<u64>, MemoryError> {
    let end = start.checked_add(length).ok_or(MemoryError::Range)?;
    let whole = start.is_multiple_of(PAGE) && length.is_multiple_of(PAGE) && length > 0;
    if whole && is_place(shared, Span { start, end }) { Ok(start..end) } else { Err(MemoryError::Range) }
}

/// Whether a span is below the end of RAM, and neither the VMM's nor the image's text.
pub(super) fn is_place<F: Format, T: Tables + Pages>(shared: &Shared<F, T>, span: Span) -> bool {
    let bounds = &shared.bounds;
    let apart = |other: &Range<u64>| span.end <= other.start || span.start >= other.end;
    span.end <= bounds.memory_end && apart(&bounds.reserve) && apart(&bounds.text)
}
