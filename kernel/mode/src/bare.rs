//! The switch of this machine.

#[cfg(feature = "inject")]
pub mod inject;
pub mod interpose;
pub mod restore;
pub mod snapshot;

use crate::board::Board;
use crate::phase::Phase;
use crate::switch::{Figures, Outcome, Refused, Switch};
use crate::{Direction, Pins, World};
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use interpose::Interposition;
use machine::cpu;
use machine::thread::{self, Builder, Thread};
use machine::time::Instant;
use machine::virtualization::hooks;
use spin::Once;
use vmm::call::Status;
use vmm::monitor::{BuildError, EnterError, Monitor};

pub use interpose::{ABSORBED, AbsorbError, Absorbed, absorb};
pub use restore::{RestoreError, restore};
pub use snapshot::{
    FreezeError, Party, Returned, SNAPSHOT, Snapshot, SnapshotError, freeze, freeze_and_record,
};

static SWITCH: Once<Result<Switch<Machine>, BuildError>> = Once::new();
static REPORTER: Once<Thread> = Once::new();

/// The machine as the switch sees it.
#[derive(Debug)]
pub struct Machine {
    monitor: &'static Monitor,
    /// When memory was frozen, nanoseconds since boot, or a little before: no CPU has told anybody a later time. 0 once a restored system
    /// has set its clock by it.
    frozen: AtomicU64,
    /// The plan of the restore that is asked for.
    plan: AtomicU64,
    /// The change of what can be reached that is asked for.
    interposition: Interposition,
}

/// Why a CPU can't switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuError {
    /// It can't enter.
    Enter(EnterError),
    /// It can't freeze.
    Freeze(Status),
    /// It can't become the system that is to be restored.
    Restore(Status),
    /// Devices can't be taken away, or given back.
    Interpose(Status),
    /// A fault was asked for.
    #[cfg(feature = "inject")]
    Injected,
}

impl fmt::Display for CpuError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enter(error) => error.fmt(f),
            Self::Freeze(status) | Self::Restore(status) | Self::Interpose(status) => {
                f.write_str(status.meaning())
            }
            #[cfg(feature = "inject")]
            Self::Injected => f.write_str("a fault was injected"),
        }
    }
}

/// Why a request changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// There is no monitor.
    Unavailable(BuildError),
    /// The switch refused.
    Refused(Refused<CpuError>),
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(error) => error.fmt(f),
            Self::Refused(refused) => refused.fmt(f),
        }
    }
}

impl World for Machine {
    type Error = CpuError;

    fn cpus(&self) -> usize {
        cpu::count()
    }

    #[inline]
    fn cpu(&self) -> usize {
        cpu::id()
    }

    fn call_others(&self) {
        machine::apic::send_to_others(machine::apic::RENDEZVOUS_VECTOR);
    }

    #[inline]
    fn ticks(&self) -> u64 {
        cpu::tsc()
    }

    fn ticks_of(&self, duration: Duration) -> u64 {
        let ticks = duration.as_nanos() * u128::from(machine::time::tsc_hertz()) / 1_000_000_000;
        u64::try_from(ticks).unwrap_or(u64::MAX)
    }

    #[inline]
    fn relax(&self) {
        core::hint::spin_loop();
    }

    fn without_interrupts<R>(&self, f: impl FnOnce() -> R) -> R {
        cpu::without_interrupts(f)
    }

    fn check(&self, direction: Direction) -> Result<(), CpuError> {
        match direction {
            Direction::Enter => self.monitor.check().map_err(CpuError::Enter),
            Direction::Leave => Ok(()),
        }
    }

    fn ready(&self, direction: Direction) -> Result<(), CpuError> {
        match direction {
            Direction::Enter => self.monitor.ready().map_err(CpuError::Enter),
            Direction::Leave => Ok(()),
        }
    }

    #[inline(always)]
    fn prepare(&self, cpu: usize, direction: Direction) -> Result<(), CpuError> {
        #[cfg(feature = "inject")]
        inject::before_prepare(cpu)?;
        if direction == Direction::Enter {
            self.monitor.prepare(cpu).map_err(CpuError::Enter)?;
        }
        #[cfg(feature = "inject")]
        inject::after_prepare(cpu).inspect_err(|_| self.undo(cpu, direction))?;
        Ok(())
    }

    fn undo(&self, cpu: usize, direction: Direction) {
        if direction == Direction::Enter {
            self.monitor.undo(cpu);
        }
    }

