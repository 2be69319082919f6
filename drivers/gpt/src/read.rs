//! Reads a table, and believes nothing.

use alloc::vec;
use alloc::vec::Vec;
use bytemuck::pod_read_unaligned;
use core::mem::offset_of;
use core::ops::Range;
use drivers_api::BlockDevice;
use gpt_disk_types::{Crc32, GptHeader, GptHeaderRevision, GptPartitionEntry, MasterBootRecord, crc::Crc};

use crate::moved::is_replaced;
use crate::{GptError, MAX_ARRAY, Partition, SECTOR, Table, Which};

/// Bytes of a header of revision 1.0; what follows in its sector is reserved.
const HEADER: usize = size_of::<GptHeader>();
/// Bytes of an entry as specified; longer ones have further bytes without meaning.
const ENTRY: usize = size_of::<GptPartitionEntry>();
/// Type of the record of a protective MBR (5.2.3).
pub(crate) const PROTECTIVE: u8 = 0xee;
/// The four records of an MBR, in bytes of its sector (table 5-1).
pub(crate) const RECORDS: Range<usize> = 446..510;

const CRC: Crc<u32> = Crc::<u32>::new(&Crc32::ALGORITHM);

/// Reads a disk's table.
pub fn read(disk: &mut dyn BlockDevice) -> Result<Table, GptError> {
    let sectors = disk.geometry().sectors;
    if sectors < 3 {
        return Err(GptError::NoTable);
    }
    let first = sector(disk, 0)?;
    let mbr: MasterBootRecord = pod_read_unaligned(&first);
    // Without it the disk is not a GPT disk, whatever an earlier owner has left in the next sector (5.2.3).
    let is_protective = mbr.partitions.iter().any(|record| record.os_indicator == PROTECTIVE);
    if mbr.signature != [0x55, 0xaa] || !is_protective {
        return Err(GptError::NoTable);
    }
    let primary = copy(disk, Which::Primary, 1);
    let last = match &primary {
        Ok((header, _)) => header.alternate_lba.to_u64(),
        Err(_) => sectors - 1,
    };
    let backup = copy(disk, Which::Backup, last);
    let (mut partitions, fault) = match (primary, backup) {
        (Ok((primary, partitions)), Ok((backup, _))) => {
            (partitions, difference(&primary, &backup).map(GptError::Differ))
        }
        (Ok((_, partitions)), Err(fault)) | (Err(fault), Ok((_, partitions))) => (partitions, Some(fault)),
        (Err(error), Err(_)) => return Err(error),
    };
    partitions.iter_mut().for_each(|partition| partition.writable = fault.is_none());
    Ok(Table { partitions, fault, is_replaced: is_replaced(&first) })
}

fn sector(disk: &mut dyn BlockDevice, number: u64) -> Result<[u8; SECTOR], GptError> {
    let mut bytes = [0; SECTOR];
    disk.read(number, &mut bytes).map_err(GptError::Disk)?;
    Ok(bytes)
}

/// One copy, whose header is in sector `place`.
pub(crate) fn copy(
    disk: &mut dyn BlockDevice,
    which: Which,
    place: u64,
) -> Result<(GptHeader, Vec<Partition>), GptError> {
    let bytes = sector(disk, place)?;
    let sectors = disk.geometry().sectors;
    let (header, array) =
        header(&bytes, which, place, sectors).map_err(|field| GptError::Header(which, field))?;
    let mut entries = vec![0; array.next_multiple_of(SECTOR)];
    disk.read(header.partition_entry_lba.to_u64(), &mut entries).map_err(GptError::Disk)?;
    if CRC.checksum(&entries[..array]) != header.partition_entry_array_crc32.0.to_u32() {
        return Err(GptError::Header(which, "PartitionEntryArrayCRC32"));
    }
    let size = header.size_of_partition_entry.to_u32() as usize;
    let partitions = partitions(&entries[..array], size, &header);
    Ok((header, partitions.map_err(|(number, field)| GptError::Entry(which, number, field))?))
}

