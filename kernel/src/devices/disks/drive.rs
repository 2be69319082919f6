//! A disk under its driver, and perhaps the one that is to take its place.

use alloc::string::String;
use drivers::probe::Attached;
use drivers_api::BlockDevice;
#[cfg(feature = "vmm")]
use {
    alloc::boxed::Box,
    drivers_api::BlockError,
    mirror::{Both, Mirror},
};

/// A disk that somebody has.
pub struct Drive {
    /// What operators call it.
    #[cfg_attr(not(feature = "vmm"), expect(dead_code, reason = "a swap asks for it"))]
    pub(super) name: String,
    attached: Attached<dyn BlockDevice>,
    /// What takes its place.
    #[cfg(feature = "vmm")]
    pub(super) successor: Option<Box<Successor>>,
}

/// A disk that is to take another's place.
#[cfg(feature = "vmm")]
pub(super) struct Successor {
    pub mirror: Mirror,
    pub drive: Drive,
}

impl Drive {
    pub(super) fn new(name: String, attached: Attached<dyn BlockDevice>) -> Self {
        Self {
            name,
            attached,
            #[cfg(feature = "vmm")]
            successor: None,
        }
    }

    /// The disk itself. What is written so its successor does not learn.
    pub(super) fn device(&mut self) -> &mut dyn BlockDevice {
        &mut *self.attached.device
    }
}

#[cfg(feature = "vmm")]
impl Drive {
    /// Uses the disk, with its successor.
    pub(super) fn with<R>(&mut self, f: impl FnOnce(&mut dyn BlockDevice) -> R) -> R {
        match &mut self.successor {
            None => f(&mut *self.attached.device),
            Some(successor) => {
                let Successor { mirror, drive } = &mut **successor;
                f(&mut Both { mirror, old: &mut *self.attached.device, new: drive.device() })
            }
        }
    }

    /// Both disks and what is done to make them the same.
    pub(super) fn mirror(&mut self) -> Option<(&mut Mirror, &mut dyn BlockDevice, &mut dyn BlockDevice)> {
        let Successor { mirror, drive } = &mut **self.successor.as_mut()?;
        Some((mirror, &mut *self.attached.device, drive.device()))
    }

    /// Resets the disk, and its successor.
    pub(super) fn halt(&mut self) {
        self.with(|disk| disk.halt());
    }

    /// Gives it up, with its successor, without touching what may be other devices by now.
    pub(super) fn abandon(&mut self) {
        self.with(|disk| disk.abandon());
    }

    /// Brings it to rest: nobody uses it.
    pub(super) fn rest(&mut self) {
        if let Err(error) = self.device().quiesce() {
            log::warn!("{} can't be brought to rest: {error:?}", self.name);
        }
    }

    /// Ends its rest.
    pub(super) fn wake(&mut self) -> Result<(), BlockError> {
        self.device().resume().map_err(|_| BlockError::NotRunning)
    }
}
