//! Events in VMCS fields, and what holds them back.
//!
//! The VM-entry interruption information, the exit's and the IDT-vectoring information share their bits with AMD's fields but
//! for the error code, which has a field of its own (SDM vol. 3, 25.8.3, 25.9.2, 25.9.3).

use crate::event::{Event, Kind};

/// The field holds an event.
pub const VALID: u32 = 1 << 31;
/// An error code is pushed.
pub const DELIVER_ERROR_CODE: u32 = 1 << 11;
/// Exit information alone: the event is a fault of an IRET that had ended the blocking of NMIs.
pub const NMI_UNBLOCKED: u32 = 1 << 12;

/// Bits 10 to 8: types.
pub mod kind {
    /// External interrupt.
    pub const INTERRUPT: u32 = 0;
    /// Non-maskable interrupt.
    pub const NMI: u32 = 2;
    /// Hardware exception: all but those of types 5 and 6.
    pub const EXCEPTION: u32 = 3;
    /// Software interrupt: INT n.
    pub const SOFTWARE_INTERRUPT: u32 = 4;
    /// Privileged software exception: INT1.
    pub const PRIVILEGED_EXCEPTION: u32 = 5;
    /// Software exception: INT3 and INTO.
    pub const SOFTWARE_EXCEPTION: u32 = 6;
    /// Entry alone: a pending exit by the monitor trap flag.
    pub const OTHER: u32 = 7;
}

/// The type in such a field, 0 to 7.
pub const fn kind_of(field: u32) -> u32 {
    field >> 8 & 7
}

/// An event as the fields for the next entry hold it: interruption information and error code.
pub const fn encode(event: Event) -> (u32, u32) {
    let both = event.encode();
    (both as u32, (both >> 32) as u32)
}

/// An event from interruption information and the error code beside it; `None` if it is not valid or of a reserved type. INT1,
/// INT3 and INTO (types 5 and 6) become [`Kind::Software`], too.
pub const fn decode(field: u32, error: u32) -> Option<Event> {
    // Bit 12 says something else or nothing, and bits 30 to 13 nothing.
    let known = (field & (VALID | DELIVER_ERROR_CODE | 0x7ff)) as u64;
    match kind_of(field) {
        kind::PRIVILEGED_EXCEPTION | kind::SOFTWARE_EXCEPTION if field & VALID != 0 => {
            Some(Event { kind: Kind::Software, vector: field as u8, error: None })
        }
        _ => Event::decode(known | (error as u64) << 32),
    }
}

/// Whether a hardware exception of this vector pushes an error code (27.2.1.3): #DF, #TS, #NP, #SS, #GP, #PF, #AC.
pub const fn pushes_error_code(vector: u8) -> bool {
    matches!(vector, 8 | 10..=14 | 17)
}

/// Guest interruptibility state (25.4.2).
pub mod interruptibility {
    /// Blocking by STI.
    pub const STI: u32 = 1;
    /// Blocking by MOV SS or POP SS.
    pub const MOV_SS: u32 = 1 << 1;
    /// Blocking by a system-management interrupt.
    pub const SMI: u32 = 1 << 2;
    /// Blocking by NMI.
    pub const NMI: u32 = 1 << 3;
    /// The exit was in an enclave.
    pub const ENCLAVE: u32 = 1 << 4;
    /// What ends with the next instruction.
    pub const SHADOW: u32 = STI | MOV_SS;
}

/// Guest activity state (25.4.2).
pub mod activity {
    /// Instructions are executed.
    pub const ACTIVE: u32 = 0;
    /// Halted.
    pub const HLT: u32 = 1;
    /// Shut down by a triple fault.
    pub const SHUTDOWN: u32 = 2;
    /// Waiting for a start-up interrupt.
    pub const WAIT_FOR_SIPI: u32 = 3;
}

/// Pending debug exceptions (25.4.2), besides [`SINGLE_STEP`](crate::state::SINGLE_STEP) and
/// [`BREAKPOINT`](crate::state::BREAKPOINT).
pub mod pending_debug {
    use crate::state::{BREAKPOINT, SINGLE_STEP};

    /// A debug exception in a transactional region.
    pub const TRANSACTION: u64 = 1 << 16;
    /// All bits that may be set: B0 to B3, and those above.
    pub const ALL: u64 = 0xf | 1 << 11 | BREAKPOINT | SINGLE_STEP | TRANSACTION;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_are_where_the_manual_has_them() {
        assert_eq!(encode(Event::fault(14, 2)), (0x8000_0b0e, 2));
        assert_eq!(encode(Event { kind: Kind::Nmi, vector: 2, error: None }), (0x8000_0202, 0));
        let interrupt = Event { kind: Kind::Interrupt, vector: 0xf0, error: None };
        assert_eq!(encode(interrupt), (0x8000_00f0, 0));
        // Bit 12, which is undefined, does not count; nor does an error code that is not announced.
        assert_eq!(decode(0x8000_10f0, 7), Some(interrupt));
        // INT3 and INT1.
        let software = |vector| Some(Event { kind: Kind::Software, vector, error: None });
        assert_eq!((decode(0x8000_0603, 0), decode(0x8000_0501, 0)), (software(3), software(1)));
        assert_eq!(
            (decode(0x0000_0603, 0), decode(0x8000_0700, 0), decode(0x8000_0100, 0)),
            (None, None, None)
        );
    }

    proptest! {
        #[test]
        fn events_go_round(number in 0..4usize, vector: u8, error: Option<u32>) {
            let kind = [Kind::Interrupt, Kind::Nmi, Kind::Exception, Kind::Software][number];
            let event = Event { kind, vector, error };
            let (field, error) = encode(event);
            prop_assert_eq!(kind_of(field), [0, 2, 3, 4][number]);
            prop_assert_eq!(decode(field, error), Some(event));
        }
    }
}
