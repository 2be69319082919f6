//! Storage: a disk that `bench.disk=` names, which is overwritten. No other is ever written to.

use crate::chase::Random;
use crate::context::{Context, Failure};
use crate::sampler::Sampler;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use app::sync::Mutex;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};
use drivers_api::{BlockError, BlockGeometry};

/// Bytes of a sector.
const SECTOR: usize = 512;
/// Bytes of a request in the sequential benchmarks.
const LARGE: usize = 64 << 10;
/// Bytes of a request in the random ones.
const SMALL: usize = 4 << 10;
/// Sectors that are used: 64 MiB, or the whole disk.
const SECTORS: u64 = (64 << 20) / SECTOR as u64;

/// What is written, behind the number of the request: no two are the same, and who looks at the disk sees which was the last.
const FILLER: u8 = 0xb5;
static COUNT: AtomicU64 = AtomicU64::new(1);

/// Why there is no disk to measure with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskError {
    /// None is named.
    NotNamed,
    /// There is none of this name.
    Missing(String),
    /// It can't be written to.
    ReadOnly,
    /// It is smaller than one large request.
    Small,
    /// It begins with a boot sector or a partition table: somebody's data.
    InUse,
    /// It fails.
    Io(BlockError),
    /// It was pulled out, or the machine that had it is gone: this system was restored on another.
    Gone,
}

impl DiskError {
    /// Whether something was asked for that can't be done.
    pub fn is_fault(&self) -> bool {
        *self != Self::NotNamed
    }
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotNamed => f.write_str("bench.disk=NAME names no disk to be overwritten"),
            Self::Missing(name) => write!(f, "bench.disk={name}: there is no such disk"),
            Self::ReadOnly => f.write_str("the disk named by bench.disk is read-only"),
            Self::Small => f.write_str("the disk named by bench.disk is smaller than 64 KiB"),
            Self::InUse => f.write_str(
                "the disk named by bench.disk has a boot sector or a partition table: it is not overwritten",
            ),
            Self::Gone => f.write_str("the disk named by bench.disk is gone"),
            Self::Io(error) => write!(f, "the disk named by bench.disk fails: {error:?}"),
        }
    }
}

impl From<BlockError> for Failure {
    fn from(error: BlockError) -> Self {
        Self::Disk(match error {
            BlockError::Gone => DiskError::Gone,
            error => DiskError::Io(error),
        })
    }
}

/// A disk to be overwritten. Another one may take its place between two requests.
pub trait Scratch: Send {
    /// Size and mode; no size if it is gone.
    fn geometry(&self) -> BlockGeometry;
    /// Reads whole sectors from `sector` on.
    fn read(&mut self, sector: u64, buffer: &mut [u8]) -> Result<(), BlockError>;
    /// Writes whole sectors from `sector` on.
    fn write(&mut self, sector: u64, buffer: &[u8]) -> Result<(), BlockError>;
}

type Disk = Box<dyn Scratch>;

static DISK: Mutex<Result<Disk, DiskError>> = Mutex::new(Err(DiskError::NotNamed));

/// Hands over the disk that is to be overwritten, or why it can't be. Refused, it is given up.
pub fn scratch_disk(disk: Result<Disk, DiskError>) -> Result<(), DiskError> {
    let checked = disk.and_then(|mut disk| {
        let mut first = [0; SECTOR];
        disk.read(0, &mut first).map_err(DiskError::Io)?;
        check(disk.geometry(), &first)?;
        Ok(disk)
    });
    let result = checked.as_ref().map(|_| ()).map_err(Clone::clone);
    *DISK.lock() = checked;
    result
}

/// Whether a disk may be overwritten, by its size and its first sector.
fn check(geometry: BlockGeometry, first: &[u8; SECTOR]) -> Result<(), DiskError> {
    if geometry.read_only {
        return Err(DiskError::ReadOnly);
    }
    if geometry.sectors < (LARGE / SECTOR) as u64 {
        return Err(DiskError::Small);
    }
    // The signature of boot sectors, of MBRs and of the one that protects a GPT.
    if first[510..] == [0x55, 0xaa] { Err(DiskError::InUse) } else { Ok(()) }
}

type Request = fn(&mut Disk, u64, &mut [u8]) -> Result<(), BlockError>;
type Take = fn(&mut Sampler, usize, u64);

/// Does something with pieces of the disk, in order or anywhere.
fn requests(
    length: usize,
    random: bool,
    sampler: &mut Sampler,
    request: Request,
    take: Take,
) -> Result<(), Failure> {
    let mut guard = DISK.lock();
    let disk = guard.as_mut().map_err(|error| error.clone())?;
    requests_of(disk, length, random, sampler, request, take)
}

