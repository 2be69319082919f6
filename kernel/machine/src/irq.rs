//! Device interrupts: vectors, I/O APICs, MSI.
//!
//! Vectors are the same on all CPUs. A vector is bound to the first CPU; its handler wakes a thread, which runs anywhere.
//!
//! Sources: Intel 82093AA (I/O APIC), 3.2; Intel SDM vol. 3, "Message Signalled Interrupts"; ACPI 6.5, 5.2.12.

use crate::acpi::MadtInfo;
use crate::sync::SpinLock;
use crate::{io, smp};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

/// Device vectors: above the exceptions and the legacy PIC's, below our own.
const FIRST: u8 = 0x30;
const LAST: u8 = 0xef;

/// Where an MSI or MSI-X table entry has to point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MsiMessage {
    /// What goes into the address register.
    pub address: u64,
    /// What goes into the data register.
    pub data: u32,
}

/// How a line signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// Rising edge (ISA).
    EdgeHigh,
    /// Low level (PCI).
    LevelLow,
    /// High level.
    LevelHigh,
}

/// Why an interrupt was not set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IrqError {
    /// All vectors are in use.
    NoVector,
    /// No I/O APIC has this input.
    NoSuchLine,
    /// A handler has this input.
    InUse,
}

type Handler = Arc<dyn Fn() + Send + Sync>;

/// Handlers of a vector: several when devices share a line.
static HANDLERS: SpinLock<[Vec<(u64, Handler)>; 256]> = SpinLock::new([const { Vec::new() }; 256]);
static NEXT_ID: AtomicU64 = AtomicU64::new(1);
static IO_APICS: SpinLock<Vec<IoApic>> = SpinLock::new(Vec::new());

struct IoApic {
    registers: u64,
    first_gsi: u32,
    lines: u32,
    /// Vector each line is routed to; 0 = none.
    routes: Vec<u8>,
}

impl IoApic {
    fn read(&self, register: u32) -> u32 {
        // SAFETY: the page was mapped when the I/O APIC was found; IOREGSEL at 0, IOWIN at 0x10; under the list's lock.
        unsafe {
            (self.registers as *mut u32).write_volatile(register);
            ((self.registers + 0x10) as *const u32).read_volatile()
        }
    }

    fn write(&self, register: u32, value: u32) {
        // SAFETY: as for `read`.
        unsafe {
            (self.registers as *mut u32).write_volatile(register);
            ((self.registers + 0x10) as *mut u32).write_volatile(value);
        }
    }
}

/// Forgets all that was routed, and finds the I/O APICs anew: those of the machine on which this system was restored. Handlers stay until
/// their [`Irq`]s are dropped.
pub fn restart(madt: &MadtInfo) {
    IO_APICS.lock().clear();
    init(madt);
}

/// Finds the I/O APICs, masks all their lines, and silences the legacy PICs.
pub(crate) fn init(madt: &MadtInfo) {
    // SAFETY: the 8259A pair's mask registers; all lines masked. First moved away from the exceptions' vectors, so that a
    // spurious interrupt of theirs can't be mistaken for one (8259A data sheet, ICW1 to ICW4).
    unsafe {
        for (port, value) in [
            (0x20, 0x11),
            (0xa0, 0x11),
            (0x21, 0x20),
            (0xa1, 0x28),
            (0x21, 4),
            (0xa1, 2),
            (0x21, 1),
            (0xa1, 1),
        ] {
            io::outb(port, value);
        }
        io::outb(0x21, 0xff);
        io::outb(0xa1, 0xff);
    }
    let mut list = IO_APICS.lock();
    for entry in madt.io_apics() {
        if io::map_device(u64::from(entry.address), 4096).is_none() {
            continue;
        }
        let mut found = IoApic {
            registers: u64::from(entry.address),
            first_gsi: entry.gsi_base,
            lines: 0,
            routes: Vec::new(),
        };
        found.lines = (found.read(1) >> 16 & 0xff) + 1;
        found.routes.resize(found.lines as usize, 0);
        for line in 0..found.lines {
            found.write(0x10 + 2 * line, 1 << 16);
        }
        list.push(found);
    }
}

