//! Disks for machines: image files with a GPT, a partition for what the machine keeps, and perhaps one for its checkpoints.

pub mod kept;

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use gpt::{Guid, LayoutError, New, SECTOR};

use crate::config::binary_size;
use crate::random;

/// Sectors of the partition for what the machine keeps: 1 MiB. The rest of a disk is free for other partitions.
const STATE_SECTORS: u64 = 2048;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("disk size '{0}': expected whole mebibytes from 3M on, such as 64M or 4G")]
pub struct SizeError(String);

#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    #[error("{0} is there already, and stays as it is")]
    Exists(PathBuf),
    #[error("{path}: {error}")]
    Layout { path: PathBuf, error: LayoutError },
    #[error("{path}: {error}")]
    Io { path: PathBuf, error: io::Error },
}

/// The size of a disk in bytes: whole mebibytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSize(u64);

impl DiskSize {
    /// Room for the table, at both ends, and the partition.
    const MINIMUM: u64 = 3 << 20;

    pub const fn mebibytes(count: u64) -> Self {
        Self(count << 20)
    }

    pub(crate) const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for DiskSize {
    type Err = SizeError;

    /// A bare number counts mebibytes, as with memory.
    fn from_str(text: &str) -> Result<Self, SizeError> {
        let bytes =
            binary_size(text).filter(|bytes| *bytes >= Self::MINIMUM && bytes.is_multiple_of(1 << 20));
        bytes.map(Self).ok_or_else(|| SizeError(text.to_owned()))
    }
}

impl fmt::Display for DiskSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}M", self.0 >> 20)
    }
}

/// The size of a partition for checkpoints in bytes: whole mebibytes, at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointsSize(u64);

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("size for checkpoints '{0}': expected whole mebibytes, such as 512M or 4G")]
pub struct CheckpointsSizeError(String);

impl CheckpointsSize {
    pub const fn mebibytes(count: u64) -> Self {
        Self(count << 20)
    }

    /// A disk with room for nothing else but the table and what the machine keeps.
    pub fn disk(self) -> DiskSize {
        DiskSize(self.0.saturating_add(DiskSize::MINIMUM))
    }
}

impl FromStr for CheckpointsSize {
    type Err = CheckpointsSizeError;

    /// A bare number counts mebibytes, as with memory.
    fn from_str(text: &str) -> Result<Self, CheckpointsSizeError> {
        let bytes = binary_size(text).filter(|bytes| *bytes > 0 && bytes.is_multiple_of(1 << 20));
        bytes.map(Self).ok_or_else(|| CheckpointsSizeError(text.to_owned()))
    }
}

impl fmt::Display for CheckpointsSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}M", self.0 >> 20)
    }
}

/// Makes an image file that nobody else can read, for the host key will be in it, and in checkpoints all that was in memory. A file that is
/// there is left alone.
pub fn create(path: &Path, size: DiskSize, checkpoints: Option<CheckpointsSize>) -> Result<(), DiskError> {
    let at = |error| DiskError::Io { path: path.to_owned(), error };
    let guid = || random::bytes().map(Guid::from_random_bytes).map_err(at);
    let mut partitions = vec![New {
        kind: ::state::PARTITION,
        id: guid()?,
        name: "Quicksilver state",
        sectors: STATE_SECTORS,
    }];
    if let Some(CheckpointsSize(bytes)) = checkpoints {
        let (name, sectors) = ("Quicksilver checkpoints", bytes / SECTOR as u64);
        partitions.push(New { kind: slots::PARTITION, id: guid()?, name, sectors });
    }
    let pieces = gpt::lay_out(size.0 / SECTOR as u64, guid()?, &partitions)
        .map_err(|error| DiskError::Layout { path: path.to_owned(), error })?;
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let file = file.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => DiskError::Exists(path.to_owned()),
        _ => at(error),
    })?;
    write(&file, size, &pieces).map_err(|error| {
        // Half a disk is none; the error that brought us here is the one to tell.
        drop(fs::remove_file(path));
        at(error)
    })
}

fn write(file: &File, size: DiskSize, pieces: &[(u64, Vec<u8>)]) -> io::Result<()> {
    file.set_len(size.0)?;
    pieces.iter().try_for_each(|(sector, bytes)| file.write_all_at(bytes, sector * SECTOR as u64))?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn sizes_are_read_and_shown() {
        for (text, size) in [("64M", 64), ("3", 3), ("1g", 1024), ("4096k", 4)] {
            assert_eq!(text.parse(), Ok(DiskSize::mebibytes(size)));
        }
        for text in ["", "2M", "M", "4097k", "-4M", "99999999999G"] {
            assert_eq!(text.parse::<DiskSize>(), Err(SizeError(text.to_owned())));
        }
        assert_eq!(DiskSize::mebibytes(64).to_string(), "64M");
        assert_eq!("1G".parse(), Ok(CheckpointsSize::mebibytes(1024)));
        for text in ["", "0", "1k", "-1M"] {
            assert_eq!(text.parse::<CheckpointsSize>(), Err(CheckpointsSizeError(text.to_owned())));
        }
    }

    #[test]
    fn a_disk_is_made_once_for_us_alone() {
        let directory = std::env::temp_dir().join(format!("qs-disk-{}", std::process::id()));
        drop(fs::remove_dir_all(&directory));
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("disk");
        create(&path, DiskSize::mebibytes(3), None).unwrap();
        let bytes = fs::read(&path).unwrap();
        assert_eq!(bytes.len(), 3 << 20);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        // The partition is where it is said to be, and empty.
        assert_eq!(&bytes[1024..1040], ::state::PARTITION.to_bytes());
        assert!(bytes[1 << 20..2 << 20].iter().all(|byte| *byte == 0));
        assert!(matches!(create(&path, DiskSize::mebibytes(4), None), Err(DiskError::Exists(_))));
        assert!(fs::read(&path).unwrap() == bytes);
        // No two disks have the same name.
        let other = directory.join("other");
        create(&other, DiskSize::mebibytes(3), None).unwrap();
        assert_ne!(fs::read(&other).unwrap()[512 + 56..][..16], bytes[512 + 56..][..16]);
        let nowhere = directory.join("nowhere/disk");
        assert!(matches!(create(&nowhere, DiskSize::mebibytes(3), None), Err(DiskError::Io { .. })));
        // With a place for checkpoints, for which there has to be room.
        let (both, size) = (directory.join("both"), CheckpointsSize::mebibytes(2));
        assert!(matches!(create(&both, DiskSize::mebibytes(4), Some(size)), Err(DiskError::Layout { .. })));
        assert!(!both.exists());
        create(&both, size.disk(), Some(size)).unwrap();
        assert_eq!(kept::open(&both).unwrap().unwrap().whole().len(), 0);
        assert!(kept::open(&path).unwrap().is_none());
        fs::remove_dir_all(&directory).unwrap();
    }
}
