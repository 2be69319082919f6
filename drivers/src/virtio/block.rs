//! The block device (virtio 1.2, 5.2). One request at a time; the calling thread sleeps until the device answers.

use super::device_type;
use super::queue::Queue;
use super::transport::{Transport, VirtioError, feature, negotiate, queue_size, reset, run};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use drivers_api::{
    BlockDevice, BlockError, BlockGeometry, Device, DeviceState, ExportedState, LifecycleError, StateKind,
};
use machine::dma::DmaRegion;
use machine::sync::SpinLock;
use machine::thread::{self, Thread};
use machine::time::{Duration, Instant};

const READ_ONLY: u64 = 1 << 5;
const FLUSH: u64 = 1 << 9;

const SECTOR: usize = 512;
/// Bytes moved by one request.
const CHUNK: usize = 64 * 1024;
/// How long the device may take for one request.
const PATIENCE: Duration = Duration::from_secs(30);

const IN: u32 = 0;
const OUT: u32 = 1;
const SYNC: u32 = 4;

/// Layout of the exported state: capacity in sectors (u64), read-only (u8).
const STATE: StateKind = StateKind { kind: *b"blk0", version: 1 };

/// Wakes the thread that waits for a request; shared with the interrupt handler.
#[derive(Clone, Default)]
pub struct Completion(Arc<Waiting>);

struct Waiting(SpinLock<Option<Thread>>);

impl Default for Waiting {
    fn default() -> Self {
        Self(SpinLock::new(None))
    }
}

impl Completion {
    /// Called by the interrupt handler.
    pub fn notify(&self) {
        if let Some(thread) = &*self.0.0.lock() {
            thread.unpark();
        }
    }
}

/// A virtio disk.
pub struct VirtioBlock {
    transport: Box<dyn Transport>,
    state: DeviceState,
    features: u64,
    geometry: BlockGeometry,
    queue: Queue,
    /// Request header and status byte, then the data.
    memory: DmaRegion,
    completion: Completion,
    broken: bool,
}

impl VirtioBlock {
    /// Brings the device up; its interrupt has to call `completion`.
    pub fn new(mut transport: Box<dyn Transport>, completion: Completion) -> Result<Self, VirtioError> {
        if transport.device_type() != device_type::BLOCK {
            return Err(VirtioError::WrongDevice);
        }
        let features = negotiate(&mut *transport, READ_ONLY | FLUSH | feature::EVENT_IDX, 0)?;
        let queue = Queue::new(queue_size(&mut *transport, 0, 16)?, features & feature::EVENT_IDX != 0)?;
        if queue.size() < 4 {
            return Err(VirtioError::Queue);
        }
        transport.set_queue(0, &queue);
        let capacity = core::array::from_fn(|offset| transport.config(offset));
        let geometry =
            BlockGeometry { sectors: u64::from_le_bytes(capacity), read_only: features & READ_ONLY != 0 };
        let memory = DmaRegion::new(1 + CHUNK / 4096).ok_or(VirtioError::OutOfMemory)?;
        run(&mut *transport);
        Ok(Self {
            transport,
            state: DeviceState::Running,
            features,
            geometry,
            queue,
            memory,
            completion,
            broken: false,
        })
    }

    /// The data area.
    fn data(&mut self, length: usize) -> &mut [u8] {
        debug_assert!(length <= CHUNK);
        // SAFETY: the area is ours between requests, and `&mut self` means there is none.
        unsafe { core::slice::from_raw_parts_mut(self.memory.pointer().add(4096).as_ptr(), length) }
    }

    /// Sends one request and waits for its end.
    fn request(&mut self, kind: u32, sector: u64, length: usize) -> Result<(), BlockError> {
        if self.state != DeviceState::Running || self.broken {
            return Err(BlockError::NotRunning);
        }
        let mut header = [0u8; 17];
        header[..4].copy_from_slice(&kind.to_le_bytes());
        header[8..16].copy_from_slice(&sector.to_le_bytes());
        header[16] = 0xff;
        // SAFETY: the first page is ours between requests.
        unsafe { self.memory.pointer().cast::<[u8; 17]>().write(header) };
        let status = if length == 0 { 1 } else { 2 };
        self.queue.describe(0, self.memory.span(0, 16), false, Some(1));
        if length > 0 {
            self.queue.describe(1, self.memory.span(4096, length), kind == IN, Some(2));
        }
        self.queue.describe(status, self.memory.span(16, 1), true, None);
        *self.completion.0.0.lock() = Some(thread::current());
        self.queue.push(0);
        let mut ready = self.queue.set_interrupts(true);
        if self.queue.publish() {
            self.transport.notify(0);
        }
        let deadline = Instant::now().saturating_add(PATIENCE);
        while !ready {
            if self.queue.has_used() {
                break;
            }
            if Instant::now() >= deadline {
                // The device may still write to the memory: it is not used again.
                self.broken = true;
                return Err(BlockError::Timeout);
            }
            thread::park_until(deadline);
            ready = self.queue.has_used();
        }
        *self.completion.0.0.lock() = None;
        match self.queue.pop() {
            Ok(Some(used)) if used.id == 0 => {}
            _ => {
                self.broken = true;
                return Err(BlockError::Io);
            }
        }
        // SAFETY: the request has ended; the byte lies in the first page.
        match unsafe { self.memory.pointer().add(16).read_volatile() } {
            0 => Ok(()),
            _ => Err(BlockError::Io),
        }
    }

