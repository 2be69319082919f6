//! Why an application stopped.
use crate::task::OutOfMemory;
use core::fmt;
use machine::thread::SpawnError;
use net::{BindError, TcpError};

/// Why an application stopped.
#[derive(Debug)]
pub enum AppError {
    /// There was no memory left for something the application cannot do without.
    OutOfMemory,
    /// A setting on the kernel command line has a value the application can't use.
    Setting {
        /// The setting, such as `kv.maxmemory`.
        key: &'static str,
        /// What it may be, such as `a number of bytes`.
        expected: &'static str,
    },
    /// A port could not be listened on.
    Bind(BindError),
    /// A connection failed.
    Tcp(TcpError),
    /// A thread could not be started.
    Thread(SpawnError),
}

impl fmt::Display for AppError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfMemory => write!(f, "out of memory"),
            Self::Setting { key, expected } => write!(f, "setting {key} must be {expected}"),
            Self::Bind(error) => write!(f, "no listener: {error}"),
            Self::Tcp(error) => write!(f, "connection: {error}"),
            Self::Thread(error) => write!(f, "no thread: {error:?}"),
        }
    }
}

impl core::error::Error for AppError {}

impl From<OutOfMemory> for AppError {
    fn from(_: OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

impl From<alloc::collections::TryReserveError> for AppError {
    fn from(_: alloc::collections::TryReserveError) -> Self {
        Self::OutOfMemory
    }
}

impl From<BindError> for AppError {
    fn from(error: BindError) -> Self {
        Self::Bind(error)
    }
}

impl From<TcpError> for AppError {
    fn from(error: TcpError) -> Self {
        Self::Tcp(error)
    }
}

impl From<SpawnError> for AppError {
    fn from(error: SpawnError) -> Self {
        Self::Thread(error)
    }
}
