//! Nested faults.

use super::{Platform, Stop};
use crate::call::Count;
use crate::frozen::Pages;
use crate::nested::{Format, Resolution, Tables};
use crate::shared::{Report, Shared};
use crate::vcpu::{Access, Vcpu};

/// What is mapped at once when the system first touches device memory beyond the prepared part.
const DEVICE_PIECE: u64 = 1 << 30;
/// What has come of a nested fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The access can be repeated.
    Repeat,
    /// It is forbidden, and can't be let pass.
    Forbidden,
    /// The system can't go on.
    Stop(Stop),
}

/// Guest-physical addresses end here.
const ADDRESS_END: u64 = 1 << 48;

pub(super) fn handle<V: Vcpu, F: Format, T: Tables + Pages>(
    vcpu: &mut V,
    shared: &Shared<F, T>,
    platform: &impl Platform,
    address: u64,
    access: Access,
) -> Outcome {
    if shared.bounds.reserve.contains(&address) {
        return stop_access(vcpu, shared, platform, address, access);
    }
    let mut memory = shared.memory.lock();
    let memory = &mut *memory;
    if access.write && access.present {
        match memory.resolve_write(address) {
            Resolution::Granted { .. } | Resolution::Writable | Resolution::Dry { .. } => {
                shared.count(Count::Nested);
                return Outcome::Repeat;
            }
            // The image's text: the system's own page tables forbid this, so they have been changed. Or what was donated.
            Resolution::NotWatched(_) => {
                shared.count(Count::Forbidden);
                return Outcome::Forbidden;
            }
            Resolution::Absent => {}
        }
    }
    if memory.tree.translate(&memory.tables, address).is_some() {
        // Another CPU has mapped it meanwhile, or it is a fetch from where nothing may be fetched.
        if access.fetch && access.present {
            shared.count(Count::Forbidden);
            return Outcome::Forbidden;
        }
        return Outcome::Repeat;
    }
    // Device memory beyond what was prepared: it passes through like the rest.
    let start = address & !(DEVICE_PIECE - 1);
    if start >= ADDRESS_END {
        return Outcome::Stop(Stop::Unexpected(address));
    }
    shared.count(Count::Nested);
    let range = start..start + DEVICE_PIECE;
    match memory.map_device(range) {
        Ok(()) => Outcome::Repeat,
        Err(_) => Outcome::Stop(Stop::Dry),
    }
}

/// An access to the VMM's memory. The instruction is let pass on a page that is nobody's, and the system is told: what
/// happens to the thread that did it is the system's business, and all others live on. Further accesses to the same page meet the
/// same page that is nobody's, without an exit, until another one is stopped.
///
/// What is fetched can't be let pass: nobody knows where it would lead.
#[cold]
fn stop_access<V: Vcpu, F: Format, T: Tables + Pages>(
    vcpu: &mut V,
    shared: &Shared<F, T>,
    platform: &impl Platform,
    address: u64,
    access: Access,
) -> Outcome {
    shared.count(Count::Forbidden);
    shared.reports.lock().push(Report { address, rip: vcpu.rip() });
    platform.notify();
    if access.fetch {
        return Outcome::Forbidden;
    }
    if !shared.memory.lock().let_sink(address) {
        return Outcome::Stop(Stop::Dry);
    }
    // Another CPU's stale translation leads to the sink, too.
    vcpu.flush();
    Outcome::Repeat
}
