//! Error replies, with the texts Redis 7.0 uses.
use alloc::collections::TryReserveError;
use alloc::string::String;

/// Why a command failed: what its error reply says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    WrongType,
    Syntax,
    NotInteger,
    NotFloat,
    Overflow,
    NoSuchKey,
    IndexOutOfRange,
    NotPositive,
    /// An allocation failed.
    OutOfMemory,
    /// The memory limit is reached.
    MaxMemory,
    /// Another error, with its code word: `ERR …`.
    Text(&'static str),
    /// Another error whose text names what the client sent.
    Message(String),
}

impl Failure {
    /// The reply, without `-` and line end.
    pub fn text(&self) -> &str {
        match self {
            Self::WrongType => "WRONGTYPE Operation against a key holding the wrong kind of value",
            Self::Syntax => "ERR syntax error",
            Self::NotInteger => "ERR value is not an integer or out of range",
            Self::NotFloat => "ERR value is not a valid float",
            Self::Overflow => "ERR increment or decrement would overflow",
            Self::NoSuchKey => "ERR no such key",
            Self::IndexOutOfRange => "ERR index out of range",
            Self::NotPositive => "ERR value is out of range, must be positive",
            Self::OutOfMemory => "OOM out of memory",
            Self::MaxMemory => "OOM command not allowed when used memory > 'maxmemory'.",
            Self::Text(text) => text,
            Self::Message(text) => text,
        }
    }
}

impl From<TryReserveError> for Failure {
    fn from(_: TryReserveError) -> Self {
        Self::OutOfMemory
    }
}
