//! Drivers: PCI and its hot-plug ports, virtio (net, block, entropy), e1000 and e1000e, NVMe, and the entropy pool they feed.
//!
//! A driver's interrupt handler only wakes the device's owner; all work is done in the owner's calls. Devices see memory of
//! [`machine::dma`]'s pool and nothing else. What a device answers is never trusted: indices, lengths and capability lists
//! are checked, and a device that misbehaves is left alone.
#![no_std]
#![expect(unsafe_code, reason = "registers and memory shared with devices")]

extern crate alloc;

pub mod block;
pub mod e1000;
pub mod entropy;
#[cfg(test)]
mod fake;
pub mod hotplug;
pub mod mmio;
pub mod nvme;
pub mod pci;
pub mod probe;
pub mod virtio;
