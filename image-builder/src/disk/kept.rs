//! Checkpoints that a machine has kept on its disk, read from a raw image of that.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use drivers_api::{
    BlockDevice, BlockError, BlockGeometry, Device, DeviceState, ExportedState, LifecycleError, StateKind,
};
use gpt::{Partition, SECTOR};
use slots::{Blocks, Error, Slots};

/// The checkpoints on a raw image of a disk; none if there is no partition for them. Nothing is written.
pub fn open(path: &Path) -> Result<Option<Slots<Kept>>, Error<io::Error>> {
    let file = File::open(path).map_err(Error::Disk)?;
    let sectors = file.metadata().map_err(Error::Disk)?.len() / SECTOR as u64;
    let mut disk = Image { file, sectors };
    // What is no table has no partition either.
    let partitions = gpt::read(&mut disk).map_or_else(|_| Vec::new(), |table| table.partitions);
    let partition = partitions.into_iter().find(|partition| partition.kind == slots::PARTITION);
    partition.map(|partition| Slots::open(Kept { file: disk.file, partition })).transpose()
}

/// The partition for checkpoints on an image.
#[derive(Debug)]
pub struct Kept {
    file: File,
    partition: Partition,
}

impl Blocks for Kept {
    type Error = io::Error;

    fn sectors(&self) -> u64 {
        self.partition.sectors
    }

    fn read(&mut self, sector: u64, bytes: &mut [u8]) -> io::Result<()> {
        // A table may say anything.
        let at =
            self.partition.first.checked_add(sector).and_then(|sector| sector.checked_mul(SECTOR as u64));
        self.file.read_exact_at(bytes, at.ok_or(io::ErrorKind::InvalidInput)?)
    }

    fn write(&mut self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An image as a disk for who reads its table.
struct Image {
    file: File,
    sectors: u64,
}

const NO_LIFE: LifecycleError = LifecycleError::WrongState(DeviceState::Running);

impl Device for Image {
    fn name(&self) -> &'static str {
        "image"
    }

    fn state(&self) -> DeviceState {
        DeviceState::Running
    }

    fn quiesce(&mut self) -> Result<(), LifecycleError> {
        Err(NO_LIFE)
    }

    fn export(&self) -> Result<ExportedState, LifecycleError> {
        Err(NO_LIFE)
    }

    fn import(&mut self, _: &ExportedState) -> Result<(), LifecycleError> {
        Err(LifecycleError::ForeignState(StateKind { kind: *b"file", version: 0 }))
    }

    fn resume(&mut self) -> Result<(), LifecycleError> {
        Err(NO_LIFE)
    }

    fn halt(&mut self) {}
    fn abandon(&mut self) {}
}

impl BlockDevice for Image {
    fn geometry(&self) -> BlockGeometry {
        BlockGeometry { sectors: self.sectors, read_only: true }
    }

    fn read(&mut self, sector: u64, buffer: &mut [u8]) -> Result<(), BlockError> {
        let at = sector.checked_mul(SECTOR as u64).ok_or(BlockError::OutOfRange)?;
        self.file.read_exact_at(buffer, at).map_err(|_| BlockError::Io)
    }

    fn write(&mut self, _: u64, _: &[u8]) -> Result<(), BlockError> {
        Err(BlockError::ReadOnly)
    }

    fn flush(&mut self) -> Result<(), BlockError> {
        Ok(())
    }
}
