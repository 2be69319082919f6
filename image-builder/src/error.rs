//! The library's errors under one roof, each with the exit code of `qs` that it stands for.

use crate::{
    bench, checkpoint, config, control, disk, elf, image, kernel, machine, plug, qmp, state, tools, workspace,
};

/// Exit codes of `qs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// Done.
    Done = 0,
    /// Failed, and nothing was changed.
    Failed = 1,
    /// Asked for in a way that makes no sense.
    Usage = 2,
    /// The machine refused, and goes on as it was.
    Refused = 3,
    /// It was not done in time, and undone: the machine goes on as it was.
    TimedOut = 6,
    /// Whether it was done is not known.
    Unknown = 7,
    /// A host tool is missing (EX_UNAVAILABLE of sysexits).
    Missing = 69,
}

impl ExitCode {
    /// The exit code that a machine's answer asks for. Statuses that are not ours say nothing about what was done.
    pub const fn of_answer(status: u8) -> Self {
        match status {
            0 => Self::Done,
            1 => Self::Failed,
            2 => Self::Usage,
            3 => Self::Refused,
            6 => Self::TimedOut,
            _ => Self::Unknown,
        }
    }
}

/// Whatever can go wrong between the sources and a running machine.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Config(#[from] config::ConfigError),
    #[error(transparent)]
    Workspace(#[from] workspace::WorkspaceError),
    #[error(transparent)]
    Kernel(#[from] kernel::KernelError),
    #[error(transparent)]
    Elf(#[from] elf::ElfError),
    #[error(transparent)]
    Control(#[from] control::ControlError),
    #[error(transparent)]
    Key(#[from] control::KeyError),
    #[error(transparent)]
    Restore(#[from] control::RestoreError),
    #[error(transparent)]
    Checkpoint(#[from] checkpoint::CheckpointError),
    #[error(transparent)]
    Disk(#[from] disk::DiskError),
    #[error(transparent)]
    Image(#[from] image::ImageError),
    #[error(transparent)]
    Machine(#[from] machine::MachineError),
    #[error(transparent)]
    Plug(#[from] plug::PlugError),
    #[error(transparent)]
    Qmp(#[from] qmp::QmpError),
    #[error(transparent)]
    State(#[from] state::StateError),
    #[error(transparent)]
    Tool(#[from] tools::ToolError),
    #[error(transparent)]
    Bench(#[from] Box<bench::BenchError>),
}

impl From<bench::BenchError> for Error {
    fn from(error: bench::BenchError) -> Self {
        match error {
            bench::BenchError::Builder(error) => error,
            other => Self::Bench(Box::new(other)),
        }
    }
}

impl Error {
    /// The exit code that `qs` ends with on this error.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Error::Config(_) | Error::Workspace(workspace::WorkspaceError::UnknownApp { .. }) => {
                ExitCode::Usage
            }
            Error::Restore(error) => error.exit_code(),
            Error::State(state::StateError::BadName(_)) => ExitCode::Usage,
            Error::Plug(error) if error.is_usage() => ExitCode::Usage,
            Error::Plug(plug::PlugError::Stays { .. }) => ExitCode::Refused,
            Error::Control(error) if error.is_outcome_unknown() => ExitCode::Unknown,
            Error::Bench(error) if matches!(**error, bench::BenchError::Icount(_)) => ExitCode::Usage,
            Error::Tool(_) => ExitCode::Missing,
            _ => ExitCode::Failed,
        }
    }
}
