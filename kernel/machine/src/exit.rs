//! How the machine ends: a status for the emulator, a reboot or a halt on metal.

use crate::{console, cpu, io};
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, Ordering};

/// Why the machine ends. QEMU's isa-debug-exit turns `v` into exit status `v << 1 | 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reason {
    /// Everything ended in order (status 33).
    Shutdown = 0x10,
    /// A panic or an unexpected exception (status 35).
    Panic = 0x11,
    /// A stack overflow or double fault (status 37).
    StackOverflow = 0x12,
    /// A machine check (status 39).
    MachineCheck = 0x13,
}

/// What to do where no emulator listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Policy {
    /// Reset through the keyboard controller, then by triple fault.
    Reboot,
    /// Halt with the last words on the line.
    Halt,
    /// Tell the emulator only, then halt.
    Exit,
}

static POLICY: AtomicU8 = AtomicU8::new(Policy::Reboot as u8);
static BOCHS_DOORS: AtomicBool = AtomicBool::new(false);
static ACPI_RESET: AtomicU16 = AtomicU16::new(0);
static ACPI_RESET_VALUE: AtomicU8 = AtomicU8::new(0);

/// Sets what happens after a failure.
pub fn set_policy(policy: Policy) {
    POLICY.store(policy as u8, Ordering::Relaxed);
}

/// Remembers the reset register of the FADT (ACPI 6.5, 4.8.3.6), when it is an I/O port.
pub fn set_reset_register(port: u16, value: u8) {
    ACPI_RESET.store(port, Ordering::Relaxed);
    ACPI_RESET_VALUE.store(value, Ordering::Relaxed);
}

/// Lets [`exit`] use the doors of Bochs if the OEMID of the ACPI tables is that of Bochs's BIOS. QEMU's tables bear it, too,
/// but QEMU has ended before these doors are tried. Elsewhere their ports may belong to a device.
pub fn set_maker(oem: &[u8; 6]) {
    BOCHS_DOORS.store(oem == b"BOCHS ", Ordering::Relaxed);
}

/// Ends the machine.
pub fn exit(reason: Reason) -> ! {
    console::drain();
    // SAFETY: port f4h is isa-debug-exit under QEMU and unused elsewhere; the machine ends here in any case.
    unsafe { io::outl(0xf4, reason as u32) };
    if BOCHS_DOORS.load(Ordering::Relaxed) {
        exit_bochs(reason);
    }
    if POLICY.load(Ordering::Relaxed) == Policy::Reboot as u8 {
        reboot();
    }
    cpu::stop()
}

/// Bochs has one exit status for everything, so the reason goes to its log before: a line to port 402h, where its BIOS
/// writes messages, such as `quicksilver: exit 16`. The word `Shutdown` to port 8900h ends it.
fn exit_bochs(reason: Reason) {
    let reason = reason as u8;
    let digits = [b'0' + reason / 10, b'0' + reason % 10, b'\n'];
    for &byte in b"quicksilver: exit ".iter().chain(&digits) {
        // SAFETY: the port for messages, on the machine that has it.
        unsafe { io::outb(0x402, byte) };
    }
    for &byte in b"Shutdown" {
        // SAFETY: the port that ends the machine, on the machine that has it.
        unsafe { io::outb(0x8900, byte) };
    }
}

fn reboot() {
    // SAFETY: the documented ways to reset a PC: the FADT's register, the keyboard controller's pulse, the chipset's
    // reset control register.
    unsafe {
        let port = ACPI_RESET.load(Ordering::Relaxed);
        if port != 0 {
            io::outb(port, ACPI_RESET_VALUE.load(Ordering::Relaxed));
        }
        io::outb(0xcf9, 6);
        io::outb(0x64, 0xfe);
    }
}
