//! The table of a disk, for another disk that takes its place and may have another size.

use alloc::vec;
use alloc::vec::Vec;
use bytemuck::bytes_of;
use core::fmt;
use core::ops::Range;
use drivers_api::{BlockDevice, BlockError};
use gpt_disk_types::{GptHeader, LbaLe, U32Le};

use crate::read::{PROTECTIVE, RECORDS, copy};
use crate::{GptError, SECTOR, Which, read};

/// A mark in the protective MBR, where the specification has a signature that nobody uses (5.2.3, `UniqueMBRDiskSignature`): one
/// sector is written to set it, the table stays valid, and zeros take it away.
const REPLACED: [u8; 4] = *b"QsRp";
const SIGNATURE: Range<usize> = 440..444;

/// What a disk of another size is to hold. Sectors count alike on both, up to the table at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// What is before the partitions, from sector 0 on: protective MBR, header, entries.
    pub head: Vec<u8>,
    /// What is carried over as it is.
    pub body: Range<u64>,
    /// Where the table at the end begins.
    pub tail: u64,
    /// From there to the end of the disk: entries, header.
    pub end: Vec<u8>,
}

/// Why a table can't be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MoveError {
    /// There is none, or it is in doubt.
    Table(GptError),
    /// The partitions need a disk of at least so many sectors.
    TooSmall(u64),
}

impl fmt::Display for MoveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(error) => error.fmt(f),
            Self::TooSmall(needed) => write!(f, "its partitions need a disk of {needed} sectors"),
        }
    }
}

impl core::error::Error for MoveError {}

impl From<GptError> for MoveError {
    fn from(error: GptError) -> Self {
        Self::Table(error)
    }
}

/// The table of `disk` for one of so many sectors. For one of its own size it is as it is, byte by byte.
pub fn moved(disk: &mut dyn BlockDevice, sectors: u64) -> Result<Moved, MoveError> {
    let table = read(disk)?;
    if let Some(fault) = table.fault {
        return Err(fault.into());
    }
    let (primary, _) = copy(disk, Which::Primary, 1)?;
    let place = primary.alternate_lba.to_u64();
    let (backup, _) = copy(disk, Which::Backup, place)?;
    let entry = u64::from(primary.size_of_partition_entry.to_u32());
    let array = (entry * u64::from(primary.number_of_partition_entries.to_u32())).div_ceil(SECTOR as u64);
    let entries = primary.partition_entry_lba.to_u64();
    let mut head = bytes(disk, 0..entries + array)?;
    let (start, old) = (backup.partition_entry_lba.to_u64(), disk.geometry().sectors);
    if sectors == old && place == old - 1 {
        let end = bytes(disk, start..old)?;
        return Ok(Moved { head, body: entries + array..start, tail: start, end });
    }

    let first = primary.first_usable_lba.to_u64();
    let used = table.partitions.iter().map(|each| each.first + each.sectors).max().unwrap_or(first + 1);
    let needed = used + array + 1;
    if sectors < needed {
        return Err(MoveError::TooSmall(needed));
    }
    let tail = sectors - 1 - array;
    let header = |my: u64, alternate: u64, entries: u64| {
        let mut header = GptHeader {
            header_size: U32Le::from_u32(size_of::<GptHeader>() as u32),
            my_lba: LbaLe::from_u64(my),
            alternate_lba: LbaLe::from_u64(alternate),
            last_usable_lba: LbaLe::from_u64(tail - 1),
            partition_entry_lba: LbaLe::from_u64(entries),
            ..primary
        };
        header.update_header_crc32();
        let mut sector = bytes_of(&header).to_vec();
        sector.resize(SECTOR, 0);
        sector
    };
    let mut end = head[entries as usize * SECTOR..].to_vec();
    end.extend(header(sectors - 1, 1, tail));
    head[SECTOR..2 * SECTOR].copy_from_slice(&header(1, sectors - 1, entries));
    // The protective record says how large the disk is, as far as it can (table 5-4, `SizeInLBA`).
    let size = u32::try_from(sectors - 1).unwrap_or(u32::MAX).to_le_bytes();
    for record in head[RECORDS].chunks_exact_mut(16).filter(|record| record[4] == PROTECTIVE) {
        record[12..].copy_from_slice(&size);
    }
    let body = entries + array..tail.min(primary.last_usable_lba.to_u64() + 1);
    Ok(Moved { head, body, tail, end })
}

fn bytes(disk: &mut dyn BlockDevice, sectors: Range<u64>) -> Result<Vec<u8>, GptError> {
    let mut bytes = vec![0; (sectors.end - sectors.start) as usize * SECTOR];
    disk.read(sectors.start, &mut bytes).map_err(GptError::Disk)?;
    Ok(bytes)
}

/// Marks a disk as replaced by another, so that a machine takes the other. Nothing else on it changes.
pub fn mark_replaced(disk: &mut dyn BlockDevice) -> Result<(), BlockError> {
    let mut sector = [0; SECTOR];
    disk.read(0, &mut sector)?;
    sector[SIGNATURE].copy_from_slice(&REPLACED);
    disk.write(0, &sector)?;
    disk.flush()
}

/// Whether this first sector has the mark.
pub(crate) fn is_replaced(sector: &[u8; SECTOR]) -> bool {
    sector[SIGNATURE] == REPLACED
}
