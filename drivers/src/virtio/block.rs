//! The block device (virtio 1.2, 5.2).

use super::device_type;
use super::queue::Queue;
use super::transport::{Transport, VirtioError, feature, negotiate, queue_size, reset, run, status};
use crate::block::{Buffer, Completion, Disk, Failure, Hardware, Request, SECTOR};
use alloc::boxed::Box;
use drivers_api::{BlockError, BlockGeometry, BlockIdentity, LifecycleError};
use machine::dma::{DmaRegion, DmaSpan};

const READ_ONLY: u64 = 1 << 5;
const BLOCK_SIZE: u64 = 1 << 6;
const FLUSH: u64 = 1 << 9;
/// The features that are of use.
const WANTED: u64 = READ_ONLY | BLOCK_SIZE | FLUSH | feature::EVENT_IDX;
/// Where the configuration has the size of a block (5.2.4).
const BLOCK_SIZE_AT: usize = 20;

/// Request types (5.2.6).
const IN: u32 = 0;
const OUT: u32 = 1;
const SYNC: u32 = 4;
const GET_ID: u32 = 8;
/// Bytes of what GET_ID tells.
const ID: usize = 20;

/// A virtio disk.
pub type VirtioBlock = Disk<BlockQueue>;

/// The device behind its only queue.
pub struct BlockQueue {
    transport: Box<dyn Transport>,
    features: u64,
    geometry: BlockGeometry,
    queue: Queue,
    /// Request header and status byte.
    header: DmaRegion,
    completion: Completion,
}

impl VirtioBlock {
    /// Brings the device up; its interrupt has to call `completion`.
    pub fn new(mut transport: Box<dyn Transport>, completion: Completion) -> Result<Self, VirtioError> {
        if transport.device_type() != device_type::BLOCK {
            return Err(VirtioError::WrongDevice);
        }
        let features = negotiate(&mut *transport, WANTED, 0)?;
        // Requests count in sectors of 512 bytes all the same (5.2.4); QEMU refuses those that are no whole blocks.
        if features & BLOCK_SIZE != 0 {
            let size = u32::from_le_bytes(core::array::from_fn(|at| transport.config(BLOCK_SIZE_AT + at)));
            if size != SECTOR as u32 {
                transport.set_status(status::FAILED);
                return Err(VirtioError::SectorSize(size));
            }
        }
        let queue = Queue::new(queue_size(&mut *transport, 0, 16)?, features & feature::EVENT_IDX != 0)?;
        if queue.size() < 4 {
            return Err(VirtioError::Queue);
        }
        transport.set_queue(0, &queue);
        let capacity = core::array::from_fn(|offset| transport.config(offset));
        let geometry =
            BlockGeometry { sectors: u64::from_le_bytes(capacity), read_only: features & READ_ONLY != 0 };
        let header = DmaRegion::new(1).ok_or(VirtioError::OutOfMemory)?;
        let buffer = Buffer::new().ok_or(VirtioError::OutOfMemory)?;
        run(&mut *transport);
        let told = completion.clone();
        Ok(Self::of(BlockQueue { transport, features, geometry, queue, header, completion }, told, buffer))
    }
}

impl BlockQueue {
    /// Sends one request and waits for its end.
    fn send(&mut self, kind: u32, sector: u64, data: Option<DmaSpan>) -> Result<(), Failure> {
        let mut header = [0u8; 17];
        header[..4].copy_from_slice(&kind.to_le_bytes());
        header[8..16].copy_from_slice(&sector.to_le_bytes());
        header[16] = 0xff;
        // SAFETY: the page is ours between requests.
        unsafe { self.header.pointer().cast::<[u8; 17]>().write(header) };
        self.queue.describe(0, self.header.span(0, 16), false, Some(1));
        let status = match data {
            Some(data) => {
                self.queue.describe(1, data, kind != OUT, Some(2));
                2
            }
            None => 1,
        };
        self.queue.describe(status, self.header.span(16, 1), true, None);
        let expected = self.completion.expect();
        self.queue.push(0);
        self.queue.set_interrupts(true);
        if self.queue.publish() {
            self.transport.notify(0);
        }
        let mut looks = 0;
        expected.wait(|| {
            looks += 1;
            let has_used = self.queue.has_used();
            // Reading registers takes long, and the first look comes early.
            if !has_used && looks > 1 && self.transport.status() == status::ABSENT {
                return Err(Failure::Lost(BlockError::Gone));
            }
            Ok(has_used)
        })?;
        match self.queue.pop() {
            Ok(Some(used)) if used.id == 0 => {}
            _ => return Err(Failure::Lost(BlockError::Io)),
        }
        // SAFETY: the request has ended; the byte lies in the page.
        match unsafe { self.header.pointer().add(16).read_volatile() } {
            0 => Ok(()),
            _ => Err(Failure::Refused(BlockError::Io)),
        }
    }
}

impl Hardware for BlockQueue {
    const NAME: &'static str = "virtio-blk";

    fn geometry(&self) -> BlockGeometry {
        self.geometry
    }

    fn limit(&self) -> usize {
        Buffer::LENGTH
    }

    fn request(&mut self, request: Request, buffer: &Buffer) -> Result<(), Failure> {
        match request {
            Request::Read { sector, length } => self.send(IN, sector, Some(buffer.span(0, length))),
            Request::Write { sector, length } => self.send(OUT, sector, Some(buffer.span(0, length))),
            // Without the feature every write is durable when it ends (5.2.6.2).
            Request::Flush if self.features & FLUSH == 0 => Ok(()),
            Request::Flush => self.send(SYNC, 0, None),
        }
    }

    fn identity(&mut self, buffer: &mut Buffer) -> Result<BlockIdentity, Failure> {
        buffer.bytes(ID).fill(0);
        match self.send(GET_ID, 0, Some(buffer.span(0, ID))) {
            // Not all devices know it, and none has a model.
            Err(Failure::Refused(_)) => Ok(BlockIdentity::default()),
            outcome => outcome.map(|()| BlockIdentity::new(&[], buffer.bytes(ID))),
        }
    }

    fn stop(&mut self) -> Result<(), LifecycleError> {
        reset(&mut *self.transport).map_err(|_| LifecycleError::Timeout)
    }

    fn start(&mut self, _: &mut Buffer) -> Result<(), LifecycleError> {
        let features = negotiate(&mut *self.transport, WANTED, 0).map_err(|_| LifecycleError::Timeout)?;
        if features != self.features {
            return Err(LifecycleError::Malformed("features"));
        }
        let event_index = features & feature::EVENT_IDX != 0;
        self.queue = Queue::new(self.queue.size(), event_index).map_err(|_| LifecycleError::Timeout)?;
        self.transport.set_queue(0, &self.queue);
        run(&mut *self.transport);
        Ok(())
    }
}