    fn check(&self, sector: u64, length: usize) -> Result<(), BlockError> {
        let end = sector.checked_add((length / SECTOR) as u64).ok_or(BlockError::OutOfRange)?;
        if !length.is_multiple_of(SECTOR) || end > self.geometry.sectors {
            return Err(BlockError::OutOfRange);
        }
        Ok(())
    }
}

impl Device for VirtioBlock {
    fn name(&self) -> &'static str {
        "virtio-blk"
    }

    fn state(&self) -> DeviceState {
        self.state
    }

    fn quiesce(&mut self) -> Result<(), LifecycleError> {
        if self.state != DeviceState::Running {
            return Err(LifecycleError::WrongState(self.state));
        }
        // Requests are synchronous and exclusive, so none is in flight here.
        reset(&mut *self.transport).map_err(|_| LifecycleError::Timeout)?;
        self.state = DeviceState::Quiesced;
        Ok(())
    }

    fn export(&self) -> Result<ExportedState, LifecycleError> {
        if self.state != DeviceState::Quiesced {
            return Err(LifecycleError::WrongState(self.state));
        }
        let mut payload = Vec::from(self.geometry.sectors.to_le_bytes());
        payload.push(u8::from(self.geometry.read_only));
        Ok(ExportedState { kind: STATE, payload })
    }

    fn import(&mut self, state: &ExportedState) -> Result<(), LifecycleError> {
        if self.state != DeviceState::Quiesced {
            return Err(LifecycleError::WrongState(self.state));
        }
        if state.kind != STATE {
            return Err(LifecycleError::ForeignState(state.kind));
        }
        let [sectors @ .., read_only] = &state.payload[..] else {
            return Err(LifecycleError::Malformed("length"));
        };
        let sectors = sectors.try_into().map_err(|_| LifecycleError::Malformed("length"))?;
        if u64::from_le_bytes(sectors) != self.geometry.sectors {
            return Err(LifecycleError::Malformed("sectors"));
        }
        if *read_only > 1 || (*read_only == 0 && self.geometry.read_only) {
            return Err(LifecycleError::Malformed("read_only"));
        }
        Ok(())
    }

    fn resume(&mut self) -> Result<(), LifecycleError> {
        if self.state != DeviceState::Quiesced {
            return Err(LifecycleError::WrongState(self.state));
        }
        let wanted = READ_ONLY | FLUSH | feature::EVENT_IDX;
        let features = negotiate(&mut *self.transport, wanted, 0).map_err(|_| LifecycleError::Timeout)?;
        if features != self.features {
            return Err(LifecycleError::Malformed("features"));
        }
        let event_index = features & feature::EVENT_IDX != 0;
        self.queue = Queue::new(self.queue.size(), event_index).map_err(|_| LifecycleError::Timeout)?;
        self.transport.set_queue(0, &self.queue);
        run(&mut *self.transport);
        self.state = DeviceState::Running;
        Ok(())
    }

    fn halt(&mut self) {
        if reset(&mut *self.transport).is_err() {
            log::warn!("virtio-blk does not reset");
        }
        self.state = DeviceState::Halted;
    }

    fn abandon(&mut self) {
        self.state = DeviceState::Halted;
    }
}

impl Drop for VirtioBlock {
    fn drop(&mut self) {
        if self.state == DeviceState::Running {
            self.halt();
        }
    }
}

impl BlockDevice for VirtioBlock {
    fn geometry(&self) -> BlockGeometry {
        self.geometry
    }

    fn read(&mut self, sector: u64, buffer: &mut [u8]) -> Result<(), BlockError> {
        self.check(sector, buffer.len())?;
        for (index, part) in buffer.chunks_mut(CHUNK).enumerate() {
            self.request(IN, sector + (index * CHUNK / SECTOR) as u64, part.len())?;
            part.copy_from_slice(self.data(part.len()));
        }
        Ok(())
    }

    fn write(&mut self, sector: u64, buffer: &[u8]) -> Result<(), BlockError> {
        self.check(sector, buffer.len())?;
        if self.geometry.read_only {
            return Err(BlockError::ReadOnly);
        }
        for (index, part) in buffer.chunks(CHUNK).enumerate() {
            self.data(part.len()).copy_from_slice(part);
            self.request(OUT, sector + (index * CHUNK / SECTOR) as u64, part.len())?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), BlockError> {
        if self.features & FLUSH == 0 {
            // Without the feature every write is durable when it ends (5.2.6.2).
            return Ok(());
        }
        self.request(SYNC, 0, 0)
    }
}
