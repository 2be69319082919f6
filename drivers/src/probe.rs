//! From what enumeration found to running drivers.

use crate::block::Completion;
use crate::e1000::{self, E1000, Model};
use crate::mmio::Registers;
use crate::nvme::{self, Nvme, NvmeError};
use crate::pci::{self, Address, Bar, ConfigSpace, Function, Msix, Reach};
use crate::virtio::block::VirtioBlock;
use crate::virtio::entropy::EntropyDevice;
use crate::virtio::net::VirtioNet;
use crate::virtio::{MmioTransport, PciTransport, Transport, VirtioError, device_type};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use drivers_api::{BlockDevice, MacAddr, NetDevice};
use machine::io;
use machine::irq::{Irq, IrqError, Trigger};

/// What an interrupt does: wake the device's owner.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// Where a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A PCI function.
    Pci(Address),
    /// Registers in memory, from this address on.
    Memory(u64),
}

impl fmt::Display for Place {
    /// `pci:0000:00:05.0`, `mmio:0xfeb00e00`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pci(address) => write!(f, "pci:0000:{address}"),
            Self::Memory(base) => write!(f, "mmio:{base:#x}"),
        }
    }
}

/// What a device is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A network card.
    Network,
    /// A disk.
    Disk,
}

/// A running device with the interrupt that belongs to it.
pub struct Attached<D: ?Sized> {
    /// The device.
    pub device: Box<D>,
    /// Where it is.
    pub place: Place,
    /// Its interrupt; lives as long as the device is used.
    pub interrupt: Irq,
    /// Where its registers are.
    pub reach: Reach,
}

impl Attached<dyn Transport> {
    /// The same with a driver.
    fn driven<D: ?Sized>(
        self,
        drive: impl FnOnce(Box<dyn Transport>) -> Result<Box<D>, VirtioError>,
    ) -> Result<Attached<D>, ProbeError> {
        let Self { device, place, interrupt, reach } = self;
        Ok(Attached { device: drive(device)?, place, interrupt, reach })
    }
}

fn virtio_net(transport: Box<dyn Transport>) -> Result<Box<dyn NetDevice>, VirtioError> {
    Ok(Box::new(VirtioNet::new(transport)?))
}

fn virtio_block(
    completion: Completion,
) -> impl FnOnce(Box<dyn Transport>) -> Result<Box<dyn BlockDevice>, VirtioError> {
    |transport| Ok(Box::new(VirtioBlock::new(transport, completion)?))
}

/// A disk, and who is to be told when it was pulled out.
pub type AttachedDisk = (Attached<dyn BlockDevice>, Completion);

/// Why a device that was found is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeError {
    /// virtio.
    Virtio(VirtioError),
    /// e1000 or e1000e.
    E1000(e1000::E1000Error),
    /// NVMe.
    Nvme(NvmeError),
    /// Its memory.
    Bar(pci::BarError),
    /// Its interrupt.
    Irq(IrqError),
    /// It has no interrupt that could be wired.
    NoInterrupt,
    /// Nothing here drives it.
    NoDriver,
}

impl fmt::Display for ProbeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = match self {
            Self::Virtio(VirtioError::SectorSize(size)) => u64::from(*size),
            Self::Nvme(NvmeError::SectorSize(size)) => *size,
            other => return fmt::Debug::fmt(other, f),
        };
        write!(f, "its sectors have {size} bytes, and only those of 512 are known here")
    }
}

impl From<VirtioError> for ProbeError {
    fn from(error: VirtioError) -> Self {
        Self::Virtio(error)
    }
}

impl From<IrqError> for ProbeError {
    fn from(error: IrqError) -> Self {
        Self::Irq(error)
    }
}

/// Where devices are looked for.
pub struct Bus<'a> {
    /// Configuration space.
    pub space: &'a dyn ConfigSpace,
    /// What enumeration found.
    pub functions: &'a [Function],
    /// I/O APIC inputs that a function's line may arrive at.
    pub lines: &'a dyn Fn(&Function) -> Vec<u32>,
    /// virtio devices in memory: address, length, I/O APIC input.
    pub virtio: &'a [(u64, u32, u32)],
}

