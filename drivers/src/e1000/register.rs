//! Registers and their bits (8254x, table 13-2; 82574, chapter 10.2), and what the interrupt handler does with them.

use crate::mmio::Registers;

pub(super) const CTRL: usize = 0x0000;
pub(super) const STATUS: usize = 0x0008;
pub(super) const EERD: usize = 0x0014;
pub(super) const ICR: usize = 0x00c0;
pub(super) const IMS: usize = 0x00d0;
pub(super) const IMC: usize = 0x00d8;
pub(super) const IVAR: usize = 0x00e4;
pub(super) const RCTL: usize = 0x0100;
pub(super) const TCTL: usize = 0x0400;
pub(super) const TIPG: usize = 0x0410;
pub(super) const RDBAL: usize = 0x2800;
pub(super) const TDBAL: usize = 0x3800;
pub(super) const MTA: usize = 0x5200;
pub(super) const RAL0: usize = 0x5400;
pub(super) const RAH0: usize = 0x5404;

/// 82574 only: no new requests on the bus (10.2.2.1); the status bit says whether any is still under way (10.2.2.2).
pub(super) const CTRL_MASTER_DISABLE: u32 = 1 << 2;
pub(super) const CTRL_ASDE: u32 = 1 << 5;
pub(super) const CTRL_SLU: u32 = 1 << 6;
pub(super) const CTRL_RST: u32 = 1 << 26;
pub(super) const STATUS_LU: u32 = 1 << 1;
pub(super) const STATUS_MASTER: u32 = 1 << 19;
pub(super) const RCTL_EN: u32 = 1 << 1;
pub(super) const RCTL_BAM: u32 = 1 << 15;
pub(super) const RCTL_SECRC: u32 = 1 << 26;
pub(super) const TCTL_EN: u32 = 1 << 1;
pub(super) const TCTL_PSP: u32 = 1 << 3;
pub(super) const RAH_AV: u32 = 1 << 31;

/// Interrupt causes (13.4.17): transmit written back, link change, receive descriptors low, overrun, receive timer; and the
/// 82574's queue causes.
const CAUSE_TXDW: u32 = 1;
pub(super) const CAUSE_RECEIVE: u32 = 1 << 2 | 1 << 4 | 1 << 6 | 1 << 7 | 1 << 20 | 1 << 24;
pub(super) const CAUSE_TRANSMIT: u32 = CAUSE_TXDW | 1 << 22;

/// For the interrupt handler: whether the card has interrupted. The cause is cleared; the card then stays quiet until the
/// driver allows interrupts again, so that a level-triggered line falls.
pub fn acknowledge(registers: &Registers) -> bool {
    let cause = registers.read::<u32>(ICR);
    if cause == 0 || cause == u32::MAX {
        return false;
    }
    registers.write(IMC, u32::MAX);
    // Reading clears the cause, but not on an 82574 with MSI-X (82574, 7.4.5): left standing, it would interrupt again as soon
    // as interrupts are allowed. Writing ones clears it on both.
    registers.write(ICR, cause);
    true
}

/// Sends all causes of an 82574 to MSI-X entry 0 (82574, 10.2.4.9: entry number and valid bit for each cause).
pub(super) fn use_msix(registers: &Registers) {
    registers.write(IVAR, 0x0008_8888u32 | 1 << 31);
}