/// Makes an input that no handler has (a watchdog's, the PIT's) raise a non-maskable interrupt on a CPU at each rising edge, or
/// masks it again.
pub fn nmi_on_line(gsi: u32, cpu: Option<usize>) -> Result<(), IrqError> {
    const NMI: u32 = 4 << 8;
    const MASKED: u32 = 1 << 16;
    let list = IO_APICS.lock();
    let find = |each: &&IoApic| (each.first_gsi..each.first_gsi + each.lines).contains(&gsi);
    let io_apic = list.iter().find(find).ok_or(IrqError::NoSuchLine)?;
    let line = gsi - io_apic.first_gsi;
    if io_apic.routes[line as usize] != 0 {
        return Err(IrqError::InUse);
    }
    if let Some(cpu) = cpu {
        io_apic.write(0x11 + 2 * line, smp::apic_id(cpu) << 24);
    }
    io_apic.write(0x10 + 2 * line, if cpu.is_some() { NMI } else { MASKED });
    Ok(())
}

/// Calls the handlers of a device vector.
pub(crate) fn dispatch(vector: u8) {
    let mut index = 0;
    loop {
        let handler = match HANDLERS.lock()[vector as usize].get(index) {
            Some((_, handler)) => handler.clone(),
            None => return,
        };
        handler();
        index += 1;
    }
}

/// A vector and its handler; both are given back when this is dropped.
pub struct Irq {
    vector: u8,
    id: u64,
    handler: Handler,
    /// The vector the line turned out to have, if the line is shared.
    shared: SpinLock<Option<u8>>,
}

impl Irq {
    /// Allocates a vector. The handler runs with interrupts off, must be short, and may not block.
    pub fn new(name: &str, handler: Box<dyn Fn() + Send + Sync>) -> Result<Self, IrqError> {
        let handler: Handler = Arc::from(handler);
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let mut handlers = HANDLERS.lock();
        let vector =
            (FIRST..=LAST).find(|&vector| handlers[vector as usize].is_empty()).ok_or(IrqError::NoVector)?;
        handlers[vector as usize].push((id, handler.clone()));
        log::debug!("interrupt vector {vector:#x} for {name}");
        Ok(Self { vector, id, handler, shared: SpinLock::new(None) })
    }

    /// The message that raises this interrupt.
    pub fn msi(&self) -> MsiMessage {
        MsiMessage {
            address: 0xfee0_0000 | u64::from(smp::apic_id(0) & 0xff) << 12,
            data: u32::from(self.vector),
        }
    }

    /// Routes a global system interrupt (an I/O APIC input) to this handler. Devices may share a level-triggered line.
    pub fn route_gsi(&self, gsi: u32, trigger: Trigger) -> Result<(), IrqError> {
        let mut list = IO_APICS.lock();
        let io_apic = list
            .iter_mut()
            .find(|each| (each.first_gsi..each.first_gsi + each.lines).contains(&gsi))
            .ok_or(IrqError::NoSuchLine)?;
        let line = gsi - io_apic.first_gsi;
        let routed = io_apic.routes[line as usize];
        if routed != 0 && routed != self.vector {
            let handlers = &mut HANDLERS.lock()[routed as usize];
            // Many lines may be routed to one vector, and each interrupt calls all of its handlers.
            if !handlers.iter().any(|(id, _)| *id == self.id) {
                handlers.push((self.id, self.handler.clone()));
            }
            *self.shared.lock() = Some(routed);
            return Ok(());
        }
        io_apic.routes[line as usize] = self.vector;
        let flags = match trigger {
            Trigger::EdgeHigh => 0,
            Trigger::LevelLow => 1 << 15 | 1 << 13,
            Trigger::LevelHigh => 1 << 15,
        };
        io_apic.write(0x11 + 2 * line, smp::apic_id(0) << 24);
        io_apic.write(0x10 + 2 * line, flags | u32::from(self.vector));
        Ok(())
    }
}

impl Drop for Irq {
    fn drop(&mut self) {
        let mut handlers = HANDLERS.lock();
        let shared = *self.shared.lock();
        for vector in core::iter::once(self.vector).chain(shared) {
            handlers[vector as usize].retain(|(id, _)| *id != self.id);
        }
        if !handlers[self.vector as usize].is_empty() {
            return;
        }
        drop(handlers);
        for io_apic in IO_APICS.lock().iter_mut() {
            for line in 0..io_apic.lines {
                if io_apic.routes[line as usize] == self.vector {
                    io_apic.write(0x10 + 2 * line, 1 << 16);
                    io_apic.routes[line as usize] = 0;
                }
            }
        }
    }
}