    #[inline(always)]
    fn commit(&self, cpu: usize, direction: Direction) -> Result<(), CpuError> {
        match direction {
            Direction::Enter => {
                #[cfg(feature = "inject")]
                inject::before_launch(self.monitor, cpu).inspect_err(|_| self.monitor.undo(cpu))?;
                let launched = self.monitor.launch(cpu).map_err(CpuError::Enter);
                // What was spoiled is spoiled once.
                #[cfg(feature = "inject")]
                let launched = launched.inspect_err(|_| self.monitor.mend(cpu));
                launched?;
                #[cfg(feature = "inject")]
                inject::after_launch(cpu).inspect_err(|_| self.monitor.leave())?;
                Ok(())
            }
            Direction::Leave => {
                self.monitor.leave();
                Ok(())
            }
        }
    }

    fn revert(&self, _: usize, direction: Direction) {
        // Leaving can't fail, so nobody ever has to come back from it.
        if direction == Direction::Enter {
            self.monitor.leave();
        }
    }

    fn freeze(&self, _: usize, restored: Option<&dyn Fn()>) -> Result<(), CpuError> {
        // The others do nothing but freeze, too.
        self.frozen.fetch_max(Instant::now().as_nanos().max(1), Ordering::Relaxed);
        if self.monitor.freeze().map_err(CpuError::Freeze)? {
            // All others stand still until the leader has come back from here.
            if let Some(restored) = restored {
                machine::start::resume(Instant::from_nanos(self.frozen.swap(0, Ordering::Relaxed)));
                restored();
            }
            machine::apic::raise_again();
        }
        Ok(())
    }

    fn restore(&self, _: usize) -> Result<(), CpuError> {
        Err(CpuError::Restore(self.monitor.restore(self.plan.load(Ordering::Relaxed))))
    }

    fn interpose(&self, _: usize) -> Result<(), CpuError> {
        self.interposition.carry_out(self.monitor).map_err(CpuError::Interpose)
    }

    fn settle(&self) {
        self.monitor.settle();
    }
}

/// Binds the monitor, or the reason why there is none, to the machine. Once, on a thread, when all CPUs run.
pub fn start(monitor: Result<Monitor, BuildError>, pins: Pins<'static>) {
    let machine = |monitor: Monitor| Machine {
        monitor: monitor.settle_in(),
        frozen: AtomicU64::new(0),
        plan: AtomicU64::new(0),
        interposition: Interposition::default(),
    };
    SWITCH.call_once(|| monitor.map(|monitor| Switch::new(machine(monitor), pins)));
    match Builder::new("vmm-reports").spawn(log_reports) {
        Ok(handle) => {
            REPORTER.call_once(|| handle.thread().clone());
        }
        Err(error) => log::error!("reports of the VMM will not be logged: {error:?}"),
    }
    hooks::set(take_part, wake_reporter);
}

fn switch() -> Result<&'static Switch<Machine>, BuildError> {
    match SWITCH.get() {
        Some(Ok(switch)) => Ok(switch),
        Some(Err(error)) => Err(*error),
        None => Err(BuildError::NoReserve),
    }
}

fn take_part() {
    #[cfg(feature = "inject")]
    if inject::is_absent(cpu::id()) {
        return;
    }
    if let Ok(switch) = switch() {
        switch.take_part();
    }
}

fn wake_reporter() {
    if let Some(thread) = REPORTER.get() {
        thread.unpark();
    }
}

/// Logs what the VMM has stopped, for ever.
fn log_reports() {
    loop {
        if let Ok(switch) = switch() {
            while let Some(report) = switch.world().monitor.report() {
                log::error!(
                    "an access to the VMM's memory at {:#x} was stopped; the instruction is at {:#x}",
                    report.address,
                    report.rip
                );
            }
        }
        thread::park();
    }
}

/// Switches, or says why not. See [`Switch::request`].
pub fn request(target: Option<Phase>, deadline: Duration) -> Result<Outcome, RequestError> {
    let switch = switch().map_err(RequestError::Unavailable)?;
    switch.request(target, deadline).map_err(RequestError::Refused)
}

/// Whether a request would be carried out now. See [`Switch::dry_run`].
pub fn dry_run(target: Option<Phase>) -> Result<Outcome, RequestError> {
    let switch = switch().map_err(RequestError::Unavailable)?;
    switch.dry_run(target).map_err(RequestError::Refused)
}

/// Whether the machine itself is a guest, monitor or not.
pub fn is_nested() -> bool {
    vmm::monitor::is_guest()
}

/// Looks at the figures, and at the monitor behind them.
pub fn look<R>(f: impl FnOnce(&Figures, &Monitor) -> R) -> Result<R, BuildError> {
    let switch = switch()?;
    Ok(switch.figures(|figures| f(figures, switch.world().monitor)))
}

/// What is known about the switches so far. Nobody is waited for, and nobody waits.
pub fn board() -> Result<&'static Board, BuildError> {
    switch().map(Switch::board)
}

/// The monitor. What it is asked must not depend on the mode, which may change meanwhile.
pub fn monitor() -> Result<&'static Monitor, BuildError> {
    switch().map(|switch| switch.world().monitor)
}
