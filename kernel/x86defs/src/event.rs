//! An interrupt or exception on its way into a system. AMD's EVENTINJ and EXITINTINFO and Intel's VM-entry interruption and
//! IDT-vectoring information have the same fields at the same bits; Intel keeps the error code in a field of its own.
//!
//! Sources: AMD64 APM vol. 2, 15.20 and 15.7.2; Intel SDM vol. 3, 25.8.3 and 25.9.3.

/// What is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An external interrupt.
    Interrupt,
    /// A non-maskable interrupt (vector 2).
    Nmi,
    /// An exception.
    Exception,
    /// INT n.
    Software,
}

/// An event with its vector and, for some exceptions, an error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// What is delivered.
    pub kind: Kind,
    /// The vector, 0 to 255.
    pub vector: u8,
    /// The error code that is pushed, if any.
    pub error: Option<u32>,
}

const ERROR_VALID: u64 = 1 << 11;
const VALID: u64 = 1 << 31;

impl Event {
    /// The debug exception.
    pub const DEBUG: Self = Self::exception(1);

    /// An exception without error code.
    pub const fn exception(vector: u8) -> Self {
        Self { kind: Kind::Exception, vector, error: None }
    }

    /// An exception with error code.
    pub const fn fault(vector: u8, error: u32) -> Self {
        Self { kind: Kind::Exception, vector, error: Some(error) }
    }

    /// As AMD's fields hold it: the error code in the upper half.
    pub const fn encode(self) -> u64 {
        let kind = match self.kind {
            Kind::Interrupt => 0,
            Kind::Nmi => 2,
            Kind::Exception => 3,
            Kind::Software => 4,
        };
        let (error, has_error) = match self.error {
            Some(code) => (code as u64, ERROR_VALID),
            None => (0, 0),
        };
        self.vector as u64 | kind << 8 | has_error | VALID | error << 32
    }

    /// From such a field; `None` if it is not valid or of a reserved type.
    pub const fn decode(field: u64) -> Option<Self> {
        if field & VALID == 0 {
            return None;
        }
        let kind = match field >> 8 & 7 {
            0 => Kind::Interrupt,
            2 => Kind::Nmi,
            3 => Kind::Exception,
            4 => Kind::Software,
            _ => return None,
        };
        let error = if field & ERROR_VALID != 0 { Some((field >> 32) as u32) } else { None };
        Some(Self { kind, vector: field as u8, error })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_are_where_the_manual_has_them() {
        assert_eq!(Event::exception(6).encode(), 0x8000_0306);
        assert_eq!(Event::fault(14, 2).encode(), 0x2_8000_0b0e);
        assert_eq!(Event { kind: Kind::Interrupt, vector: 0xf0, error: None }.encode(), 0x8000_00f0);
        assert_eq!(Event::decode(0x0000_0306), None);
        assert_eq!(Event::decode(0x8000_0106), None);
    }

    proptest! {
        #[test]
        fn events_go_round(kind in 0..4usize, vector: u8, error: Option<u32>) {
            let kind = [Kind::Interrupt, Kind::Nmi, Kind::Exception, Kind::Software][kind];
            let event = Event { kind, vector, error };
            prop_assert_eq!(Event::decode(event.encode()), Some(event));
        }
    }
}
