//! Commands: what a client writes and a server reads.

use core::fmt;
use core::str::FromStr;
use core::time::Duration;

/// How long a switch may wait for CPUs and pins, unless the command says otherwise.
pub const DEADLINE: Duration = Duration::from_secs(1);
/// The longest a command may ask for.
pub const LONGEST: Duration = Duration::from_secs(60);

/// What there is to say, for whoever says something else.
pub const USAGE: &str = "mode native|guest|toggle [deadline=MS], mode status, mode trace";

/// Which mode a switch leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The bare machine.
    Native,
    /// On top of the VMM.
    Guest,
    /// The other one.
    Toggle,
}

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Switch; give up with nothing changed after so long, a whole number of milliseconds up to [`LONGEST`].
    Switch(Target, Duration),
    /// Tell the state.
    Status,
    /// Tell when each CPU did what in the last switches.
    Trace,
}

/// It is none of [`USAGE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsageError;

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "usage: {USAGE}")
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Guest => "guest",
            Self::Toggle => "toggle",
        })
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch(target, DEADLINE) => write!(f, "mode {target}"),
            Self::Switch(target, deadline) => write!(f, "mode {target} deadline={}", deadline.as_millis()),
            Self::Status => f.write_str("mode status"),
            Self::Trace => f.write_str("mode trace"),
        }
    }
}

impl FromStr for Command {
    type Err = UsageError;

    fn from_str(text: &str) -> Result<Self, UsageError> {
        let mut words = text.split_ascii_whitespace();
        if words.next() != Some("mode") {
            return Err(UsageError);
        }
        let target = match words.next() {
            None | Some("status") => None,
            Some("trace") => return words.next().is_none().then_some(Self::Trace).ok_or(UsageError),
            Some("native") => Some(Target::Native),
            Some("guest") => Some(Target::Guest),
            Some("toggle") => Some(Target::Toggle),
            Some(_) => return Err(UsageError),
        };
        let command = match (target, words.next()) {
            (None, None) => Self::Status,
            (Some(target), None) => Self::Switch(target, DEADLINE),
            (Some(target), Some(word)) => {
                let number = word.strip_prefix("deadline=").and_then(|number| number.parse().ok());
                let deadline = number.map(Duration::from_millis).filter(|deadline| *deadline <= LONGEST);
                Self::Switch(target, deadline.ok_or(UsageError)?)
            }
            (None, Some(_)) => return Err(UsageError),
        };
        words.next().is_none().then_some(command).ok_or(UsageError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn what_is_written_is_read() {
        let half = Duration::from_millis(500);
        for (command, text) in [
            (Command::Status, "mode status"),
            (Command::Trace, "mode trace"),
            (Command::Switch(Target::Native, DEADLINE), "mode native"),
            (Command::Switch(Target::Guest, half), "mode guest deadline=500"),
            (Command::Switch(Target::Toggle, Duration::ZERO), "mode toggle deadline=0"),
            (Command::Switch(Target::Toggle, LONGEST), "mode toggle deadline=60000"),
        ] {
            assert_eq!((command.to_string().as_str(), text.parse()), (text, Ok(command)));
        }
        assert_eq!(" mode  ".parse(), Ok(Command::Status));
    }

    #[test]
    fn all_else_is_refused() {
        for text in [
            "",
            "status",
            "mode sideways",
            "mode status now",
            "mode trace 1",
            "mode guest 5",
            "mode guest deadline=",
            "mode guest deadline=-1",
            "mode guest deadline=60001",
            "mode guest deadline=99999999999999999999",
            "mode guest deadline=5 deadline=5",
            "MODE GUEST",
        ] {
            assert_eq!(text.parse::<Command>(), Err(UsageError), "{text}");
        }
    }
}
