//! Exit information: type 1, read-only.

use super::{Field, Natural, ReadOnly, fields};

fields! { ReadOnly;
    /// Guest-physical address of an EPT violation or misconfiguration.
    GUEST_PHYSICAL_ADDRESS: u64 = 0x2400;

    /// Why the last VMX instruction failed, see [`instruction_error`](crate::vmx::instruction_error).
    INSTRUCTION_ERROR: u32 = 0x4400;
    /// See [`exit_reason`](crate::vmx::exit_reason).
    REASON: u32 = 0x4402;
    /// The event that caused the exit.
    INTERRUPTION: u32 = 0x4404;
    /// Its error code.
    INTERRUPTION_ERROR_CODE: u32 = 0x4406;
    /// The event whose delivery the exit interrupted.
    IDT_VECTORING: u32 = 0x4408;
    /// Its error code.
    IDT_VECTORING_ERROR_CODE: u32 = 0x440a;
    /// Bytes of the instruction that exited.
    INSTRUCTION_LENGTH: u32 = 0x440c;
    /// Operands of the instruction that exited.
    INSTRUCTION_INFORMATION: u32 = 0x440e;

    /// Exit qualification.
    QUALIFICATION: Natural = 0x6400;
    /// RCX before an I/O instruction that a system-management interrupt followed.
    IO_RCX: Natural = 0x6402;
    /// The same for RSI.
    IO_RSI: Natural = 0x6404;
    /// The same for RDI.
    IO_RDI: Natural = 0x6406;
    /// The same for RIP.
    IO_RIP: Natural = 0x6408;
    /// Linear address of the access that exited.
    GUEST_LINEAR_ADDRESS: Natural = 0x640a;
}
