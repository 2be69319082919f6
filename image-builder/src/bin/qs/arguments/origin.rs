//! Where a checkpoint is to go on from.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use ::control::checkpoints::on_disk;
use slots::{Which, WhichError};

/// A file of this host, or the machine's own disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    File(PathBuf),
    Disk(Which),
}

impl FromStr for Origin {
    type Err = WhichError;

    fn from_str(text: &str) -> Result<Self, WhichError> {
        match on_disk(text) {
            Some(which) => which.parse().map(Self::Disk),
            None => Ok(Self::File(text.into())),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Disk(which) => write!(f, "disk:{which}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_a_file_or_on_the_disk() {
        assert_eq!("disk.qsc".parse(), Ok(Origin::File("disk.qsc".into())));
        assert_eq!("disk".parse(), Ok(Origin::Disk(Which::Latest)));
        assert_eq!("disk:7".parse::<Origin>().unwrap().to_string(), "disk:7");
        assert_eq!("disk:seven".parse::<Origin>(), Err(WhichError));
    }
}
