//! Faults on request: one CPU fails at one step of the next switch. For the self test.

use super::CpuError;
use core::sync::atomic::{AtomicU64, Ordering};

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

pub(super) fn before_prepare(cpu: usize) -> Result<(), CpuError> {
    // Until the test has seen that nobody waited.
    while is_armed(cpu, Fault::Slow) {
        core::hint::spin_loop();
    }
    if is_armed(cpu, Fault::Prepare) { Err(CpuError::Injected) } else { Ok(()) }
}

pub(super) fn before_launch(cpu: usize) -> Result<(), CpuError> {
    if is_armed(cpu, Fault::Launch) { Err(CpuError::Injected) } else { Ok(()) }
}
