//! Block devices: sectors of 512 bytes, buffers in the DMA pool.

use crate::Device;
use alloc::string::String;
use core::fmt;

/// Size of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockGeometry {
    /// Capacity in sectors of 512 bytes.
    pub sectors: u64,
    /// Whether writes are refused.
    pub read_only: bool,
}

/// What a device says of itself; empty where it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockIdentity {
    /// Model.
    pub model: String,
    /// Serial number.
    pub serial: String,
}

impl BlockIdentity {
    /// From the texts of a device: ASCII, filled up with spaces or ended by a zero. What can't be printed is a question mark.
    pub fn new(model: &[u8], serial: &[u8]) -> Self {
        let text = |bytes: &[u8]| {
            let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default().trim_ascii();
            let printable = |&byte: &u8| if (b' '..=b'~').contains(&byte) { char::from(byte) } else { '?' };
            text.iter().map(printable).collect()
        };
        Self { model: text(model), serial: text(serial) }
    }
}

impl fmt::Display for BlockIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.model.as_str(), self.serial.as_str()) {
            ("", "") => f.write_str("no serial number"),
            ("", serial) => write!(f, "serial number {serial}"),
            (model, "") => f.write_str(model),
            (model, serial) => write!(f, "{model}, serial number {serial}"),
        }
    }
}

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockError {
    /// Outside the device, or not whole sectors.
    OutOfRange,
    /// The device reported an error.
    Io,
    /// Writing to a read-only device.
    ReadOnly,
    /// No answer in time.
    Timeout,
    /// Quiesced or halted, or an earlier request got no proper end.
    NotRunning,
    /// The device was taken away.
    Gone,
    /// The device was taken away and is back: what was written before and not flushed may be lost.
    Lost,
}

impl fmt::Display for BlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OutOfRange => "outside the disk, or not whole sectors",
            Self::Io => "the disk reports an error",
            Self::ReadOnly => "the disk is read-only",
            Self::Timeout => "the disk does not answer",
            Self::NotRunning => "the disk is stopped",
            Self::Gone => "the disk is gone",
            Self::Lost => "the disk was pulled out meanwhile, and what was written before may be lost",
        })
    }
}

/// A block device; calls block until the device has answered.
pub trait BlockDevice: Device {
    /// Size and mode.
    fn geometry(&self) -> BlockGeometry;
    /// Model and serial number.
    fn identity(&mut self) -> Result<BlockIdentity, BlockError> {
        Ok(BlockIdentity::default())
    }
    /// Reads whole sectors from `sector` on; `buffer` is a multiple of 512 bytes long.
    fn read(&mut self, sector: u64, buffer: &mut [u8]) -> Result<(), BlockError>;
    /// Writes whole sectors from `sector` on.
    fn write(&mut self, sector: u64, buffer: &[u8]) -> Result<(), BlockError>;
    /// Returns when everything written before is durable.
    fn flush(&mut self) -> Result<(), BlockError>;
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    #[test]
    fn what_devices_say_is_read_as_text() {
        let say = |model: &[u8], serial: &[u8]| BlockIdentity::new(model, serial).to_string();
        assert_eq!(say(b"Disk 9  ", b"\0rest"), "Disk 9");
        assert_eq!(say(b"  a\x1b[2Jb", b"s-1\0\xff"), "a?[2Jb, serial number s-1");
        assert_eq!(say(b"", b"01234567890123456789"), "serial number 01234567890123456789");
        assert_eq!(say(b"    ", b""), "no serial number");
    }
}
