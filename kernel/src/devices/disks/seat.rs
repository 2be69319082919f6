//! Seats: who uses a disk has a seat for it, and whichever disk is on that.

use super::drive::Drive;
use alloc::sync::Arc;
use alloc::vec::Vec;
#[cfg(feature = "bench")]
use drivers_api::BlockGeometry;
#[cfg(any(feature = "vmm", feature = "bench"))]
use drivers_api::{BlockDevice, BlockError};
#[cfg(feature = "vmm")]
use machine::sync::Condvar;
use machine::sync::{Mutex, MutexGuard, SpinLock};

/// Those that somebody has. A spin lock: whoever has it can't be frozen meanwhile.
static SEATS: SpinLock<Vec<&'static Seat>> = SpinLock::new(Vec::new());

/// A disk in use, locked for each request alone: whoever holds the lock finds it at rest.
pub struct Seat {
    /// `None`: the machine is another one.
    drive: Mutex<Option<Drive>>,
    /// A disk that was pulled out is back.
    #[cfg(feature = "vmm")]
    pub(super) is_back: Condvar,
}

impl Seat {
    pub(super) fn new(drive: Drive) -> Arc<Self> {
        Arc::new(Self {
            drive: Mutex::new(Some(drive)),
            #[cfg(feature = "vmm")]
            is_back: Condvar::new(),
        })
    }

    /// Keeps it for as long as the machine runs.
    #[cfg(any(feature = "vmm", feature = "bench"))]
    pub(super) fn keep(self: &Arc<Self>) -> &'static Self {
        let seat: &'static Arc<Self> = alloc::boxed::Box::leak(Arc::clone(self).into());
        SEATS.lock().push(seat);
        seat
    }

    /// Waits until nobody uses the disk.
    pub(super) fn lock(&self) -> MutexGuard<'_, Option<Drive>> {
        self.drive.lock()
    }

    /// Makes a request. If the disk is pulled out meanwhile, waits for it and makes the request again.
    #[cfg(any(feature = "vmm", feature = "bench"))]
    pub(super) fn ask(
        &self,
        mut request: impl FnMut(&mut dyn BlockDevice) -> Result<(), BlockError>,
    ) -> Result<(), BlockError> {
        let mut guard = self.lock();
        loop {
            let drive = guard.as_mut().ok_or(BlockError::Gone)?;
            let answer = drive.with(&mut request);
            if answer != Err(BlockError::Gone) {
                return answer;
            }
            match self.wait(guard) {
                Some(again) => guard = again,
                None => return answer,
            }
        }
    }

    /// Without a VMM nobody has what is worth waiting for.
    #[cfg(all(feature = "bench", not(feature = "vmm")))]
    fn wait<'s>(&'s self, _: MutexGuard<'s, Option<Drive>>) -> Option<MutexGuard<'s, Option<Drive>>> {
        None
    }
}

/// All of them.
pub(super) fn all() -> Vec<&'static Seat> {
    SEATS.lock().clone()
}

/// The machine is another one. Whoever waits for a disk waits in vain.
#[cfg(feature = "vmm")]
pub(super) fn forget() {
    let seats = core::mem::take(&mut *SEATS.lock());
    seats.iter().for_each(|seat| seat.is_back.notify_all());
}

/// The seat of a disk that the benchmarks overwrite.
#[cfg(feature = "bench")]
pub(super) struct Scratch(pub Arc<Seat>);

#[cfg(feature = "bench")]
impl bench::Scratch for Scratch {
    fn geometry(&self) -> BlockGeometry {
        let mut drive = self.0.lock();
        drive
            .as_mut()
            .map_or(BlockGeometry { sectors: 0, read_only: true }, |drive| drive.device().geometry())
    }

    fn read(&mut self, sector: u64, buffer: &mut [u8]) -> Result<(), BlockError> {
        self.0.ask(|disk| disk.read(sector, buffer))
    }

    fn write(&mut self, sector: u64, buffer: &[u8]) -> Result<(), BlockError> {
        self.0.ask(|disk| disk.write(sector, buffer))
    }
}
