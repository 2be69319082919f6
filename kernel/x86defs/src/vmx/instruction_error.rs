//! VM-instruction errors (SDM vol. 3, table 31-1).

use core::fmt;

macro_rules! errors {
    ($($(#[$attribute:meta])* $name:ident = $number:literal: $text:literal,)*) => {
        /// Why a VMX instruction failed, where there was a VMCS to say it in.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum InstructionError {
            $($(#[$attribute])* $name = $number,)*
        }

        impl InstructionError {
            /// From the field; `None` for numbers that are not in the table, 0 among them.
            pub const fn from_number(number: u32) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }
        }

        impl fmt::Display for InstructionError {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$name => $text,)*
                })
            }
        }
    };
}

errors! {
    /// VMCALL.
    VmcallInRoot = 1: "VMCALL in VMX root operation",
    /// VMCLEAR.
    VmclearAddress = 2: "VMCLEAR of an invalid address",
    /// VMCLEAR.
    VmclearVmxon = 3: "VMCLEAR of the VMXON region",
    /// VMLAUNCH.
    VmlaunchNotClear = 4: "VMLAUNCH of a VMCS that is not clear",
    /// VMRESUME.
    VmresumeNotLaunched = 5: "VMRESUME of a VMCS that was not launched",
    /// VMRESUME.
    VmresumeAfterVmxoff = 6: "VMRESUME after VMXOFF",
    /// The checks of 27.2.1.
    ControlFields = 7: "entry with invalid control fields",
    /// The checks of 27.2.2 to 27.2.4.
    HostState = 8: "entry with invalid host state",
    /// VMPTRLD.
    VmptrldAddress = 9: "VMPTRLD of an invalid address",
    /// VMPTRLD.
    VmptrldVmxon = 10: "VMPTRLD of the VMXON region",
    /// VMPTRLD.
    VmptrldRevision = 11: "VMPTRLD of a VMCS with another revision",
    /// VMREAD or VMWRITE.
    UnsupportedField = 12: "VMREAD or VMWRITE of a field that this CPU lacks",
    /// VMWRITE.
    ReadOnlyField = 13: "VMWRITE of a read-only field",
    /// VMXON.
    VmxonInRoot = 15: "VMXON in VMX root operation",
    /// System-management mode.
    ExecutivePointer = 16: "entry with an invalid executive-VMCS pointer",
    /// System-management mode.
    ExecutiveNotLaunched = 17: "entry with an executive VMCS that was not launched",
    /// System-management mode.
    ExecutiveNotVmxon = 18: "entry with an executive-VMCS pointer other than the VMXON region",
    /// System-management mode.
    VmcallNotClear = 19: "VMCALL with a VMCS that is not clear",
    /// System-management mode.
    VmcallExitControls = 20: "VMCALL with invalid exit controls",
    /// System-management mode.
    VmcallRevision = 22: "VMCALL with another MSEG revision",
    /// System-management mode.
    VmxoffDualMonitor = 23: "VMXOFF under dual-monitor treatment",
    /// System-management mode.
    VmcallMonitorFeatures = 24: "VMCALL with invalid SMM-monitor features",
    /// System-management mode.
    ExecutiveControls = 25: "entry with invalid execution controls in the executive VMCS",
    /// VMLAUNCH or VMRESUME.
    BlockedByMovSs = 26: "entry with events blocked by MOV SS",
    /// INVEPT or INVVPID.
    InvalidOperand = 28: "an invalid operand to INVEPT or INVVPID",
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    #[test]
    fn numbers_are_those_of_the_table() {
        assert_eq!(InstructionError::from_number(7), Some(InstructionError::ControlFields));
        assert_eq!(InstructionError::from_number(8), Some(InstructionError::HostState));
        for hole in [0, 14, 21, 27, 29] {
            assert_eq!(InstructionError::from_number(hole), None);
        }
        assert_eq!(InstructionError::BlockedByMovSs.to_string(), "entry with events blocked by MOV SS");
    }
}
