//! What the Identify command tells (5.15.2): pages of 4 KiB.

use super::NvmeError;
use crate::block::{Buffer, SECTOR};
use drivers_api::{BlockGeometry, BlockIdentity};

/// Bytes of each of these pages.
pub(super) const LENGTH: usize = 4096;

/// Which page (5.15, CNS).
pub(super) mod cns {
    pub const NAMESPACE: u32 = 0;
    pub const CONTROLLER: u32 = 1;
    pub const ACTIVE_NAMESPACES: u32 = 2;
}

fn number<const N: usize>(page: &[u8], offset: usize) -> [u8; N] {
    core::array::from_fn(|index| page[offset + index])
}

/// What is told of the controller (5.15.2.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ControllerPage {
    pub identity: BlockIdentity,
    /// Bytes of a transfer at most (MDTS), as far as the buffer goes.
    pub limit: usize,
    /// What is written may be lost until it is flushed (VWC).
    pub has_cache: bool,
}

impl ControllerPage {
    pub fn read(page: &[u8]) -> Self {
        // In pages of 4 KiB, as a power of two; 0 is no limit.
        let limit = match page[77] {
            0 => Buffer::LENGTH,
            power => Buffer::LENGTH.min(4096 << power.min(16)),
        };
        let identity = BlockIdentity::new(&page[24..64], &page[4..24]);
        Self { identity, limit, has_cache: page[525] & 1 != 0 }
    }
}

/// The first namespace of a list (5.15.2.3); zero ends it.
pub(super) fn first_namespace(page: &[u8]) -> Result<u32, NvmeError> {
    match u32::from_le_bytes(number(page, 0)) {
        0 => Err(NvmeError::NoNamespace),
        namespace => Ok(namespace),
    }
}

/// The size of a namespace (5.15.2.1), if it has the sectors that disks have here.
pub(super) fn geometry(page: &[u8]) -> Result<BlockGeometry, NvmeError> {
    // FLBAS, the format in use; its LBAF has the metadata's bytes, and the block's as a power of two.
    let format = 128 + 4 * usize::from(page[26] & 15);
    let metadata = u16::from_le_bytes(number(page, format));
    let sector = 1u64.checked_shl(page[format + 2].into()).unwrap_or(0);
    if sector != SECTOR as u64 {
        return Err(NvmeError::SectorSize(sector));
    }
    if metadata != 0 {
        return Err(NvmeError::Metadata(metadata));
    }
    match u64::from_le_bytes(number(page, 0)) {
        0 => Err(NvmeError::NoNamespace),
        // NSATTR: write-protected.
        sectors => Ok(BlockGeometry { sectors, read_only: page[99] & 1 != 0 }),
    }
}
