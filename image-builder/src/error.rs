//! The library's errors under one roof, each with the exit code of `qs` that it stands for.

use crate::{config, elf, image, kernel, machine, qmp, state, tools, workspace};

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
    /// A host tool is missing (EX_UNAVAILABLE of sysexits).
    Missing = 69,
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
    Image(#[from] image::ImageError),
    #[error(transparent)]
    Machine(#[from] machine::MachineError),
    #[error(transparent)]
    Qmp(#[from] qmp::QmpError),
    #[error(transparent)]
    State(#[from] state::StateError),
    #[error(transparent)]
    Tool(#[from] tools::ToolError),
}

impl Error {
    /// The exit code that `qs` ends with on this error.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Error::Config(_) | Error::Workspace(workspace::WorkspaceError::UnknownApp { .. }) => {
                ExitCode::Usage
            }
            Error::State(state::StateError::BadName(_)) => ExitCode::Usage,
            Error::Tool(_) => ExitCode::Missing,
            _ => ExitCode::Failed,
        }
    }
}
