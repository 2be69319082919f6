//! From what enumeration found to running drivers.

use crate::block::Completion;
use crate::e1000::{self, E1000, Model};
use crate::mmio::Registers;
use crate::nvme::{self, Nvme, NvmeError};
use crate::pci::{self, ConfigSpace, Function, Msix};
use crate::virtio::block::VirtioBlock;
use crate::virtio::entropy::EntropyDevice;
use crate::virtio::net::VirtioNet;
use crate::virtio::{MmioTransport, PciTransport, Transport, VirtioError, device_type};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use drivers_api::{BlockDevice, MacAddr, NetDevice};
use machine::io;
use machine::irq::{Irq, IrqError, Trigger};

/// What an interrupt does: wake the device's owner.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// A running device with the interrupt that belongs to it.
pub struct Attached<D: ?Sized> {
    /// The device.
    pub device: Box<D>,
    /// Its interrupt; lives as long as the device is used.
    pub interrupt: Irq,
}

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
    ) -> Result<(Box<dyn Transport>, Irq), ProbeError> {
        function.enable(self.space);
        let mut transport = PciTransport::new(self.space, function)?;
        let status = transport.interrupt_status();
        // With MSI-X the status register is not used and reads as anything; then every interrupt is ours.
        let has_msix = Msix::is_offered(self.space, function);
        let acknowledge = move || has_msix || status.read::<u8>(0) != 0;
        let (irq, msix) = self.wire(function, wake, acknowledge, name)?;
        if let Some(msix) = msix {
            transport.use_msix(msix);
        }
        Ok((Box::new(transport), irq))
    }

    fn virtio_mmio(
        &self,
        &(base, length, gsi): &(u64, u32, u32),
        wake: Wake,
        name: &str,
        wanted: u16,
    ) -> Result<(Box<dyn Transport>, Irq), ProbeError> {
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
        let irq = Irq::new(name, Box::new(handler))?;
        irq.route_gsi(gsi, Trigger::EdgeHigh)?;
        Ok((Box::new(transport), irq))
    }

    /// Every virtio device of one type, on PCI and in memory. `wake` makes what its interrupt wakes, and `take` is given that.
    fn virtio<T>(
        &self,
        kind: u16,
        name: &'static str,
        wake: impl Fn() -> (T, Wake),
        mut take: impl FnMut(Box<dyn Transport>, Irq, T) -> Result<(), ProbeError>,
    ) {
        let is_kind = |function: &&Function| {
            function.vendor == 0x1af4
                && (function.device == 0x1040 + kind
                    || (0x1000..=0x103f).contains(&function.device)
                        && (self.space.read(function.address, 0x2c) >> 16) as u16 == kind)
        };
        for function in self.functions.iter().filter(is_kind) {
            let (woken, wake) = wake();
            let taken = self
                .virtio_pci(function, wake, name)
                .and_then(|(transport, irq)| take(transport, irq, woken));
            if let Err(error) = taken {
                log::warn!("{name} at {} is not used: {error:?}", function.address);
            }
        }
        for place in self.virtio {
            let (woken, wake) = wake();
            let taken = self
                .virtio_mmio(place, wake, name, kind)
                .and_then(|(transport, irq)| take(transport, irq, woken));
            match taken {
                Ok(()) | Err(ProbeError::Virtio(VirtioError::WrongDevice)) => {}
                Err(error) => log::warn!("{name} at {:#x} is not used: {error:?}", place.0),
            }
        }
    }

    /// Network cards, virtio first. `wake` makes what a card's interrupt wakes; each card comes with its own.
    pub fn network<T>(&self, wake: impl Fn() -> (T, Wake)) -> Vec<(Attached<dyn NetDevice>, T)> {
        let mut found: Vec<(Attached<dyn NetDevice>, T)> = Vec::new();
        self.virtio(device_type::NETWORK, "virtio-net", &wake, |transport, interrupt, woken| {
            found.push((Attached { device: Box::new(VirtioNet::new(transport)?), interrupt }, woken));
            Ok(())
        });
        for function in self.functions {
            let Some(model) = Model::of(function.vendor, function.device) else { continue };
            let (woken, wake) = wake();
            match self.e1000(function, model, wake) {
                Ok(attached) => found.push((attached, woken)),
                Err(error) => log::warn!("{model:?} at {} is not used: {error:?}", function.address),
            }
        }
        found
    }

    fn e1000(
        &self,
        function: &Function,
        model: Model,
        wake: Wake,
    ) -> Result<Attached<dyn NetDevice>, ProbeError> {
        function.enable(self.space);
        let registers = function.map(self.space, 0).map_err(ProbeError::Bar)?;
        let fallback = MacAddr([0x02, b'q', b's', 0, 0, 2]);
        let device = E1000::new(registers, fallback, model).map_err(ProbeError::E1000)?;
        let acknowledge = move || e1000::acknowledge(&registers);
        let (interrupt, _) = self.wire(function, wake, acknowledge, "e1000")?;
        Ok(Attached { device: Box::new(device), interrupt })
    }

    /// Disks, virtio first.
    pub fn block(&self) -> Vec<Attached<dyn BlockDevice>> {
        let mut found: Vec<Attached<dyn BlockDevice>> = Vec::new();
        let wake = || -> (Completion, Wake) {
            let completion = Completion::default();
            (completion.clone(), Arc::new(move || completion.notify()))
        };
        self.virtio(device_type::BLOCK, "virtio-blk", wake, |transport, interrupt, completion| {
            found.push(Attached { device: Box::new(VirtioBlock::new(transport, completion)?), interrupt });
            Ok(())
        });
        for function in self.functions.iter().filter(|function| function.class == nvme::CLASS) {
            let (completion, wake) = wake();
            match self.nvme(function, completion, wake) {
                Ok(attached) => found.push(attached),
                Err(error) => {
                    // Should it not even have stopped, it has no memory of ours to use any more.
                    function.silence(self.space);
                    log::warn!("nvme at {} is not used: {error:?}", function.address);
                }
            }
        }
        found
    }

    fn nvme(
        &self,
        function: &Function,
        completion: Completion,
        wake: Wake,
    ) -> Result<Attached<dyn BlockDevice>, ProbeError> {
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
        Ok(Attached { device: Box::new(device), interrupt })
    }

    /// The first entropy device.
    pub fn entropy(&self) -> Option<Attached<EntropyDevice>> {
        let mut found = None;
        self.virtio(
            device_type::ENTROPY,
            "virtio-rng",
            || ((), Arc::new(|| ())),
            |transport, interrupt, ()| {
                if found.is_none() {
                    found = Some(Attached { device: Box::new(EntropyDevice::new(transport)?), interrupt });
                }
                Ok(())
            },
        );
        found
    }
}
