//! The table of a new disk, as bytes for whoever writes it.

use alloc::vec;
use alloc::vec::Vec;
use bytemuck::bytes_of;
use core::fmt;
use gpt_disk_types::{
    Crc32, GptHeader, GptPartitionEntry, GptPartitionType, Guid, LbaLe, MasterBootRecord, U32Le, crc::Crc,
};

use crate::SECTOR;

/// Where partitions begin: at multiples of so many sectors, 1 MiB.
pub const ALIGNMENT: u64 = 2048;
/// Entries, and their sectors: what the specification reserves at least (5.3.1).
const ENTRIES: u32 = 128;
const ARRAY: u64 = 32;

/// A partition to be.
#[derive(Clone, Copy, Debug)]
pub struct New<'a> {
    /// What it is for.
    pub kind: Guid,
    /// Its own name: a random one.
    pub id: Guid,
    /// What people call it, at most 35 characters.
    pub name: &'a str,
    /// Its size in sectors.
    pub sectors: u64,
}

/// Why there is no such table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayoutError {
    /// The disk is too small for the partitions.
    TooSmall,
    /// There are more than 128 partitions.
    TooMany,
    /// A name is too long.
    Name,
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooSmall => "the disk is too small for its partitions",
            Self::TooMany => "more than 128 partitions",
            Self::Name => "a partition's name has more than 35 characters",
        })
    }
}

impl core::error::Error for LayoutError {}

/// The table of a disk of `sectors`: what to write where, in sectors and bytes. Partitions follow each other, each from the
/// next multiple of [`ALIGNMENT`] on; all that is not written is to be zeros.
pub fn lay_out(sectors: u64, disk: Guid, partitions: &[New<'_>]) -> Result<Vec<(u64, Vec<u8>)>, LayoutError> {
    let last = sectors.checked_sub(2 + ARRAY).ok_or(LayoutError::TooSmall)?;
    if partitions.len() > ENTRIES as usize {
        return Err(LayoutError::TooMany);
    }
    let mut array = vec![0; ARRAY as usize * SECTOR];
    let mut free = ALIGNMENT;
    for (new, place) in partitions.iter().zip(array.chunks_exact_mut(size_of::<GptPartitionEntry>())) {
        let end = free.checked_add(new.sectors).filter(|end| *end <= last + 1 && new.sectors > 0);
        let end = end.ok_or(LayoutError::TooSmall)?;
        let entry = GptPartitionEntry {
            partition_type_guid: GptPartitionType(new.kind),
            unique_partition_guid: new.id,
            starting_lba: LbaLe::from_u64(free),
            ending_lba: LbaLe::from_u64(end - 1),
            name: new.name.parse().map_err(|_| LayoutError::Name)?,
            ..GptPartitionEntry::default()
        };
        place.copy_from_slice(bytes_of(&entry));
        free = end.next_multiple_of(ALIGNMENT);
    }
    let array_crc = Crc::<u32>::new(&Crc32::ALGORITHM).checksum(&array);
    let header = |my: u64, alternate: u64, entries: u64| {
        let mut header = GptHeader {
            my_lba: LbaLe::from_u64(my),
            alternate_lba: LbaLe::from_u64(alternate),
            first_usable_lba: LbaLe::from_u64(2 + ARRAY),
            last_usable_lba: LbaLe::from_u64(last),
            disk_guid: disk,
            partition_entry_lba: LbaLe::from_u64(entries),
            number_of_partition_entries: U32Le::from_u32(ENTRIES),
            partition_entry_array_crc32: Crc32(U32Le::from_u32(array_crc)),
            ..GptHeader::default()
        };
        header.update_header_crc32();
        let mut sector = bytes_of(&header).to_vec();
        sector.resize(SECTOR, 0);
        sector
    };
    Ok(vec![
        (0, bytes_of(&MasterBootRecord::protective_mbr(sectors)).to_vec()),
        (1, header(1, sectors - 1, 2)),
        (2, array.clone()),
        (last + 1, array),
        (sectors - 1, header(sectors - 1, 1, last + 1)),
    ])
}
