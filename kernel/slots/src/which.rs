//! Which of the checkpoints is meant.

use core::fmt;
use core::str::FromStr;

/// One of those that are whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The newest.
    Latest,
    /// That with this number.
    Number(u64),
    /// That with this ID.
    Id([u8; 16]),
}

/// It is neither `latest` nor a number nor an ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WhichError;

impl fmt::Display for WhichError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a checkpoint is 'latest', a number from 1 on, or an ID of 32 hexadecimal digits")
    }
}

impl core::error::Error for WhichError {}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Number(number) => number.fmt(f),
            Self::Id(id) => id.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
        }
    }
}

impl FromStr for Which {
    type Err = WhichError;

    fn from_str(text: &str) -> Result<Self, WhichError> {
        if text == "latest" {
            return Ok(Self::Latest);
        }
        if text.len() == 32 {
            let mut id = [0; 16];
            for (byte, digits) in id.iter_mut().zip(text.as_bytes().chunks(2)) {
                let digit = |digit: u8| char::from(digit).to_digit(16).ok_or(WhichError);
                *byte = (digit(digits[0])? << 4 | digit(digits[1])?) as u8;
            }
            return Ok(Self::Id(id));
        }
        // `parse` takes a plus sign, too.
        let number = if text.starts_with('+') { None } else { text.parse().ok() };
        number.filter(|number| *number > 0).map(Self::Number).ok_or(WhichError)
    }
}
