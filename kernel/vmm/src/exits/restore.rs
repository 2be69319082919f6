//! The hypercall by which a received system takes the place of the running one.

use super::hypercall::{answer, is_place};
use super::{Next, Platform, patience};
use crate::call::Status;
use crate::frozen::{Pages, Stage};
use crate::nested::{Format, Tables};
use crate::shared::Shared;
use crate::takeover::Plan;
use crate::vcpu::Vcpu;
use machine::state::is_installable;
use x86defs::state::CpuState;

/// Waits for the other CPUs; the last one checks the plan. Each puts its new state in and lets the rules of the manual judge it. If
/// nobody has an objection, the last one puts memory in its place, and all go on where the new system stood.
#[cold]
pub(super) fn restore<V: Vcpu, F: Format, T: Tables + Pages>(
    vcpu: &mut V,
    shared: &Shared<F, T>,
    platform: &impl Platform,
    head: u64,
) -> Next {
    let (cpu, cpus) = (platform.cpu(), shared.states.len());
    if cpu >= cpus {
        return answer(vcpu, Status::BadArgument, 0);
    }
    // It does not change while any CPU waits here.
    if shared.memory.lock().frozen.stage() != Stage::Idle {
        return answer(vcpu, Status::Busy, 0);
    }
    let patient = patience(platform);
    let look = || {
        let memory = shared.memory.lock();
        let is_memory = |span| is_place(shared, span) && memory.is_ram(span);
        *shared.takeover.lock() = Plan::check(&memory.tables, head, cpus, &shared.bounds.facts, is_memory);
    };
    if !shared.meeting.meet(cpus, look, patient) {
        return answer(vcpu, Status::Alone, 0);
    }
    let mut old = CpuState::default();
    vcpu.store(&mut old);
    let plan = *shared.takeover.lock();
    let new = plan.map(|plan| {
        let memory = shared.memory.lock();
        memory.tables.state(plan.state(&memory.tables, cpu))
    });
    if let Some(new) = &new {
        vcpu.load(new);
        if !is_installable(new) || !vcpu.is_sound() {
            *shared.takeover.lock() = None;
        }
    }
    let act = || {
        if let Some(plan) = *shared.takeover.lock() {
            let mut memory = shared.memory.lock();
            memory.take_over(plan);
        }
    };
    // All have come, so all come again.
    shared.meeting.meet(cpus, act, || true);
    match (new, *shared.takeover.lock()) {
        (Some(new), Some(_)) => {
            platform.install(&new);
            vcpu.flush();
            Next::Restored
        }
        _ => {
            vcpu.load(&old);
            answer(vcpu, Status::BadArgument, 0)
        }
    }
}
