//! Devices that are not there: for whoever had one that is gone, until there is another.

use crate::{
    BlockDevice, BlockError, BlockGeometry, Device, DeviceState, ExportedState, LifecycleError, LinkInfo,
    NetDevice, RxFrame, TransmitError, TxMeta,
};

/// It has the link of the card that was there. Nothing comes from it, and it takes nothing.
#[derive(Clone, Copy, Debug)]
pub struct AbsentNet(pub LinkInfo);

/// The size of a disk that was there. All requests end with [`BlockError::Gone`].
#[derive(Clone, Copy, Debug)]
pub struct AbsentDisk(pub BlockGeometry);

macro_rules! absent {
    ($($device:ty)*) => {$(
        impl Device for $device {
            fn name(&self) -> &'static str {
                "absent"
            }
            fn state(&self) -> DeviceState {
                DeviceState::Halted
            }
            fn quiesce(&mut self) -> Result<(), LifecycleError> {
                Err(LifecycleError::WrongState(DeviceState::Halted))
            }
            fn export(&self) -> Result<ExportedState, LifecycleError> {
                Err(LifecycleError::WrongState(DeviceState::Halted))
            }
            fn import(&mut self, _: &ExportedState) -> Result<(), LifecycleError> {
                Err(LifecycleError::WrongState(DeviceState::Halted))
            }
            fn resume(&mut self) -> Result<(), LifecycleError> {
                Err(LifecycleError::WrongState(DeviceState::Halted))
            }
            fn halt(&mut self) {}
            fn abandon(&mut self) {}
        }
    )*};
}
absent!(AbsentNet AbsentDisk);

impl NetDevice for AbsentNet {
    fn link(&self) -> LinkInfo {
        self.0
    }
    fn link_up(&self) -> bool {
        false
    }
    fn receive(&mut self) -> Option<RxFrame> {
        None
    }
    fn recycle(&mut self, _: RxFrame) {}
    fn can_transmit(&mut self) -> bool {
        false
    }
    fn transmit(&mut self, _: usize, _: &mut dyn FnMut(&mut [u8]) -> TxMeta) -> Result<(), TransmitError> {
        Err(TransmitError::NotRunning)
    }
    fn flush(&mut self) {}
    fn set_interrupts(&mut self, _: bool) -> bool {
        false
    }
}

impl BlockDevice for AbsentDisk {
    fn geometry(&self) -> BlockGeometry {
        self.0
    }
    fn read(&mut self, _: u64, _: &mut [u8]) -> Result<(), BlockError> {
        Err(BlockError::Gone)
    }
    fn write(&mut self, _: u64, _: &[u8]) -> Result<(), BlockError> {
        Err(BlockError::Gone)
    }
    fn flush(&mut self) -> Result<(), BlockError> {
        Err(BlockError::Gone)
    }
}