impl Bus<'_> {
    /// Wires a function's interrupt: MSI-X, else MSI, else its line, where `acknowledge` makes the device let go of it.
    fn wire(
        &self,
        function: &Function,
        wake: Wake,
        acknowledge: impl Fn() -> bool + Send + Sync + 'static,
        name: &str,
    ) -> Result<(Irq, Option<Msix>), ProbeError> {
        let irq = Irq::new(
            name,
            Box::new(move || {
                if acknowledge() {
                    wake()
                }
            }),
        )?;
        if let Ok(msix) = Msix::enable(self.space, function) {
            msix.set(0, irq.msi());
            return Ok((irq, Some(msix)));
        }
        if pci::enable_msi(self.space, function, irq.msi()).is_ok() {
            return Ok((irq, None));
        }
        let lines = (self.lines)(function);
        let routed = lines.iter().filter(|&&gsi| irq.route_gsi(gsi, Trigger::LevelLow).is_ok()).count();
        if routed == 0 {
            return Err(ProbeError::NoInterrupt);
        }
        Ok((irq, None))
    }

    fn virtio_pci(
        &self,
        function: &Function,
        wake: Wake,
        name: &str,
    ) -> Result<Attached<dyn Transport>, ProbeError> {
        let reach = Reach::of(self.space, function);
        function.enable(self.space);
        let mut transport = PciTransport::new(self.space, function)?;
        let status = transport.interrupt_status();
        // With MSI-X the status register is not used and reads as anything; then every interrupt is ours.
        let has_msix = Msix::is_offered(self.space, function);
        let acknowledge = move || has_msix || status.read::<u8>(0) != 0;
        let (interrupt, msix) = self.wire(function, wake, acknowledge, name)?;
        if let Some(msix) = msix {
            transport.use_msix(msix);
        }
        Ok(Attached { device: Box::new(transport), place: Place::Pci(function.address), interrupt, reach })
    }

    fn virtio_mmio(
        &self,
        &(base, length, gsi): &(u64, u32, u32),
        wake: Wake,
        name: &str,
        wanted: u16,
    ) -> Result<Attached<dyn Transport>, ProbeError> {
        let pointer = io::map_device(base, length as usize).ok_or(ProbeError::Bar(pci::BarError::Map))?;
        // SAFETY: just mapped, for good.
        let registers = unsafe { Registers::new(pointer, length as usize) };
        let transport = MmioTransport::new(registers)?;
        if transport.device_type() != wanted {
            return Err(ProbeError::Virtio(VirtioError::WrongDevice));
        }
        let handler = move || {
            MmioTransport::acknowledge(&registers);
            wake();
        };
        let interrupt = Irq::new(name, Box::new(handler))?;
        interrupt.route_gsi(gsi, Trigger::EdgeHigh)?;
        let reach = Reach::new([Bar::Memory { address: base, length: length.into(), wide: false }]);
        Ok(Attached { device: Box::new(transport), place: Place::Memory(base), interrupt, reach })
    }

    /// The type of a virtio device; `None` if the function is none.
    fn virtio_type(&self, function: &Function) -> Option<u16> {
        match (function.vendor, function.device) {
            (0x1af4, 0x1000..=0x103f) => Some((self.space.read(function.address, 0x2c) >> 16) as u16),
            (0x1af4, device @ 0x1040..=0x107f) => Some(device - 0x1040),
            _ => None,
        }
    }

    /// What a function is used for; `None` if nothing here drives it, or it is the random numbers' alone.
    pub fn class(&self, function: &Function) -> Option<Class> {
        match self.virtio_type(function) {
            Some(device_type::NETWORK) => Some(Class::Network),
            Some(device_type::BLOCK) => Some(Class::Disk),
            Some(_) => None,
            None if Model::of(function.vendor, function.device).is_some() => Some(Class::Network),
            None => (function.class == nvme::CLASS).then_some(Class::Disk),
        }
    }

    /// Every virtio device of one type, on PCI and in memory. `wake` makes what its interrupt wakes, and `take` is given that.
    fn virtio<T>(
        &self,
        kind: u16,
        name: &'static str,
        wake: impl Fn() -> (T, Wake),
        mut take: impl FnMut(Attached<dyn Transport>, T) -> Result<(), ProbeError>,
    ) {
        for function in self.functions.iter().filter(|function| self.virtio_type(function) == Some(kind)) {
            let (woken, wake) = wake();
            let taken = self.virtio_pci(function, wake, name).and_then(|attached| take(attached, woken));
            report(name, Place::Pci(function.address), taken);
        }
        self.virtio_in_memory(kind, name, wake, take);
    }

    /// Those in memory.
    fn virtio_in_memory<T>(
        &self,
        kind: u16,
        name: &'static str,
        wake: impl Fn() -> (T, Wake),
        mut take: impl FnMut(Attached<dyn Transport>, T) -> Result<(), ProbeError>,
    ) {
        for described in self.virtio {
            let (woken, wake) = wake();
            let taken =
                self.virtio_mmio(described, wake, name, kind).and_then(|attached| take(attached, woken));
            if taken != Err(ProbeError::Virtio(VirtioError::WrongDevice)) {
                report(name, Place::Memory(described.0), taken);
            }
        }
    }

    /// Network cards, virtio first. `wake` makes what a card's interrupt wakes; each card comes with its own.
    pub fn network<T>(&self, wake: impl Fn() -> (T, Wake)) -> Vec<(Attached<dyn NetDevice>, T)> {
        let mut found: Vec<(Attached<dyn NetDevice>, T)> = Vec::new();
        self.virtio(device_type::NETWORK, VIRTIO_NET, &wake, |attached, woken| {
            found.push((attached.driven(virtio_net)?, woken));
            Ok(())
        });
        let is_other = |function: &&Function| Model::of(function.vendor, function.device).is_some();
        for function in self.functions.iter().filter(is_other) {
            let (woken, wake) = wake();
            let taken = self.network_at(function, wake).map(|attached| found.push((attached, woken)));
            report("a network card", Place::Pci(function.address), taken);
        }
        found
    }

    /// The network card that a function is.
    pub fn network_at(&self, function: &Function, wake: Wake) -> Result<Attached<dyn NetDevice>, ProbeError> {
        let place = Place::Pci(function.address);
        if self.virtio_type(function) == Some(device_type::NETWORK) {
            return self.virtio_pci(function, wake, VIRTIO_NET)?.driven(virtio_net);
        }
        let model = Model::of(function.vendor, function.device).ok_or(ProbeError::NoDriver)?;
        let reach = Reach::of(self.space, function);
        function.enable(self.space);
        let registers = function.map(self.space, 0).map_err(ProbeError::Bar)?;
        let fallback = MacAddr([0x02, b'q', b's', 0, 0, 2]);
        let device = E1000::new(registers, fallback, model).map_err(ProbeError::E1000)?;
        let acknowledge = move || e1000::acknowledge(&registers);
        let (interrupt, _) = self.wire(function, wake, acknowledge, "e1000")?;
        Ok(Attached { device: Box::new(device), place, interrupt, reach })
    }

    /// Disks, virtio first; and those that can't be used.
    pub fn block(&self) -> (Vec<AttachedDisk>, Vec<(Place, ProbeError)>) {
        let (mut found, mut refused): (Vec<AttachedDisk>, _) = (Vec::new(), Vec::new());
        let is_virtio = |function: &&Function| self.virtio_type(function) == Some(device_type::BLOCK);
        let is_nvme = |function: &&Function| function.class == nvme::CLASS;
        let functions = self.functions.iter().filter(is_virtio).chain(self.functions.iter().filter(is_nvme));
        for function in functions {
            match self.block_at(function) {
                Ok(disk) => found.push(disk),
                Err(error) => {
                    let place = Place::Pci(function.address);
                    report("a disk", place, Err(error));
                    refused.push((place, error));
                }
            }
        }
        self.virtio_in_memory(device_type::BLOCK, VIRTIO_BLK, completion, |attached, completion| {
            found.push((attached.driven(virtio_block(completion.clone()))?, completion));
            Ok(())
        });
        (found, refused)
    }

    /// The disk that a function is.
    pub fn block_at(&self, function: &Function) -> Result<AttachedDisk, ProbeError> {
        let (completion, wake) = completion();
        if self.virtio_type(function) == Some(device_type::BLOCK) {
            let attached = self.virtio_pci(function, wake, VIRTIO_BLK)?;
            return Ok((attached.driven(virtio_block(completion.clone()))?, completion));
        }
        if function.class != nvme::CLASS {
            return Err(ProbeError::NoDriver);
        }
        // Should it not even have stopped, it has no memory of ours to use any more.
        let attached = self.nvme(function, completion.clone(), wake);
        attached.map(|attached| (attached, completion)).inspect_err(|_| function.silence(self.space))
    }

    fn nvme(
        &self,
        function: &Function,
        completion: Completion,
        wake: Wake,
    ) -> Result<Attached<dyn BlockDevice>, ProbeError> {
        let reach = Reach::of(self.space, function);
        function.enable(self.space);
        let registers = function.map(self.space, 0).map_err(ProbeError::Bar)?;
        let has_msix = Msix::is_offered(self.space, function);
        let acknowledge = move || {
            if !has_msix {
                nvme::acknowledge(&registers);
            }
            true
        };
        let (interrupt, msix) = self.wire(function, wake, acknowledge, "nvme")?;
        if has_msix && msix.is_none() {
            return Err(ProbeError::NoInterrupt);
        }
        let device = Nvme::new(registers, has_msix, completion).map_err(ProbeError::Nvme)?;
        Ok(Attached { device: Box::new(device), place: Place::Pci(function.address), interrupt, reach })
    }

    /// The first entropy device.
    pub fn entropy(&self) -> Option<Attached<EntropyDevice>> {
        let mut found = None;
        self.virtio(
            device_type::ENTROPY,
            "virtio-rng",
            || ((), Arc::new(|| ())),
            |attached, ()| {
                if found.is_none() {
                    found = Some(attached.driven(|transport| Ok(Box::new(EntropyDevice::new(transport)?)))?);
                }
                Ok(())
            },
        );
        found
    }
}

const VIRTIO_NET: &str = "virtio-net";
const VIRTIO_BLK: &str = "virtio-blk";

/// What a disk's driver waits for, and what its interrupt does.
fn completion() -> (Completion, Wake) {
    let completion = Completion::default();
    (completion.clone(), Arc::new(move || completion.notify()))
}

/// Says of a device that it is not used.
fn report(name: &str, place: Place, taken: Result<(), ProbeError>) {
    if let Err(error) = taken {
        log::warn!("{name} at {place} is not used: {error}");
    }
}
