//! Hypercalls, from the system's own text only.

use super::{INVALID_OPCODE, Next};
use crate::call::{Call, Count, Status, VERSION};
use crate::nested::{Format, MapError, Tables};
use crate::shared::{PAGE, Shared};
use crate::vcpu::Vcpu;
use core::ops::Range;

/// Bytes of VMMCALL and VMCALL.
const LENGTH: u64 = 3;

#[inline]
pub(super) fn handle<V: Vcpu, F: Format, T: Tables>(vcpu: &mut V, shared: &Shared<F, T>) -> Next {
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
            let status = watch(shared, *call == Call::Watch, first, second);
            vcpu.flush();
            answer(vcpu, status, 0)
        }
        Some(Call::Flush) => {
            vcpu.flush();
            answer(vcpu, Status::Done, 0)
        }
        Some(Call::Version | Call::Leave) | None => answer(vcpu, Status::Unknown, 0),
    }
}

#[inline]
fn answer<V: Vcpu>(vcpu: &mut V, status: Status, value: u64) -> Next {
    vcpu.set_rax(status as u64);
    vcpu.registers().rdx = value;
    Next::Resume
}

fn watch<F: Format, T: Tables>(shared: &Shared<F, T>, on: bool, start: u64, length: u64) -> Status {
    let Some(range) = pages_of_memory(shared, start, length) else { return Status::BadArgument };
    let mut memory = shared.memory.lock();
    let memory = &mut *memory;
    let done = if on {
        memory.tree.watch(&mut memory.tables, range)
    } else {
        memory.tree.unwatch(&mut memory.tables, range)
    };
    match done {
        Ok(()) => Status::Done,
        Err(MapError::Dry) => Status::Dry,
        Err(MapError::Range) => Status::BadArgument,
    }
}

/// The range, if it is whole pages of RAM that are neither the VMM's nor the image's text.
fn pages_of_memory<F: Format, T: Tables>(
    shared: &Shared<F, T>,
    start: u64,
    length: u64,
) -> Option<Range<u64>> {
    let end = start.checked_add(length)?;
    let bounds = &shared.bounds;
    let apart = |other: &Range<u64>| end <= other.start || start >= other.end;
    let whole = start.is_multiple_of(PAGE) && length.is_multiple_of(PAGE) && length > 0;
    (whole && end <= bounds.memory_end && apart(&bounds.reserve) && apart(&bounds.text)).then_some(start..end)
}
