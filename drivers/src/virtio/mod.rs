//! virtio 1.2: transports, the split virtqueue, and the devices network, block and entropy.
//!
//! Legacy devices (before 1.0) are not driven.

pub mod block;
mod control;
pub mod entropy;
pub mod net;
mod queue;
mod transport;
mod transport_mmio;
mod transport_pci;

pub use queue::{Queue, QueueError, Used};
pub use transport::{Transport, VirtioError, feature, status};
pub use transport_mmio::MmioTransport;
pub use transport_pci::PciTransport;

/// Device types (virtio 1.2, chapter 5).
pub mod device_type {
    /// Network card.
    pub const NETWORK: u16 = 1;
    /// Block device.
    pub const BLOCK: u16 = 2;
    /// Entropy source.
    pub const ENTROPY: u16 = 4;
}

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;
