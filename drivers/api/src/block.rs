//! Block devices: sectors of 512 bytes, buffers in the DMA pool.

use crate::Device;
use core::fmt;

/// Size of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockGeometry {
    /// Capacity in sectors of 512 bytes.
    pub sectors: u64,
    /// Whether writes are refused.
    pub read_only: bool,
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
    /// Quiesced or halted.
    NotRunning,
}

impl fmt::Display for BlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OutOfRange => "outside the disk, or not whole sectors",
            Self::Io => "the disk reports an error",
            Self::ReadOnly => "the disk is read-only",
            Self::Timeout => "the disk does not answer",
            Self::NotRunning => "the disk is stopped",
        })
    }
}

/// A block device; calls block until the device has answered.
pub trait BlockDevice: Device {
    /// Size and mode.
    fn geometry(&self) -> BlockGeometry;
    /// Reads whole sectors from `sector` on; `buffer` is a multiple of 512 bytes long.
    fn read(&mut self, sector: u64, buffer: &mut [u8]) -> Result<(), BlockError>;
    /// Writes whole sectors from `sector` on.
    fn write(&mut self, sector: u64, buffer: &[u8]) -> Result<(), BlockError>;
    /// Returns when everything written before is durable.
    fn flush(&mut self) -> Result<(), BlockError>;
}
