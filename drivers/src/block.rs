//! What all disks have in common: one request at a time through one buffer, bounds, the life cycle. The calling thread sleeps until
//! the device answers.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use drivers_api::{
    BlockDevice, BlockError, BlockGeometry, BlockIdentity, Device, DeviceState, Driver, ExportedState,
    LifecycleError, StateKind,
};
use machine::dma::{DmaRegion, DmaSpan};
use machine::sync::SpinLock;
use machine::thread::{self, Thread};
use machine::time::{Duration, Instant};

/// Bytes of a sector.
pub(crate) const SECTOR: usize = 512;
/// How long a device may take for one request.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a thread sleeps at a time: a device that is gone raises no interrupt.
const NAP: Duration = Duration::from_secs(1);

/// Layout of the exported state, the same for all disks, so that one can take over from another: capacity in sectors (u64),
/// read-only (u8).
const STATE: StateKind = StateKind { kind: *b"blk0", version: 1 };

/// Wakes the thread that waits for a request; shared with the interrupt handler, and with whoever sees that the disk was pulled out.
#[derive(Clone)]
pub struct Completion(Arc<Waiting>);

struct Waiting {
    thread: SpinLock<Option<Thread>>,
    patience: Duration,
    is_gone: AtomicBool,
}

impl Default for Completion {
    fn default() -> Self {
        Self::within(PATIENCE)
    }
}

impl Completion {
    /// For a device that may take this long for one request.
    pub(crate) fn within(patience: Duration) -> Self {
        Self(Arc::new(Waiting { thread: SpinLock::new(None), patience, is_gone: AtomicBool::new(false) }))
    }

    /// How long the device may take.
    pub(crate) fn patience(&self) -> Duration {
        self.0.patience
    }

    /// Called by the interrupt handler.
    pub fn notify(&self) {
        if let Some(thread) = &*self.0.thread.lock() {
            thread.unpark();
        }
    }

    /// The disk was pulled out: a request under way ends with [`BlockError::Gone`], as all later ones do, and no register is touched any more.
    pub fn lose(&self) {
        self.0.is_gone.store(true, Ordering::Release);
        self.notify();
    }

    /// Whether the disk was pulled out.
    pub fn is_gone(&self) -> bool {
        self.0.is_gone.load(Ordering::Acquire)
    }

    /// From here on this thread is woken. The request is handed over afterwards.
    pub(crate) fn expect(&self) -> Expected<'_> {
        *self.0.thread.lock() = Some(thread::current());
        Expected(&self.0)
    }
}

/// A thread that is woken when its request may have ended.
pub(crate) struct Expected<'a>(&'a Waiting);

impl Expected<'_> {
    /// Sleeps until the request has ended: `is_done` looks. The request is lost if the device takes too long.
    pub(crate) fn wait(self, mut is_done: impl FnMut() -> Result<bool, Failure>) -> Result<(), Failure> {
        let deadline = Instant::now().saturating_add(self.0.patience);
        loop {
            // First: its registers may be those of another device.
            if self.0.is_gone.load(Ordering::Acquire) {
                return Err(Failure::Lost(BlockError::Gone));
            }
            if is_done()? {
                return Ok(());
            }
            let now = Instant::now();
            if now >= deadline {
                return Err(Failure::Lost(BlockError::Timeout));
            }
            thread::park_until(deadline.min(now.saturating_add(NAP)));
        }
    }
}

impl Drop for Expected<'_> {
    fn drop(&mut self) {
        *self.0.thread.lock() = None;
    }
}

/// The memory through which all data goes.
pub struct Buffer(DmaRegion);

impl Buffer {
    /// Bytes it holds.
    pub const LENGTH: usize = 64 * 1024;

    /// `None` if the pool has no memory left.
    pub(crate) fn new() -> Option<Self> {
        DmaRegion::new(Self::LENGTH / 4096).map(Self)
    }

    /// A part for the device.
    pub(crate) fn span(&self, offset: usize, length: usize) -> DmaSpan {
        self.0.span(offset, length)
    }

    /// What is in its first bytes. No request is in flight.
    pub(crate) fn bytes(&mut self, length: usize) -> &mut [u8] {
        assert!(length <= Self::LENGTH, "{length} bytes of a buffer");
        // SAFETY: the region is that long, and ours between requests, which borrow the buffer.
        unsafe { core::slice::from_raw_parts_mut(self.0.pointer().as_ptr(), length) }
    }
}

/// What a disk is asked for. Data is in the buffer, from its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Fill the buffer.
    Read {
        /// From this sector on.
        sector: u64,
        /// Bytes: whole sectors, at least one.
        length: usize,
    },
    /// Write what is in the buffer.
    Write {
        /// From this sector on.
        sector: u64,
        /// Bytes: whole sectors, at least one.
        length: usize,
    },
    /// Make all that was written durable.
    Flush,
}

/// Why a request failed, and what that means for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The device has said so; it takes the next one.
    Refused(BlockError),
    /// The request has no end, or the device lies. It may still use the buffer: nothing is asked of it before it was reset.
    Lost(BlockError),
}

