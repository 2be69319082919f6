//! What a driver is to the rest of the system: a device with a life cycle, and what each class of device can do.
//!
//! Nothing here touches hardware, so the network stack and the device swap are tested on the host against fakes.
#![no_std]
extern crate alloc;

mod absent;
mod block;
#[cfg(any(feature = "fake", test))]
pub mod failing;
#[cfg(feature = "fake")]
pub mod fake;
mod lifecycle;
mod net;
mod net_state;
pub mod swap;

pub use absent::{AbsentDisk, AbsentNet};
pub use block::{BlockDevice, BlockError, BlockGeometry, BlockIdentity};
pub use lifecycle::{Device, DeviceState, Driver, ExportedState, LifecycleError, StateKind};
pub use net::{
    Checksum, LinkInfo, MacAddr, NetDevice, Offloads, RxFrame, Segmentation, TransmitError, TxChecksum,
    TxMeta,
};
pub use net_state::NetState;
