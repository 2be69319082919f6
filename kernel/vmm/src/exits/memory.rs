//! Nested faults.

use super::{GENERAL_PROTECTION, Next, Platform, Stop};
use crate::call::Count;
use crate::nested::{Format, Resolution, Rights, Tables};
use crate::shared::{Report, Shared};
use crate::vcpu::{Access, Vcpu};

/// What is mapped at once when the system first touches device memory beyond the prepared part.
const DEVICE_PIECE: u64 = 1 << 30;
/// Guest-physical addresses end here.
const ADDRESS_END: u64 = 1 << 48;

pub(super) fn handle<V: Vcpu, F: Format, T: Tables>(
    vcpu: &mut V,
    shared: &Shared<F, T>,
    platform: &impl Platform,
    address: u64,
    access: Access,
) -> Next {
    if shared.bounds.reserve.contains(&address) {
        return stop_access(vcpu, shared, platform, address);
    }
    let mut memory = shared.memory.lock();
    let memory = &mut *memory;
    if access.write && access.present {
        match memory.tree.resolve_write(&mut memory.tables, address) {
            Resolution::Granted { .. } | Resolution::Writable | Resolution::Dry { .. } => {
                shared.count(Count::Nested);
                return Next::Resume;
            }
            // The image's text: the system's own page tables forbid this, so they have been changed.
            Resolution::NotWatched(_) => {
                shared.count(Count::Forbidden);
                vcpu.inject(GENERAL_PROTECTION);
                return Next::Resume;
            }
            Resolution::Absent => {}
        }
    }
    if memory.tree.translate(&memory.tables, address).is_some() {
        // Another CPU has mapped it meanwhile, or it is a fetch from where nothing may be fetched.
        if access.fetch && access.present {
            shared.count(Count::Forbidden);
            vcpu.inject(GENERAL_PROTECTION);
        }
        return Next::Resume;
    }
    // Device memory beyond what was prepared: it passes through like the rest.
    let start = address & !(DEVICE_PIECE - 1);
    if start >= ADDRESS_END {
        return Next::Stop(Stop::Unexpected(address));
    }
    shared.count(Count::Nested);
    let range = start..start + DEVICE_PIECE;
    match memory.tree.map(&mut memory.tables, range, Rights::ALL, F::UNKNOWN) {
        Ok(()) => Next::Resume,
        Err(_) => Next::Stop(Stop::Dry),
    }
}

/// An access to the VMM's memory. The instruction is let pass on a page that is nobody's, and the system is told: what
/// happens to the thread that did it is the system's business, and all others live on.
#[cold]
fn stop_access<V: Vcpu, F: Format, T: Tables>(
    vcpu: &mut V,
    shared: &Shared<F, T>,
    platform: &impl Platform,
    address: u64,
) -> Next {
    shared.count(Count::Forbidden);
    shared.reports.lock().push(Report { address, rip: vcpu.rip() });
    if !shared.memory.lock().let_sink(address) {
        return Next::Stop(Stop::Dry);
    }
    // Another CPU's stale translation leads to the sink, too.
    vcpu.flush();
    platform.notify();
    Next::Resume
}
