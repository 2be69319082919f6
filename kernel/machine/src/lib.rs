//! All privileged code of Quicksilver: CPUs, memory, interrupts, time, threads.
//!
//! Some rooms are pure logic and tested on the host: [`memory`], [`bootinfo`], [`acpi`], [`histogram`], [`journal`]. The rest
//! touches the machine and is only in images (`cfg(bare_metal)`, set by the image builder); a hosted build gets a stand-in
//! over `std` with the same interface, so that drivers, network and applications are tested without a machine.
//!
//! Rules of the room:
//! - What an interrupt handler shares is behind a [`sync::SpinLock`], which keeps interrupts off.
//! - No lock is held across a thread switch, except blocking ones.
//! - Memory that runs out is an `Option` or an error; only last words may panic.
#![no_std]
#![expect(unsafe_code, reason = "this is the room where the hardware is touched")]

extern crate alloc;
#[cfg(not(bare_metal))]
extern crate std;

pub mod acpi;
pub mod bootinfo;
pub mod dma;
pub mod histogram;
pub mod journal;
pub mod memory;
pub mod state;
pub mod stopwatch;

#[cfg(not(bare_metal))]
mod hosted;
#[cfg(not(bare_metal))]
use hosted::frames;
#[cfg(not(bare_metal))]
pub use hosted::{cpu, io, irq, sync, thread, time};

#[cfg(not(bare_metal))]
#[cfg(test)]
#[path = "thread/timers.rs"]
mod timers;

#[cfg(bare_metal)]
pub mod apic;
#[cfg(bare_metal)]
pub mod console;
#[cfg(bare_metal)]
pub mod cpu;
#[cfg(bare_metal)]
pub mod exit;
#[cfg(bare_metal)]
pub mod facts;
#[cfg(bare_metal)]
pub mod frames;
#[cfg(bare_metal)]
pub mod heap;
#[cfg(bare_metal)]
pub mod io;
#[cfg(bare_metal)]
pub mod irq;
#[cfg(bare_metal)]
mod last_words;
#[cfg(bare_metal)]
mod mem_functions;
#[cfg(bare_metal)]
pub mod paging;
#[cfg(bare_metal)]
pub mod probe;
#[cfg(bare_metal)]
pub mod smp;
#[cfg(bare_metal)]
pub mod start;
#[cfg(bare_metal)]
pub mod symbols;
#[cfg(bare_metal)]
pub mod sync;
#[cfg(bare_metal)]
pub mod thread;
#[cfg(bare_metal)]
pub mod time;
#[cfg(bare_metal)]
mod traps;
#[cfg(bare_metal)]
pub use traps::nmis;
#[cfg(bare_metal)]
pub mod virtualization;
