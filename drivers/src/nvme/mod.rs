//! Disks behind an NVMe controller: the first namespace, by one pair of I/O queues.
//!
//! Source: NVM Express Base Specification 1.4; sections are of that.

mod controller;
mod identify;
mod queue;

pub use controller::acknowledge;
pub use queue::Status;

use crate::block::{Buffer, Completion, Disk, Failure, Hardware, Request, SECTOR};
use crate::mmio::{Registers, wait};
use controller::Controller;
use drivers_api::{BlockError, BlockGeometry, BlockIdentity, LifecycleError};
use identify::{ControllerPage, cns};
use machine::dma::DmaRegion;
use queue::{Command, ENTRIES, Ended, QueuePair};

/// Class, subclass and programming interface of a PCI function that is one (2.1.5).
pub const CLASS: [u8; 3] = [0x01, 0x08, 0x02];

/// Opcodes of admin commands (5).
mod admin {
    pub const CREATE_SUBMISSION_QUEUE: u8 = 0x01;
    pub const CREATE_COMPLETION_QUEUE: u8 = 0x05;
    pub const IDENTIFY: u8 = 0x06;
    pub const SET_FEATURES: u8 = 0x09;
}

/// Opcodes of the NVM command set (6).
mod nvm {
    pub const FLUSH: u8 = 0x00;
    pub const WRITE: u8 = 0x01;
    pub const READ: u8 = 0x02;
}

/// The feature with the number of I/O queues (5.21.1.7).
const NUMBER_OF_QUEUES: u32 = 7;
/// A queue is contiguous (5.3, 5.4, PC); the completion queue interrupts (5.3, IEN), by vector 0.
const CONTIGUOUS: u32 = 1;
const INTERRUPTS: u32 = 1 << 1;

const PAGE: usize = 4096;

/// Why a controller can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NvmeError {
    /// Its registers do not reach to the doorbells.
    Registers,
    /// It does not speak the NVM command set.
    CommandSet,
    /// Its pages have at least this many bytes; ours have 4096.
    PageSize(u64),
    /// No memory in the DMA pool.
    OutOfMemory,
    /// It did not answer in time.
    Timeout,
    /// All its registers read as ones: it was taken away.
    Gone,
    /// It gave up (CSTS.CFS).
    Fatal,
    /// It ended another command than the one it was given.
    Protocol,
    /// It refused to be brought up.
    Refused(Status),
    /// There is no disk behind it, or one of no size.
    NoNamespace,
    /// The disk's sectors have this many bytes; ours have 512. 0 is a size beyond all numbers.
    SectorSize(u64),
    /// The disk's sectors have this many bytes beside their data.
    Metadata(u16),
}

/// An NVMe disk.
pub type Nvme = Disk<Drive>;

/// What was found behind a controller.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    controller: ControllerPage,
    namespace: u32,
    geometry: BlockGeometry,
}

/// A controller with its queues.
struct Link {
    controller: Controller,
    admin: QueuePair,
    io: QueuePair,
    completion: Completion,
}

/// A controller, and the namespace that is the disk.
pub struct Drive {
    link: Link,
    found: Found,
    /// Addresses of the buffer's pages but the first (4.3).
    list: DmaRegion,
}

impl Nvme {
    /// Brings a controller up; its interrupt has to call `completion`, without MSI-X after [`acknowledge`].
    pub fn new(registers: Registers, has_msix: bool, completion: Completion) -> Result<Self, NvmeError> {
        let controller = Controller::new(registers, has_msix)?;
        let list = DmaRegion::new(1).ok_or(NvmeError::OutOfMemory)?;
        let mut buffer = Buffer::new().ok_or(NvmeError::OutOfMemory)?;
        for page in 1..Buffer::LENGTH / PAGE {
            let address = buffer.span(page * PAGE, PAGE).lend();
            // SAFETY: the region is a page, more than there are addresses, and ours alone.
            unsafe { list.pointer().cast::<u64>().add(page - 1).write(address) };
        }
        let queues = |number, entries| QueuePair::new(number, entries).ok_or(NvmeError::OutOfMemory);
        let admin = queues(0, ENTRIES)?;
        // It has room for two at least (3.1.1, MQES).
        let io = queues(1, controller.entries.clamp(2, ENTRIES))?;
        let mut link = Link { controller, admin, io, completion: completion.clone() };
        let found = link.bring_up(&mut buffer)?;
        Ok(Self::of(Drive { link, found, list }, completion, buffer))
    }
}

