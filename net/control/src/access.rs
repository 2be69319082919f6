//! Who may do what.

/// What somebody may do; each may do what those before may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Look.
    Observe,
    /// Change the machine's mode and end jobs.
    Operate,
    /// All.
    Admin,
}

impl core::fmt::Display for Role {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Observe => "observe",
            Self::Operate => "operate",
            Self::Admin => "admin",
        })
    }
}
