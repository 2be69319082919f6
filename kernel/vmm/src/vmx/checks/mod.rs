//! The rules by which an entry refuses a VMCS, applied in software, in the manual's order: a CPU says at best which area is
//! wrong, never which field.
//!
//! Rules of controls that the VMM has no use for are not in here; to set such a control is a violation itself
//! ([`Violation::Unused`]), as is a linked VMCS.
//!
//! Source: Intel SDM vol. 3, 27.2 ("Checks on VMX controls and host-state area") and 27.3.1 ("Checks on the guest state area").

mod controls;
mod guest;
mod host;
mod segments;
#[cfg(test)]
pub(crate) mod tests;
mod violation;

pub use violation::{Group, Violation};

use x86defs::vmx::capability::Capabilities;
use x86defs::vmx::field::Vmcs;

/// What this CPU supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The capability registers.
    pub can: Capabilities,
    /// Width of physical addresses in bits, 32 to 52 (CPUID 8000_0008h, EAX bits 7 to 0).
    pub physical_bits: u32,
    /// Width of linear addresses in bits, 48 or 57 (the same, bits 15 to 8).
    pub linear_bits: u32,
    /// Bits that EFER may have.
    pub efer: u64,
}

impl Limits {
    /// Whether a linear address is canonical.
    const fn is_canonical(&self, address: u64) -> bool {
        let above = 64 - self.linear_bits;
        ((address << above) as i64 >> above) as u64 == address
    }

    /// Whether the bits above the linear addresses are identical: all that is asked of RIP (27.3.1.4). One that is not canonical
    /// by the highest bit of a linear address faults in the guest, at its first fetch.
    const fn is_linear(&self, address: u64) -> bool {
        let above = address as i64 >> self.linear_bits;
        above == 0 || above == -1
    }

    /// Whether a physical address is a multiple of `alignment` that VMX structures may have.
    const fn is_placed(&self, address: u64, alignment: u64) -> bool {
        address.is_multiple_of(alignment) && address >> self.can.address_bits(self.physical_bits) == 0
    }
}

/// The first rule that a VMCS breaks.
pub fn check(vmcs: &impl Vmcs, limits: &Limits) -> Result<(), Violation> {
    controls::check(vmcs, limits)?;
    host::check(vmcs, limits)?;
    guest::check_registers(vmcs, limits)?;
    segments::check(vmcs, limits)?;
    guest::check_tables(vmcs, limits)?;
    guest::check_flow(vmcs, limits)?;
    guest::check_rest(vmcs, limits)
}

fn fail_if(broken: bool, violation: Violation) -> Result<(), Violation> {
    if broken { Err(violation) } else { Ok(()) }
}

/// Each byte of PAT is one of 0 (UC), 1 (WC), 4 (WT), 5 (WP), 6 (WB), 7 (UC-), all eight at once.
const fn is_pat(pat: u64) -> bool {
    const EACH: u64 = 0x0101_0101_0101_0101;
    // Bits 7 to 3 are zero; and bit 1 (types 2, 3, 6, 7) only with bit 2.
    pat & (0xf8 * EACH) == 0 && pat >> 1 & !(pat >> 2) & EACH == 0
}