impl Link {
    /// Resets the controller and brings it up (7.6.1). If that fails, it is switched off.
    fn bring_up(&mut self, buffer: &mut Buffer) -> Result<Found, NvmeError> {
        self.controller.disable()?;
        self.admin.reset();
        self.io.reset();
        let found = self.controller.enable(&self.admin).and_then(|()| self.set_up(buffer));
        if found.is_err() {
            // The error that brought us here is the one to tell.
            let _ = self.controller.disable();
        }
        found
    }

    /// Asks an enabled controller what it has, and gives it the I/O queues.
    fn set_up(&mut self, buffer: &mut Buffer) -> Result<Found, NvmeError> {
        let controller = ControllerPage::read(self.identify(cns::CONTROLLER, 0, buffer)?);
        let namespace = identify::first_namespace(self.identify(cns::ACTIVE_NAMESPACES, 0, buffer)?)?;
        let geometry = identify::geometry(self.identify(cns::NAMESPACE, namespace, buffer)?)?;
        // One of each kind: both numbers are one less.
        self.administer(admin::SET_FEATURES, None, [NUMBER_OF_QUEUES, 0])?;
        let size = (self.io.entries() as u32 - 1) << 16 | u32::from(self.io.number());
        let (completions, submissions) = (self.io.completions().lend(), self.io.submissions().lend());
        let flags = CONTIGUOUS | INTERRUPTS;
        self.administer(admin::CREATE_COMPLETION_QUEUE, Some(completions), [size, flags])?;
        let flags = CONTIGUOUS | u32::from(self.io.number()) << 16;
        self.administer(admin::CREATE_SUBMISSION_QUEUE, Some(submissions), [size, flags])?;
        Ok(Found { controller, namespace, geometry })
    }

    fn identify<'b>(
        &mut self,
        page: u32,
        namespace: u32,
        buffer: &'b mut Buffer,
    ) -> Result<&'b [u8], NvmeError> {
        let prp1 = buffer.span(0, identify::LENGTH).lend();
        let command = Command { opcode: admin::IDENTIFY, namespace, prp1, ..Command::default() };
        self.command(Command { words: [page, 0, 0, 0, 0, 0], ..command })?;
        Ok(buffer.bytes(identify::LENGTH))
    }

    fn administer(&mut self, opcode: u8, memory: Option<u64>, words: [u32; 2]) -> Result<(), NvmeError> {
        let words = [words[0], words[1], 0, 0, 0, 0];
        self.command(Command { opcode, prp1: memory.unwrap_or(0), words, ..Command::default() })
    }

    /// Has an admin command done. Polled: devices are found anew while interrupts are off, too.
    fn command(&mut self, command: Command) -> Result<(), NvmeError> {
        let Self { controller, admin, completion, .. } = self;
        let id = admin.submit(controller, command);
        let (mut ended, mut fault) = (None, None);
        wait(completion.patience(), || {
            ended = admin.take(controller);
            fault = if ended.is_none() { controller.fault() } else { None };
            ended.is_some() || fault.is_some()
        });
        match (ended, fault) {
            (Some(Ended { queue: 0, id: of, status: Status::SUCCESS }), _) if of == id => Ok(()),
            (Some(Ended { queue: 0, id: of, status }), _) if of == id => Err(NvmeError::Refused(status)),
            (Some(_), _) => Err(NvmeError::Protocol),
            (None, fault) => Err(fault.unwrap_or(NvmeError::Timeout)),
        }
    }

    /// Has an I/O command done.
    fn transfer(&mut self, command: Command) -> Result<(), Failure> {
        let Self { controller, io, completion, .. } = self;
        let expected = completion.expect();
        let id = io.submit(controller, command);
        let mut ended = None;
        let mut looks = 0;
        expected.wait(|| {
            ended = io.take(controller);
            looks += 1;
            // Reading registers takes long, and the first look comes early.
            if ended.is_none() && looks > 1 {
                match controller.fault() {
                    Some(NvmeError::Gone) => return Err(Failure::Lost(BlockError::Gone)),
                    Some(_) => return Err(Failure::Lost(BlockError::Io)),
                    None => {}
                }
            }
            if ended.is_none() {
                controller.unmask();
            }
            Ok(ended.is_some())
        })?;
        match ended {
            Some(ended) if (ended.queue, ended.id) == (io.number(), id) => ended.status.outcome(),
            _ => Err(Failure::Lost(BlockError::Io)),
        }
    }
}

