//! A disk under its driver, and perhaps the one that is to take its place.

use alloc::boxed::Box;
use alloc::string::String;
use drivers::block::Completion;
use drivers::probe::{Attached, AttachedDisk};
use drivers_api::{AbsentDisk, BlockDevice};
use machine::irq::Irq;
#[cfg(feature = "vmm")]
use {
    super::absence::Absence,
    drivers_api::BlockError,
    mirror::{Identity, Mirror, Unflushed, Used},
};

/// A disk that somebody has.
pub struct Drive {
    /// What operators call it.
    pub(super) name: String,
    device: Box<dyn BlockDevice>,
    /// `None` once it is gone.
    interrupt: Option<Irq>,
    completion: Completion,
    #[cfg(feature = "vmm")]
    pub(super) watch: Watch,
}

/// What is known of a disk so that it can leave, and be back.
#[cfg(feature = "vmm")]
#[derive(Default)]
pub(super) struct Watch {
    /// What takes its place.
    pub successor: Option<Box<Successor>>,
    /// By what it is known when it is back; without one nobody waits for it.
    pub identity: Option<Identity>,
    /// What may be lost of it.
    pub unflushed: Unflushed,
    /// It was pulled out.
    pub absence: Option<Absence>,
}

/// A disk that is to take another's place.
#[cfg(feature = "vmm")]
pub(super) struct Successor {
    pub mirror: Mirror,
    pub drive: Drive,
}

impl Drive {
    pub(super) fn new(name: String, (disk, completion): AttachedDisk) -> Self {
        let Attached { device, interrupt, .. } = disk;
        Self {
            name,
            device,
            interrupt: Some(interrupt),
            completion,
            #[cfg(feature = "vmm")]
            watch: Watch::default(),
        }
    }

    /// The disk itself. What is written so its successor does not learn.
    pub(super) fn device(&mut self) -> &mut dyn BlockDevice {
        &mut *self.device
    }

    /// Brings it to rest: nobody uses it.
    pub(super) fn rest(&mut self) {
        if let Err(error) = self.device().quiesce() {
            log::warn!("{} can't be brought to rest: {error}", self.name);
        }
    }

    /// Whether it was pulled out.
    pub(super) fn is_gone(&self) -> bool {
        self.completion.is_gone()
    }

    /// Gives its driver up, without touching what may be another device by now.
    pub(super) fn part(&mut self) {
        self.device.abandon();
        self.device = Box::new(AbsentDisk(self.device.geometry()));
        self.interrupt = None;
    }
}

#[cfg(not(feature = "vmm"))]
impl Drive {
    /// Uses the disk.
    #[cfg(feature = "bench")]
    pub(super) fn with<R>(&mut self, f: impl FnOnce(&mut dyn BlockDevice) -> R) -> R {
        f(self.device())
    }

    /// It was pulled out: its driver is given up.
    pub(super) fn lose(&mut self) {
        self.part();
    }
}

#[cfg(feature = "vmm")]
impl Drive {
    /// Uses the disk, with its successor.
    pub(super) fn with<R>(&mut self, f: impl FnOnce(&mut dyn BlockDevice) -> R) -> R {
        let Watch { successor, unflushed, .. } = &mut self.watch;
        let new = successor.as_deref_mut().map(|Successor { mirror, drive }| (mirror, drive.device()));
        f(&mut Used { disk: &mut *self.device, unflushed, new })
    }

    /// Both disks and what is done to make them the same.
    pub(super) fn mirror(&mut self) -> Option<(&mut Mirror, &mut dyn BlockDevice, &mut dyn BlockDevice)> {
        let Successor { mirror, drive } = &mut **self.watch.successor.as_mut()?;
        Some((mirror, &mut *self.device, drive.device()))
    }

    /// What this disk is known by from here on: it is in use.
    pub(super) fn learn(&mut self) {
        let identity = Identity::of(&mut *self.device);
        self.watch.identity =
            identity.inspect_err(|error| log::warn!("{} would not be known again: {error}", self.name)).ok();
    }

    /// Resets the disk, and its successor.
    pub(super) fn halt(&mut self) {
        self.with(|disk| disk.halt());
    }

    /// Gives it up, with its successor, without touching what may be other devices by now.
    pub(super) fn abandon(&mut self) {
        self.with(|disk| disk.abandon());
    }

    /// Ends its rest.
    pub(super) fn wake(&mut self) -> Result<(), BlockError> {
        self.device().resume().map_err(|_| BlockError::NotRunning)
    }
}
