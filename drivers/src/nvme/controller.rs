//! The controller's registers (3.1), and how it is switched on and off (7.6.1).

use super::NvmeError;
use super::queue::QueuePair;
use crate::mmio::{Registers, wait};
use machine::time::Duration;

/// Offsets.
pub(super) mod register {
    pub const CAP: usize = 0x00;
    pub const INTMS: usize = 0x0c;
    pub const INTMC: usize = 0x10;
    pub const CC: usize = 0x14;
    pub const CSTS: usize = 0x1c;
    pub const AQA: usize = 0x24;
    pub const ASQ: usize = 0x28;
    pub const ACQ: usize = 0x30;
    pub const DOORBELLS: usize = 0x1000;
}

/// Controller configuration: enabled, entries of 2^6 bytes in submission queues and of 2^4 in completion queues; NVM command set,
/// pages of 4 KiB, round robin (3.1.5).
pub(super) const CC_EN: u32 = 1;
pub(super) const CC_RUN: u32 = CC_EN | 6 << 16 | 4 << 20;
/// Controller status (3.1.6).
pub(super) const CSTS_RDY: u32 = 1;
pub(super) const CSTS_CFS: u32 = 1 << 1;

/// Number of doorbells: two for the admin queues, two for ours.
const DOORBELLS: usize = 4;

/// A controller's registers.
#[derive(Debug)]
pub(super) struct Controller {
    registers: Registers,
    /// How long it may take to become ready, or to stop being so (CAP.TO).
    patience: Duration,
    /// Entries of an I/O queue at most (CAP.MQES).
    pub entries: usize,
    /// Bytes from a doorbell to the next (CAP.DSTRD).
    stride: usize,
    /// It sends no MSI-X, so its interrupt is masked by [`super::acknowledge`].
    is_masked: bool,
}

impl Controller {
    /// Looks at what it can do (3.1.1).
    pub fn new(registers: Registers, has_msix: bool) -> Result<Self, NvmeError> {
        let capabilities = u64::from(registers.read::<u32>(register::CAP))
            | u64::from(registers.read::<u32>(register::CAP + 4)) << 32;
        if capabilities == u64::MAX {
            return Err(NvmeError::Gone);
        }
        let field = |shift: u32, width: u32| capabilities >> shift & ((1 << width) - 1);
        let stride = 4 << field(32, 4);
        if registers.length() < register::DOORBELLS + DOORBELLS * stride {
            return Err(NvmeError::Registers);
        }
        if field(37, 1) == 0 {
            return Err(NvmeError::CommandSet);
        }
        if field(48, 4) != 0 {
            return Err(NvmeError::PageSize(4096 << field(48, 4)));
        }
        Ok(Self {
            registers,
            // Units of 500 ms; one more, as it is rounded down by some.
            patience: Duration::from_millis(500) * (field(24, 8) as u32 + 1),
            entries: field(0, 16) as usize + 1,
            stride,
            is_masked: !has_msix,
        })
    }

    fn status(&self) -> u32 {
        self.registers.read(register::CSTS)
    }

    /// Why it is of no use any more: it was taken away, or gave up.
    pub fn fault(&self) -> Option<NvmeError> {
        fault(self.status())
    }

    fn wait_ready(&self, ready: bool) -> Result<(), NvmeError> {
        let mut found = None;
        let is_over = wait(self.patience, || {
            let status = self.status();
            // One that gave up can be switched off all the same.
            found = fault(status).filter(|&fault| ready || fault == NvmeError::Gone);
            found.is_some() || (status & CSTS_RDY != 0) == ready
        });
        match found {
            Some(fault) => Err(fault),
            None if is_over => Ok(()),
            None => Err(NvmeError::Timeout),
        }
    }

    /// Resets it: it uses no memory any more (7.3.2).
    pub fn disable(&self) -> Result<(), NvmeError> {
        let configuration: u32 = self.registers.read(register::CC);
        if configuration & CC_EN != 0 {
            // Before it is ready that is undefined (3.1.5, EN). One that does not get ready is switched off all the same.
            if self.wait_ready(true) == Err(NvmeError::Gone) {
                return Err(NvmeError::Gone);
            }
            self.registers.write(register::CC, configuration & !CC_EN);
        }
        self.wait_ready(false)
    }

    /// Switches it on with its admin queues. It is disabled.
    pub fn enable(&self, admin: &QueuePair) -> Result<(), NvmeError> {
        let last = admin.entries() as u32 - 1;
        self.registers.write(register::AQA, last << 16 | last);
        self.registers.lend(register::ASQ, admin.submissions());
        self.registers.lend(register::ACQ, admin.completions());
        self.registers.write(register::CC, CC_RUN);
        self.wait_ready(true)
    }

    /// Tells it how far the submissions of a queue go (3.1.24).
    pub fn ring_tail(&self, queue: u16, tail: u32) {
        self.registers.write(register::DOORBELLS + 2 * usize::from(queue) * self.stride, tail);
    }

    /// Tells it which completions were taken (3.1.25).
    pub fn ring_head(&self, queue: u16, head: u32) {
        self.registers.write(register::DOORBELLS + (2 * usize::from(queue) + 1) * self.stride, head);
    }

    /// Lets it interrupt, if it can be kept from that (3.1.4; with MSI-X it is undefined).
    pub fn unmask(&self) {
        if self.is_masked {
            self.registers.write(register::INTMC, 1u32);
        }
    }
}

fn fault(status: u32) -> Option<NvmeError> {
    match status {
        u32::MAX => Some(NvmeError::Gone),
        _ if status & CSTS_CFS != 0 => Some(NvmeError::Fatal),
        _ => None,
    }
}

/// Keeps a controller without MSI-X from interrupting until it was looked after (3.1.3). Its own line does not tell whose interrupt it
/// was: it may have been ours.
pub fn acknowledge(registers: &Registers) {
    registers.write(register::INTMS, 1u32);
}