impl Status {
    /// What it means for a disk (4.6.1.2).
    fn outcome(self) -> Result<(), Failure> {
        let error = match (self.kind, self.code) {
            (0, 0x00) => return Ok(()),
            // LBA out of range.
            (0, 0x80) => BlockError::OutOfRange,
            // Namespace is write-protected; attempted write to read-only range.
            (0, 0x20) | (1, 0x82) => BlockError::ReadOnly,
            _ => BlockError::Io,
        };
        Err(Failure::Refused(error))
    }
}

impl Drive {
    /// A command for the namespace.
    fn command(&self, opcode: u8) -> Command {
        Command { opcode, namespace: self.found.namespace, ..Command::default() }
    }

    /// A command that moves sectors between disk and buffer (6.9, 6.15).
    fn transfer(&self, opcode: u8, sector: u64, length: usize, buffer: &Buffer) -> Command {
        let prp2 = match length.div_ceil(PAGE) {
            0 | 1 => 0,
            2 => buffer.span(PAGE, length - PAGE).lend(),
            pages => self.list.span(0, (pages - 1) * 8).lend(),
        };
        let prp1 = buffer.span(0, length.min(PAGE)).lend();
        // The number of blocks is one less.
        let blocks = (length / SECTOR) as u32 - 1;
        let words = [sector as u32, (sector >> 32) as u32, blocks, 0, 0, 0];
        Command { prp1, prp2, words, ..self.command(opcode) }
    }
}

impl Hardware for Drive {
    const NAME: &'static str = "nvme";

    fn geometry(&self) -> BlockGeometry {
        self.found.geometry
    }

    fn limit(&self) -> usize {
        self.found.controller.limit
    }

    fn request(&mut self, request: Request, buffer: &Buffer) -> Result<(), Failure> {
        let command = match request {
            Request::Read { sector, length } => self.transfer(nvm::READ, sector, length, buffer),
            Request::Write { sector, length } => self.transfer(nvm::WRITE, sector, length, buffer),
            // Without a volatile cache every write is durable when it ends (6.8).
            Request::Flush if !self.found.controller.has_cache => return Ok(()),
            Request::Flush => self.command(nvm::FLUSH),
        };
        self.link.transfer(command)
    }

    fn identity(&mut self, _: &mut Buffer) -> Result<BlockIdentity, Failure> {
        Ok(self.found.controller.identity.clone())
    }

    fn stop(&mut self) -> Result<(), LifecycleError> {
        self.link.controller.disable().map_err(|_| LifecycleError::Timeout)
    }

    fn start(&mut self, buffer: &mut Buffer) -> Result<(), LifecycleError> {
        let found = self.link.bring_up(buffer).map_err(|_| LifecycleError::Timeout)?;
        if found != self.found {
            self.stop()?;
            return Err(LifecycleError::Malformed("disk"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;
