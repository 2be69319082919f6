//! The life cycle every driver has: `running → quiesced → (imported) → running`, and `halted` at the end. What it exports for a successor does not
//! change while it runs.

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

impl DeviceState {
    /// Whether a step that is meant for this state is allowed.
    pub fn expect(self, state: Self) -> Result<(), LifecycleError> {
        if self == state { Ok(()) } else { Err(LifecycleError::WrongState(self)) }
    }
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
    /// The hardware was taken away.
    Gone,
}

impl core::fmt::Display for LifecycleError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::WrongState(state) => write!(f, "it is {state:?}"),
            Self::ForeignState(StateKind { kind, version }) => {
                write!(f, "the state is of kind {}, version {version}", kind.escape_ascii())
            }
            Self::Malformed(field) => write!(f, "{field} of the state makes no sense to it"),
            Self::Timeout => f.write_str("it did not answer in time"),
            Self::Gone => f.write_str("it is gone"),
        }
    }
}

/// A device under a driver.
pub trait Device: Send {
    /// Short stable name, for example `"virtio-net"`.
    fn name(&self) -> &'static str;
    /// Where the device stands.
    fn state(&self) -> DeviceState;
    /// Finishes what is in flight, stops DMA and interrupts.
    fn quiesce(&mut self) -> Result<(), LifecycleError>;
    /// The state a successor needs. Not when halted.
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

/// What a driver does at the steps of its life cycle. That they come in their order is seen to once, for all: every driver is a [`Device`].
pub trait Driver: Send {
    /// As [`Device::name`].
    fn driver_name(&self) -> &'static str;
    /// Where the device stands.
    fn standing(&self) -> DeviceState;
    /// It stands there from now on.
    fn stand(&mut self, state: DeviceState);
    /// Waits for what is in flight, as far as that ends soon.
    fn finish(&mut self) {}
    /// Resets the device: no request in flight, no DMA under way, no interrupt raised.
    fn stop(&mut self) -> Result<(), LifecycleError>;
    /// What a successor needs.
    fn describe(&self) -> ExportedState;
    /// Takes over a predecessor's state: all of it or nothing.
    fn accept(&mut self, state: &ExportedState) -> Result<(), LifecycleError>;
    /// Brings a device up that was stopped; where it fails it is stopped.
    fn start(&mut self) -> Result<(), LifecycleError>;
}

impl<D: Driver> Device for D {
    fn name(&self) -> &'static str {
        self.driver_name()
    }

    fn state(&self) -> DeviceState {
        self.standing()
    }

    fn quiesce(&mut self) -> Result<(), LifecycleError> {
        self.standing().expect(DeviceState::Running)?;
        self.finish();
        self.stop()?;
        self.stand(DeviceState::Quiesced);
        Ok(())
    }

    fn export(&self) -> Result<ExportedState, LifecycleError> {
        match self.standing() {
            DeviceState::Running | DeviceState::Quiesced => Ok(self.describe()),
            halted @ DeviceState::Halted => Err(LifecycleError::WrongState(halted)),
        }
    }

    fn import(&mut self, state: &ExportedState) -> Result<(), LifecycleError> {
        self.standing().expect(DeviceState::Quiesced)?;
        self.accept(state)
    }

    fn resume(&mut self) -> Result<(), LifecycleError> {
        self.standing().expect(DeviceState::Quiesced)?;
        self.start()?;
        self.stand(DeviceState::Running);
        Ok(())
    }

    fn halt(&mut self) {
        if self.stop().is_err() {
            log::warn!("{} does not reset", self.driver_name());
        }
        self.stand(DeviceState::Halted);
    }

    fn abandon(&mut self) {
        self.stand(DeviceState::Halted);
    }
}