/// The header in a sector and the bytes of its array, or the field that is wrong.
fn header(
    bytes: &[u8; SECTOR],
    which: Which,
    place: u64,
    sectors: u64,
) -> Result<(GptHeader, usize), &'static str> {
    let ensure = |holds: bool, field| if holds { Ok(()) } else { Err(field) };
    let header: GptHeader = pod_read_unaligned(&bytes[..HEADER]);
    ensure(header.is_signature_valid(), "Signature")?;
    let revision = header.revision;
    ensure(revision == GptHeaderRevision::VERSION_1_0, "Revision")?;
    let size = header.header_size.to_u32() as usize;
    ensure((HEADER..=SECTOR).contains(&size), "HeaderSize")?;
    let mut summed = *bytes;
    summed[offset_of!(GptHeader, header_crc32)..][..4].fill(0);
    ensure(CRC.checksum(&summed[..size]) == header.header_crc32.0.to_u32(), "HeaderCRC32")?;
    ensure(header.reserved.to_u32() == 0, "Reserved")?;
    ensure(header.my_lba.to_u64() == place, "MyLBA")?;

    let (first, last) = (header.first_usable_lba.to_u64(), header.last_usable_lba.to_u64());
    let alternate = header.alternate_lba.to_u64();
    ensure(last < sectors, "LastUsableLBA")?;
    ensure((2..=last).contains(&first), "FirstUsableLBA")?;
    let entry = header.size_of_partition_entry.to_u32();
    ensure(entry.is_power_of_two() && entry as usize >= ENTRY, "SizeOfPartitionEntry")?;
    let array = u64::from(entry) * u64::from(header.number_of_partition_entries.to_u32());
    ensure((1..=MAX_ARRAY).contains(&array), "NumberOfPartitionEntries")?;
    let start = header.partition_entry_lba.to_u64();
    let end = start.checked_add(array.div_ceil(SECTOR as u64)).ok_or("PartitionEntryLBA")?;
    // Before what partitions may use, or behind it, and never on a header.
    match which {
        Which::Primary => {
            ensure(alternate > last && alternate < sectors, "AlternateLBA")?;
            ensure(start > place && end <= first, "PartitionEntryLBA")?;
        }
        Which::Backup => {
            ensure(alternate == 1, "AlternateLBA")?;
            ensure(place > last, "LastUsableLBA")?;
            ensure(start > last && end <= place, "PartitionEntryLBA")?;
        }
    }
    // At most `MAX_ARRAY`.
    Ok((header, array as usize))
}

/// The partitions of an array, or the entry and its field that is wrong.
fn partitions(array: &[u8], size: usize, header: &GptHeader) -> Result<Vec<Partition>, (u32, &'static str)> {
    let usable = header.first_usable_lba.to_u64()..=header.last_usable_lba.to_u64();
    let mut found: Vec<(u32, Partition)> = Vec::new();
    for (number, bytes) in (0..).zip(array.chunks_exact(size)) {
        let entry: GptPartitionEntry = pod_read_unaligned(&bytes[..ENTRY]);
        if !entry.is_used() {
            continue;
        }
        let (first, last) = (entry.starting_lba.to_u64(), entry.ending_lba.to_u64());
        if !usable.contains(&first) {
            return Err((number, "StartingLBA"));
        }
        if last < first || !usable.contains(&last) {
            return Err((number, "EndingLBA"));
        }
        let (kind, id) = ({ entry.partition_type_guid }.0, entry.unique_partition_guid);
        found.push((number, Partition { kind, id, first, sectors: last - first + 1, writable: false }));
    }
    let mut in_order: Vec<&(u32, Partition)> = found.iter().collect();
    in_order.sort_unstable_by_key(|(_, partition)| partition.first);
    for pair in in_order.windows(2) {
        let ((_, before), (number, after)) = (pair[0], pair[1]);
        if before.first + before.sectors > after.first {
            return Err((*number, "StartingLBA"));
        }
    }
    Ok(found.into_iter().map(|(_, partition)| partition).collect())
}

/// The first field in which two copies differ that should not.
fn difference(primary: &GptHeader, backup: &GptHeader) -> Option<&'static str> {
    let fields = |header: &GptHeader| -> [(&'static str, u128); 6] {
        [
            ("DiskGUID", u128::from_le_bytes({ header.disk_guid }.to_bytes())),
            ("FirstUsableLBA", header.first_usable_lba.to_u64().into()),
            ("LastUsableLBA", header.last_usable_lba.to_u64().into()),
            ("NumberOfPartitionEntries", header.number_of_partition_entries.to_u32().into()),
            ("SizeOfPartitionEntry", header.size_of_partition_entry.to_u32().into()),
            ("PartitionEntryArrayCRC32", header.partition_entry_array_crc32.0.to_u32().into()),
        ]
    };
    let pairs = fields(primary).into_iter().zip(fields(backup));
    pairs.into_iter().find(|(one, other)| one != other).map(|((name, _), _)| name)
}
