//! Intel VMX: the control structure of a CPU filled from its state, read back, and its exits put into neutral words.
//!
//! # What is where
//! VMX switches less than SVM. Entering and leaving the guest exchange what the VMCS holds: CR0, CR3, CR4, DR7, RSP, RIP,
//! RFLAGS, segments, GDTR, IDTR, EFER, PAT, the SYSENTER registers, DEBUGCTL, what blocks interrupts. Everything else stays in
//! the CPU, and the VMM, which does not touch it, runs with the guest's: CR2, CR8, DR0 to DR3, DR6, STAR, LSTAR, CSTAR, SFMASK,
//! KERNEL_GS_BASE, TSC_AUX, SPEC_CTRL, XCR0, extended state. [`load`] and [`store`] therefore leave those in a
//! [`CpuState`](x86defs::state::CpuState) alone: on a switch they never move, and a snapshot takes them from the CPU on either
//! side.
//!
//! DEBUGCTL is cleared by every exit; the guest's is in the VMCS, where the CPU has the register at all.
//!
//! The lists of MSRs to store and load at exits and entries are empty. What is not in the VMCS stays in the CPU, and the VMM uses
//! none of it: it runs with the system's STAR, KERNEL_GS_BASE and so on. A list would only cost time.
//!
//! # What belongs to VMX
//! CR4.VMXE and CR0.NE must be set while the CPU is in VMX operation. The guest reads what it has written there (mask and
//! shadow); an attempt to change them exits ([`Exit::ControlRegister`](crate::vcpu::Exit::ControlRegister)).
//!
//! Source: Intel SDM vol. 3, chapters 24 to 33; section numbers are those of the edition that counts "VMCS" as chapter 25.

pub mod checks;
pub mod controls;
mod guest;
pub mod mtrr;
mod refusal;
pub mod setup;
mod state;

pub use controls::{Controls, Flush, MissingControl, Word};
pub use guest::Guest;
pub use mtrr::Mtrrs;
pub use refusal::{Blame, Refusal};
pub use setup::{Host, Places, intercept_msrs, set_up};
pub use state::{load, store};
