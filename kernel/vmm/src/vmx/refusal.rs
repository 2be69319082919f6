//! What a CPU says of an entry that it refuses. Which rule was broken, [`checks`](super::checks) tells.
//!
//! Source: Intel SDM vol. 3, 27.8 ("VM-entry failures during or after loading guest state") and 31.2.

use super::checks::{Limits, Violation, check};
use core::fmt;
use x86defs::vmx::exit_reason::{EntryFailure, ExitReason, Reason};
use x86defs::vmx::field::{Vmcs, exit};
use x86defs::vmx::instruction_error::InstructionError;

/// Why an entry failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// VMLAUNCH or VMRESUME went on behind itself with ZF set: the number in the VM-instruction error field.
    Instruction(u32),
    /// The same with CF set: there is no current VMCS that could say why.
    NoVmcs,
    /// An exit took place instead, for guest state.
    GuestState(EntryFailure),
    /// An exit took place instead, at an entry of the list of MSRs to load, counted from 1.
    MsrLoading(u64),
    /// An exit took place instead, for another reason: the field.
    Other(u32),
}

impl Refusal {
    /// Of an instruction that failed with ZF set (VMfailValid).
    pub fn of_instruction(vmcs: &impl Vmcs) -> Self {
        Self::Instruction(vmcs.read(exit::INSTRUCTION_ERROR))
    }

    /// Of an exit that is an entry failure; `None` for others.
    pub fn of_exit(vmcs: &impl Vmcs) -> Option<Self> {
        let reason = ExitReason(vmcs.read(exit::REASON));
        let qualification = vmcs.read(exit::QUALIFICATION);
        reason.is_entry_failure().then(|| match reason.basic() {
            Some(Reason::InvalidGuestState) => {
                Self::GuestState(EntryFailure::from_qualification(qualification))
            }
            Some(Reason::MsrLoading) => Self::MsrLoading(qualification),
            _ => Self::Other(reason.0),
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Instruction(number) => match InstructionError::from_number(*number) {
                Some(error) => error.fmt(f),
                None => write!(f, "VM-instruction error {number}"),
            },
            Self::NoVmcs => f.write_str("there is no current VMCS"),
            Self::GuestState(EntryFailure::Other) => f.write_str("entry with invalid guest state"),
            Self::GuestState(EntryFailure::Pdpte) => {
                f.write_str("entry with invalid page-directory-pointer entries")
            }
            Self::GuestState(EntryFailure::NmiInjection) => {
                f.write_str("entry with an NMI to inject while blocked by STI")
            }
            Self::GuestState(EntryFailure::LinkPointer) => {
                f.write_str("entry with an invalid VMCS link pointer")
            }
            Self::MsrLoading(entry) => write!(f, "entry could not load MSR {entry} of the list"),
            Self::Other(reason) => write!(f, "entry failed with exit reason {reason:#x}"),
        }
    }
}

/// What can be told of an entry that failed, of a guest that has run before: what the CPU says, and the rule that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blame {
    said: Refusal,
    rule: Option<Violation>,
}

impl Blame {
    /// Looks for the rule.
    pub fn of(said: Refusal, vmcs: &impl Vmcs, limits: &Limits) -> Self {
        Self { said, rule: check(vmcs, limits).err() }
    }
}

impl fmt::Display for Blame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rule {
            Some(rule) => write!(f, "{}; {rule}", self.said),
            None => write!(f, "{}, though no rule is known to be broken", self.said),
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;
    use x86defs::vmx::field::Image;

    #[test]
    fn refusals_are_told_apart() {
        let mut vmcs = Image::ZERO;
        vmcs.set(exit::INSTRUCTION_ERROR, 8);
        assert_eq!(Refusal::of_instruction(&vmcs).to_string(), "entry with invalid host state");
        assert_eq!(Refusal::of_exit(&vmcs), None);
        let mut of = |reason, qualification| {
            vmcs.set(exit::REASON, reason);
            vmcs.set(exit::QUALIFICATION, qualification);
            Refusal::of_exit(&vmcs)
        };
        assert_eq!(of(0x8000_0021, 0), Some(Refusal::GuestState(EntryFailure::Other)));
        assert_eq!(of(0x8000_0021, 4), Some(Refusal::GuestState(EntryFailure::LinkPointer)));
        assert_eq!(of(0x8000_0022, 3), Some(Refusal::MsrLoading(3)));
        assert_eq!(of(0x8000_0029, 0), Some(Refusal::Other(0x8000_0029)));
        assert_eq!(of(48, 0), None);
    }
}
