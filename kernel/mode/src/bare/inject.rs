//! Faults on request: one CPU fails at one step of the next switch. For the self test.

use super::CpuError;
use core::sync::atomic::{AtomicU64, Ordering};
use vmm::monitor::{Monitor, Part};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Fault {
    /// The CPU does not come.
    Absent = 1,
    /// It can't prepare itself.
    Prepare = 2,
    /// It prepares itself for longer than anybody waits.
    Slow = 3,
    /// It does not go over.
    Launch = 4,
    /// It has prepared itself, and votes against it nevertheless.
    Prepared = 5,
    /// It has gone over, and comes back.
    Launched = 6,
    /// The CPU refuses the controls.
    Controls = 7,
    /// The CPU refuses what exits would load.
    Host = 8,
    /// The CPU refuses the guest's state.
    Guest = 9,
}

static ARMED: AtomicU64 = AtomicU64::new(0);

/// Arms a fault for one CPU; it stays until [`disarm`].
pub fn arm(cpu: usize, fault: Fault) {
    ARMED.store((cpu as u64) << 8 | fault as u64, Ordering::SeqCst);
}

/// No fault from now on.
pub fn disarm() {
    ARMED.store(0, Ordering::SeqCst);
}

fn is_armed(cpu: usize, fault: Fault) -> bool {
    ARMED.load(Ordering::SeqCst) == (cpu as u64) << 8 | fault as u64
}

pub(super) fn is_absent(cpu: usize) -> bool {
    is_armed(cpu, Fault::Absent)
}

fn fail_if_armed(cpu: usize, fault: Fault) -> Result<(), CpuError> {
    if is_armed(cpu, fault) { Err(CpuError::Injected) } else { Ok(()) }
}

pub(super) fn before_prepare(cpu: usize) -> Result<(), CpuError> {
    // Until the test has seen that nobody waited.
    while is_armed(cpu, Fault::Slow) {
        core::hint::spin_loop();
    }
    fail_if_armed(cpu, Fault::Prepare)
}

pub(super) fn after_prepare(cpu: usize) -> Result<(), CpuError> {
    fail_if_armed(cpu, Fault::Prepared)
}

pub(super) fn before_launch(monitor: &Monitor, cpu: usize) -> Result<(), CpuError> {
    let parts = [(Fault::Controls, Part::Controls), (Fault::Host, Part::Host), (Fault::Guest, Part::Guest)];
    for (_, part) in parts.into_iter().filter(|(fault, _)| is_armed(cpu, *fault)) {
        monitor.spoil(cpu, part);
    }
    fail_if_armed(cpu, Fault::Launch)
}

pub(super) fn after_launch(cpu: usize) -> Result<(), CpuError> {
    fail_if_armed(cpu, Fault::Launched)
}
