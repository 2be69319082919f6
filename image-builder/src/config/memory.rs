//! Amounts of memory.

use std::fmt;
use std::str::FromStr;

use super::ConfigError;

/// An amount of memory in bytes; shown and parsed with binary units (`64M`, `4G`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Memory(u64);

impl Memory {
    /// The least a machine is given.
    pub const MINIMUM: Memory = Memory::mebibytes(48);

    pub const fn mebibytes(count: u64) -> Self {
        Self(count << 20)
    }

    pub const fn gibibytes(count: u64) -> Self {
        Self(count << 30)
    }

    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(30, "G"), (20, "M"), (10, "K")] {
            if self.0 != 0 && self.0.trailing_zeros() >= shift {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}", self.0)
    }
}

impl FromStr for Memory {
    type Err = ConfigError;

    /// A bare number counts mebibytes, as with QEMU's `-m`.
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let bytes = binary_size(text).ok_or_else(|| ConfigError::MemorySyntax(text.to_owned()))?;
        if bytes < Memory::MINIMUM.0 {
            return Err(ConfigError::MemoryTooSmall(Memory(bytes)));
        }
        Ok(Memory(bytes))
    }
}

/// Bytes, below 2^52, of a number with a binary unit; a bare one counts mebibytes.
pub fn binary_size(text: &str) -> Option<u64> {
    let (digits, shift) = match text.char_indices().find(|(_, c)| !c.is_ascii_digit()) {
        None => (text, 20),
        Some((at, _)) => match text[at..].to_ascii_lowercase().as_str() {
            "k" | "kb" | "kib" => (&text[..at], 10),
            "m" | "mb" | "mib" => (&text[..at], 20),
            "g" | "gb" | "gib" => (&text[..at], 30),
            _ => return None,
        },
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift).filter(|bytes| *bytes < 1 << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_sizes_are_read_and_shown() {
        for (text, bytes, shown) in [
            ("64M", 64 << 20, "64M"),
            ("4G", 4 << 30, "4G"),
            ("512", 512 << 20, "512M"),
            ("49152k", 48 << 20, "48M"),
            ("1025mib", 1025 << 20, "1025M"),
        ] {
            let memory: Memory = text.parse().unwrap();
            assert_eq!((memory.bytes(), memory.to_string().as_str()), (bytes, shown), "{text}");
        }
    }

    #[test]
    fn memory_sizes_that_make_no_sense_are_refused() {
        for text in
            ["", "M", "x", "64X", "-1", "6 4M", "99999999999999999999G", "18446744073709551615G", "64MM"]
        {
            assert_eq!(text.parse::<Memory>(), Err(ConfigError::MemorySyntax(text.to_owned())), "{text}");
        }
        assert_eq!("47M".parse::<Memory>(), Err(ConfigError::MemoryTooSmall(Memory::mebibytes(47))));
    }
}