/// What the hardware of a disk can do; [`Disk`] makes a device of it.
pub trait Hardware: Send {
    /// Name of the driver.
    const NAME: &'static str;
    /// Size and mode.
    fn geometry(&self) -> BlockGeometry;
    /// Bytes that one request may move: whole sectors, at most [`Buffer::LENGTH`].
    fn limit(&self) -> usize;
    /// Makes a request that is within the disk and the limit, and waits for its end.
    fn request(&mut self, request: Request, buffer: &Buffer) -> Result<(), Failure>;
    /// What the device says of itself.
    fn identity(&mut self, buffer: &mut Buffer) -> Result<BlockIdentity, Failure>;
    /// Resets the device: it uses no memory any more.
    fn stop(&mut self) -> Result<(), LifecycleError>;
    /// Brings a device up that was stopped. It has to be as it was; else it stays stopped.
    fn start(&mut self, buffer: &mut Buffer) -> Result<(), LifecycleError>;
}

/// A disk.
pub struct Disk<H: Hardware> {
    hardware: H,
    completion: Completion,
    state: DeviceState,
    buffer: Buffer,
    /// A request was lost.
    is_broken: bool,
}

impl<H: Hardware> Disk<H> {
    /// Of hardware that was brought up.
    pub(crate) fn of(hardware: H, completion: Completion, buffer: Buffer) -> Self {
        Self { hardware, completion, state: DeviceState::Running, buffer, is_broken: false }
    }

    fn ask<T>(
        &mut self,
        ask: impl FnOnce(&mut H, &mut Buffer) -> Result<T, Failure>,
    ) -> Result<T, BlockError> {
        if self.completion.is_gone() {
            return Err(BlockError::Gone);
        }
        if self.state != DeviceState::Running || self.is_broken {
            return Err(BlockError::NotRunning);
        }
        ask(&mut self.hardware, &mut self.buffer).map_err(|failure| match failure {
            Failure::Refused(error) => error,
            Failure::Lost(error) => {
                self.is_broken = true;
                if error == BlockError::Gone {
                    self.completion.lose();
                }
                error
            }
        })
    }

    fn check(&self, sector: u64, length: usize) -> Result<(), BlockError> {
        let end = sector.checked_add((length / SECTOR) as u64).ok_or(BlockError::OutOfRange)?;
        if !length.is_multiple_of(SECTOR) || end > self.hardware.geometry().sectors {
            return Err(BlockError::OutOfRange);
        }
        Ok(())
    }
}

impl<H: Hardware> Driver for Disk<H> {
    fn driver_name(&self) -> &'static str {
        H::NAME
    }

    fn standing(&self) -> DeviceState {
        self.state
    }

    fn stand(&mut self, state: DeviceState) {
        self.state = state;
    }

    fn stop(&mut self) -> Result<(), LifecycleError> {
        // What is not there uses no memory.
        if self.completion.is_gone() {
            return Ok(());
        }
        // Requests are synchronous and exclusive: none is in flight here, and one that was lost ends with the reset.
        self.hardware.stop()
    }

    fn describe(&self) -> ExportedState {
        let geometry = self.hardware.geometry();
        let mut payload = Vec::from(geometry.sectors.to_le_bytes());
        payload.push(u8::from(geometry.read_only));
        ExportedState { kind: STATE, payload }
    }

    fn accept(&mut self, state: &ExportedState) -> Result<(), LifecycleError> {
        if state.kind != STATE {
            return Err(LifecycleError::ForeignState(state.kind));
        }
        let [sectors @ .., read_only] = &state.payload[..] else {
            return Err(LifecycleError::Malformed("length"));
        };
        let sectors = sectors.try_into().map_err(|_| LifecycleError::Malformed("length"))?;
        let geometry = self.hardware.geometry();
        if u64::from_le_bytes(sectors) != geometry.sectors {
            return Err(LifecycleError::Malformed("sectors"));
        }
        if *read_only > 1 || (*read_only == 0 && geometry.read_only) {
            return Err(LifecycleError::Malformed("read_only"));
        }
        Ok(())
    }

    fn start(&mut self) -> Result<(), LifecycleError> {
        if self.completion.is_gone() {
            return Err(LifecycleError::Gone);
        }
        self.hardware.start(&mut self.buffer)?;
        self.is_broken = false;
        Ok(())
    }
}

impl<H: Hardware> Drop for Disk<H> {
    fn drop(&mut self) {
        if self.state == DeviceState::Running {
            self.halt();
        }
    }
}

impl<H: Hardware> BlockDevice for Disk<H> {
    fn geometry(&self) -> BlockGeometry {
        self.hardware.geometry()
    }

    fn identity(&mut self) -> Result<BlockIdentity, BlockError> {
        self.ask(H::identity)
    }

    fn read(&mut self, sector: u64, buffer: &mut [u8]) -> Result<(), BlockError> {
        self.check(sector, buffer.len())?;
        let limit = self.hardware.limit();
        for (index, part) in buffer.chunks_mut(limit).enumerate() {
            let sector = sector + (index * limit / SECTOR) as u64;
            self.ask(|hardware, buffer| {
                hardware.request(Request::Read { sector, length: part.len() }, buffer)?;
                part.copy_from_slice(buffer.bytes(part.len()));
                Ok(())
            })?;
        }
        Ok(())
    }

    fn write(&mut self, sector: u64, buffer: &[u8]) -> Result<(), BlockError> {
        self.check(sector, buffer.len())?;
        if self.hardware.geometry().read_only {
            return Err(BlockError::ReadOnly);
        }
        let limit = self.hardware.limit();
        for (index, part) in buffer.chunks(limit).enumerate() {
            let sector = sector + (index * limit / SECTOR) as u64;
            self.ask(|hardware, buffer| {
                buffer.bytes(part.len()).copy_from_slice(part);
                hardware.request(Request::Write { sector, length: part.len() }, buffer)
            })?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), BlockError> {
        self.ask(|hardware, buffer| hardware.request(Request::Flush, buffer))
    }
}
