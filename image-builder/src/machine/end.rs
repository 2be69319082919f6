//! How a machine ended.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// The end of a machine. A kernel under QEMU writes `v` to the debug-exit port, and QEMU's status is `v << 1 | 1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The kernel shut down in order (status 33, or ACPI power-off).
    Shutdown,
    /// The kernel panicked (35).
    Panic,
    /// A double fault or a stack overflow (37).
    DoubleFault,
    /// A machine check (39).
    MachineCheck,
    /// The machine reset: a reboot, or a triple fault.
    Reset,
    /// Somebody outside ended it: `qs stop`, QMP, a signal.
    Stopped,
    /// QEMU ended in a way that has no meaning here.
    Unknown { status: String },
}

impl End {
    /// From QEMU's exit status and the reason in its `SHUTDOWN` event.
    pub fn new(status: ExitStatus, reason: Option<&str>) -> Self {
        match (status.code(), reason) {
            (Some(33), _) | (Some(0), Some("guest-shutdown")) => End::Shutdown,
            (Some(35), _) => End::Panic,
            (Some(37), _) => End::DoubleFault,
            (Some(39), _) => End::MachineCheck,
            (Some(0), Some("guest-reset" | "guest-panic")) => End::Reset,
            (Some(0), _) => End::Stopped,
            (None, _) if matches!(status.signal(), Some(2 | 9 | 15)) => End::Stopped,
            _ => End::Unknown { status: status.to_string() },
        }
    }

    /// Whether nothing went wrong.
    pub fn is_good(&self) -> bool {
        matches!(self, End::Shutdown | End::Stopped)
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Shutdown => f.write_str("clean shutdown"),
            End::Panic => f.write_str("kernel panic (exit status 35)"),
            End::DoubleFault => f.write_str("double fault or stack overflow (exit status 37)"),
            End::MachineCheck => f.write_str("machine check (exit status 39)"),
            End::Reset => f.write_str("reset (a reboot, or a triple fault)"),
            End::Stopped => f.write_str("stopped"),
            End::Unknown { status } => write!(f, "QEMU ended with {status}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_have_meanings() {
        let exited = |code: i32| ExitStatus::from_raw(code << 8);
        for (code, reason, end) in [
            (33, None, End::Shutdown),
            (35, None, End::Panic),
            (37, None, End::DoubleFault),
            (39, None, End::MachineCheck),
            (0, Some("guest-reset"), End::Reset),
            (0, Some("guest-shutdown"), End::Shutdown),
            (0, Some("host-signal"), End::Stopped),
            (0, Some("host-qmp-quit"), End::Stopped),
        ] {
            assert_eq!(End::new(exited(code), reason), end, "{code} {reason:?}");
        }
        assert_eq!(End::new(ExitStatus::from_raw(9), None), End::Stopped);
        assert!(!End::new(exited(1), None).is_good());
        assert!(!End::new(ExitStatus::from_raw(11), None).is_good());
    }
}
