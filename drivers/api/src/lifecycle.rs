//! The life cycle every driver has: `running → quiesced → (exported → imported) → running`, and `halted` at the end.

use alloc::vec::Vec;

/// Where a device stands in its life cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceState {
    /// Serving requests.
    Running,
    /// No request in flight, no DMA under way, no interrupt raised; registers still answer.
    Quiesced,
    /// Reset and silent; only dropping is left.
    Halted,
}

/// Names the layout of an [`ExportedState`]: a kind and a version, neither of which has a default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateKind {
    /// What sort of device the state describes, for example `b"net0"`.
    pub kind: [u8; 4],
    /// Version of the layout; a driver imports only versions it names.
    pub version: u16,
}

/// State that outlives one device and is imported by its successor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportedState {
    /// Layout of `payload`.
    pub kind: StateKind,
    /// The state itself, in the layout that `kind` names.
    pub payload: Vec<u8>,
}

/// Why a life-cycle step did not happen. The device is as it was before the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LifecycleError {
    /// The step is not allowed in this state.
    WrongState(DeviceState),
    /// The state's kind or version is not one this driver imports.
    ForeignState(StateKind),
    /// The named field of the imported state is malformed or out of range.
    Malformed(&'static str),
    /// The hardware did not answer in time.
    Timeout,
}

/// A device under a driver.
pub trait Device: Send {
    /// Short stable name, for example `"virtio-net"`.
    fn name(&self) -> &'static str;
    /// Where the device stands.
    fn state(&self) -> DeviceState;
    /// Finishes what is in flight, stops DMA and interrupts.
    fn quiesce(&mut self) -> Result<(), LifecycleError>;
    /// The state a successor needs. Only when quiesced.
    fn export(&self) -> Result<ExportedState, LifecycleError>;
    /// Takes over a predecessor's state. Only when quiesced.
    fn import(&mut self, state: &ExportedState) -> Result<(), LifecycleError>;
    /// Serves again after [`Device::quiesce`].
    fn resume(&mut self) -> Result<(), LifecycleError>;
    /// Resets the device; nothing but dropping is allowed afterwards. Allowed in every state.
    fn halt(&mut self);
    /// The hardware is gone, and its registers may be another device's: neither this nor dropping touches them. What the driver holds is
    /// given back when it is dropped. Allowed in every state; nothing but dropping is allowed afterwards.
    fn abandon(&mut self);
}
