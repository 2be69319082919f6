//! How a machine ended.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// The end of a machine. A kernel under QEMU writes `v` to the debug-exit port, and QEMU's status is `v << 1 | 1`. Under Bochs
/// it leaves `v` in Bochs's log.
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
    /// The emulator ended in a way that has no meaning here.
    Unknown { status: String },
}

impl End {
    /// From QEMU's exit status and the reason in its `SHUTDOWN` event.
    pub fn of_qemu(status: ExitStatus, reason: Option<&str>) -> Self {
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

    /// From Bochs's exit status and its log, in which the kernel leaves `quicksilver: exit v`. Bochs ends with 0 when it is
    /// interrupted, with 1 in all other cases.
    pub fn of_bochs(status: ExitStatus, log: &str) -> Self {
        let told =
            log.lines().rev().find_map(|line| line.split_once("quicksilver: exit ").map(|(_, v)| v.trim()));
        let panic =
            log.lines().rev().find_map(|line| line.split_once(">>PANIC<< ").map(|(_, text)| text.trim()));
        match (told, panic) {
            (Some("16"), _) => End::Shutdown,
            (Some("17"), _) => End::Panic,
            (Some("18"), _) => End::DoubleFault,
            (Some("19"), _) => End::MachineCheck,
            // A triple fault.
            (_, Some(text)) if text.contains("exception(): 3rd") => End::Reset,
            (_, Some(text)) => End::Unknown { status: format!("{status}, {text}") },
            _ if status.success() || matches!(status.signal(), Some(1 | 2 | 9 | 15)) => End::Stopped,
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
            End::Panic => f.write_str("kernel panic"),
            End::DoubleFault => f.write_str("double fault or stack overflow"),
            End::MachineCheck => f.write_str("machine check"),
            End::Reset => f.write_str("reset (a reboot, or a triple fault)"),
            End::Stopped => f.write_str("stopped"),
            End::Unknown { status } => write!(f, "the emulator ended with {status}"),
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
            assert_eq!(End::of_qemu(exited(code), reason), end, "{code} {reason:?}");
        }
        assert_eq!(End::of_qemu(ExitStatus::from_raw(9), None), End::Stopped);
        assert!(!End::of_qemu(exited(1), None).is_good());
        assert!(!End::of_qemu(ExitStatus::from_raw(11), None).is_good());
    }

    #[test]
    fn logs_of_bochs_have_meanings() {
        let shutdown = "p[UNMAP ] >>PANIC<< Shutdown port: shutdown requested\n";
        let told = |v: u32| format!("00222461583i[BIOS  ] quicksilver: exit {v}\n00222461605{shutdown}");
        let failed = ExitStatus::from_raw(1 << 8);
        for (v, end) in
            [(16, End::Shutdown), (17, End::Panic), (18, End::DoubleFault), (19, End::MachineCheck)]
        {
            assert_eq!(End::of_bochs(failed, &told(v)), end);
        }
        let triple = "1p[CPU0  ] >>PANIC<< exception(): 3rd (13) exception with no resolution\n";
        assert_eq!(End::of_bochs(failed, triple), End::Reset);
        assert_eq!(End::of_bochs(ExitStatus::from_raw(0), "quit_sim called"), End::Stopped);
        assert_eq!(End::of_bochs(ExitStatus::from_raw(9), ""), End::Stopped);
        let full = End::of_bochs(failed, "1p[MEM0  ] >>PANIC<< no space\n");
        assert_eq!(full, End::Unknown { status: "exit status: 1, no space".to_owned() });
        assert!(!End::of_bochs(ExitStatus::from_raw(11), "").is_good());
    }
}