/// The same of this disk.
fn requests_of(
    disk: &mut Disk,
    length: usize,
    random: bool,
    sampler: &mut Sampler,
    request: Request,
    take: Take,
) -> Result<(), Failure> {
    let mut buffer = Vec::new();
    buffer.try_reserve_exact(length)?;
    // Nothing that looks like a boot sector.
    buffer.resize(length, FILLER);
    let pieces = disk.geometry().sectors.min(SECTORS) / (length / SECTOR) as u64;
    if pieces == 0 {
        return Err(Failure::Disk(DiskError::Gone));
    }
    let mut numbers = Random::new(1 << 20 | 5);
    let mut next = 0;
    while sampler.wants() {
        let piece = if random { numbers.below(pieces) } else { next % pieces };
        next += 1;
        buffer[..8].copy_from_slice(&COUNT.fetch_add(1, Ordering::Relaxed).to_le_bytes());
        let start = machine::cpu::tsc();
        request(disk, piece * (length / SECTOR) as u64, &mut buffer)?;
        take(sampler, length, machine::cpu::tsc() - start);
    }
    Ok(())
}

fn write(disk: &mut Disk, sector: u64, buffer: &mut [u8]) -> Result<(), BlockError> {
    disk.write(sector, buffer)
}

fn read(disk: &mut Disk, sector: u64, buffer: &mut [u8]) -> Result<(), BlockError> {
    disk.read(sector, buffer)
}

fn rate(sampler: &mut Sampler, bytes: usize, ticks: u64) {
    sampler.push_rate(bytes as u64, ticks);
}

fn time(sampler: &mut Sampler, _: usize, ticks: u64) {
    sampler.push(ticks);
}

/// Large requests one after the other: writing.
pub fn write_sequential(_: &Context, sampler: &mut Sampler) -> Result<(), Failure> {
    requests(LARGE, false, sampler, write, rate)
}

/// Large requests one after the other: reading.
pub fn read_sequential(_: &Context, sampler: &mut Sampler) -> Result<(), Failure> {
    requests(LARGE, false, sampler, read, rate)
}

/// Small requests anywhere: writing.
pub fn write_random(_: &Context, sampler: &mut Sampler) -> Result<(), Failure> {
    requests(SMALL, true, sampler, write, time)
}

/// Small requests anywhere: reading.
pub fn read_random(_: &Context, sampler: &mut Sampler) -> Result<(), Failure> {
    requests(SMALL, true, sampler, read, time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::sync::Arc;

    #[test]
    fn only_an_empty_disk_is_overwritten() {
        let geometry = BlockGeometry { sectors: 4096, read_only: false };
        let mut first = [0; SECTOR];
        assert_eq!(check(geometry, &first), Ok(()));
        assert_eq!(check(BlockGeometry { read_only: true, ..geometry }, &first), Err(DiskError::ReadOnly));
        assert_eq!(check(BlockGeometry { sectors: 127, ..geometry }, &first), Err(DiskError::Small));
        first[510..].copy_from_slice(&[0x55, 0xaa]);
        assert_eq!(check(geometry, &first), Err(DiskError::InUse));
        assert_eq!(scratch_disk(Err(DiskError::NotNamed)), Err(DiskError::NotNamed));
    }

    /// A disk of so many sectors, which are none once it is gone.
    struct Leaving(Arc<AtomicU64>);

    impl Scratch for Leaving {
        fn geometry(&self) -> BlockGeometry {
            BlockGeometry { sectors: self.0.load(Ordering::Relaxed), read_only: false }
        }

        fn read(&mut self, _: u64, _: &mut [u8]) -> Result<(), BlockError> {
            if self.geometry().sectors == 0 { Err(BlockError::Gone) } else { Ok(()) }
        }

        fn write(&mut self, _: u64, _: &[u8]) -> Result<(), BlockError> {
            self.read(0, &mut [])
        }
    }

    #[test]
    fn a_disk_that_is_gone_is_told_of() {
        let sectors = Arc::new(AtomicU64::new(4096));
        let mut disk: Disk = Box::new(Leaving(Arc::clone(&sectors)));
        let mut measure = || {
            let mut sampler = Sampler::new(&Context::for_tests(), 10);
            requests_of(&mut disk, SMALL, true, &mut sampler, write, time)
        };
        assert_eq!(measure(), Ok(()));
        sectors.store(0, Ordering::Relaxed);
        assert_eq!(measure(), Err(Failure::Disk(DiskError::Gone)));
    }
}
